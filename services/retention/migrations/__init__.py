"""How the schema came about (Alembic)."""
