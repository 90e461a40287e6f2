"""Recording: what may be stored, and how it becomes so."""
