from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

from gte_pg.database import Connection, connect, engine, load
from gte_pg.encoder import Encoder
from gte_pg.errors import DeclarationError, ModelError, QueryError
from gte_pg.orm import Embedding, Searchable, embeddings_of
from gte_pg.search import encode_query, search
from tests.conftest import DATA
from tests.tables import broken_rows, drain

MODEL = str(DATA / "golden" / "new_ntk")


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Article(Searchable, Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    body: Mapped[str | None]
    year: Mapped[int] = mapped_column(default=2000)
    author_id: Mapped[int | None] = mapped_column(sa.ForeignKey("authors.id"))
    author: Mapped[Author | None] = relationship()
    embedding = Embedding("title", "body", model=MODEL)


class Deferred(Searchable, Base):
    __tablename__ = "deferred"
    __table_args__ = (sa.CheckConstraint("id > 0"),)
    region: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    vector = Embedding("text", model=MODEL, storage="halfvec", encode="deferred")


class Beside(Searchable, Base):
    __tablename__ = "beside"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    embedding = Embedding("text", model=MODEL, layout="companion")


@pytest.fixture
def database(empty_dsn: str) -> Iterator[sa.Engine]:
    made = engine(empty_dsn)
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def session(database: sa.Engine) -> Iterator[Session]:
    with Session(database) as session:
        yield session


@pytest.fixture
def reader(empty_dsn: str, database: sa.Engine) -> Iterator[Connection]:
    with connect(empty_dsn) as connection:
        yield connection


def states(connection: Connection) -> dict[int, str]:
    rows = connection.execute(
        "SELECT id, CASE WHEN embedding IS NOT NULL THEN 'encoded' "
        "WHEN embedding_pending IS NOT NULL THEN 'pending' ELSE 'empty' END FROM articles"
    ).fetchall()
    return dict(rows)


def test_what_the_orm_inserts_is_encoded_in_the_flush(
    session: Session, reader: Connection, encoder: Encoder
) -> None:
    session.add_all([Article(id=1, title="cat", body="mat"), Article(id=2, title=None, body="")])
    session.commit()
    assert states(reader) == {1: "encoded", 2: "empty"}
    assert broken_rows(reader, load(reader, "articles").declaration) == 0
    article = session.get_one(Article, 1)
    assert article.embedding == pytest.approx(encoder.encode(["cat\nmat"]).dense[0], abs=1e-6)


def test_a_flush_writes_its_rows_in_one_statement(
    database: sa.Engine, session: Session, reader: Connection
) -> None:
    written: list[str] = []

    @sa.event.listens_for(database, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        written.append(statement.split(maxsplit=1)[0])

    articles = [Article(id=n, title=f"title {n}" if n % 3 else None) for n in range(1, 101)]
    session.add_all([*articles, *(Deferred(region="eu", id=n, text="cat") for n in range(1, 101))])
    session.flush()
    for article in articles:
        article.title = f"changed {article.id}" if article.id % 5 else None
    session.commit()
    assert written == ["INSERT", "INSERT", "UPDATE"]
    assert {key for key, state in states(reader).items() if state == "empty"} == set(
        range(5, 101, 5)
    )
    assert broken_rows(reader, load(reader, "articles").declaration) == 0
    left = reader.execute("SELECT count(*) FROM deferred WHERE vector_pending IS NOT NULL")
    assert left.fetchone() == (100,)


def test_what_a_flush_does_not_encode_is_pending_by_the_default(database: sa.Engine) -> None:
    with Session(database) as session:
        session.execute(sa.text("ALTER TABLE deferred DISABLE TRIGGER USER"))
        session.add(Deferred(region="eu", id=1, text="cat"))
        session.flush()
        (pending,) = session.scalars(sa.text("SELECT vector_pending FROM deferred"))
        assert pending is not None


def test_an_update_is_encoded_only_where_the_text_changed(
    session: Session, reader: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.add_all([Article(id=n, title=f"title {n}") for n in range(1, 5)])
    session.commit()
    batches: list[list[str]] = []
    original = Encoder.encode

    def note(self: Encoder, texts: list[str], **options: object) -> object:
        batches.append(texts)
        return original(self, texts, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Encoder, "encode", note)
    one, two, three, four = session.scalars(sa.select(Article).order_by(Article.id))
    one.title, two.year, three.title, four.body = "changed", 1999, "title 3", "more"
    session.commit()
    assert [sorted(batch) for batch in batches] == [["changed", "title 4\nmore"]]
    assert set(states(reader).values()) == {"encoded"}


def test_text_that_goes_away_takes_its_vector_with_it(session: Session, reader: Connection) -> None:
    session.add(Article(id=1, title="cat"))
    session.commit()
    session.get_one(Article, 1).title = None
    session.commit()
    assert states(reader) == {1: "empty"}


def test_bulk_and_raw_statements_are_pending_and_synced(
    session: Session, reader: Connection
) -> None:
    session.execute(sa.insert(Article), [{"id": n, "title": f"bulk {n}"} for n in range(1, 4)])
    session.execute(sa.text("INSERT INTO articles (id, title, year) VALUES (4, 'raw', 1)"))
    session.add(Article(id=5, title=sa.func.upper("from the database")))
    session.commit()
    assert states(reader) == dict.fromkeys(range(1, 6), "pending")
    assert drain(reader, load(reader, "articles")).encoded == 5
    session.execute(sa.update(Article).where(Article.id == 1).values(title="bulk update"))
    session.commit()
    assert states(reader)[1] == "pending"


def test_a_rollback_leaves_nothing(session: Session, reader: Connection) -> None:
    session.add(Article(id=1, title="kept"))
    session.flush()
    with session.begin_nested() as savepoint:
        session.add(Article(id=2, title="dropped"))
        session.flush()
        savepoint.rollback()
    session.commit()
    assert states(reader) == {1: "encoded"}


def test_deferred_leaves_everything_to_the_worker(session: Session, reader: Connection) -> None:
    session.add_all([Deferred(region="eu", id=1, text="a"), Deferred(region="us", id=1, text="b")])
    session.commit()
    registered = load(reader, "deferred")
    assert registered.declaration.storage == "halfvec"
    assert drain(reader, registered).encoded == 2
    session.get_one(Deferred, ("eu", 1)).text = "changed"
    session.commit()
    assert broken_rows(reader, registered.declaration) == 0
    assert drain(reader, registered).encoded == 1


TEXTS = ["a cat on a mat", "a dog on a mat", "columns of a database", "un chat", "数据库"]


@pytest.fixture
def library(session: Session) -> Session:
    session.add(Author(id=1, name="Ann"))
    session.flush()
    session.add_all(
        Article(id=n, title=text, year=1990 + n, author_id=1 if n % 2 else None)
        for n, text in enumerate(TEXTS, start=1)
    )
    session.commit()
    return session


def test_search_gives_the_entity_and_its_score(
    library: Session, reader: Connection, encoder: Encoder
) -> None:
    rows = library.execute(Article.search("cat", limit=3)).all()
    registered = load(reader, "articles")
    hits = search(reader, registered, encode_query(encoder, registered.declaration, "cat"), limit=3)
    assert [article.id for article, _ in rows] == [hit.key["id"] for hit in hits]
    assert [score for _, score in rows] == pytest.approx([hit.score for hit in hits])
    assert isinstance(rows[0][0], Article)


def test_search_by_a_composite_key(session: Session, reader: Connection) -> None:
    session.add_all(
        [Deferred(region=r, id=n, text=f"{r} {n}") for r in ("eu", "us") for n in (1, 2)]
    )
    session.commit()
    drain(reader, load(reader, "deferred"))
    found, _score = session.execute(Deferred.search("us 2", limit=1)).one()
    assert (found.region, found.id) == ("us", 2)


def test_conditions_inside_and_outside_the_search(library: Session) -> None:
    inside = Article.search("cat", limit=2, where=[Article.year > 1992])
    assert {article.year for article, _ in library.execute(inside)} <= {1993, 1994, 1995}
    assert len(library.execute(inside).all()) == 2
    outside = Article.search("cat", limit=5).where(Article.year > 1992)
    assert len(library.execute(outside).all()) == 3
    joined = Article.search("cat").join(Author).where(Author.name == "Ann")
    assert {article.id for article, _ in library.execute(joined)} == {1, 3, 5}


def test_relations_are_loaded_with_what_is_found(library: Session) -> None:
    for loading in (selectinload(Article.author), joinedload(Article.author)):
        library.expire_all()
        statement = Article.search("cat", limit=3).options(loading)
        rows = library.execute(statement).all()
        assert [article.id for article, _ in rows] == [
            article.id for article, _ in library.execute(Article.search("cat", limit=3))
        ]
        assert all("author" not in sa.inspect(article).unloaded for article, _ in rows)
        assert {article.author.name for article, _ in rows if article.author} == {"Ann"}


def test_paging_and_an_entity_found_by_a_subquery(library: Session) -> None:
    everything = library.execute(Article.search("cat", limit=5)).all()
    paged = [
        row
        for start in (0, 2, 4)
        for row in library.execute(Article.search("cat", limit=5).limit(2).offset(start))
    ]
    assert paged == everything
    found = Article.search("cat", limit=5).subquery()
    article = aliased(Article, found)
    by_year = library.scalars(sa.select(article).order_by(article.year.desc())).all()
    assert [one.year for one in by_year] == [1995, 1994, 1993, 1992, 1991]


def test_two_searches_fit_in_one_statement(library: Session) -> None:
    first = Article.search("cat", limit=1).subquery()
    second = Article.search("database", limit=1).subquery()
    statement = sa.select(first.c.id, second.c.id).select_from(first.join(second, sa.true()))
    one = library.execute(Article.search("cat", limit=1)).one()[0].id
    other = library.execute(Article.search("database", limit=1)).one()[0].id
    assert library.execute(statement).one() == (one, other)


def test_weights_and_exactness(library: Session) -> None:
    dense = library.execute(Article.search("cat", sparse_weight=0)).all()
    hybrid = library.execute(Article.search("cat", sparse_weight=1)).all()
    assert [score for _, score in dense] != [score for _, score in hybrid]
    exact = library.execute(Article.search("cat", exact=True)).all()
    assert exact == library.execute(Article.search("cat")).all()
    with pytest.raises(QueryError):
        Article.search("cat", limit=0)
    with pytest.raises(QueryError):
        Article.search("cat", dense_weight=-1)


def test_the_parts_of_the_score_and_whether_the_answer_is_complete(library: Session) -> None:
    for exact in (True, False):
        rows = library.execute(Article.search("cat", with_parts=True, exact=exact)).all()
        assert [(article, score) for article, score, *_ in rows] == [
            (article, score) for article, score in library.execute(Article.search("cat"))
        ]
        assert any(sparse > 0 for *_, sparse, _ in rows)
        for _, score, dense, sparse, complete in rows:
            assert score == pytest.approx(dense + 0.1 * sparse)
            assert complete


def test_search_where_the_vectors_are_in_a_companion(session: Session, reader: Connection) -> None:
    session.execute(sa.insert(Beside), [{"id": n, "text": text} for n, text in enumerate(TEXTS)])
    session.commit()
    drain(reader, load(reader, "beside"))
    rows = session.execute(Beside.search("cat", where=[Beside.id > 0], limit=3)).all()
    assert len(rows) == 3
    assert {found.id for found, _ in rows} <= {1, 2, 3, 4}
    everything = session.execute(Beside.search("cat", exact=True)).all()
    assert [pair for pair in everything if pair[0].id > 0][:3] == rows


def test_vectors_are_loaded_when_they_are_asked_for(library: Session) -> None:
    article, _ = library.execute(Article.search("cat", limit=1)).one()
    assert "embedding" in sa.inspect(article).unloaded
    assert article.embedding is not None
    assert len(article.embedding) == 64


def test_async_sessions_use_the_same_statement(empty_dsn: str, library: Session) -> None:
    import psycopg

    async def found() -> list[tuple[int, float]]:
        async def connect_async() -> psycopg.AsyncConnection:
            return await psycopg.AsyncConnection.connect(empty_dsn)

        made = create_async_engine("postgresql+psycopg://", async_creator=connect_async)
        async with AsyncSession(made) as session:
            session.add(Article(id=9, title="added under asyncio"))
            await session.commit()
            rows = (await session.execute(Article.search("cat", limit=4))).all()
            answer = [(article.id, score) for article, score in rows]
        await made.dispose()
        return answer

    answer = asyncio.run(found())
    library.expire_all()
    rows = library.execute(Article.search("cat", limit=4)).all()
    assert answer == [(article.id, score) for article, score in rows]


def test_a_core_table_declares_the_same(empty_dsn: str) -> None:
    metadata = sa.MetaData()
    notes = sa.Table(
        "My Notes",
        metadata,
        sa.Column("Key", sa.Text, primary_key=True),
        sa.Column("the text", sa.Text),
        Embedding("the text", name="meaning", model=MODEL),
        schema="app",
    )
    assert list(embeddings_of(notes)) == ["meaning"]
    made = engine(empty_dsn)
    with made.begin() as transaction:
        transaction.execute(sa.schema.CreateSchema("app"))
        metadata.create_all(transaction)
        transaction.execute(notes.insert(), [{"Key": "a", "the text": "cat"}])
    with connect(empty_dsn) as connection:
        registered = load(connection, 'app."My Notes"')
        assert drain(connection, registered).encoded == 1
        metadata.drop_all(made)
        assert connection.execute("SELECT FROM gte.embedding").fetchall() == []
        assert (
            connection.execute(
                "SELECT proname FROM pg_proc WHERE proname LIKE '%capture%'"
            ).fetchall()
            == []
        )


def test_what_is_wrong_is_said_when_the_class_is_made() -> None:
    with pytest.raises(DeclarationError, match="'titel'"):
        type(
            "Typo",
            (Searchable, Base),
            {
                "__tablename__": "typo",
                "id": mapped_column(sa.Integer, primary_key=True),
                "title": mapped_column(sa.Text),
                "embedding": Embedding("titel", model=MODEL),
            },
        )
    with pytest.raises(ModelError):
        Embedding("title", model="no-such-model")
    with pytest.raises(DeclarationError, match="declares no embedding"):
        type("Plain", (Searchable,), {}).search("x")  # type: ignore[attr-defined]
