from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gte_pg.database import engine
from gte_pg.errors import DeclarationError, QueryError
from gte_pg.orm import Embedding, Searchable
from tests.conftest import DATA


class Base(DeclarativeBase):
    pass


class Article(Searchable, Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    year: Mapped[int]
    embedding = Embedding("title", model=str(DATA / "golden" / "new_ntk"))
    plain = Embedding("title", model=str(DATA / "golden" / "bert_mean"))


TEXTS = ["a cat on a mat", "a cat on the mat", "columns of a database", "a cat on a mat", None]


@pytest.fixture
def session(empty_dsn: str) -> Iterator[Session]:
    made = engine(empty_dsn)
    Base.metadata.create_all(made)
    with Session(made) as session:
        session.add_all(
            Article(id=n, title=text, year=2000 + n) for n, text in enumerate(TEXTS, start=1)
        )
        session.commit()
        yield session
    made.dispose()


@pytest.mark.parametrize("embedding", ["embedding", "plain"])
def test_the_rows_most_like_one_that_is_stored(session: Session, embedding: str) -> None:
    article = session.get_one(Article, 1)
    for row in (article, 1, (1,)):
        found = session.execute(Article.similar(row, embedding=embedding, limit=2)).all()
        assert [other.id for other, _ in found] == [4, 2]
    in_sql = session.execute(
        sa.text("SELECT found_key, score FROM gte.similar('articles', '1', embedding => :name)"),
        {"name": embedding},
    ).all()
    found = session.execute(Article.similar(1, embedding=embedding)).all()
    assert [({"id": other.id}, score) for other, score in found] == [tuple(row) for row in in_sql]


def test_conditions_hold_and_the_parts_are_told(session: Session) -> None:
    statement = Article.similar(
        1, embedding="embedding", where=[Article.year < 2004], with_parts=True
    )
    rows = session.execute(statement).all()
    assert [article.id for article, *_ in rows] == [2, 3]
    for _, score, dense, sparse, complete in rows:
        assert score == pytest.approx(dense + 0.1 * sparse)
        assert complete


def test_a_row_without_a_vector_is_like_no_other(session: Session) -> None:
    for key in (5, 99):
        assert session.execute(Article.similar(key, embedding="embedding")).all() == []
    session.execute(sa.update(Article).where(Article.id == 1).values(title="pending now"))
    assert session.execute(Article.similar(1, embedding="embedding")).all() == []


def test_what_names_no_row_is_refused() -> None:
    with pytest.raises(QueryError, match="not stored yet"):
        Article.similar(Article(id=1), embedding="embedding")
    for key in ((1, 2), None):
        with pytest.raises(QueryError, match=r"primary key \(id\)"):
            Article.similar(key, embedding="embedding")
    with pytest.raises(DeclarationError, match="2 embeddings"):
        Article.similar(1)
    with pytest.raises(QueryError, match="at least one"):
        Article.similar(1, embedding="plain", limit=0)


@pytest.mark.parametrize(
    ("query", "seen"),
    [(None, r"None \(NoneType\)"), (5, r"5 \(int\)"), ([0.5], r"\[0.5\] \(list\)")],
)
def test_a_query_that_is_no_text_is_refused(query: Any, seen: str) -> None:
    for ask in (Article.search, Article.encode_query):
        with pytest.raises(QueryError, match=f"the query is {seen}: give a text"):
            ask(query, embedding="plain")


def test_options_of_another_kind_are_refused() -> None:
    wrong: Any = {"limit": "5"}
    with pytest.raises(QueryError, match="limit is '5': ask for a whole number"):
        Article.similar(1, embedding="plain", **wrong)
    asked: list[tuple[Any, object]] = [(Article.search, "a cat"), (Article.similar, 1)]
    for ask, what in asked:
        wrong = {"where": Article.year == 2004}
        with pytest.raises(QueryError, match=r"list of conditions.*where=\[articles.year = "):
            ask(what, embedding="plain", **wrong)
