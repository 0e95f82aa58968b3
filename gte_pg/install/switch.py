"""Switch an embedding to another model: two embeddings of one table exchange their names.

The next one is added and filled beside the present one, which serves until the exchange. It is one
short transaction: a query sees the vectors of one generation or those of the other. The former one
stays, under another name, and is kept in step, so that there is a way back.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.database import registered_as
from gte_pg.declaration import (
    Declaration,
    create_capture,
    drop_capture,
    index_names,
)
from gte_pg.install.prepare import store_statements
from gte_pg.install.standbys import under_name

# A table that had this one's name before may have indexes of these names. An index is known by what it
# indexes: one that keeps its name is none the worse.
_RENAME_INDEX = sql.SQL("""\
DO $rename$
BEGIN
    IF to_regclass({taken}) IS NULL AND EXISTS (
        SELECT FROM pg_catalog.pg_index
        WHERE indexrelid = to_regclass({index}) AND indrelid = to_regclass({table})
    ) THEN
        {rename};
    END IF;
END
$rename$""")


def exchange_statements(
    leaving: Declaration, leaving_name: str, coming: Declaration, *, postgres: int
) -> list[sql.Composed]:
    """Return the statements by which `coming` takes the name of `leaving`, which gets another.

    For one transaction. It locks the table against everyone for milliseconds and rewrites nothing.
    """
    lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(leaving.relation)
    return [
        lock,
        *_rename(leaving, leaving_name, postgres, standby=True),
        *_rename(coming, leaving.name, postgres, standby=False),
    ]


def _rename(old: Declaration, name: str, postgres: int, *, standby: bool) -> list[sql.Composed]:
    new = under_name(old, name)
    return [
        *drop_capture(old),
        *(_rename_column(old, *pair) for pair in zip(_columns(old), _columns(new), strict=True)),
        *(
            _rename_index(old, *pair)
            for pair in zip(index_names(old), index_names(new), strict=True)
        ),
        *(_rename_companion(old, new) if old.companion is not None else []),
        *create_capture(new, postgres=postgres),
        sql.SQL("UPDATE gte.embedding SET name = {}, standby = {} WHERE {}").format(
            sql.Literal(name), sql.Literal(standby), registered_as(old)
        ),
        store_statements(new),
    ]


def _columns(declaration: Declaration) -> list[str]:
    version = [] if declaration.companion is None else [declaration.version_column]
    return [*declaration.columns, *version]


def _rename_column(declaration: Declaration, old: str, new: str) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
        declaration.vectors, sql.Identifier(old), sql.Identifier(new)
    )


def _rename_index(declaration: Declaration, old: str, new: str) -> sql.Composed:
    path = declaration.index_path
    return _RENAME_INDEX.format(
        index=sql.Literal(path(old).as_string()),
        table=sql.Literal(declaration.vectors.as_string()),
        taken=sql.Literal(path(new).as_string()),
        rename=sql.SQL("ALTER INDEX {} RENAME TO {}").format(path(old), sql.Identifier(new)),
    )


def _rename_companion(old: Declaration, new: Declaration) -> list[sql.Composed]:
    assert new.companion is not None
    return [
        sql.SQL("ALTER TABLE {} RENAME TO {}").format(
            old.vectors, sql.Identifier(new.companion[-1])
        )
    ]
