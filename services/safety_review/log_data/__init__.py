"""Rules over log data: what they are, what logging is asked for them, and what its answers become."""
