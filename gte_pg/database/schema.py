"""The `gte` schema: made and brought up to date by the migrations that gte-pg ships."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from psycopg import sql
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, text

from gte_pg.database.extension import PgVector, ensure_pgvector
from gte_pg.database.statements import plain_connection, run
from gte_pg.errors import DatabaseError

# One documented key for every advisory lock on the schema: the ASCII codes of "gte-pg".
_SCHEMA_LOCK = int.from_bytes(b"gte-pg")

_PATH = text("SELECT current_setting('search_path')")

# What needs pgvector's types goes when that is dropped, with the schema in which it lies perhaps.
_MARK = text("""
SELECT obj_description(to_regnamespace('gte')::oid, 'pg_namespace')
WHERE to_regproc('gte.sparse_keys') IS NOT NULL
""")

_OWNER = text("""
SELECT pg_get_userbyid(nspowner) AS owner, pg_has_role(nspowner, 'USAGE') AS is_ours
FROM pg_namespace WHERE nspname = 'gte'
""")

# Their numbers may become another table's, at the latest when a dump is restored elsewhere.
_FORGET_DROPPED_TABLES = sql.SQL("""\
DELETE FROM gte.embedding AS e
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = e.relation)""")


def has_schema(connection: Connection, mark: str) -> bool:
    """Whether the `gte` schema is there, whole, and has this mark. Raises DatabaseError.

    Puts pgvector's schema on the transaction's search path where it lies outside.
    """
    _check_connection(connection)
    found = connection.execute(_MARK).scalar_one_or_none()
    if found is None:
        return False
    vector = ensure_pgvector(connection)
    if found != _comment(mark, vector):
        return False
    _find_vector_types(connection, vector)
    return True


def ensure_schema(connection: Connection) -> None:
    """Create or upgrade the `gte` schema in the caller's transaction; harmless when it is current.

    Installs pgvector where it is missing, and puts its schema on the transaction's search path where
    it lies outside. A schema that is current may be another role's. Other callers wait until this
    transaction ends. Raises DatabaseError.
    """
    _check_connection(connection)
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
    vector = ensure_pgvector(connection)
    if not _is_anothers(connection):
        path = connection.execute(_PATH).scalar_one()
        _make(connection, vector)
        _set_path(connection, path)
    _find_vector_types(connection, vector)


def mark_schema(connection: Connection, mark: str) -> None:
    """Put a mark on the schema, for `has_schema`; whoever does not own it leaves it as it is."""
    if not _is_anothers(connection):
        comment = sql.Literal(_comment(mark, ensure_pgvector(connection)))
        run(connection, sql.SQL("COMMENT ON SCHEMA gte IS {}").format(comment))


def _comment(mark: str, vector: PgVector) -> str:
    # Where pgvector lies is pinned in functions; it may be moved.
    return f"gte-pg's own; as gte-pg {mark} makes it, with pgvector in {vector.schema}"


def _check_connection(connection: Connection) -> None:
    """Raise DatabaseError if the schema cannot be made on this connection."""
    # Asked of the driver, after a first statement: SQLAlchemy and Alembic each have a way to AUTOCOMMIT.
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if plain_connection(connection).info.transaction_status == TransactionStatus.IDLE:
        raise DatabaseError(
            "this connection commits each statement for itself (AUTOCOMMIT), and gte-pg's schema is made "
            "in one transaction: use a connection that has one, such as those of "
            'engine.execution_options(isolation_level="READ COMMITTED")'
        )
    if encoding == "SQL_ASCII":
        raise DatabaseError(
            "this database's encoding is SQL_ASCII: Postgres does not know what characters its texts are "
            "made of, so nobody can encode them. Move them into a database with ENCODING 'UTF8'"
        )


def _find_vector_types(connection: Connection, vector: PgVector) -> None:
    visible = connection.execute(text("SELECT current_schemas(true)")).scalar_one()
    if vector.schema not in visible:
        path = connection.execute(_PATH).scalar_one()
        own = sql.Identifier(vector.schema).as_string()
        _set_path(connection, ", ".join(filter(None, (path, own))))


def _is_anothers(connection: Connection) -> bool:
    """Whether the schema is there, current, and a role's whose rights we have not.

    Raises DatabaseError if that role has to upgrade it.
    """
    found = connection.execute(_OWNER).one_or_none()
    if found is None or found.is_ours:
        return False
    # Alembic takes a tenth of the time in which gte-pg is imported, and few programs make the schema.
    from gte_pg.database.migrations import is_current  # noqa: PLC0415

    if not is_current(connection):
        raise DatabaseError(
            f"gte-pg's schema is the role {found.owner}'s, and of another version than this gte-pg: "
            f"run gte-pg init as {found.owner}"
        )
    return True


def _make(connection: Connection, vector: PgVector) -> None:
    from gte_pg.database.migrations import upgrade  # noqa: PLC0415 - as above

    run(connection, sql.SQL("CREATE SCHEMA IF NOT EXISTS gte"))
    # pgvector's types are found in its own schema and bound for good in what is made here.
    pinned = sql.SQL(", ").join(map(sql.Identifier, ("pg_catalog", vector.schema)))
    _set_path(connection, pinned.as_string())
    upgrade(connection)
    run(connection, _FORGET_DROPPED_TABLES)
    if connection.execute(text("SELECT to_regproc('gte.sparse_keys') IS NULL")).scalar_one():
        run(connection, sql.SQL(_read("sparse_keys.sql")))
    run(connection, sql.SQL(_read("functions.sql")))
    for name in ("search", "similar"):
        pin = sql.SQL("ALTER FUNCTION gte.{} SET search_path = {}")
        run(connection, pin.format(sql.Identifier(name), pinned))
    run(connection, sql.SQL("GRANT USAGE ON SCHEMA gte TO PUBLIC"))
    run(connection, sql.SQL("GRANT SELECT ON gte.embedding, gte.visible_key_frequency TO PUBLIC"))


def shipped_schema() -> str:
    """Return all that the schema is made of, as one text."""
    revisions = sorted(migrations_directory().glob("versions/*.py"))
    texts = [revision.read_text(encoding="utf-8") for revision in revisions]
    return "".join([*texts, _read("sparse_keys.sql"), _read("functions.sql")])


def migrations_directory() -> Path:
    """Return where the migrations are: in the installed package, beside it in a source checkout."""
    packaged = Path(str(resources.files("gte_pg").joinpath("migrations")))
    return packaged if packaged.is_dir() else packaged.parent.parent / "migrations"


def _read(name: str) -> str:
    return resources.files("gte_pg.database").joinpath(name).read_text(encoding="utf-8")


def _set_path(connection: Connection, path: str) -> None:
    connection.execute(text("SELECT set_config('search_path', :path, true)"), {"path": path})
