"""The first schema: registry, leases, failures, token statistics."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_UPGRADE = (
    """
    -- What is declared: one row for each embedding of each table.
    CREATE TABLE gte.embedding (
        id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        relation regclass NOT NULL,
        name text NOT NULL,
        source text[] NOT NULL,
        model text NOT NULL,
        generation text NOT NULL,
        dimensions int NOT NULL,
        sparse_dimensions int,
        storage text NOT NULL,
        impact_step real NOT NULL,
        search_statement text NOT NULL,
        exact_statement text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (relation, name)
    )
    """,
    """
    -- Who is encoding which rows, until when: one row for a whole batch.
    CREATE TABLE gte.lease (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        embedding int NOT NULL REFERENCES gte.embedding ON DELETE CASCADE,
        owner text NOT NULL,
        until timestamptz NOT NULL,
        attempts int NOT NULL DEFAULT 1,
        keys text[] NOT NULL
    )
    """,
    "CREATE INDEX lease_embedding ON gte.lease (embedding, until)",
    """
    -- Rows that could not be encoded. It counts only while the row still has the text that failed
    -- (`hash`); without `retry_at` the row is parked until `gte-pg retry` or new text.
    CREATE TABLE gte.failure (
        embedding int NOT NULL REFERENCES gte.embedding ON DELETE CASCADE,
        key text NOT NULL,
        hash bytea NOT NULL,
        attempts int NOT NULL,
        error text NOT NULL,
        failed_at timestamptz NOT NULL DEFAULT now(),
        retry_at timestamptz,
        PRIMARY KEY (embedding, key)
    )
    """,
    """
    -- In how many rows each key of a token index occurs, roughly: it steers the cost of a query,
    -- never its correctness. Refreshed by `gte-pg sync`.
    CREATE TABLE gte.key_frequency (
        embedding int NOT NULL REFERENCES gte.embedding ON DELETE CASCADE,
        key int NOT NULL,
        rows real NOT NULL,
        PRIMARY KEY (embedding, key)
    )
    """,
)

_DOWNGRADE = (
    "DROP TABLE gte.key_frequency",
    "DROP TABLE gte.failure",
    "DROP TABLE gte.lease",
    "DROP TABLE gte.embedding",
)


def upgrade() -> None:
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in _DOWNGRADE:
        op.execute(statement)
