"""Certificates: what one says, and the key that signs it."""
