"""Run by Alembic: the connection is given by Database.migrate."""

from __future__ import annotations

from alembic import context

from reelwright.jobs.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True, compare_type=True
)
with context.begin_transaction():
    context.run_migrations()
