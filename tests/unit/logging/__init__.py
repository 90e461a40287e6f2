"""Logging: what it stores, what it refuses to store, what it shows, what it forgets."""
