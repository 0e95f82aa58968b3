"""What a command has read of the registry must still be so when it changes something.

In between lies the wait for a lock, or the hours of a switch.
"""

from __future__ import annotations

from collections.abc import Sequence

from gte_pg.database.connect import Connection
from gte_pg.database.registry import Registered, load_all
from gte_pg.errors import DatabaseError

# Every change of an embedding writes its row. A worker's leases, which refer to it, need not wait.
_LOCK = """
SELECT FROM gte.embedding WHERE id = ANY (%(ids)s::int[]) ORDER BY id FOR NO KEY UPDATE
"""


def lock_unchanged(connection: Connection, embeddings: Sequence[Registered]) -> None:
    """Keep others from altering, switching or removing these embeddings until the transaction ends.

    Blocks while somebody does. Raises DatabaseError if one is no longer what it was when it was read.
    """
    connection.execute(_LOCK, {"ids": [one.id for one in embeddings]})
    for one in embeddings:
        check_unchanged(connection, one)


def check_unchanged(connection: Connection, registered: Registered) -> None:
    """Raise DatabaseError if the embedding is no longer what it was when it was read."""
    declaration = registered.declaration
    if registered not in load_all(connection, declaration.relation.as_string(), broken=True):
        raise DatabaseError(
            f"the embedding {declaration.name!r} of {declaration.written} has been altered, switched "
            "or removed since this command read of it: see gte-pg status, and run the command again if "
            "it is still what you want"
        )
