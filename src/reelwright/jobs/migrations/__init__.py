"""Forms that the store's tables had, one after another (Alembic)."""
