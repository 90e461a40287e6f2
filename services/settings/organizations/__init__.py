"""Organizations: created, changed, closed and erased; what belongs to one."""
