"""Erasures of organizations, of end users, and of what was logged before zero data retention."""
