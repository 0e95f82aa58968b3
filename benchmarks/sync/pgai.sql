-- pgai's vectorizer on a table: a row trigger writes each changed row's key to a queue.
--
-- Written after what `ai.create_vectorizer` makes for the destination "table" (timescale/pgai,
-- PostgreSQL licence, projects/pgai/db/sql/idempotent/011-vectorizer-int.sql): the queue, the table of
-- vectors, the row of its configuration, and the trigger's function.

CREATE SCHEMA ai;

CREATE TABLE ai.vectorizer (
    id int PRIMARY KEY,
    source_schema name NOT NULL,
    source_table name NOT NULL,
    config jsonb NOT NULL
);
INSERT INTO ai.vectorizer
VALUES (1, 'public', 'pgai', '{"destination": {"implementation": "table", "target_table": "pgai_store"}}');

CREATE TABLE ai.queue_1 (
    id bigint NOT NULL,
    queued_at timestamptz NOT NULL DEFAULT now(),
    loading_retries int NOT NULL DEFAULT 0,
    loading_retry_after timestamptz
);
CREATE INDEX ON ai.queue_1 (id);

CREATE TABLE pgai_store (
    embedding_uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    id bigint NOT NULL,
    chunk_seq int NOT NULL,
    chunk text NOT NULL,
    embedding vector(384) NOT NULL,
    UNIQUE (id, chunk_seq)
);
ALTER TABLE pgai_store ALTER COLUMN embedding SET STORAGE MAIN;

CREATE FUNCTION ai.queue_row() RETURNS trigger LANGUAGE plpgsql VOLATILE PARALLEL SAFE
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_LEVEL = 'ROW' THEN
        IF TG_OP = 'DELETE' THEN
            DELETE FROM public.pgai_store WHERE id = OLD.id;
        ELSIF TG_OP = 'UPDATE' THEN
            IF OLD.id IS DISTINCT FROM NEW.id THEN
                DELETE FROM public.pgai_store WHERE id = OLD.id;
                INSERT INTO ai.queue_1 (id) VALUES (NEW.id);
            ELSIF EXISTS (
                SELECT 1
                FROM jsonb_each(to_jsonb(OLD)) AS o (key, value)
                JOIN jsonb_each(to_jsonb(NEW)) AS n (key, value) ON o.key = n.key
                WHERE o.value IS DISTINCT FROM n.value AND o.key <> ALL (
                    SELECT config -> 'destination' ->> 'embedding_column' FROM ai.vectorizer
                    WHERE source_table = 'pgai' AND source_schema = 'public'
                      AND config -> 'destination' ->> 'implementation' = 'column'
                )
            ) THEN
                INSERT INTO ai.queue_1 (id) VALUES (NEW.id);
            END IF;
            RETURN NEW;
        ELSE
            INSERT INTO ai.queue_1 (id) VALUES (NEW.id);
            RETURN NEW;
        END IF;
    ELSIF TG_LEVEL = 'STATEMENT' THEN
        IF TG_OP = 'TRUNCATE' THEN
            TRUNCATE public.pgai_store;
            TRUNCATE ai.queue_1;
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER queue_row AFTER INSERT OR UPDATE OR DELETE ON pgai
FOR EACH ROW EXECUTE FUNCTION ai.queue_row();
CREATE TRIGGER queue_row_truncate AFTER TRUNCATE ON pgai
FOR EACH STATEMENT EXECUTE FUNCTION ai.queue_row();
