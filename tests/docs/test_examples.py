"""Every public name has an example in its docstring, and all examples in docstrings run."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import gte_pg
from gte_pg import Embedding, Searchable, load_encoder
from gte_pg.database import connect, engine
from tests.postgres import new_database

MODEL = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def names(server: str, template: str) -> Iterator[dict[str, Any]]:
    """What docs/api.md says that the examples find: a table with two articles, and ways to it."""

    class Base(DeclarativeBase):
        pass

    class Article(Searchable, Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    berlin, beans = Article(title="Fly to Berlin for less"), Article(title="Cooking with beans")
    public = {name: getattr(gte_pg, name) for name in gte_pg.__all__}
    with new_database(server, template) as name:
        dsn = make_conninfo(server, dbname=name)
        made = engine(dsn)
        Base.metadata.create_all(made)
        with Session(made) as session, connect(dsn) as connection:
            session.add_all([berlin, beans])
            session.commit()
            yield public | {
                "sa": sa,
                "Mapped": Mapped,
                "mapped_column": mapped_column,
                "Base": Base,
                "Article": Article,
                "article": beans,
                "engine": made,
                "session": session,
                "connection": connection,
                "encoder": load_encoder(MODEL),
            }


def examples(name: str, names: dict[str, Any]) -> list[doctest.DocTest]:
    """Return the examples of a public name: its own first, then those of its methods."""
    found = doctest.DocTestFinder(exclude_empty=True).find(
        getattr(gte_pg, name), name, module=False, globs=names
    )
    return sorted((one for one in found if one.examples), key=lambda one: one.name)


@pytest.mark.parametrize("name", gte_pg.__all__)
def test_it_has_a_docstring_with_an_example(name: str) -> None:
    docstring = vars(getattr(gte_pg, name)).get("__doc__") or inspect.getdoc(getattr(gte_pg, name))
    assert docstring
    assert doctest.DocTestParser().get_examples(docstring)


@pytest.mark.model
@pytest.mark.parametrize("name", gte_pg.__all__)
def test_its_examples_run(name: str, names: dict[str, Any]) -> None:
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    printed: list[str] = []
    # What one example has read would keep the next from making a table.
    names["session"].rollback()
    for example in examples(name, names):
        assert runner.run(example, out=printed.append).failed == 0, "".join(printed)
