"""Holds: placed, kept, looked through for, disclosed, released. What may happen to one, and what carries it."""
