"""Every way in which applications write their classes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    declarative_base,
    declared_attr,
    mapped_column,
    registry,
)

from gte_pg import Embedding, Searchable, embeddings_of
from gte_pg.database import connect, engine, load_all
from gte_pg.declaration import Layout
from gte_pg.errors import DatabaseError, DeclarationError
from gte_pg.sync import count_broken, missing_triggers
from tests.conftest import DATA

MODEL = str(DATA / "golden" / "new_ntk")


def abstract_base() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Document(Searchable, Base):
        __abstract__ = True
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    class Letter(Document):
        __tablename__ = "letters"

    class Memo(Document):
        __tablename__ = "memos"

    return [Letter, Memo]


def mixin_with_the_embedding() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Titled(Searchable):
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    class Letter(Titled, Base):
        __tablename__ = "letters"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Memo(Titled, Base):
        __tablename__ = "memos"
        id: Mapped[int] = mapped_column(primary_key=True)

    return [Letter, Memo]


def mixin_with_table_arguments() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Dated:
        year: Mapped[int] = mapped_column(default=2000)

        @declared_attr.directive
        @classmethod
        def __table_args__(cls) -> tuple[Any, ...]:
            return (sa.Index(None, "year"), {"comment": "dated"})

    class Letter(Searchable, Dated, Base):
        __tablename__ = "letters"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    assert Letter.__table__.indexes  # type: ignore[attr-defined]
    return [Letter]


def joined_inheritance() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Letter(Searchable, Base):
        __tablename__ = "letters"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "letter"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    class Invoice(Letter):
        __tablename__ = "invoices"
        __mapper_args__ = {"polymorphic_identity": "invoice"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(sa.ForeignKey("letters.id"), primary_key=True)
        amount: Mapped[int] = mapped_column(default=0)

    return [Letter, Invoice]


def joined_inheritance_with_the_embedding_below() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Thing(Base):
        __tablename__ = "things"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "thing"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Letter(Searchable, Thing):
        __tablename__ = "letters"
        __mapper_args__ = {"polymorphic_identity": "letter"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(sa.ForeignKey("things.id"), primary_key=True)
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    return [Letter]


def single_table_inheritance() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Letter(Searchable, Base):
        __tablename__ = "letters"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "letter"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    class Postcard(Letter):
        __mapper_args__ = {"polymorphic_identity": "postcard"}  # noqa: RUF012

    return [Letter, Postcard]


def inheritance_from_a_class_with_a_mixin() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Titled(Searchable):
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    class Letter(Titled, Base):
        __tablename__ = "letters"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "letter"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Postcard(Letter):
        __mapper_args__ = {"polymorphic_identity": "postcard"}  # noqa: RUF012

    class Invoice(Letter):
        __tablename__ = "invoices"
        __mapper_args__ = {"polymorphic_identity": "invoice"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(sa.ForeignKey("letters.id"), primary_key=True)
        note: Mapped[str | None]
        of_note = Embedding("note", model=MODEL)

    class Memo(Letter):
        __tablename__ = "memos"
        __mapper_args__ = {"polymorphic_identity": "memo", "concrete": True}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(default="memo")
        title: Mapped[str]

    class Draft(Letter):
        __tablename__ = "drafts"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(default="draft")
        title: Mapped[str]

        @declared_attr.directive
        def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805
            return {"polymorphic_identity": "draft", "concrete": True}

    return [Letter, Postcard, Invoice, Memo, Draft]


def inheritance_from_an_abstract_base() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Document(Searchable, Base):
        __abstract__ = True
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    class Letter(Document):
        __tablename__ = "letters"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "letter"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Postcard(Letter):
        __mapper_args__ = {"polymorphic_identity": "postcard"}  # noqa: RUF012

    return [Letter, Postcard]


def dataclasses() -> list[Any]:
    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Letter(Searchable, Base):
        __tablename__ = "letters"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    return [Letter]


def base_with_a_metaclass() -> list[Any]:
    base = declarative_base()

    class Document(Searchable, base):  # type: ignore[misc, valid-type]
        __abstract__ = True
        id = sa.Column(sa.Integer, primary_key=True)
        title = sa.Column(sa.Text)
        embedding = Embedding("title", model=MODEL)

    class Letter(Document):
        __tablename__ = "letters"

    class Memo(Searchable, base):  # type: ignore[misc, valid-type]
        __tablename__ = "memos"
        id = sa.Column(sa.Integer, primary_key=True)
        title = sa.Column(sa.Text)
        embedding = Embedding("title", model=MODEL)

    return [Letter, Memo]


def attributes_that_are_not_called_like_their_columns() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Letter(Searchable, Base):
        __tablename__ = "letters"
        key: Mapped[uuid.UUID] = mapped_column("ID", primary_key=True, default=uuid.uuid4)
        title: Mapped[str] = mapped_column("the title %s")
        embedding = Embedding("title", model=MODEL)

    class Memo(Searchable, Base):
        __tablename__ = "Memos über " + "x" * 44
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str] = mapped_column("überschrift")
        embedding = Embedding("überschrift", model=MODEL)

    return [Letter, Memo]


def fields_that_are_checked() -> list[Any]:
    """As those of SQLModel and pydantic are, which know nothing of the embedding's."""
    base = declarative_base()

    class Letter(Searchable, base):  # type: ignore[misc, valid-type]
        __tablename__ = "letters"
        __table_args__ = (Embedding("title", name="embedding", model=MODEL),)
        id = sa.Column(sa.Integer, primary_key=True)
        title = sa.Column(sa.Text)

        def __setattr__(self, name: str, value: object) -> None:
            if name.startswith("embedding"):
                raise ValueError(f"Letter has no field {name!r}")
            super().__setattr__(name, value)

    return [Letter]


def columns_whose_key_is_not_their_name() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Letter(Searchable, Base):
        __table__ = sa.Table(
            "letters",
            Base.metadata,
            sa.Column("Letter", sa.Integer, primary_key=True, key="id"),
            sa.Column("heading", sa.Text, key="title"),
            Embedding("heading", name="embedding", model=MODEL),
        )

    class Memo(Searchable, Base):
        __tablename__ = "memos"
        id: Mapped[int] = mapped_column("Memo", key="memo", primary_key=True)
        title: Mapped[str] = mapped_column("heading", key="line")
        embedding = Embedding("line", model=MODEL)
        by_attribute = Embedding("title", model=MODEL)
        by_template = Embedding(template="re: {line}", model=MODEL)

    return [Letter, Memo]


def two_embeddings() -> list[Any]:
    class Base(DeclarativeBase):
        pass

    class Letter(Searchable, Base):
        __tablename__ = "letters"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        body: Mapped[str | None]
        embedding = Embedding("title", model=MODEL)
        of_body = Embedding("body", model=MODEL, storage="halfvec")

    return [Letter]


def decorated() -> list[Any]:
    mapped = registry()

    @mapped.mapped
    class Letter(Searchable):
        __tablename__ = "letters"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL)

    return [Letter]


def imperative() -> list[Any]:
    mapped = registry()
    letters = sa.Table(
        "letters",
        mapped.metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("title", sa.Text),
        Embedding("title", name="embedding", model=MODEL),
    )

    class Letter(Searchable):
        pass

    mapped.map_imperatively(Letter, letters)
    return [Letter]


@pytest.mark.parametrize(
    "declare",
    [
        abstract_base,
        mixin_with_the_embedding,
        mixin_with_table_arguments,
        joined_inheritance,
        joined_inheritance_with_the_embedding_below,
        single_table_inheritance,
        inheritance_from_a_class_with_a_mixin,
        inheritance_from_an_abstract_base,
        dataclasses,
        base_with_a_metaclass,
        attributes_that_are_not_called_like_their_columns,
        fields_that_are_checked,
        columns_whose_key_is_not_their_name,
        two_embeddings,
        decorated,
        imperative,
    ],
)
def test_a_class_is_created_filled_and_searched(
    empty_dsn: str, declare: Callable[[], list[Any]]
) -> None:
    kinds = declare()
    metadata = sa.inspect(kinds[0]).local_table.metadata
    made = engine(empty_dsn)
    metadata.create_all(made)
    with Session(made) as session:
        for kind in kinds:
            for title in ("a cat", "a dog"):
                # A dataclass has an __init__ of its own, an imperatively mapped class SQLAlchemy's.
                session.add(kind(title=title))
        session.commit()
        for kind in kinds:
            found = session.execute(kind.search("a cat", limit=1, embedding="embedding")).all()
            assert [row.title for row, _ in found] == ["a cat"]
            assert isinstance(found[0][0], kind)
    with connect(empty_dsn) as connection:
        for registered in load_all(connection):
            assert missing_triggers(connection, registered) == []
            assert count_broken(connection, registered) == 0
            vectors = registered.declaration.vectors.as_string()
            pending = registered.declaration.pending_column
            left = connection.execute(f'SELECT count("{pending}") FROM {vectors}'.encode())
            assert left.fetchone() == (0,), "encoded in the flush"
    metadata.drop_all(made)
    with connect(empty_dsn) as connection:
        assert load_all(connection) == []


def test_a_table_that_is_copied_keeps_its_embedding(empty_dsn: str) -> None:
    (letter,) = dataclasses()
    copied = letter.__table__.to_metadata(sa.MetaData(), schema="archive")
    assert list(embeddings_of(copied)) == ["embedding"]
    made = engine(empty_dsn)
    with made.begin() as connection:
        connection.execute(sa.schema.CreateSchema("archive"))
    copied.metadata.create_all(made)
    with connect(empty_dsn) as connection:
        (registered,) = load_all(connection)
        assert registered.declaration.written == "archive.letters"
        assert missing_triggers(connection, registered) == []


@pytest.mark.parametrize("prepared", ["empty_dsn", "dsn"])
def test_a_table_that_has_no_embedding_yet_is_dropped(
    request: pytest.FixtureRequest, prepared: str, layout: Layout
) -> None:
    metadata, made = sa.MetaData(), engine(request.getfixturevalue(prepared))
    sa.Table(
        "letters",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("title", sa.Text),
        Embedding("title", model=MODEL, layout=layout),
    )
    with made.begin() as connection:
        connection.execute(sa.text("CREATE TABLE letters (id int PRIMARY KEY, title text)"))
    metadata.drop_all(made)
    assert not sa.inspect(made).has_table("letters")


def test_another_database_than_postgres_is_refused() -> None:
    (letter,) = dataclasses()
    with pytest.raises(DatabaseError, match="gte-pg needs Postgres, and this is sqlite"):
        letter.metadata.create_all(sa.create_engine("sqlite://"))


def test_a_name_that_is_inherited_is_not_given_again() -> None:
    letter, _invoice = joined_inheritance()
    with pytest.raises(
        DeclarationError, match="'embedding' from Letter: give its own another name"
    ):

        class Memo(letter):  # type: ignore[misc, valid-type]
            __tablename__ = "memos"
            __mapper_args__ = {"polymorphic_identity": "memo"}  # noqa: RUF012
            id: Mapped[int] = mapped_column(sa.ForeignKey("letters.id"), primary_key=True)
            text: Mapped[str]
            embedding = Embedding("text", model=MODEL)


def test_what_is_not_mapped_says_so() -> None:
    class Base(DeclarativeBase):
        pass

    with pytest.raises(Exception, match="title|mapped"):

        class Wrong(Base, Searchable):
            title: Mapped[str]
            embedding = Embedding("title", model=MODEL)

    with pytest.raises(DeclarationError, match="'titel'"):

        class Misspelt(Searchable, Base):
            __tablename__ = "misspelt"
            id: Mapped[int] = mapped_column(primary_key=True)
            title: Mapped[str]
            embedding = Embedding("titel", model=MODEL)
