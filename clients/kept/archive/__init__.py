"""An organization's own export: one archive, written as it comes and verified as it is read, whatever its size. Format: docs/export.md."""
