from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gte_pg.declaration.names import MAX_NAME_BYTES, object_name

parts = st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=3)


def test_a_short_name_is_its_parts() -> None:
    assert object_name("articles", "embedding", "dense") == "articles_embedding_dense"


@given(parts)
def test_a_name_fits_into_postgres_whatever_the_characters(some: list[str]) -> None:
    assert len(object_name(*some).encode()) <= MAX_NAME_BYTES


@given(parts)
def test_a_long_name_stays_distinct_where_postgres_would_cut_it(some: list[str]) -> None:
    long = "x" * 60
    assert object_name(long, *some, "dense") != object_name(long, *some, "tokens")
