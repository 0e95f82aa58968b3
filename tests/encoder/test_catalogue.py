"""Names of models: what they mean, and that they cost nothing."""

from __future__ import annotations

import builtins
import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gte_pg.errors import ModelNotFound
from gte_pg.models import identify, locate
from gte_pg.models.catalogue import CATALOGUE, find
from gte_pg.models.token_head import shipped_heads


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("gte-multilingual-base", "gte-multilingual-base"),
        ("Alibaba-NLP/gte-multilingual-base", "gte-multilingual-base"),
        ("ALIBABA-nlp/GTE-Multilingual-Base", "gte-multilingual-base"),
        ("thenlper/gte-small", "gte-small"),
        ("Supabase/gte-small", "gte-small"),
        ("Supabase/bge-small-en", "bge-small-en"),
        ("BAAI/bge-large-zh-v1.5", "bge-large-zh-v1.5"),
        ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
    ],
)
def test_short_names_hub_ids_and_forks(name: str, short: str) -> None:
    assert identify(name).name == short


@pytest.mark.parametrize(
    ("name", "dimensions", "pooling", "max_length"),
    [
        ("gte-multilingual-base", 768, "cls", 8192),
        ("gte-small", 384, "mean", 512),
        ("gte-base", 768, "mean", 512),
        ("gte-large", 1024, "mean", 512),
        ("gte-small-zh", 512, "cls", 512),
        ("gte-large-zh", 1024, "cls", 512),
        ("gte-large-en-v1.5", 1024, "cls", 8192),
        ("bge-small-en", 384, "cls", 512),
        ("bge-small-zh-v1.5", 512, "cls", 512),
        ("all-MiniLM-L6-v2", 384, "mean", 256),
    ],
)
def test_what_is_known_of_a_model(
    name: str, dimensions: int, pooling: str, max_length: int
) -> None:
    known = find(name)
    assert known is not None
    assert (known.dimensions, known.pooling, known.max_length) == (dimensions, pooling, max_length)
    assert known.query_instruction.startswith(
        ("Represent this sentence", "为这个句子") if name.startswith("bge") else ""
    )
    assert bool(known.query_instruction) == name.startswith("bge")


def test_every_revision_is_a_commit_and_every_name_means_one_model() -> None:
    spellings = [s.lower() for m in CATALOGUE for s in (m.name, m.hub_id, *m.also)]
    assert len(spellings) == len(set(spellings))
    for model in CATALOGUE:
        length = 12 if model.weights_sha256 else 40
        assert re.fullmatch(rf"[0-9a-f]{{{length}}}", model.revision), model.name


def test_identity_of_the_elastic_model_without_any_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("identify() opened a file")

    monkeypatch.setattr(builtins, "open", refused)
    monkeypatch.setattr(Path, "open", refused)
    identity = identify("gte-multilingual-base")
    assert identity.elastic == (128, 768)
    assert identity.sparse_dimensions == 250_048
    assert identity.fingerprint == f"gte-multilingual-base@{identity.revision}"


def test_the_impact_step_comes_with_the_token_head() -> None:
    (head,) = shipped_heads().values()
    assert identify("all-MiniLM-L6-v2").impact_step == head.impact_step != 0.25
    assert identify("gte-multilingual-base").impact_step == 0.25


def test_any_changed_number_of_the_token_head_is_another_generation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (sha256, head), *_ = shipped_heads().items()
    weight = head.weight.copy()
    weight[-1] = np.nextafter(weight[-1], np.float32(1))
    others = [
        dataclasses.replace(head, weight=weight),
        dataclasses.replace(head, bias=head.bias + 1e-9),
        dataclasses.replace(head, impact_step=2 * head.impact_step),
    ]
    generations = {identify("all-MiniLM-L6-v2").generation(384)}
    for other in others:
        monkeypatch.setattr(
            "gte_pg.models.identity.shipped_heads", lambda head=other: {sha256: head}
        )
        generations.add(identify("all-MiniLM-L6-v2").generation(384))
    assert len(generations) == 4


def test_naming_a_model_imports_no_runtime() -> None:
    code = (
        "import sys; from gte_pg.models import identify; identify('gte-small'); "
        "print([m for m in ('onnxruntime', 'onnx', 'tokenizers', 'huggingface_hub') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gte-smal", "near ones: gte-small"),
        ("acme/bge-large-zh", "near ones: .*bge-large-zh-v1.5"),
        ("acme/xyz", "known ones: .*all-MiniLM-L6-v2"),
        ("/no/gte-small", "there is no such directory; give the path"),
        ("./gte-small", "there is no such directory; give the path"),
        ("my/models/gte-small", "there is no such directory; give the path"),
    ],
)
def test_what_is_no_model(name: str, told: str) -> None:
    for ask in (identify, locate):
        with pytest.raises(ModelNotFound, match=told):
            ask(name)


def test_a_directory_is_identified_by_its_contents(data: Path, tmp_path: Path) -> None:
    first = identify(str(data / "golden" / "bert_mean"))
    copy = shutil.copytree(data / "golden" / "bert_mean", tmp_path / "bert_mean")
    (copy / "README.md").write_text("decides nothing")
    assert identify(str(copy)).fingerprint == first.fingerprint
    assert identify(str(copy)).name == str(copy)
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 511}')
    assert identify(str(copy)).fingerprint != first.fingerprint
    assert identify(str(copy)).max_length == 511
