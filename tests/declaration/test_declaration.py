from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from gte_pg.database import Connection, find_table
from gte_pg.declaration import Declaration, KeyColumn
from gte_pg.errors import DeclarationError, ModelError
from gte_pg.models import ModelIdentity, identify

GOOD: dict[str, Any] = {
    "schema": None,
    "table": "articles",
    "key": (KeyColumn("id", "int"),),
    "source": ("title",),
    "name": "embedding",
    "model": "m",
    "generation": "m@1/float32/4",
    "dimensions": 4,
    "sparse_dimensions": None,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": ()}, "no source column"),
        ({"source": ("title", "title")}, "twice"),
        ({"key": ()}, "no primary key"),
        ({"name": "x" * 56}, "55 bytes"),
        ({"name": ""}, "1 to 55 bytes"),
        ({"name": "title"}, "one of its sources"),
        ({"source": ("embedding_hash",)}, "embedding_hash"),
        ({"storage": "bit"}, "'bit'"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        Declaration(**(GOOD | change))


def test_a_model_without_token_weights_has_no_sparse_column() -> None:
    assert Declaration(**GOOD).columns == ("embedding", "embedding_hash", "embedding_pending")


def of_model(model: ModelIdentity, dimensions: int | None) -> Declaration:
    return Declaration.of_model(
        model,
        schema=None,
        table="articles",
        key=(KeyColumn("id", "int"),),
        source=("title",),
        name="embedding",
        dimensions=dimensions,
    )


def test_an_elastic_model_is_cut_only_where_it_was_trained_to_be() -> None:
    model = identify("gte-multilingual-base")
    assert of_model(model, 256).generation.endswith("/256")
    with pytest.raises(DeclarationError, match="64 dimensions.*128 to 768"):
        of_model(model, 64)


def test_another_model_s_vectors_are_not_compared() -> None:
    declaration = of_model(identify("gte-multilingual-base"), None)
    with pytest.raises(ModelError, match="its files have changed"):
        declaration.check_model(identify("gte-small"))


def test_the_impact_step_is_that_of_the_model_s_token_head() -> None:
    shipped = json.loads(
        resources.files("gte_pg.models").joinpath("token_heads/all-MiniLM-L6-v2.json").read_text()
    )
    assert of_model(identify("all-MiniLM-L6-v2"), None).impact_step == shipped["impact_step"]
    assert of_model(identify("gte-multilingual-base"), None).impact_step == 0.25


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("gte.embedding", "name"),
        ("pg_class", "relname"),
        ("information_schema.sql_parts", "comments"),
    ],
)
def test_a_table_that_is_not_the_user_s_gets_no_embedding(
    connection: Connection, model: str, table: str, column: str
) -> None:
    with pytest.raises(DeclarationError, match="own: put the embedding on a table of yours"):
        find_table(connection, table).declare(identify(model), (column,))
