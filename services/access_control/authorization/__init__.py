"""May somebody do something: by the policies in use, and for methods by who the contract says may call them."""
