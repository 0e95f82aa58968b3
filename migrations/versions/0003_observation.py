"""What a person looks at: how fast it goes, and which rows are set apart."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        -- How many rows were encoded in each minute of the last hour.
        CREATE TABLE gte.throughput (
            embedding int NOT NULL REFERENCES gte.embedding ON DELETE CASCADE,
            minute timestamptz NOT NULL,
            rows bigint NOT NULL,
            PRIMARY KEY (embedding, minute)
        )
    """)
    op.execute("""
        -- Rows that could not be encoded, as far as their text has not changed since: those with
        -- `retry_at` are tried again by then, the others are parked until new text or `gte-pg retry`.
        CREATE VIEW gte.failures AS
        SELECT e.relation, e.name AS embedding, f.key, f.attempts, f.error, f.failed_at, f.retry_at,
               f.retry_at IS NULL AS parked
        FROM gte.failure AS f JOIN gte.embedding AS e ON e.id = f.embedding
    """)


def downgrade() -> None:
    op.execute("DROP VIEW gte.failures")
    op.execute("DROP TABLE gte.throughput")
