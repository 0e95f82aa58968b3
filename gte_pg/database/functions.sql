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
    declared record;
    is_pending boolean;
BEGIN
    LOOP
        is_pending := false;
        FOR declared IN
            SELECT e.name, e.vectors FROM gte.embedding AS e
            WHERE e.relation = wait_until_synced.relation
        LOOP
            EXECUTE format(
                'SELECT EXISTS (SELECT FROM %s WHERE %2$I IS NOT NULL AND %2$I <= $1)',
                declared.vectors, declared.name || '_pending'
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
RETURNS TABLE (found_key jsonb, score float8, dense_part float8, sparse_part float8)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $body$
DECLARE
    key_columns text[];
    key_values text[];
    condition text;
    row_columns text;
    row_key jsonb;
    row_dense vector;
    row_sparse sparsevec;
    declared gte.embedding;
    rows_found bigint;
BEGIN
    SELECT array_agg(a.attname ORDER BY place.n) INTO key_columns
    FROM pg_index AS i
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS place (attnum, n)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = place.attnum
    WHERE i.indrelid = "similar".relation AND i.indisprimary;
    key_values := CASE WHEN cardinality(key_columns) = 1 THEN ARRAY[key]
                       ELSE ARRAY(SELECT json_array_elements_text(key::json)) END;
    IF key IS NULL OR cardinality(key_columns) IS DISTINCT FROM cardinality(key_values) THEN
        RAISE EXCEPTION 'the key % does not fit the primary key (%) of %', coalesce(key, 'NULL'),
            array_to_string(key_columns, ', '), relation
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Write a composite key as a JSON array of texts: ''["eu", "42"]''.';
    END IF;
    SELECT e.* INTO declared FROM gte.embedding AS e
    WHERE e.relation = "similar".relation AND ("similar".embedding IS NULL OR e.name = "similar".embedding)
    ORDER BY e.id LIMIT 1;
    IF declared.id IS NOT NULL THEN  -- else gte.search says what is wrong
        SELECT string_agg(format('%I = %L', c, v), ' AND '), string_agg(format('%L, %I', c, c), ', ')
        INTO condition, row_columns FROM unnest(key_columns, key_values) AS pair (c, v);
        EXECUTE format(
            'SELECT jsonb_build_object(%s), %I::vector, %s FROM %s WHERE %s',
            row_columns, declared.name,
            CASE WHEN declared.sparse_dimensions IS NULL THEN 'NULL::sparsevec'
                 ELSE quote_ident(declared.name || '_sparse') END,
            relation, condition
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
    END IF;
    RETURN QUERY
        SELECT r.key, r.score, r.dense_part, r.sparse_part
        -- One more for the row itself; a k that makes no sense is left for gte.search to refuse.
        FROM gte.search(relation, row_dense, row_sparse, CASE WHEN k > 0 THEN k + 1 ELSE k END,
                        dense_weight, sparse_weight, embedding, exact) AS r
        WHERE r.key <> row_key
        LIMIT greatest(k, 1);
END
$body$;
