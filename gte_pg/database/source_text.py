"""Whether the text of a row is the row's alone: the same for every session that makes it.

A trigger makes it in the application's session, a worker in its own. Text that depends on settings,
such as that of a date or of a function that the search path finds, would be another in each, and its
vector never right in both.
"""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gte_pg.database.late_triggers import late_triggers
from gte_pg.database.statements import plain_connection, run
from gte_pg.declaration import TRIGGER_PREFIX, Declaration, row_text
from gte_pg.errors import DeclarationError

# The text of an enum's value is its label, which changes only by ALTER TYPE. Postgres calls the texts of
# bytea, floats and points immutable, which bytea_output and extra_float_digits change.
_COLUMNS = """
SELECT a.attname, a.attgenerated <> '', format_type(a.atttypid, a.atttypmod),
       p.provolatile <> 'i' AND t.typtype <> 'e'
       OR p.proname IN ('byteaout', 'float4out', 'float8out') OR t.typcategory = 'G',
       t.typcategory = 'A'
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid JOIN pg_proc AS p ON p.oid = t.typoutput
WHERE a.attrelid = %(table)s::regclass AND a.attname = ANY (%(source)s) AND NOT a.attisdropped
"""

# The triggers of a companion compare keys by what pg_catalog has, and trust no other schema.
_FOREIGN_KEYS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_index AS i CROSS JOIN unnest(i.indkey, i.indclass) AS k (attnum, opclass)
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
JOIN pg_opclass AS o ON o.oid = k.opclass
WHERE i.indrelid = %(table)s::regclass AND i.indisprimary
  AND o.opcnamespace <> 'pg_catalog'::regnamespace
"""

# Tables that inherit: of partitions Postgres sees to it that they have the triggers of their table, and
# TimescaleDB says so of the chunks of its hypertables.
_HEIRS = """
SELECT i.inhrelid::regclass::text
FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhparent JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE p.oid = %(table)s::regclass AND p.relkind <> 'p'
  AND c.relnamespace IS DISTINCT FROM to_regnamespace('_timescaledb_internal')
ORDER BY 1
"""

# The text of a value of such a type that depends on no setting.
_SETTLED = {
    "date": "extract(year from {})::int::text",
    "bytea": "encode({}, 'hex')",
    "real": "{}::numeric::text",
    "double precision": "{}::numeric::text",
    "interval": "extract(epoch from {})::numeric::text",
    "timestamp without time zone": "extract(year from {})::int::text",
    "timestamp with time zone": "extract(year from {} AT TIME ZONE 'UTC')::int::text",
}

# Postgres rewrites the statement that writes vectors back, and refuses it.
_RULES = """
SELECT rulename FROM pg_rewrite
WHERE ev_class = %(table)s::regclass AND ev_type = '2' AND ev_enabled <> 'D'
"""

_TRIAL = "gte_pg_text"

# What a generated column takes is what a trigger can rely on: immutable, of this row alone, and here of
# no other column than those in braces, which are the ones that are watched.
_CREATE_TRIAL = sql.SQL(
    "CREATE TEMPORARY TABLE {trial} AS SELECT {source} FROM {table} WITH NO DATA"
)
_TRY = sql.SQL("ALTER TABLE {trial} ADD {text} text GENERATED ALWAYS AS ({expression}) STORED")

# The triggers of a companion make the text with the rights of the table's owner. Where Postgres notes what
# an expression needs, at the column or at its default, depends on its version.
_NOT_THE_OWNERS = """
SELECT p.oid::regprocedure::text FROM pg_depend AS d JOIN pg_proc AS p ON p.oid = d.refobjid
WHERE d.refclassid = 'pg_proc'::regclass
  AND (d.classid = 'pg_class'::regclass AND d.objid = %(trial)s::regclass
       OR d.classid = 'pg_attrdef'::regclass
          AND d.objid IN (SELECT oid FROM pg_attrdef WHERE adrelid = %(trial)s::regclass))
  AND NOT (has_schema_privilege(%(owner)s::name, p.pronamespace, 'USAGE')
           AND has_function_privilege(%(owner)s::name, p.oid, 'EXECUTE'))
ORDER BY 1
"""

_OWNER = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = %(table)s::regclass"


def check_source_text(connection: Connection, declaration: Declaration) -> None:
    """Raise DeclarationError unless a trigger can make the text of the table's rows.

    Leaves nothing behind in the caller's transaction, which may be used afterwards.
    """
    table = declaration.relation.as_string()
    _check_columns(connection, declaration, table)
    _check_layout(connection, declaration, table)
    if heirs := connection.exec_driver_sql(_HEIRS, {"table": table}).scalars().all():
        raise DeclarationError(
            f"{', '.join(heirs)} inherits from {table}: what is written there fires no trigger of {table}, "
            "so it would never be encoded. Make it a partition, or put the embedding on the tables that "
            "inherit"
        )
    if late := late_triggers(plain_connection(connection), declaration):
        raise DeclarationError(
            f"{', '.join(late)} may change the text when gte-pg's triggers have looked at it: triggers "
            f"fire in the order of their names, and gte-pg's begin with {TRIGGER_PREFIX!r}. Rename it: "
            "ALTER TRIGGER … ON … RENAME TO …"
        )
    if declaration.expression is not None:
        _try_expression(connection, declaration)


def _check_columns(connection: Connection, declaration: Declaration, table: str) -> None:
    named = {"table": table, "source": list(declaration.source)}
    for column, generated, kind, settings, array in connection.exec_driver_sql(_COLUMNS, named):
        if generated:
            raise DeclarationError(
                f"the column {column!r} of {table} is generated: a trigger cannot see its new value. "
                "Name the columns that it is generated from"
            )
        if declaration.expression is not None:
            continue
        if array:
            raise DeclarationError(
                f"the column {column!r} of {table} has the type {kind}, and there are many ways to make "
                "one text of it. Write a function that does: CREATE FUNCTION "
                f"public.joined({kind}) RETURNS text IMMUTABLE RETURN array_to_string($1, ', '), and use "
                f"the expression public.joined({{{column}}})"
            )
        if settings:
            settled = _SETTLED.get(kind, "an immutable function of {}").format("{" + column + "}")
            raise DeclarationError(
                f"the column {column!r} of {table} has the type {kind}, whose text depends on settings "
                "of the session that reads it. Use a column of text, or an expression that does not: "
                f"{settled}"
            )


def _check_layout(connection: Connection, declaration: Declaration, table: str) -> None:
    if declaration.layout == "companion":
        for column, kind in connection.exec_driver_sql(_FOREIGN_KEYS, {"table": table}):
            raise DeclarationError(
                f"the key column {column!r} of {table} is a {kind}: the triggers of a companion compare "
                "keys of Postgres' own types only. Use the layout columns"
            )
        return
    for (rule,) in connection.exec_driver_sql(_RULES, {"table": table}):
        raise DeclarationError(
            f"the table {table} has the rule {rule!r} ON UPDATE, with which vectors cannot be written back "
            "to its rows: use the layout companion, or make a trigger of it"
        )


def _try_expression(connection: Connection, declaration: Declaration) -> None:
    table = declaration.relation.as_string()
    owner = connection.exec_driver_sql(_OWNER, {"table": table}).scalar_one()
    savepoint = connection.begin_nested()
    try:
        trial = sql.Identifier(_TRIAL)
        source = sql.SQL(", ").join(map(sql.Identifier, declaration.source))
        run(
            connection,
            _CREATE_TRIAL.format(trial=trial, source=source, table=declaration.relation),
        )
        # As in a trigger.
        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog, pg_temp")
        run(
            connection,
            _TRY.format(trial=trial, text=trial, expression=row_text(declaration, _TRIAL)),
        )
        named = {"trial": f"pg_temp.{_TRIAL}", "owner": owner}
        refused = connection.exec_driver_sql(_NOT_THE_OWNERS, named).scalars().all()
        if refused and declaration.layout == "companion":
            raise DeclarationError(
                f"{owner}, who owns {table}, may not call {', '.join(refused)}, and with that role's "
                "rights the triggers of a companion make the text: GRANT them USAGE on its schema, and "
                "EXECUTE"
            )
    except DBAPIError as error:
        raise DeclarationError(
            f"the expression {declaration.expression!r} cannot be the text of "
            f"{table}: {str(error.orig).splitlines()[0]}. It is an immutable "
            "SQL expression on columns of the row: {title} || ' ' || {year}::text. What is not Postgres' "
            "own is named with its schema: public.unaccented({title})"
        ) from error
    finally:
        savepoint.rollback()
