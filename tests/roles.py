"""Roles, which all databases of a server share: one may be there from another test."""

from __future__ import annotations

from psycopg import sql

from gte_pg.database import Connection

_MAKE = sql.SQL("""
DO $$ BEGIN
    CREATE ROLE {};
EXCEPTION WHEN duplicate_object THEN NULL; END $$
""")


def make_role(connection: Connection, name: str) -> None:
    """Make a role that may do nothing, unless it is there.

    What it is granted in a test's database goes with that database.
    """
    connection.execute(_MAKE.format(sql.Identifier(name)))
