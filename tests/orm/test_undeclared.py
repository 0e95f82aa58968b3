"""A table that has an embedding's columns and no triggers: nobody vouches for its vectors."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateTable

from gte_pg import Embedding, Searchable
from gte_pg.database import engine
from gte_pg.install import prepare_database
from tests.conftest import DATA


class Base(DeclarativeBase):
    pass


class Leaflet(Searchable, Base):
    __tablename__ = "leaflets"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    embedding = Embedding("title", model=str(DATA / "golden" / "new_ntk"))


def test_a_search_of_columns_that_no_trigger_watches_over_is_an_error(empty_dsn: str) -> None:
    table = Leaflet.__table__
    assert isinstance(table, sa.Table)
    made = engine(empty_dsn)
    with made.begin() as connection:
        prepare_database(connection)
        connection.execute(CreateTable(table))
    with Session(made) as session:
        leaflet = Leaflet(id=1, title="a cat")
        session.add_all([leaflet, Leaflet(id=2, title="a dog")])
        session.flush()
        for statement in (Leaflet.search("cat"), Leaflet.similar(leaflet)):
            with (
                pytest.raises(DBAPIError, match="not declared in this database"),
                session.begin_nested(),
            ):
                session.execute(statement).all()
    made.dispose()
