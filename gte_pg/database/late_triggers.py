"""Triggers that could change a row's text after gte-pg's have looked at it.

BEFORE triggers of one event fire in the order of their names, by bytes. gte-pg's begin with `~`, the
last character of ASCII; a name that sorts behind it is somebody's `~zz`, or begins with another letter
than those of ASCII. A companion's triggers are AFTER triggers, which see the row as it was stored.
"""

from __future__ import annotations

from gte_pg.database.connect import Connection
from gte_pg.declaration import TRIGGER_PREFIX, Declaration

# tgtype: 1 FOR EACH ROW, 2 BEFORE, 4 INSERT, 16 UPDATE.
_LATE = """
SELECT DISTINCT t.tgname, t.tgrelid::regclass::text
FROM (
    SELECT to_regclass(%(table)s) AS relid UNION SELECT relid FROM pg_partition_tree(to_regclass(%(table)s))
) AS tree JOIN pg_trigger AS t ON t.tgrelid = tree.relid
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 3 = 3 AND t.tgtype & 20 > 0
  AND t.tgname::text COLLATE "C" > %(prefix)s AND NOT starts_with(t.tgname::text, %(prefix)s)
ORDER BY 2, 1
"""


def late_triggers(connection: Connection, declaration: Declaration) -> list[str]:
    """Return such triggers of the table and its partitions, as `name on table`."""
    if declaration.layout == "companion":
        return []
    values = {"table": declaration.relation.as_string(), "prefix": TRIGGER_PREFIX}
    rows = connection.execute(_LATE, values).fetchall()
    return [f"{trigger} on {table}" for trigger, table in rows]
