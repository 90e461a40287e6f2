"""Detection: rules and other detectors, and what they make of a record."""
