"""The triggers of the capture as they are in the database: which of them do not do their work, and anew."""

from __future__ import annotations

from psycopg import sql

from gte_pg.database import Connection, Registered, lock_unchanged
from gte_pg.declaration import (
    capture_sources,
    create_capture,
    drop_capture,
    trigger_names,
    update_trigger_name,
)

# A partition has triggers of its own, which whoever owns it can disable; a table that came to inherit since
# has none. The function that they call may name a companion that has been renamed, or be owned by somebody
# who may not read the table any more, or by a superuser, whose rights it would lend to the table's owner; a
# condition follows a column that was renamed, though another one has its name now. A function with a
# backslash in it says how that is to be read.
_TRIGGERS = """
SELECT trigger, tree.relid::regclass::text
FROM (
    SELECT to_regclass(%(table)s) AS relid, true AS root
    UNION SELECT relid, level = 0 FROM pg_partition_tree(to_regclass(%(table)s))
    UNION SELECT inhrelid, false FROM pg_inherits WHERE inhparent = to_regclass(%(table)s)
) AS tree, unnest(%(triggers)s::text[]) AS trigger
WHERE (tree.root OR NOT trigger = ANY (%(statement_triggers)s::text[])) AND NOT EXISTS (
    SELECT FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid
    WHERE t.tgrelid = tree.relid AND t.tgname = trigger AND t.tgenabled = 'A'
      AND p.prosrc = ANY (%(sources)s::text[])
      AND (strpos(p.prosrc, chr(92)) = 0 OR 'standard_conforming_strings=on' = ANY (p.proconfig))
      AND (NOT p.prosecdef OR has_table_privilege(p.proowner, to_regclass(%(table)s), 'SELECT') AND (
          SELECT has_schema_privilege(p.proowner, c.relnamespace, 'USAGE') FROM pg_class AS c
          WHERE c.oid = to_regclass(%(table)s)
      ))
      AND NOT EXISTS (
          SELECT FROM pg_class AS c, pg_roles AS lent, pg_roles AS own
          WHERE c.oid = to_regclass(%(table)s) AND own.oid = c.relowner AND lent.oid = p.proowner
            AND p.prosecdef AND lent.rolsuper AND NOT own.rolsuper
      )
      AND (NOT tree.root OR trigger <> %(update_trigger)s OR NOT EXISTS (
          SELECT FROM pg_attribute AS a
          WHERE a.attrelid = tree.relid AND a.attname = ANY (%(source)s::text[]) AND NOT EXISTS (
              SELECT FROM pg_depend AS d
              WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
                AND d.refclassid = 'pg_class'::regclass AND d.refobjid = tree.relid
                AND d.refobjsubid = a.attnum
          )
      ))
)
"""


def missing_triggers(connection: Connection, registered: Registered) -> list[str]:
    """Return which triggers are not there, not enabled for every writer, or do not call what they should
    any more, as `name on table`.
    """
    declaration = registered.declaration
    values = {
        "table": declaration.relation.as_string(),
        "triggers": trigger_names(declaration),
        "statement_triggers": trigger_names(declaration, level="STATEMENT"),
        "sources": capture_sources(declaration),
        "update_trigger": update_trigger_name(declaration),
        "source": list(declaration.source),
    }
    rows = connection.execute(_TRIGGERS, values).fetchall()
    return [f"{trigger} on {table}" for trigger, table in rows]


def make_triggers(connection: Connection, registered: Registered) -> None:
    """Make all triggers of an embedding anew, in the caller's transaction, which has the table then.

    Raises DatabaseError if the embedding has been changed since it was read.
    """
    lock_unchanged(connection, [registered])
    for statement in trigger_statements(connection, registered):
        connection.execute(statement)


def trigger_statements(connection: Connection, registered: Registered) -> list[sql.Composed]:
    """Return the statements that do so."""
    postgres = connection.info.server_version // 10_000
    declaration = registered.declaration
    return [*drop_capture(declaration), *create_capture(declaration, postgres=postgres)]
