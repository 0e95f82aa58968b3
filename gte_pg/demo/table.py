"""The demo's table: real text, loaded with COPY, with an embedding declared on it."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from gte_pg.database import (
    Connection,
    Registered,
    engine,
    find_table,
    load,
    load_all,
    postgres_version,
    run,
)
from gte_pg.demo.standard_library import standard_library
from gte_pg.install import add_statements, prepare_database, remove_statements
from gte_pg.models import ModelIdentity

TABLE = "gte_pg_demo.python_documentation"

SOURCE = ("module", "name", "doc")

_CREATE = f"""
CREATE SCHEMA IF NOT EXISTS gte_pg_demo;
CREATE TABLE IF NOT EXISTS {TABLE} (
    module text,
    name text,
    signature text NOT NULL,
    doc text NOT NULL,
    PRIMARY KEY (module, name)
);
"""

# What this Python documents differently from the last run's: only such rows are encoded again.
_REFRESH = f"""
MERGE INTO {TABLE} AS kept USING found ON (kept.module, kept.name) = (found.module, found.name)
WHEN MATCHED AND (kept.signature, kept.doc) <> (found.signature, found.doc)
    THEN UPDATE SET signature = found.signature, doc = found.doc
WHEN NOT MATCHED
    THEN INSERT (module, name, signature, doc)
         VALUES (found.module, found.name, found.signature, found.doc);
DELETE FROM {TABLE} AS kept
WHERE NOT EXISTS (
    SELECT FROM found WHERE (kept.module, kept.name) = (found.module, found.name)
);
"""  # noqa: S608 - no input in it

# A model without token weights has no sparse column: the row is asked, not the column.
_DETAILS = f"""
SELECT concat_ws('.', module, nullif(name, '')), split_part(doc, E'\\n', 1),
       to_jsonb(d) ->> 'embedding_sparse'
FROM {TABLE} AS d WHERE module = %(module)s AND name = %(name)s
"""  # noqa: S608 - no input in it


def prepare_table(dsn: str, connection: Connection, model: ModelIdentity) -> Registered:
    """Create the table, declare its embedding by `model`, and bring its rows up to date."""
    with connection.transaction():
        connection.execute(_CREATE)
    _declare(dsn, connection, model)
    with connection.transaction():
        if connection.execute(f"SELECT FROM {TABLE} LIMIT 1").fetchone() is None:
            _copy(connection, TABLE)
        else:
            connection.execute(
                "CREATE TEMPORARY TABLE found (module text, name text, signature text, doc text) "
                "ON COMMIT DROP"
            )
            _copy(connection, "found")
            connection.execute(_REFRESH)
    return load(connection, TABLE)


def _copy(connection: Connection, table: str) -> None:
    with connection.cursor().copy(
        f"COPY {table} (module, name, signature, doc) FROM STDIN"
    ) as copy:
        for docstring in standard_library():
            copy.write_row(astuple(docstring))


def _declare(dsn: str, connection: Connection, model: ModelIdentity) -> None:
    """Declare the embedding, replacing one by another model."""
    wanted = find_table(connection, TABLE).declare(model, SOURCE)
    declared = [registered.declaration for registered in load_all(connection, TABLE)]
    if declared == [wanted]:
        return
    with engine(dsn).begin() as transaction:
        prepare_database(transaction)
        for declaration in declared:
            for statement in remove_statements(declaration):
                run(transaction, statement)
        for statement in add_statements(wanted, postgres=postgres_version(transaction)):
            run(transaction, statement)


@dataclass(frozen=True, slots=True)
class Details:
    """What is shown of a found row; `sparse` is its stored sparse vector as text."""

    name: str
    first_line: str
    sparse: str | None


def read_details(connection: Connection, key: dict[str, Any]) -> Details:
    """Read what is to be shown of the row with this key."""
    row = connection.execute(_DETAILS, key).fetchone()
    assert row is not None
    return Details(*row)
