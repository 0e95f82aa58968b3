"""Recall against time, by how wide each way searches: measured, and drawn as an SVG.

    .venv/bin/python benchmarks/search/curve.py --descriptions … --work /tmp/search-benchmark \
        --rows made --queries 50 --draw docs/search-curve.svg

On the table that compare.py has made. Each point is the recall@10 at the weights (1, 0.1) and the median
CPU time of the backend over the queries.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from compare import arguments, database, read_queries, share
from cpu import timed
from plot import Line, draw
from ways import Way, two_hnsw, ways

from gte_pg.database import connect, load
from gte_pg.search import Weights

K = 10
WEIGHTS = Weights(1, 0.1)
WIDTHS = (40, 100, 200, 400, 800)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", type=Path, required=True, help="the SVG to write")
    asked = arguments(parser)
    queries = read_queries(asked)[: asked.queries]
    with connect(database(asked)) as connection:
        registered = load(connection, "articles")
        asking = ways(connection, registered, WIDTHS)
        truth = [asking["exact scan"](query, WEIGHTS, K) for query in queries]

        def point(way: Way) -> tuple[float, float]:
            answers = [
                timed(connection, lambda: way(query, WEIGHTS, K))  # noqa: B023
                for query in queries
            ]
            shares = [
                share(true, found, scored=True)
                for true, (found, _) in zip(truth, answers, strict=True)
            ]
            return float(np.median([cost for _, cost in answers])), float(np.mean(shares))

        own, theirs = [], []
        for width in WIDTHS:
            connection.execute(f"SET gte.candidates = {width}".encode())
            own.append(point(asking["gte-pg"]))
            theirs.append(point(asking[two_hnsw(width)]))
            print(f"{width}: gte-pg {own[-1]}, two HNSW {theirs[-1]}", flush=True)
    draw(
        asked.draw,
        [Line("gte-pg", own, WIDTHS), Line("two HNSW", theirs, WIDTHS)],
        across="median CPU time of a query, ms",
        up=f"recall@{K}",
    )


if __name__ == "__main__":
    main()
