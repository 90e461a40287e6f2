"""Retention runs: what one would do, when it begins, what it does, and what its certificate says."""
