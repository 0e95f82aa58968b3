-- The functions of the gte schema that any SQL client calls. `gte-pg init` replaces them as they
-- stand here; nothing is built on their text (unlike gte.sparse_keys, see the migrations).

-- A sparse vector as rows: token (canonical id, from 0) and its weight.
CREATE OR REPLACE FUNCTION gte.sparse_entries(weights sparsevec)
RETURNS TABLE (token int, weight float8)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 20
BEGIN ATOMIC
    SELECT split_part(entry, ':', 1)::int - 1, split_part(entry, ':', 2)::float8
    FROM unnest(string_to_array(btrim(split_part(weights::text, '/', 1), '{}'), ',')) AS entry;
END;

-- The best k rows of a table for a query that the client has encoded, best first:
--   score = dense_weight * dense_part + sparse_weight * sparse_part
-- It runs with the caller's rights: rows that the caller may not see are not found. With `exact`, and
-- beyond 1,000 rows, every row is scored instead of the candidates that the indexes bring.
CREATE OR REPLACE FUNCTION gte.search(
    relation regclass,
    dense vector,
    sparse sparsevec DEFAULT NULL,
    k int DEFAULT 10,
    dense_weight float8 DEFAULT 1.0,
    sparse_weight float8 DEFAULT 0.1,
    embedding text DEFAULT NULL,
    exact boolean DEFAULT false
)
RETURNS TABLE (key jsonb, score float8, dense_part float8, sparse_part float8)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $body$
DECLARE
    -- Unlike the arguments, these names cannot be mistaken for columns.
    found_ids int[];
    statements text[];
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
    SELECT array_agg(e.id),
           array_agg(CASE WHEN exact OR k > 1000 THEN e.exact_statement ELSE e.search_statement END)
    INTO found_ids, statements
    FROM gte.embedding AS e
    WHERE e.relation = search.relation AND (search.embedding IS NULL OR e.name = search.embedding);
    IF statements IS NULL THEN
        RAISE EXCEPTION 'the table % has no embedding%', relation,
            coalesce(' named ' || quote_ident(embedding), '')
            USING ERRCODE = 'undefined_object',
                  HINT = 'gte-pg add TABLE --source COLUMN --model MODEL makes one.';
    END IF;
    IF cardinality(statements) > 1 THEN
        RAISE EXCEPTION 'the table % has % embeddings', relation, cardinality(statements)
            USING ERRCODE = 'ambiguous_parameter', HINT = 'Name one: embedding => ''…''.';
    END IF;
    -- The table is named as it is called now; outside the search path, so with its schema.
    RETURN QUERY EXECUTE replace(statements[1], '"{relation}"', relation::text)
        USING dense::text, coalesce(sparse::text, ''), k, dense_weight, sparse_weight, found_ids[1];
END
$body$;

-- Wait until every row of a table that was pending when this was called has its vector: then what the
-- caller has committed before is searchable. False if that did not come about in time.
CREATE OR REPLACE FUNCTION gte.wait_until_synced(
    relation regclass,
    timeout interval DEFAULT '1 minute'
)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $body$
DECLARE
    called timestamptz := clock_timestamp();
    embedding_name text;
    is_pending boolean;
BEGIN
    LOOP
        is_pending := false;
        FOR embedding_name IN
            SELECT e.name FROM gte.embedding AS e WHERE e.relation = wait_until_synced.relation
        LOOP
            EXECUTE format(
                'SELECT EXISTS (SELECT FROM %s WHERE %2$I IS NOT NULL AND %2$I <= $1)',
                relation, embedding_name || '_pending'
            ) INTO is_pending USING called;
            EXIT WHEN is_pending;
        END LOOP;
        IF NOT is_pending OR clock_timestamp() > called + timeout THEN
            RETURN NOT is_pending;
        END IF;
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$body$;
