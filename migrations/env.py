"""Alembic environment of the `gte` schema. `gte-pg init` runs it on a connection that it is given."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="gte",
)
with context.begin_transaction():
    context.run_migrations()
