from __future__ import annotations

import pytest
from sqlalchemy.ext.declarative import AbstractConcreteBase, ConcreteBase
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, configure_mappers, mapped_column

from gte_pg.database import engine
from gte_pg.errors import QueryError
from gte_pg.orm import Embedding, Searchable
from tests.conftest import DATA

MODEL = str(DATA / "golden" / "new_ntk")


class Base(DeclarativeBase):
    pass


class Thing(Searchable, ConcreteBase, Base):
    __tablename__ = "things"
    __mapper_args__ = {"polymorphic_identity": "thing", "concrete": True}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    embedding = Embedding("title", model=MODEL)


class Letter(Thing):
    __tablename__ = "letters"
    __mapper_args__ = {"polymorphic_identity": "letter", "concrete": True}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    embedding = Embedding("title", model=MODEL)


class Paper(Searchable, AbstractConcreteBase, Base):
    pass


class Memo(Paper):
    __tablename__ = "memos"
    __mapper_args__ = {"polymorphic_identity": "memo", "concrete": True}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    embedding = Embedding("title", model=MODEL)


class Note(Paper):
    __tablename__ = "notes"
    __mapper_args__ = {"polymorphic_identity": "note", "concrete": True}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.mark.parametrize(("base", "names"), [(Thing, "Letter"), (Paper, "Memo, Note")])
def test_the_base_of_several_tables_is_not_searched(base: type[Searchable], names: str) -> None:
    configure_mappers()
    with pytest.raises(QueryError, match=f"several tables.*each for itself: {names}$"):
        base.search("a cat")
    with pytest.raises(QueryError, match="several tables"):
        base.similar(1)


def test_a_class_with_a_table_of_its_own_is_searched(empty_dsn: str) -> None:
    made = engine(empty_dsn)
    Base.metadata.create_all(made)
    with Session(made) as session:
        kinds = (Thing, Letter, Memo)
        session.add_all(kind(id=1, title=f"a cat in {kind.__name__}") for kind in kinds)
        session.add(Note(id=1))
        session.commit()
        for kind in (Letter, Memo):
            ((row, _),) = session.execute(kind.search("a cat"))
            assert isinstance(row, kind)
