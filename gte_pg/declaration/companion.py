"""The companion table: the embedding's columns beside the user's table, one row for each row there."""

from __future__ import annotations

from psycopg import sql

from gte_pg.declaration.declaration import Declaration

# Types and collations of the key come with the rows. A vector is read whole or not at all: kept in
# line, where Postgres can, a scan or a re-scoring needs no second look-up.
_CREATE = sql.SQL("""\
CREATE TABLE {vectors} WITH (toast_tuple_target = 8160) AS
SELECT {key}, {nothing}, NULL::timestamptz AS {pending}, 0::bigint AS {version} FROM {relation}
WITH NO DATA""")

_COMPLETE = sql.SQL("""\
ALTER TABLE {vectors} ADD PRIMARY KEY ({key}),
    ALTER COLUMN {version} SET NOT NULL, ALTER COLUMN {version} SET DEFAULT 0, {inline}""")

# A crash of the server empties what is UNLOGGED: both or none. Of a partitioned table the partitions may be
# logged.
_AS_LASTING = sql.SQL("""\
DO $lasting$
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_class
        WHERE oid = to_regclass({relation}) AND relpersistence = 'u' AND relkind <> 'p'
    ) THEN
        ALTER TABLE {vectors} SET UNLOGGED;
    END IF;
END
$lasting$""")

# A vector tells a good deal of its text: it is seen by whom the row is seen.
_POLICY = sql.SQL("""\
CREATE POLICY seen_with_its_row ON {vectors}
USING (EXISTS (SELECT FROM {relation} AS r WHERE {same_key}))""")

_GRANT = sql.SQL("""\
DO $grant$
DECLARE
    reader oid;
BEGIN
    FOR reader IN
        SELECT DISTINCT a.grantee FROM pg_catalog.pg_class AS c, pg_catalog.aclexplode(c.relacl) AS a
        WHERE c.oid = to_regclass({relation}) AND a.privilege_type = 'SELECT'
    LOOP
        EXECUTE 'GRANT SELECT ON ' || {vectors} || ' TO '
            || CASE reader WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(reader)) END;
    END LOOP;
END
$grant$""")


_DROP = sql.SQL("""\
DO $drop$
BEGIN
    IF EXISTS (SELECT FROM gte.embedding WHERE vectors = to_regclass({name})) THEN
        DROP TABLE {vectors};
    END IF;
END
$drop$""")

# Who may do what with a companion may do it with the one that takes its place.
_COPY_GRANTS = sql.SQL("""\
DO $grant$
DECLARE
    allowed record;
BEGIN
    FOR allowed IN
        SELECT a.privilege_type, a.grantee
        FROM pg_catalog.pg_class AS c, pg_catalog.aclexplode(c.relacl) AS a
        WHERE c.oid = to_regclass({present})
    LOOP
        EXECUTE 'GRANT ' || allowed.privilege_type || ' ON ' || {coming} || ' TO ' || CASE allowed.grantee
            WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(allowed.grantee)) END;
    END LOOP;
END
$grant$""")


def copy_grants(present: Declaration, coming: Declaration) -> sql.Composed:
    """Return the statement that gives the same rights on one companion as there are on the other."""
    return _COPY_GRANTS.format(
        present=sql.Literal(present.vectors.as_string()),
        coming=sql.Literal(coming.vectors.as_string()),
    )


def create_companion(declaration: Declaration) -> list[sql.Composed]:
    """Create the companion, without any row. Whoever may read the table may read the companion."""
    types = {
        declaration.dense_column: f"{declaration.storage}({declaration.dimensions})",
        declaration.sparse_column: f"sparsevec({declaration.sparse_dimensions})",
        declaration.hash_column: "bytea",
    }
    nothing = sql.SQL(", ").join(
        sql.SQL("NULL::{} AS {}").format(sql.SQL(types[name]), sql.Identifier(name))
        for name in declaration.vector_columns
    )
    inline = sql.SQL(", ").join(
        sql.SQL("ALTER COLUMN {} SET STORAGE MAIN").format(sql.Identifier(name))
        for name in declaration.vector_columns
    )
    key = [sql.Identifier(column.name) for column in declaration.key]
    names = {
        "vectors": declaration.vectors,
        "relation": declaration.relation,
        "key": sql.SQL(", ").join(key),
        "pending": sql.Identifier(declaration.pending_column),
        "version": sql.Identifier(declaration.version_column),
    }
    same_key = sql.SQL(" AND ").join(
        sql.SQL("r.{} = {}.{}").format(name, declaration.vectors, name) for name in key
    )
    return [
        _CREATE.format(**names, nothing=nothing),
        _COMPLETE.format(**names, inline=inline),
        _AS_LASTING.format(
            relation=sql.Literal(declaration.relation.as_string()), vectors=declaration.vectors
        ),
        sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(declaration.vectors),
        _POLICY.format(**names, same_key=same_key),
        _GRANT.format(
            relation=sql.Literal(declaration.relation.as_string()),
            vectors=sql.Literal(declaration.vectors.as_string()),
        ),
    ]


def drop_companion(declaration: Declaration) -> sql.Composed:
    """Drop the companion and with it its indexes, unless a table of somebody's has its name now."""
    return _DROP.format(
        vectors=declaration.vectors, name=sql.Literal(declaration.vectors.as_string())
    )
