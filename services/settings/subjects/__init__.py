"""Requests of data subjects, and the words that name people."""
