"""How much of the exact answer the indexes find, and how fast: recall@k and latency.

    recall@k = the share of the exact k best rows that were found; a row whose score ties with the k-th
               of them counts as one of them

Queries are the vectors of sampled rows, each of which is left out of its own answers, or given ones.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Declaration, dense_operator, indexed_vector, key_text
from gte_pg.errors import QueryError
from gte_pg.search.query import QueryVectors, Weights
from gte_pg.search.search import search

_TIE = 1e-6

# So many times the rows that are wanted are looked at, to choose from at random.
_OVERSAMPLED = 20

EF_SEARCH = (40, 100, 200, 400, 800)


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and the key (as text) of the row that it was taken from."""

    query: QueryVectors
    row: str | None = None


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall@k over some queries, the median and the 95th percentile of their wall time in ms."""

    queries: int
    k: int
    recall: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class DefaultPath:
    """The default search beside the exact one; `complete` is the share of queries it was for."""

    found: Recall
    exact: Recall
    complete: float


def sample_questions(
    connection: Connection, declaration: Declaration, count: int
) -> list[Question]:
    """Return the vectors of `count` random rows, or of all if there are no more, as queries."""
    sparse = sql.SQL("{}::text").format(sql.Identifier("d", declaration.sparse_column))
    statement = sql.SQL("""
        SELECT {dense}::text, coalesce({sparse}, ''), {key} FROM {vectors} AS d
        TABLESAMPLE SYSTEM (least(100, 100 * {wanted} / greatest(
            gte.estimated_rows(to_regclass({table})), {wanted})))
        WHERE {dense} IS NOT NULL ORDER BY random() LIMIT {count}
    """).format(
        dense=sql.Identifier("d", declaration.dense_column),
        sparse=sparse if declaration.has_sparse else sql.SQL("NULL"),
        key=key_text(declaration, "d"),
        vectors=declaration.vectors,
        table=sql.Literal(declaration.vectors.as_string()),
        wanted=sql.Literal(count * _OVERSAMPLED),
        count=sql.Literal(count),
    )
    rows = connection.execute(statement).fetchall()
    if not rows:
        raise QueryError(
            f"{declaration.written} has no row with a vector to measure with: run gte-pg sync first"
        )
    return [Question(QueryVectors(dense, sparse), key) for dense, sparse, key in rows]


def dense_recall(
    connection: Connection,
    declaration: Declaration,
    questions: Sequence[Question],
    *,
    k: int = 10,
    ef_search: int = 200,
) -> Recall:
    """Return the recall@k of the dense index alone: what share of the k nearest rows it brings."""
    return dense_recalls(connection, declaration, questions, k=k, widths=[ef_search])[ef_search]


def dense_recalls(
    connection: Connection,
    declaration: Declaration,
    questions: Sequence[Question],
    *,
    k: int = 10,
    widths: Sequence[int] = EF_SEARCH,
) -> dict[int, Recall]:
    """Return the same at several values of hnsw.ef_search."""
    shares: dict[int, list[float]] = {width: [] for width in widths}
    times: dict[int, list[float]] = {width: [] for width in widths}
    for asked in questions:
        with _one_snapshot(connection):
            truth, _ = _nearest(connection, declaration, asked, k, None)
            for width in widths:
                found, spent = _nearest(connection, declaration, asked, k, width)
                shares[width].append(_share(truth, found))
                times[width].append(spent)
    return {width: _recall(k, shares[width], times[width]) for width in widths}


def measure(
    connection: Connection,
    registered: Registered,
    questions: Sequence[Question],
    *,
    k: int = 10,
    weights: Weights | None = None,
    candidates: int | None = None,
) -> DefaultPath:
    """Return recall and latency of the default search beside the exact one, for the top k.

    `candidates` as in SET gte.candidates: how many rows the dense index is asked for at least.
    """
    shares, times, exact_times, complete = [], [], [], 0
    for asked in questions:
        limit = k if asked.row is None else k + 1
        answers, spent = [], []
        with _one_snapshot(connection):
            connection.execute(
                "SELECT set_config('gte.candidates', %s, true)", (str(candidates or ""),)
            )
            for exact in (True, False):
                started = time.perf_counter()
                hits = search(
                    connection, registered, asked.query, limit=limit, weights=weights, exact=exact
                )
                spent.append(1000 * (time.perf_counter() - started))
                complete += not exact and all(hit.complete for hit in hits)
                answers.append({_text(hit.key): hit.score for hit in hits})
        shares.append(_share(*(_without(answer, asked, k) for answer in answers)))
        exact_times.append(spent[0])
        times.append(spent[1])
    return DefaultPath(
        found=_recall(k, shares, times),
        exact=_recall(k, [1.0] * len(shares), exact_times),
        complete=complete / len(questions),
    )


@contextmanager
def _one_snapshot(connection: Connection) -> Iterator[None]:
    """Ask the index of the same rows as the scan: what is written in between is neither's to find."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def _nearest(
    connection: Connection,
    declaration: Declaration,
    asked: Question,
    k: int,
    ef_search: int | None,
) -> tuple[dict[str, float], float]:
    """Return the k nearest rows with their dense parts, and the ms it took; a scan without `ef_search`.

    The index brings as many rows as its search is wide, and the nearest of them are told by whole vectors.
    """
    vector = sql.SQL("{}::{}").format(sql.Literal(asked.query.dense), sql.SQL(declaration.storage))
    column = sql.Identifier("d", declaration.dense_column)
    limit = k if asked.row is None else k + 1
    rows_of: sql.Composable = declaration.vectors
    if ef_search:
        # Only the bare operator is served by the index.
        rows_of = sql.SQL(
            "(SELECT * FROM {vectors} AS d WHERE {column} IS NOT NULL "
            "ORDER BY {held} {operator} {asked} LIMIT {n})"
        ).format(
            vectors=declaration.vectors,
            column=column,
            held=indexed_vector(declaration, column),
            operator=sql.SQL(dense_operator(declaration)),
            asked=indexed_vector(declaration, vector),
            n=sql.Literal(max(limit, ef_search)),
        )
    statement = sql.SQL("""
        SELECT {key}, -({column} <#> {vector}) FROM {rows_of} AS d WHERE {column} IS NOT NULL
        ORDER BY ({column} <#> {vector}) + 0 LIMIT {limit}
    """).format(
        key=key_text(declaration, "d"),
        column=column,
        vector=vector,
        rows_of=rows_of,
        limit=sql.Literal(limit),
    )
    with connection.transaction():
        if ef_search:
            connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", (str(ef_search),))
            connection.execute("SET LOCAL enable_seqscan = off")
        started = time.perf_counter()
        rows = connection.execute(statement).fetchall()
        spent = 1000 * (time.perf_counter() - started)
    return _without(dict(rows), asked, k), spent


def _without(scores: dict[str, float], asked: Question, k: int) -> dict[str, float]:
    """The k best of these without the row that the query was taken from."""
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])
    return dict([pair for pair in ranked if pair[0] != asked.row][:k])


def _share(truth: dict[str, float], found: dict[str, float]) -> float:
    if not truth:
        return 1.0
    worst = min(truth.values()) - _TIE
    return sum(score >= worst for score in found.values()) / len(truth)


def _recall(k: int, shares: Sequence[float], times: Sequence[float]) -> Recall:
    ranked = sorted(times)
    return Recall(
        queries=len(shares),
        k=k,
        recall=statistics.fmean(shares),
        p50=statistics.median(ranked),
        p95=ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))],
    )


def _text(key: dict[str, Any]) -> str:
    """The key as `key_text` writes it."""
    texts = [str(value) for value in key.values()]
    return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)
