"""What is wrong with one embedding hides no other: it is said when all of them have been looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from gte_pg.database import Connection, Registered, said
from gte_pg.errors import DatabaseError, GtePgError


@contextmanager
def noting_problems(
    connection: Connection, registered: Registered, problems: list[DatabaseError]
) -> Iterator[None]:
    """Add to `problems` what is wrong with this embedding. A lost connection is raised."""
    try:
        yield
    except GtePgError as error:
        problems.append(DatabaseError(str(error)))
    except psycopg.Error as error:
        if connection.closed:
            raise
        problems.append(DatabaseError(f"{registered}: {said(error)}"))


def raise_problems(problems: list[DatabaseError]) -> None:
    """Raise all of them as one DatabaseError, a line each, if there are any."""
    if problems:
        raise DatabaseError("\n".join(map(str, problems)))
