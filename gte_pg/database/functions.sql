-- The functions of the gte schema that any SQL client calls. `gte-pg init` replaces them as they
-- stand here; nothing is built on their text (unlike that of gte.sparse_keys).

-- A sparse vector as rows: token (canonical id, from 0) and its weight.
CREATE OR REPLACE FUNCTION gte.sparse_entries(weights sparsevec)
RETURNS TABLE (token int, weight float8)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 20
BEGIN ATOMIC
    SELECT split_part(entry, ':', 1)::int - 1, split_part(entry, ':', 2)::float8
    FROM unnest(string_to_array(btrim(split_part(weights::text, '/', 1), '{}'), ',')) AS entry;
END;

-- How many rows a table or a partitioned table has, as far as statistics know: steers cost only.
CREATE OR REPLACE FUNCTION gte.estimated_rows(relation regclass)
RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(sum(c.reltuples) FILTER (WHERE c.relkind <> 'p' AND c.reltuples > 0), 0)
    FROM (SELECT relation::oid UNION SELECT t.relid::oid FROM pg_partition_tree(relation) AS t) AS part (oid)
    JOIN pg_class AS c ON c.oid = part.oid;
END;

-- The rows under any of these keys of the token index, as tuple ids of the statement's snapshot, and for
-- a partitioned table the partition of each. A search reads them with its caller's own rights.
--
-- Below a row-level policy Postgres does not use the index: an operator that is not leakproof must not see
-- a row before the policy has. Then the ids come from gte.rows_past_policies. NULL where that may not be:
-- the search scans what the policy shows instead.
CREATE OR REPLACE FUNCTION gte.rows_under_keys(embedding int, keys int[], OUT tids tid[], OUT parts oid[])
LANGUAGE plpgsql STABLE PARALLEL SAFE
-- For a few thousand rows workers take longer to start than to run.
SET search_path = pg_catalog, pg_temp SET max_parallel_workers_per_gather = 0
AS $body$
DECLARE
    declared gte.embedding;
BEGIN
    tids := '{}';
    IF cardinality(keys) = 0 THEN
        RETURN;
    END IF;
    SELECT e.* INTO declared FROM gte.embedding AS e WHERE e.id = embedding;
    IF NOT row_security_active(declared.vectors) THEN
        EXECUTE format(
            'SELECT coalesce(array_agg(v.ctid), ''{}''), CASE WHEN %L THEN array_agg(v.tableoid) END '
            'FROM %s AS v WHERE gte.sparse_keys(v.%I, %L::real) OPERATOR(pg_catalog.&&) $1',
            (SELECT c.relkind = 'p' FROM pg_class AS c WHERE c.oid = declared.vectors),
            declared.vectors, declared.name || '_sparse', declared.impact_step
        ) INTO tids, parts USING keys;
    ELSIF has_function_privilege('gte.rows_past_policies(int, int[])', 'EXECUTE') THEN
        SELECT found.tids, found.parts INTO tids, parts FROM gte.rows_past_policies(embedding, keys) AS found;
    ELSE
        tids := NULL;
    END IF;
END
$body$;

-- The same, past row-level policies: the ids alone, of rows that the caller may be unable to read. Called for
-- one token after the other, it says which tokens each of these rows has: it is for roles that have been
-- granted it. NULL where they may not SELECT from the table, and where its owner may not read past the
-- policies either, or has rights that the owner of the table has not.
CREATE OR REPLACE FUNCTION gte.rows_past_policies(embedding int, keys int[], OUT tids tid[], OUT parts oid[])
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    declared gte.embedding;
    asking text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    SELECT e.* INTO declared FROM gte.embedding AS e WHERE e.id = embedding;
    IF has_any_column_privilege(asking, declared.relation, 'SELECT')
        AND has_table_privilege(declared.vectors, 'SELECT')
        AND NOT row_security_active(declared.vectors)
        -- An owner's code runs when his table is only read, by an expression of an index: with the rights of
        -- this function for those alone who have them.
        AND NOT EXISTS (
            WITH RECURSIVE tree (oid) AS (
                SELECT declared.vectors::oid
                UNION SELECT i.inhrelid FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid
            )
            SELECT FROM tree AS t JOIN pg_class AS c ON c.oid = t.oid
            WHERE NOT pg_has_role(c.relowner, current_user, 'MEMBER')
        )
        -- A type of the table owner's own could bring code along that would run with this function's rights.
        AND EXISTS (
            SELECT FROM pg_attribute AS a JOIN pg_proc AS p ON a.atttypid = p.proargtypes[0]
            WHERE a.attrelid = declared.vectors AND a.attname = declared.name || '_sparse'
                AND p.oid = 'gte.sparse_keys'::regproc
        )
    THEN
        SELECT found.tids, found.parts INTO tids, parts FROM gte.rows_under_keys(embedding, keys) AS found;
    END IF;
END
$body$;

REVOKE EXECUTE ON FUNCTION gte.rows_past_policies FROM PUBLIC;

-- Who may read all rows of a table may know how common its tokens are; nobody else. A view and no policy, as
-- earlier versions had: with one, pg_dump by a role that may read everything would fail. Every search reads
-- it: it is not locked again when it is there.
DO $body$
BEGIN
    IF coalesce(strpos(pg_get_viewdef(to_regclass('gte.visible_key_frequency')), 'row_security_active'), 0) = 0
    THEN
        CREATE OR REPLACE VIEW gte.visible_key_frequency WITH (security_barrier) AS
        SELECT f.embedding, f.key, f.rows FROM gte.key_frequency AS f
        WHERE EXISTS (
            SELECT FROM gte.embedding AS e
            WHERE e.id = f.embedding AND has_any_column_privilege(e.relation, 'SELECT')
                AND (NOT row_security_active(e.vectors)
                     OR has_function_privilege('gte.rows_past_policies(int, int[])', 'EXECUTE'))
        );
        DROP POLICY IF EXISTS seen_with_its_table ON gte.key_frequency;
        ALTER TABLE gte.key_frequency DISABLE ROW LEVEL SECURITY;
        REVOKE SELECT ON gte.key_frequency FROM PUBLIC;
    END IF;
END
$body$;

-- Their columns are others now than in earlier versions, which REPLACE does not allow.
DO $body$
DECLARE
    old regprocedure;
BEGIN
    FOR old IN
        SELECT p.oid FROM pg_proc AS p
        WHERE p.pronamespace = 'gte'::regnamespace AND p.proname IN ('search', 'similar')
            AND (NOT 'complete' = ANY (p.proargnames)
                 OR p.proname = 'search' AND NOT 'generation' = ANY (p.proargnames))
    LOOP
        EXECUTE 'DROP FUNCTION ' || old;
    END LOOP;
END
$body$;

-- Vectors of two models, or of two precisions, are not comparable, whether they have as many dimensions or
-- not. A query says what encoded it; after a switch of the model it is refused.
CREATE OR REPLACE FUNCTION gte.check_generation(embedding int, asked text)
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    held text := (SELECT e.generation FROM gte.embedding AS e WHERE e.id = embedding);
BEGIN
    IF held IS NULL THEN
        RAISE EXCEPTION 'this embedding is not declared in this database: no trigger watches over its vectors'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Declare it by gte-pg add, metadata.create_all() or op.add_embedding(); columns of its '
                      'names that are there already must be dropped before.';
    END IF;
    IF held <> asked THEN
        RAISE EXCEPTION 'the query was encoded by %, and the vectors are of %', asked, held
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'The embedding was switched to another model: encode the query by that one.';
    END IF;
    -- The registry and pg_attribute are read as this transaction sees them, and the search finds its columns
    -- as they are called now: after an exchange in between these are another model's.
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') AND NOT EXISTS (
        SELECT FROM gte.embedding AS e JOIN pg_attribute AS a ON a.attrelid = e.vectors AND a.attname = e.name
        CROSS JOIN LATERAL pg_identify_object_as_address('pg_class'::regclass, a.attrelid, a.attnum) AS now
        WHERE e.id = embedding AND now.object_names[3] = e.name
    ) THEN
        RAISE EXCEPTION 'the embedding was exchanged for another since this transaction began'
            USING ERRCODE = 'serialization_failure', HINT = 'Begin the transaction anew.';
    END IF;
    RETURN true;
END
$body$;

-- The best k rows of a table for a query that the client has encoded, best first:
--   score = dense_weight * dense_part + sparse_weight * sparse_part
-- It runs with the caller's rights: rows that the caller may not see are not found. With `exact`, and
-- beyond 1,000 rows, every row is scored instead of the candidates that the indexes bring.
-- A client that says by what it encoded the query, with `generation`, gets an error instead of an answer
-- after a switch of the model.
-- `complete` is the same for all rows: no row that was not looked at has a higher score than the last
-- one here, given that the dense index did bring the nearest rows.
CREATE OR REPLACE FUNCTION gte.search(
    relation regclass,
    dense vector,
    sparse sparsevec DEFAULT NULL,
    k int DEFAULT 10,
    dense_weight float8 DEFAULT 1.0,
    sparse_weight float8 DEFAULT 0.1,
    embedding text DEFAULT NULL,
    exact boolean DEFAULT false,
    generation text DEFAULT NULL
)
RETURNS TABLE (key jsonb, score float8, dense_part float8, sparse_part float8, complete boolean)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $body$
DECLARE
    -- Unlike the arguments, these names cannot be mistaken for columns.
    declared gte.embedding;
    found_rows int;
BEGIN
    IF k IS NULL OR k < 1 THEN
        RAISE EXCEPTION 'k is %: ask for at least one row', coalesce(k::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT coalesce(dense_weight BETWEEN 0 AND 1e30 AND sparse_weight BETWEEN 0 AND 1e30
                    AND dense_weight + sparse_weight > 0, false) THEN
        RAISE EXCEPTION 'the weights are dense % and sparse %: both must be finite and not negative, one positive',
            coalesce(dense_weight::text, 'NULL'), coalesce(sparse_weight::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF dense IS NULL AND dense_weight > 0 THEN
        RAISE EXCEPTION 'the dense vector is NULL but its weight is %', dense_weight
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = 'Pass the query''s dense vector, or dense_weight => 0.';
    END IF;
    -- Whoever exchanges models has the table for itself: what is read of the registry from here on holds.
    IF relation IS NOT NULL THEN
        EXECUTE format('SELECT FROM %s LIMIT 0', relation);
    END IF;
    SELECT count(*) INTO found_rows FROM gte.embedding AS e
    WHERE e.relation = search.relation
        AND (e.name = search.embedding OR search.embedding IS NULL AND NOT e.standby);
    IF found_rows = 0 THEN
        RAISE EXCEPTION 'the table % has no embedding%', relation,
            coalesce(' named ' || quote_ident(embedding), '')
            USING ERRCODE = 'undefined_object',
                  HINT = 'gte-pg add TABLE --source COLUMN --model MODEL makes one.';
    END IF;
    IF found_rows > 1 THEN
        RAISE EXCEPTION 'the table % has % embeddings', relation, found_rows
            USING ERRCODE = 'ambiguous_parameter', HINT = 'Name one: embedding => ''NAME''.';
    END IF;
    SELECT e.* INTO declared FROM gte.embedding AS e
    WHERE e.relation = search.relation
        AND (e.name = search.embedding OR search.embedding IS NULL AND NOT e.standby);
    IF generation IS NOT NULL THEN
        PERFORM gte.check_generation(declared.id, generation);
    END IF;
    -- The tables are named as they are called now; outside of the search path with their schema.
    RETURN QUERY EXECUTE replace(replace(
        CASE WHEN exact OR k > 1000 THEN declared.exact_statement ELSE declared.search_statement END,
        '"{vectors}"', declared.vectors::text), '"{relation}"', declared.relation::text
    ) USING dense::text, coalesce(sparse::text, ''), k, dense_weight, sparse_weight, declared.id;
END
$body$;

-- Wait until every row of a table that was pending when this was called has its vector: then what the
-- caller has committed before is searchable. False if that did not come about in time. An error where the
-- caller's transaction sees no commit of others.
CREATE OR REPLACE FUNCTION gte.wait_until_synced(
    relation regclass,
    timeout interval DEFAULT '1 minute'
)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    called timestamptz := clock_timestamp();
    declared record;
    is_pending boolean;
BEGIN
    IF timeout IS NULL THEN
        RAISE EXCEPTION 'the timeout is NULL: say how long to wait'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Without one it is a minute.';
    END IF;
    IF NOT EXISTS (
        SELECT FROM gte.embedding AS e WHERE e.relation = wait_until_synced.relation AND NOT e.standby
    ) THEN
        RAISE EXCEPTION 'the table % has no embedding: there is nothing to wait for', relation
            USING ERRCODE = 'undefined_object',
                  HINT = 'gte-pg add TABLE --source COLUMN --model MODEL makes one.';
    END IF;
    LOOP
        is_pending := false;
        FOR declared IN
            SELECT e.name, e.vectors, e.copying FROM gte.embedding AS e
            WHERE e.relation = wait_until_synced.relation AND NOT e.standby
        LOOP
            EXECUTE format(
                'SELECT EXISTS (SELECT FROM %s WHERE %2$I IS NOT NULL AND %2$I <= $1)',
                declared.vectors, declared.name || '_pending'
            ) INTO is_pending USING called;
            is_pending := is_pending OR declared.copying;
            EXIT WHEN is_pending;
        END LOOP;
        IF NOT is_pending OR clock_timestamp() > called + timeout THEN
            RETURN NOT is_pending;
        END IF;
        IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
            RAISE EXCEPTION 'a % transaction cannot wait for workers: it does not see what they commit',
                current_setting('transaction_isolation')
                USING ERRCODE = 'active_sql_transaction',
                      HINT = 'Commit first, and wait outside of it.';
        END IF;
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$body$;

-- The k rows of a table that are most like one of its rows, best first, that row left out. No encoder
-- is needed: the row's stored vectors are the query. The key is the text of the primary key, or for a
-- composite key a JSON array of texts: '["eu", "42"]'.
CREATE OR REPLACE FUNCTION gte.similar(
    relation regclass,
    key text,
    k int DEFAULT 10,
    dense_weight float8 DEFAULT 1.0,
    sparse_weight float8 DEFAULT 0.1,
    embedding text DEFAULT NULL,
    exact boolean DEFAULT false
)
RETURNS TABLE (found_key jsonb, score float8, dense_part float8, sparse_part float8, complete boolean)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $body$
DECLARE
    key_columns text[];
    key_types text[];
    key_values text[];
    condition text;
    row_columns text;
    row_key jsonb;
    row_dense vector;
    row_sparse sparsevec;
    declared gte.embedding;
    rows_found bigint;
BEGIN
    -- Without the length of a type: a cast would cut a key that is too long.
    SELECT array_agg(a.attname ORDER BY place.n), array_agg(format_type(a.atttypid, -1) ORDER BY place.n)
    INTO key_columns, key_types
    FROM pg_index AS i
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS place (attnum, n)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = place.attnum
    WHERE i.indrelid = "similar".relation AND i.indisprimary AND place.n <= i.indnkeyatts;
    key_values := CASE WHEN cardinality(key_columns) = 1 THEN ARRAY[key]
                       ELSE ARRAY(SELECT json_array_elements_text(key::json)) END;
    IF key IS NULL OR cardinality(key_columns) IS DISTINCT FROM cardinality(key_values) THEN
        RAISE EXCEPTION 'the key % does not fit the primary key (%) of %', coalesce(key, 'NULL'),
            array_to_string(key_columns, ', '), relation
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write a composite key as a JSON array of texts: ''["eu", "42"]''.';
    END IF;
    -- Whoever exchanges models has the table for itself. It is locked before its companion, as TRUNCATE and
    -- its trigger do.
    EXECUTE format('SELECT FROM %s LIMIT 0', relation);
    SELECT e.* INTO declared FROM gte.embedding AS e
    WHERE e.relation = "similar".relation
        AND (e.name = "similar".embedding OR "similar".embedding IS NULL AND NOT e.standby)
    ORDER BY e.id LIMIT 1;
    IF declared.id IS NULL THEN
        RAISE EXCEPTION 'the table % has no embedding%', relation,
            coalesce(' named ' || quote_ident(embedding), '')
            USING ERRCODE = 'undefined_object',
                  HINT = 'gte-pg add TABLE --source COLUMN --model MODEL makes one.';
    END IF;
    PERFORM gte.check_generation(declared.id, declared.generation);
    SELECT string_agg(format('%I = %L::%s', c, v, t), ' AND '),
        string_agg(format('%L, %I', c, c), ', ')
    INTO condition, row_columns FROM unnest(key_columns, key_values, key_types) AS part (c, v, t);
    EXECUTE format(
        'SELECT jsonb_build_object(%s), %I::vector, %s FROM %s WHERE %s',
        row_columns, declared.name,
        CASE WHEN declared.sparse_dimensions IS NULL THEN 'NULL::sparsevec'
             ELSE quote_ident(declared.name || '_sparse') END,
        declared.vectors, condition
    ) INTO row_key, row_dense, row_sparse;
    GET DIAGNOSTICS rows_found = ROW_COUNT;
    IF rows_found = 0 THEN
        RAISE EXCEPTION '% has no row with the key %', relation, key
            USING ERRCODE = 'no_data_found';
    END IF;
    IF row_dense IS NULL THEN
        RAISE EXCEPTION 'the row % of % has no vector yet', key, relation
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'It is pending, or it has no text; gte-pg sync encodes what is pending.';
    END IF;
    RETURN QUERY
        SELECT r.key, r.score, r.dense_part, r.sparse_part, r.complete
        -- One more for the row itself; a k that makes no sense is left for gte.search to refuse.
        FROM gte.search(relation, row_dense, row_sparse, CASE WHEN k > 0 THEN k + 1 ELSE k END,
                        dense_weight, sparse_weight, embedding, exact) AS r
        WHERE r.key <> row_key
        LIMIT greatest(k, 1);
END
$body$;
