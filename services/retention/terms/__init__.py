"""Contract terms: what may happen to one, and what puts it into force."""
