-- Supabase's automatic embeddings on a table: a row trigger sends each row to a pgmq queue.
--
-- Written after the guide's steps 3 and "Create triggers" (supabase/supabase, Apache-2.0,
-- apps/docs/content/guides/ai/automatic-embeddings.mdx) and after pgmq's `send` of two arguments and
-- `create` (pgmq/pgmq, PostgreSQL licence, pgmq-extension/sql/pgmq.sql, 1.6), as far as a writer meets
-- them. Without the guide's optional trigger that clears the vector: its default leaves the old one.

CREATE SCHEMA pgmq;
CREATE SCHEMA util;

CREATE TABLE pgmq.q_embedding_jobs (
    msg_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    read_ct int NOT NULL DEFAULT 0,
    enqueued_at timestamptz NOT NULL DEFAULT now(),
    vt timestamptz NOT NULL,
    message jsonb,
    headers jsonb
);
CREATE INDEX ON pgmq.q_embedding_jobs (vt);

CREATE FUNCTION pgmq.format_table_name(queue_name text, prefix text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF queue_name ~ '\$|;|--|''' THEN
        RAISE EXCEPTION 'this queue name has a character that is not allowed';
    END IF;
    RETURN lower(prefix || '_' || queue_name);
END
$$;

CREATE FUNCTION pgmq.send(queue_name text, msg jsonb, headers jsonb, delay timestamptz)
RETURNS SETOF bigint LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    queue text := pgmq.format_table_name(queue_name, 'q');
BEGIN
    statement := format(
        'INSERT INTO pgmq.%I (vt, message, headers) VALUES ($2, $1, $3) RETURNING msg_id', queue
    );
    RETURN QUERY EXECUTE statement USING msg, delay, headers;
END
$$;

CREATE FUNCTION pgmq.send(queue_name text, msg jsonb) RETURNS SETOF bigint LANGUAGE sql AS $$
    SELECT * FROM pgmq.send(queue_name, msg, NULL, clock_timestamp());
$$;

CREATE FUNCTION util.queue_embeddings() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    content_function text := TG_ARGV[0];
    embedding_column text := TG_ARGV[1];
BEGIN
    PERFORM pgmq.send(
        queue_name => 'embedding_jobs',
        msg => jsonb_build_object(
            'id', NEW.id,
            'schema', TG_TABLE_SCHEMA,
            'table', TG_TABLE_NAME,
            'contentFunction', content_function,
            'embeddingColumn', embedding_column
        )
    );
    RETURN NEW;
END
$$;

ALTER TABLE supabase ADD COLUMN embedding halfvec(384);
CREATE TRIGGER embed_on_insert AFTER INSERT ON supabase
FOR EACH ROW EXECUTE FUNCTION util.queue_embeddings('embedding_input', 'embedding');
CREATE TRIGGER embed_on_update AFTER UPDATE OF body ON supabase
FOR EACH ROW EXECUTE FUNCTION util.queue_embeddings('embedding_input', 'embedding');
