"""Capture where the vectors are in a companion table: AFTER triggers that write the companion row.

Each row of the user's table has one companion row under the same key. Every change of a row's text
writes it, also when it is pending already: its version is what orders the change and a worker's
write-back, which compares version and hash (see gte_pg/sync/write_back.py). An unrelated UPDATE
evaluates one condition and writes nothing; AFTER triggers see what an application's own triggers made of
the row.

The function runs with its owner's rights, so the application's role needs none on the companion. They are
those of the table's owner, whoever adds the embedding: what that owner puts on the table or in the
companion's place (a cast of a type of theirs, a trigger) runs with them.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.declaration.declaration import Declaration
from gte_pg.declaration.text import row_hash, row_is_empty
from gte_pg.declaration.trigger import Trigger, function_body, pinned_settings, source_changed

# One UPDATE may shift many keys: a companion row is deleted, or moves along, only if no row of the table
# has its key by now. The table is asked by its oid, so that it may be renamed. Unlike the conditions of
# triggers, this text does not follow a renamed source column: then every change counts as one of the
# text, and a worker finds out which rows have none.
# Where policies bind the owner too, a row that has the key may be hidden. Its own trigger, if it was first,
# has left no vector there: such a companion row stays, and the worker that looks for its text knows.
# What an application's AFTER trigger writes to the row is looked at before the statement that it fired for.
# So a row moves along only with a vector of its present text, and one that is pending and has no text is
# looked at again.
# A TRUNCATE has the table for itself, but not the companion, of which an index may take minutes to build:
# a DELETE does not wait for that. In a stricter transaction it would not see the rows that came after its
# snapshot, which TRUNCATE takes away too.
# A key column may be called like a variable: those in statements are named with the label of the block.
_FUNCTION = sql.SQL("""\
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER {settings} AS {body}""")

_BODY = sql.SQL("""\
#variable_conflict use_column
<<capture>>
DECLARE
    due timestamptz := now();
    keep boolean := false;
    moved boolean := false;
    taken boolean;
    textless boolean;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DECLARE
            patience text := current_setting('lock_timeout');
        BEGIN
            PERFORM set_config('lock_timeout', '200ms', true);
            TRUNCATE {vectors};
            PERFORM set_config('lock_timeout', patience, true);
        EXCEPTION WHEN lock_not_available THEN
            IF current_setting('transaction_isolation') = 'read committed' THEN
                DELETE FROM {vectors};
            ELSE
                TRUNCATE {vectors};
            END IF;
        END;
        RETURN NULL;
    END IF;
    BEGIN
        IF TG_OP <> 'DELETE' AND {empty} THEN
            due := NULL;
        END IF;
        IF TG_OP = 'UPDATE' AND NOT ({same_key}) THEN
            moved := NOT ({changed});
        END IF;
    EXCEPTION WHEN undefined_column THEN
        NULL;
    END;
    IF TG_OP = 'UPDATE' AND {same_key} THEN
        keep := {keeps} AND due IS NOT NULL;
    ELSIF TG_OP IN ('UPDATE', 'DELETE') THEN
        EXECUTE 'SELECT count(*) > 0 FROM ' || coalesce(pg_partition_root(TG_RELID), TG_RELID)::regclass
            || {of_key} INTO taken USING {old_key};
        IF NOT taken AND row_security_active(coalesce(pg_partition_root(TG_RELID), TG_RELID)) THEN
            UPDATE {vectors} AS v
            SET {pending} = coalesce(v.{pending}, '-infinity'), {version} = v.{version} + 1
            WHERE {v_is_old} AND v.{stored} IS NULL;
            taken := FOUND;
        END IF;
        IF moved AND NOT taken THEN
            UPDATE {vectors} AS v SET {move}, {version} = v.{version} + 1
            WHERE {v_is_old} AND NOT EXISTS (SELECT FROM {vectors} AS v WHERE {v_is_new})
                AND (v.{pending} IS NOT NULL OR v.{stored} IS NOT DISTINCT FROM {hash});
            IF FOUND THEN
                RETURN NULL;
            END IF;
        END IF;
        IF NOT taken THEN
            DELETE FROM {vectors} AS v WHERE {v_is_old};
        END IF;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN NULL;
    END IF;
    IF due IS NULL THEN
        IF EXISTS (SELECT FROM {vectors} AS v WHERE {v_is_new} AND v.{pending} IS NOT NULL) THEN
            BEGIN
                EXECUTE {is_textless} || coalesce(pg_partition_root(TG_RELID), TG_RELID)::regclass
                    || {of_key} INTO textless USING {new_key};
            EXCEPTION WHEN undefined_column THEN
                NULL;
            END;
            IF textless IS NOT TRUE THEN
                due := '-infinity';
            END IF;
        END IF;
    END IF;
    INSERT INTO {vectors} AS v ({key}, {pending}) VALUES ({new_key}, capture.due)
    ON CONFLICT ({key}) DO UPDATE SET
        {clear},
        {pending} = CASE WHEN capture.due IS NOT NULL THEN coalesce(v.{pending}, capture.due) END,
        {version} = v.{version} + 1;
    RETURN NULL;
END""")

_REVOKE = sql.SQL("REVOKE ALL ON FUNCTION {}() FROM PUBLIC")

# A member of the role that owns the table may not give the function away, where that role may make nothing
# in the schema gte: it stays the member's. An owner who may not use the schema of their own table could not
# write to the companion.
_GIVE_TO_OWNER = sql.SQL("""\
DO $owner$
DECLARE
    companion regclass := to_regclass({vectors});
    function regprocedure := to_regprocedure({signature});
    owner oid := (SELECT relowner FROM pg_catalog.pg_class WHERE oid = to_regclass({relation}));
    home oid := (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = companion);
BEGIN
    IF owner <> (SELECT relowner FROM pg_catalog.pg_class WHERE oid = companion) THEN
        EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO %I', companion, pg_get_userbyid(owner));
    END IF;
    IF owner <> (SELECT proowner FROM pg_catalog.pg_proc WHERE oid = function) THEN
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO %I', function, pg_get_userbyid(owner));
    END IF;
    IF NOT has_schema_privilege(owner, home, 'USAGE') THEN
        RAISE EXCEPTION '% owns the table % and may not use its schema: no write to it would succeed',
            pg_get_userbyid(owner), {relation}
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = pg_catalog.format('GRANT USAGE ON SCHEMA %s TO %I;', home::regnamespace,
                                           pg_get_userbyid(owner));
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END
$owner$""")


def companion_capture_functions(
    declaration: Declaration, function: sql.Identifier, postgres: int
) -> list[sql.Composed]:
    body = companion_capture_body(declaration, postgres)
    create = _FUNCTION.format(
        function=function, settings=pinned_settings(body), body=function_body(body)
    )
    give = _GIVE_TO_OWNER.format(
        relation=sql.Literal(declaration.relation.as_string()),
        vectors=sql.Literal(declaration.vectors.as_string()),
        signature=sql.Literal(f"{function.as_string()}()"),
    )
    return [create, _REVOKE.format(function), give]


def companion_capture_body(declaration: Declaration, postgres: int) -> sql.Composed:
    names = [sql.Identifier(column.name) for column in declaration.key]
    vectors = [sql.Identifier(column) for column in declaration.vector_columns]

    def each(template: str, columns: list[sql.Identifier], separator: str = ", ") -> sql.Composed:
        parts = [sql.SQL(template).format(column=column) for column in columns]
        return sql.SQL(separator).join(parts)

    same = [sql.SQL("r.{} = $").format(name) + sql.SQL(str(i)) for i, name in enumerate(names, 1)]
    is_textless = sql.SQL("SELECT {} FROM ").format(row_is_empty(declaration, "r"))
    of_key = sql.SQL(" AS r WHERE ") + sql.SQL(" AND ").join(same)
    return _BODY.format(
        vectors=declaration.vectors,
        empty=row_is_empty(declaration, "new"),
        changed=source_changed(declaration, postgres),
        is_textless=sql.Literal(is_textless.as_string()),
        of_key=sql.Literal(of_key.as_string()),
        old_key=each("OLD.{column}", names),
        key=each("{column}", names),
        new_key=each("NEW.{column}", names),
        move=each("{column} = NEW.{column}", names),
        same_key=each("OLD.{column} = NEW.{column}", names, " AND "),
        v_is_old=each("v.{column} = OLD.{column}", names, " AND "),
        v_is_new=each("v.{column} = NEW.{column}", names, " AND "),
        keeps=sql.Literal(declaration.on_change == "keep"),
        clear=each("{column} = CASE WHEN capture.keep THEN v.{column} END", vectors),
        pending=sql.Identifier(declaration.pending_column),
        stored=sql.Identifier(declaration.hash_column),
        hash=row_hash(declaration, "new"),
        version=sql.Identifier(declaration.version_column),
    )


def companion_capture_triggers(declaration: Declaration, postgres: int) -> list[Trigger]:
    moved = sql.SQL(" OR ").join(
        sql.SQL("{} OPERATOR(pg_catalog.<>) {}").format(
            sql.Identifier("old", column.name), sql.Identifier("new", column.name)
        )
        for column in declaration.key
    )
    changed = sql.SQL("{} OR {}").format(source_changed(declaration, postgres), moved)
    return [
        Trigger("insert", "AFTER", "INSERT"),
        Trigger("update", "AFTER", "UPDATE", changed),
        Trigger("delete", "AFTER", "DELETE"),
        Trigger("truncate", "AFTER", "TRUNCATE"),
    ]
