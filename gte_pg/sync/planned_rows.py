"""How many rows there are, without reading them."""

from __future__ import annotations

from psycopg import sql

from gte_pg.database import Connection

_PLAN = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {} AS d{}")


def planned_rows(
    connection: Connection, table: sql.Identifier, condition: sql.Composable | None = None
) -> int:
    """Return the planner's estimate for a table, called `d` in `condition`: by its size and statistics."""
    where = sql.SQL("") if condition is None else sql.SQL(" WHERE ") + condition
    ((plan,),) = connection.execute(_PLAN.format(table, where)).fetchall()
    return int(plan[0]["Plan"]["Plan Rows"])
