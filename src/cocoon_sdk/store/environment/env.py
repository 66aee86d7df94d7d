"""Alembic's entry point, shared by all trees: the caller hands over an open connection."""

from __future__ import annotations

from alembic import context

# The caller's transaction encloses the migration on SQLite too, so that two processes starting at
# once do not migrate twice and a failed migration leaves nothing behind.
context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
