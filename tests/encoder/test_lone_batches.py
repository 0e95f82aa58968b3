"""A batch that is alone runs on a session of its own; what it gives is the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gte_pg.encoder import Encoder
from gte_pg.encoder.open_graph import LONE_THREADS, PROVIDERS, OpenGraph
from gte_pg.graph import built_graph
from gte_pg.models.catalogue import Precision
from gte_pg.models.directory import read_directory

if TYPE_CHECKING:
    from tests.encoder.conftest import Golden

CALLERS = 6


def opened(golden: Golden, precision: Precision, threads: int) -> OpenGraph:
    graph = built_graph(read_directory(golden.path), precision, firsts_only=False)
    return OpenGraph(
        graph, precision=precision, threads=threads, providers=PROVIDERS, advice="fetch it again"
    )


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_alone_and_beside_others(golden: Golden, precision: Precision) -> None:
    encoder = Encoder.load(str(golden.path), precision=precision, threads=3)
    texts = golden.texts("main")
    many = texts * (2_000 // len(texts))  # more than one batch
    beside = encoder.encode(many).dense[: len(texts)]
    for text, expected in zip(texts, beside, strict=True):
        np.testing.assert_allclose(encoder.encode([text]).dense[0], expected, atol=1e-5)


def test_the_first_lone_batches_come_at_once(golden: Golden) -> None:
    graph, start = opened(golden, "float32", threads=2), threading.Barrier(CALLERS)

    def ask(_: int) -> object:
        start.wait()
        return graph.session(alone=True)

    with ThreadPoolExecutor(CALLERS) as callers:
        assert len(set(callers.map(ask, range(CALLERS)))) == 1


@pytest.mark.parametrize("threads", [1, 2, 64])
def test_float32_has_a_session_for_each(golden: Golden, threads: int) -> None:
    graph = opened(golden, "float32", threads)
    beside, alone = (graph.session(alone=alone).get_session_options() for alone in (False, True))
    assert beside.intra_op_num_threads == 1
    assert alone.intra_op_num_threads == min(threads, LONE_THREADS)


def test_int8_has_one_session(golden: Golden) -> None:
    graph = opened(golden, "int8", threads=2)
    assert graph.session(alone=True) is graph.session(alone=False)
    assert graph.session(alone=True).get_session_options().intra_op_num_threads == 1
