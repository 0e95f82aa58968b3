-- The keys of a row in the token index: token * 16 + impact bucket, for every token weight.
-- Index expressions are built with it: it must never change. A better one gets a new name.
-- It goes when pgvector is dropped, and the indexes with it.
CREATE FUNCTION gte.sparse_keys(weights sparsevec, step real) RETURNS int[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10000
RETURN ARRAY(
    SELECT (split_part(entry, ':', 1)::int - 1) * 16
           + greatest(least(ceil(split_part(entry, ':', 2)::float8 / step), 16), 1)::int - 1
    FROM unnest(string_to_array(btrim(split_part(weights::text, '/', 1), '{}'), ',')) AS entry
)
