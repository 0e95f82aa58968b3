"""Published numbers, for every model whose files are on this machine (`gte-pg models pull NAME`)."""

from __future__ import annotations

import numpy as np
import pytest

from gte_pg.encoder import Encoder, published, score
from gte_pg.encoder.published import compare_with_published
from gte_pg.errors import ModelNotFound
from gte_pg.models import locate
from gte_pg.models.catalogue import CATALOGUE, KnownModel
from gte_pg.models.offline import OFFLINE_MODEL
from gte_pg.models.stored import stored_directory


@pytest.mark.model
@pytest.mark.parametrize("known", CATALOGUE, ids=lambda known: known.name)
def test_published_numbers(known: KnownModel, users_cache: str | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GTE_PG_CACHE", raising=False)
        if users_cache is not None:
            patch.setenv("GTE_PG_CACHE", users_cache)
        try:
            directory = locate(known.name) if known.name == OFFLINE_MODEL else None
        except ModelNotFound as error:
            pytest.skip(str(error))
        if directory is None and stored_directory(known) is None:
            pytest.skip(f"{known.name} is not on this machine")
        encoder = Encoder.load(known.name)
    for found in compare_with_published(encoder, known.name):
        assert found.holds, found


def test_the_records_name_known_models_and_hold_both_tables() -> None:
    records = published._records()
    assert {record["model"] for record in records} <= {known.name for known in CATALOGUE}
    tables = [record for record in records if record["kind"] == "scores"]
    weights = [(table["dense_weight"], table["sparse_weight"]) for table in tables]
    assert weights == [(1, 0), (0, 1), (1, 0.3), (1, 0)]


def test_every_kind_is_computed(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a cat", "the cat sat"]
    vectors = encoder.encode(texts).dense
    cosine = float(vectors[0] @ vectors[1])
    found = score(encoder, *texts, sparse_weight=0.3).score
    values: dict[str, object] = {
        "embeddings": (3 * vectors).tolist(),
        "first-dimensions": vectors[0, :5].tolist(),
        "sum-of-dimensions": vectors.sum(axis=1).tolist(),
        "cosine-matrix": [[1, cosine], [cosine, 1]],
        "similarities": [cosine],
        "scores": [found],
    }
    common = {"model": "m", "texts": texts, "tolerance": 1e-5, "source": "here"}
    asked = {"query": texts[0], "documents": texts[1:], "dense_weight": 1, "sparse_weight": 0.3}
    records = [common | asked | {"kind": kind, "values": v} for kind, v in values.items()]
    monkeypatch.setattr(published, "_records", lambda: records)
    assert all(one.holds for one in compare_with_published(encoder, "m"))
    for record in records:
        wrong = np.array(record["values"])
        wrong[..., 0] += 0.1
        record["values"] = wrong.tolist()
    assert not any(one.holds for one in compare_with_published(encoder, "m"))
