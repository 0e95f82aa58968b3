-- Search by text inside the database: the server (gte-pg serve) is asked for the query's vectors, and
-- gte.search runs here, with the caller's rights, in the caller's snapshot. Needs plpython3u.

CREATE EXTENSION IF NOT EXISTS plpython3u;

-- Where the server is, in one row. It holds the server's token: only its owner reads it.
CREATE TABLE IF NOT EXISTS gte.server (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    url text NOT NULL,
    token text
);
REVOKE ALL ON gte.server FROM PUBLIC;

-- A query as gte.search takes it, encoded by the model of a table's embedding. It waits at most 10 s for
-- the server; the wait cannot be cancelled.
CREATE OR REPLACE FUNCTION gte.query_vectors(
    relation regclass,
    query text,
    embedding text DEFAULT NULL,
    OUT dense text,
    OUT sparse text
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
-- With its owner's rights, for the token's sake; the bare search path also writes out the table's schema.
SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
import json
import urllib.error
import urllib.request

(server,) = plpy.execute("SELECT url, token FROM gte.server")
headers = {"Content-Type": "application/json"}
if server["token"]:
    headers["Authorization"] = "Bearer " + server["token"]
fields = {"table": relation, "query": query, "embedding": embedding}
request = urllib.request.Request(server["url"] + "/vectors", json.dumps(fields).encode(), headers)
# The proxy that Postgres' environment may name is not for this.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    with opener.open(request, timeout=10) as answer:
        return json.load(answer)
except urllib.error.HTTPError as error:
    said = error.read().decode(errors="replace")
    try:
        said = json.loads(said)["error"]["message"]
    except (ValueError, LookupError, TypeError):
        said = said[:200]
    plpy.error("gte-pg serve says: " + said)
except OSError as error:
    plpy.error(
        "gte-pg serve does not answer at %s: %s" % (server["url"], getattr(error, "reason", error)),
        hint="Start it, or name another: gte-pg serve --install-sql URL.",
    )
$body$;

-- gte.search for a query in words.
CREATE OR REPLACE FUNCTION gte.search_text(
    relation regclass,
    query text,
    k int DEFAULT 10,
    dense_weight float8 DEFAULT 1.0,
    sparse_weight float8 DEFAULT 0.1,
    embedding text DEFAULT NULL,
    exact boolean DEFAULT false
)
RETURNS TABLE (key jsonb, score float8, dense_part float8, sparse_part float8, complete boolean)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $body$
DECLARE
    vectors record;
BEGIN
    vectors := gte.query_vectors(relation, query, embedding);
    RETURN QUERY
        SELECT found.key, found.score, found.dense_part, found.sparse_part, found.complete
        FROM gte.search(relation, vectors.dense::vector, vectors.sparse::sparsevec, k,
                        dense_weight, sparse_weight, embedding, exact) AS found;
END
$body$;
