"""Accounts of customers' people: invited, signed in, changed, ended; what proves who they are. A rule a module."""
