"""Settings: what each customer chose. It never holds a prompt."""
