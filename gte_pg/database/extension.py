"""pgvector in the database: which version, in which schema."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from gte_pg.errors import DatabaseError

# 0.8.0 brought iterative index scans, without which a filtered search returns too few rows.
_OLDEST = (0, 8, 0)


# Beside the tables of no one in particular: with the first schema of the search path every vector in
# the database would be dropped.
_CREATE = "CREATE EXTENSION vector"
_CREATE_IN_PUBLIC = "CREATE EXTENSION vector SCHEMA public"


@dataclass(frozen=True, slots=True)
class PgVector:
    version: str
    schema: str


def find_pgvector(connection: Connection) -> PgVector | None:
    row = connection.execute(
        text(
            "SELECT extversion, nspname FROM pg_extension "
            "JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"
        )
    ).one_or_none()
    return PgVector(*row) if row else None


def _create(connection: Connection) -> str:
    ours = text("SELECT has_schema_privilege(to_regnamespace('public')::oid, 'CREATE')")
    return _CREATE_IN_PUBLIC if connection.execute(ours).scalar_one() else _CREATE


def ensure_pgvector(connection: Connection) -> PgVector:
    """Return the installed pgvector, installing it if need be; DatabaseError if it is too old."""
    found = find_pgvector(connection)
    if found is None:
        try:
            with connection.begin_nested():
                connection.execute(text(_create(connection)))
        except DBAPIError as error:
            raise DatabaseError(
                f"this database has no pgvector and it cannot be installed: "
                f"{str(error.orig).splitlines()[0]}. Install pgvector ≥ 0.8 on the server, then run "
                "CREATE EXTENSION vector as a superuser"
            ) from error
        found = find_pgvector(connection)
        assert found is not None
    version = tuple(int(part) for part in found.version.split(".")[:3])
    if version < _OLDEST:
        raise DatabaseError(
            f"pgvector {found.version} is too old: gte-pg needs 0.8.0 or newer. Upgrade it on the "
            "server, then run ALTER EXTENSION vector UPDATE"
        )
    return found
