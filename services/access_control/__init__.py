"""Access control: people, roles and grants; decisions; custody of keys; the audit log."""
