from __future__ import annotations

import pytest

from gte_pg.encoder import Encoder
from gte_pg.search import as_pgvector
from tests.serve.server import Server

TEXTS = ["a cat on a mat", 'quotes " and \\ and \n', "cheap flights 🙂"]


def test_token_weights_by_string_and_as_pgvector_reads_them(
    encoding_server: Server, model: str, encoder: Encoder
) -> None:
    answer = encoding_server.answer("/v1/sparse", {"model": model, "input": TEXTS})
    encoded = encoder.encode(TEXTS)
    assert encoded.sparse is not None
    for index, item in enumerate(answer["data"]):
        assert item["index"] == index
        weights = encoder.token_weights(*encoded.sparse[index])
        assert item["weights"] == pytest.approx(weights, abs=1e-6)
        found, _, size = item["sparsevec"].partition("/")
        wanted, _, wanted_size = as_pgvector(encoded, index).sparse.partition("/")
        assert size == wanted_size
        assert entries(found) == pytest.approx(entries(wanted), abs=1e-6)
    assert answer["usage"]["prompt_tokens"] == encoded.token_counts.sum()


def test_a_model_without_token_weights(encoding_server: Server, plain_model: str) -> None:
    error = encoding_server.error("/v1/sparse", {"model": plain_model, "input": "a"}, 400)
    assert error["param"] == "model"
    assert "no token weights" in error["message"]


def test_a_field_that_is_not_there(encoding_server: Server, model: str) -> None:
    fields = {"model": model, "input": "a", "input_typ": "query"}
    error = encoding_server.error("/v1/sparse", fields, 400)
    assert "'input_typ'" in error["message"]


def entries(sparse: str) -> dict[str, float]:
    pairs = (entry.split(":") for entry in sparse.strip("{}").split(",") if entry)
    return {token: float(weight) for token, weight in pairs}
