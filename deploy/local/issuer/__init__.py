"""The development OpenID issuer: signs tokens for the people of a local stack, and for nobody else's."""
