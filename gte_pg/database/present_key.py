"""Whether a table still has the primary key by which its embeddings find their rows."""

from __future__ import annotations

from gte_pg.database.connect import Connection
from gte_pg.database.table import Table, find_table
from gte_pg.declaration import Declaration
from gte_pg.errors import DatabaseError


def check_key(connection: Connection, table: Table, declaration: Declaration) -> None:
    """Raise DatabaseError unless the table has a primary key, and the companion the same."""
    remove = f"gte-pg remove {declaration.written} --name {declaration.name}"
    if not table.key:
        raise DatabaseError(
            f"the table {declaration.written} has no primary key any more, by which the embedding "
            f"{declaration.name!r} finds its rows: give it one again, ALTER TABLE {declaration.written} "
            f"ADD PRIMARY KEY (…), or {remove}"
        )
    if declaration.companion is None:
        return
    companion = find_table(connection, declaration.vectors.as_string())
    present, former = _names(table), _names(companion)
    if set(present) != set(former):
        raise DatabaseError(
            f"the primary key of {declaration.written} is ({', '.join(present)}) now, and the companion "
            f"of the embedding {declaration.name!r} knows its rows by ({', '.join(former)}): give the "
            f"table that key back, under the same names, or {remove}, and add it again"
        )


def _names(table: Table) -> list[str]:
    return [column.name for column in table.key]
