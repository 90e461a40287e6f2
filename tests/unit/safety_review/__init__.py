"""The safety review service."""
