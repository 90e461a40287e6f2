"""The settings service."""
