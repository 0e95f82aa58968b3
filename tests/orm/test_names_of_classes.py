"""A mapped class has no schema in its statements: its table may be called as a part of the search is."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gte_pg.database import engine
from gte_pg.orm import Embedding, Searchable
from tests.search.test_names_of_tables import NAMES


@pytest.mark.parametrize("name", NAMES.split())
def test_whatever_a_table_is_called_its_class_searches_it(
    empty_dsn: str, model: str, name: str
) -> None:
    class Base(DeclarativeBase):
        pass

    class Row(Searchable, Base):
        __tablename__ = name
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]
        embedding = Embedding("text", model=model)

    made = engine(empty_dsn)
    Base.metadata.create_all(made)
    with Session(made) as session:
        session.add_all([Row(id=1, text="a cat"), Row(id=2, text="the cat")])
        session.commit()
        beside = [Row.id.in_(sa.select(Row.id).correlate(None))]
        for exact in (False, True):
            found = Row.search("a cat", where=beside, exact=exact)
            assert [row.id for row, _ in session.execute(found)] == [1, 2]
            assert [row.id for row, _ in session.execute(Row.similar(1, exact=exact))] == [2]
