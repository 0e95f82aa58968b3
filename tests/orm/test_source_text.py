"""What the flush encodes is the text that the database makes of the row."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gte_pg.database import connect, engine, load_all
from gte_pg.errors import DeclarationError
from gte_pg.orm import Embedding, Searchable
from tests.conftest import DATA
from tests.tables import broken_rows, drain

MODEL = str(DATA / "golden" / "new_ntk")


class Base(DeclarativeBase):
    pass


class Book(Searchable, Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    writer: Mapped[str | None] = mapped_column("author")
    year: Mapped[int | None]
    written = Embedding(template="{title}\nby {writer}, {year}", model=MODEL)
    computed = Embedding(expression="upper({title}) || {year}::text", model=MODEL)


def test_a_template_is_encoded_in_the_flush_and_an_expression_by_the_worker(empty_dsn: str) -> None:
    made = engine(empty_dsn)
    Base.metadata.create_all(made)
    with Session(made) as session, connect(empty_dsn) as reader:
        session.add_all(
            [
                Book(id=1, title="Dune", writer="Herbert", year=1965),
                Book(id=2, title="Beowulf"),
                Book(id=3, year=1999),
                Book(id=4),
            ]
        )
        session.commit()
        encoded = "SELECT id FROM books WHERE written IS NOT NULL ORDER BY id"
        assert reader.execute(encoded).fetchall() == [(1,), (2,), (3,)]
        pending = "SELECT id FROM books WHERE written_pending IS NOT NULL"
        assert reader.execute(pending).fetchall() == []
        session.get_one(Book, 1).year = 1966
        session.get_one(Book, 2).writer = "unknown"
        session.commit()
        assert reader.execute(encoded).fetchall() == [(1,), (2,), (3,)]
        written, computed = load_all(reader, "books")
        assert (written.declaration.template, computed.declaration.expression) == (
            "{title}\nby {author}, {year}",
            "upper({title}) || {year}::text",
        )
        assert drain(reader, computed).encoded == 1
        for registered in (written, computed):
            assert broken_rows(reader, registered.declaration) == 0
        found = session.execute(Book.search("DUNE1966", embedding="computed")).all()
        assert [book.id for book, _ in found] == [1]
    made.dispose()


def test_a_text_that_is_not_the_rows_alone_is_refused_when_the_table_is_made(
    empty_dsn: str,
) -> None:
    metadata = sa.MetaData()
    sa.Table(
        "people",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("born", sa.Date),
        Embedding("born", model=MODEL),
    )
    made = engine(empty_dsn)
    with pytest.raises(DeclarationError, match="depends on settings"):
        metadata.create_all(made)
    assert not sa.inspect(made).has_table("people")
    made.dispose()


def test_what_is_wrong_is_said_when_it_is_declared() -> None:
    with pytest.raises(DeclarationError, match="encode='deferred'"):
        Embedding(expression="{a}", model=MODEL, encode="flush")
    with pytest.raises(DeclarationError, match="brace at character 1"):
        Embedding(template="{title", model=MODEL)
    with pytest.raises(DeclarationError, match="the one or the other"):
        sa.Table(
            "both",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("a", sa.Text),
            Embedding(template="{a}", expression="{a}", model=MODEL),
        )
    with pytest.raises(DeclarationError, match="'missing'"):
        sa.Table(
            "typo",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            Embedding(template="{missing}", model=MODEL),
        )
