"""Whether the names that an embedding's columns or its companion will have are nobody else's."""

from __future__ import annotations

from gte_pg.database.connect import Connection
from gte_pg.database.table import find_table
from gte_pg.declaration import Declaration, drop_columns
from gte_pg.errors import DatabaseError

_INSTEAD = "an embedding that is new can have another name instead"


def check_names_are_free(connection: Connection, declaration: Declaration) -> None:
    """Raise DatabaseError if another has a name that an embedding needs which is to be added."""
    if declaration.companion is None:
        _check_columns(connection, declaration)
    else:
        check_companion_is_free(connection, declaration)


def check_companion_is_free(connection: Connection, declaration: Declaration) -> None:
    """Raise DatabaseError if there is a table with the name of the embedding's companion."""
    companion = declaration.vectors.as_string()
    if connection.execute("SELECT to_regclass(%s)", (companion,)).fetchone() != (None,):
        raise DatabaseError(
            f"the companion of {declaration.written} would be called {companion}, which there is already: "
            "perhaps that of a table that had this one's name before. Rename it (ALTER TABLE "
            f"{companion} RENAME TO …; gte-pg sync --repair, where its table still is), or drop it if "
            f"nobody needs it; {_INSTEAD}"
        )


def _check_columns(connection: Connection, declaration: Declaration) -> None:
    present = find_table(connection, declaration.relation.as_string()).columns
    taken = [column for column in declaration.columns if column in present]
    if not taken:
        return
    if len(taken) == len(declaration.columns):
        raise DatabaseError(
            f"the table {declaration.written} has the columns {', '.join(taken)} already, and they are "
            "no embedding's, as in a copy of a table that has one. Drop them: "
            f"{drop_columns(declaration).as_string()}; {_INSTEAD}"
        )
    raise DatabaseError(
        f"the table {declaration.written} already has a column {taken[0]!r}, which the embedding "
        f"{declaration.name!r} needs: rename it, or drop it if nobody needs it; {_INSTEAD}"
    )
