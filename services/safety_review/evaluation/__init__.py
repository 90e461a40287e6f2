"""How good the detectors are: sets of texts of upheld cases that name no customer, and figures over them."""
