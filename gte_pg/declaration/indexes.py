"""The indexes of an embedding: the work list of the workers, and the two legs of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from gte_pg.declaration.declaration import Declaration

# Vectors are stored normalised, so the inner product (`<#>`, negative) is the dense score itself. Their
# first dimensions alone are not, and the graph is better by their cosine (`<=>`). Half precision takes half
# the space and time, and what the index brings is scored anew from the stored vector.
_WHOLE = ("<#>", "halfvec_ip_ops")
_PART = ("<=>", "halfvec_cosine_ops")


def dense_index_name(declaration: Declaration) -> str:
    return declaration.object_name("dense")


def token_index_name(declaration: Declaration) -> str:
    return declaration.object_name("tokens")


def index_names(declaration: Declaration) -> list[str]:
    """Return the names of all indexes of an embedding, also of those that it has no use for."""
    return [declaration.object_name(what) for what in ("pending", "dense", "tokens")]


@dataclass(frozen=True, slots=True)
class Index:
    """An index of an embedding: what it is called when gte-pg makes it, its access method, its column."""

    name: str
    method: Literal["btree", "hnsw", "gin"]
    column: str
    definition: sql.Composed

    def create(self, declaration: Declaration, *, concurrently: bool = False) -> sql.Composed:
        """Return the statement that builds it.

        Without `concurrently` it blocks writes to the table; with it, it cannot run in a transaction.
        """
        return sql.SQL("CREATE INDEX {}IF NOT EXISTS {} ON {} USING {}").format(
            sql.SQL("CONCURRENTLY " if concurrently else ""),
            sql.Identifier(self.name),
            declaration.vectors,
            self.definition,
        )


def pending_index(declaration: Declaration) -> Index:
    """Return the partial index that is the workers' queue: empty when nothing is to be done."""
    pending = sql.Identifier(declaration.pending_column)
    return Index(
        declaration.object_name("pending"),
        "btree",
        declaration.pending_column,
        sql.SQL("btree ({}, {}) WHERE {} IS NOT NULL").format(
            pending,
            sql.SQL(", ").join(sql.Identifier(column.name) for column in declaration.key),
            pending,
        ),
    )


def search_indexes(declaration: Declaration) -> list[Index]:
    """Return the HNSW index of the dense leg and the GIN index of the token leg.

    After a backfill they build an order of magnitude faster than they grow row by row.
    """
    dense = Index(
        dense_index_name(declaration),
        "hnsw",
        declaration.dense_column,
        sql.SQL("hnsw (({}) {})").format(
            indexed_vector(declaration, sql.Identifier(declaration.dense_column)),
            sql.SQL(operator_class(declaration)),
        ),
    )
    if not declaration.has_sparse:
        return [dense]
    # An expression index cannot drift from its column. Every query scans the pending list of a GIN
    # index, so it is kept short (in kB).
    tokens = Index(
        token_index_name(declaration),
        "gin",
        declaration.sparse_column,
        sql.SQL(
            "gin (gte.sparse_keys({}, {}::real)) "
            "WITH (fastupdate = on, gin_pending_list_limit = 512)"
        ).format(sql.Identifier(declaration.sparse_column), sql.Literal(declaration.impact_step)),
    )
    return [dense, tokens]


def dense_operator(declaration: Declaration) -> str:
    """Return the operator by which the dense index orders what it holds, the nearest first."""
    return (_PART if declaration.indexes_part else _WHOLE)[0]


def operator_class(declaration: Declaration) -> str:
    """Return the operator class of the dense index."""
    return (_PART if declaration.indexes_part else _WHOLE)[1]


def indexed_vector(declaration: Declaration, vector: sql.Composable) -> sql.Composable:
    """Return what the dense index holds of a vector: its leading dimensions, in half precision."""
    dimensions = declaration.indexed_dimensions
    if declaration.indexes_part:
        vector = sql.SQL("subvector({}, 1, {})").format(vector, sql.Literal(dimensions))
    elif declaration.storage == "halfvec":
        return vector
    return sql.SQL("({})::halfvec({})").format(vector, sql.Literal(dimensions))
