"""Every number of the golden data, within 1e-5 of the reference implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from gte_pg.encoder import load_encoder, score_pairs
from gte_pg.encoder.batching import arrange
from gte_pg.encoder.session import Session
from gte_pg.graph import built_graph
from gte_pg.graph.rotary import rotary_tables
from gte_pg.models.architecture import NewArchitecture
from gte_pg.models.catalogue import Precision
from gte_pg.models.directory import read_directory

if TYPE_CHECKING:
    from tests.encoder.conftest import Golden

TOLERANCE = 1e-5
BATCHES = ("main", "trunc16", "single", "empty", "long")


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("alone", [False, True])
def test_hidden_states(golden: Golden, batch: str, *, alone: bool) -> None:
    graph = built_graph(read_directory(golden.path), "float32", firsts_only=False)
    session = Session(graph, precision="float32", threads=2)
    ids, mask = golden.arrays[f"{batch}.input_ids"], golden.arrays[f"{batch}.attention_mask"] == 1
    arranged = arrange([row[kept].tolist() for row, kept in zip(ids, mask, strict=True)])

    hidden = np.zeros((*mask.shape, 64), np.float32)
    hidden[mask] = session.run(arranged, alone=alone)

    if batch == "long":
        positions = golden.arrays["long.pos"]
        hidden, mask = hidden[:, positions], mask[:, positions]
    expected = golden.arrays[f"{batch}.last_hidden_state"]
    np.testing.assert_allclose(hidden[mask], expected[mask], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_graph_of_first_tokens_gives_the_same(
    golden: Golden, batch: str, precision: Precision
) -> None:
    directory = read_directory(golden.path)
    ids, mask = golden.arrays[f"{batch}.input_ids"], golden.arrays[f"{batch}.attention_mask"] == 1
    arranged = arrange([row[kept].tolist() for row, kept in zip(ids, mask, strict=True)])
    every, firsts = (
        Session(built_graph(directory, precision, firsts_only=only), precision=precision)
        for only in (False, True)
    )
    expected = every.run(arranged)[arranged.starts]
    np.testing.assert_allclose(firsts.run(arranged), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("batch", BATCHES)
def test_dense_vectors(golden: Golden, batch: str) -> None:
    encoder = load_encoder(str(golden.path))
    for width in (8, 16, 32, 48, 64):
        encoded = encoder.encode(
            golden.texts(batch), max_length=golden.max_length(batch), dimensions=width
        )
        expected = golden.arrays[f"{batch}.dense_{width}"]
        np.testing.assert_allclose(encoded.dense, expected, atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(np.linalg.norm(encoded.dense, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("batch", BATCHES)
def test_token_counts(golden: Golden, batch: str) -> None:
    encoder = load_encoder(str(golden.path))
    encoded = encoder.encode(golden.texts(batch), max_length=golden.max_length(batch))
    whole = encoder.encode(golden.texts(batch), max_length=golden.max_length("main"))

    assert encoded.token_counts.tolist() == golden.answers["batches"][batch]["lengths"]
    if batch == "trunc16":
        assert encoded.truncated.tolist() == (whole.token_counts > 16).tolist()


@pytest.mark.parametrize("batch", BATCHES)
def test_token_weights(golden: Golden, batch: str) -> None:
    encoder = load_encoder(str(golden.path))
    sparse = encoder.encode(golden.texts(batch), max_length=golden.max_length(batch)).sparse
    expected = golden.answers["batches"][batch].get("sparse")
    if expected is None:
        assert sparse is None
        return
    assert sparse is not None
    for index, weights in enumerate(expected):
        assert encoder.token_weights(*sparse[index]) == pytest.approx(weights, abs=TOLERANCE)


def test_pair_scores(golden: Golden) -> None:
    texts = golden.answers["texts"]
    pairs = [(texts[q], texts[d]) for q, d in golden.answers.get("pairs", [])]
    cases = [case for case in golden.answers.get("pair_scores", []) if case["normalized"]]
    assert bool(cases) == golden.path.name.startswith("new")
    for case in cases:
        scores = score_pairs(
            load_encoder(str(golden.path)),
            pairs,
            dense_weight=case["dense_weight"],
            sparse_weight=case["sparse_weight"],
            dimensions=case["dimension"],
        )
        assert [found.score for found in scores] == pytest.approx(case["scores"], abs=TOLERANCE)


@pytest.mark.parametrize("golden", ["new_ntk", "new_plain", "new_fp16"], indirect=True)
def test_rotary_tables(golden: Golden) -> None:
    architecture = read_directory(golden.path).architecture
    assert isinstance(architecture, NewArchitecture)
    width = architecture.hidden // architecture.heads
    cosines, sines = rotary_tables(
        architecture.positions, width, architecture.rope_theta, architecture.rope_scaling
    )
    positions = golden.arrays["rope.pos"]
    inside = positions < architecture.positions
    # The reference repeats each half: rotate-half turns value i with value i + width / 2.
    for table, name in ((cosines, "cos"), (sines, "sin")):
        expected = golden.arrays[f"rope.{name}"][inside, : width // 2]
        np.testing.assert_allclose(table[positions[inside]], expected, atol=TOLERANCE)
