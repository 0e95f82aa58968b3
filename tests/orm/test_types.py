"""What a type checker makes of the public names: mypy --strict on a program that uses them."""

from __future__ import annotations

from pathlib import Path

from mypy import api

PROGRAM = """
from __future__ import annotations

from typing import assert_type

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, Session, mapped_column

from gte_pg import Embedding, Searchable


class Base(DeclarativeBase):
    pass


class Article(Searchable, Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    embedding = Embedding("title", model="all-MiniLM-L6-v2")


def program(session: Session, article: Article) -> None:
    assert_type(Article.search("cat"), sa.Select[Article, float])
    assert_type(Article.search("cat", limit=5, with_parts=False), sa.Select[Article, float])
    assert_type(
        Article.search("cat", with_parts=True, where=[Article.title != ""]),
        sa.Select[Article, float, float, float, bool],
    )
    assert_type(Article.similar(article, exact=True), sa.Select[Article, float])
    for found, score in session.execute(Article.search("cat")).tuples():
        assert_type(found, Article)
        assert_type(score, float)
    assert_type(article.embedding, list[float] | None)
    assert_type(Article.embedding, InstrumentedAttribute[list[float] | None])
    Article.search(42)  # type: ignore[call-overload]
    Article.search("cat", limits=5)  # type: ignore[call-overload]
    Article.search("cat", where=Article.title)  # type: ignore[call-overload]
    Embedding("title", model="all-MiniLM-L6-v2", storage="vectors")  # type: ignore[arg-type]
"""


def test_statements_entities_and_vectors_have_their_types(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    found, problems, status = api.run(
        ["--strict", "--config-file=", "--ignore-missing-imports", str(program)]
    )
    assert (found.strip(), problems, status) == (
        "Success: no issues found in 1 source file",
        "",
        0,
    )
