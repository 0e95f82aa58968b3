"""The tables of the run and their embeddings: both layouts, both on_change, partitions, odd names."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from psycopg import sql

from gte_pg.database import Connection, Registered, fill, load_all
from gte_pg.declaration import Layout, OnChange, Storage
from tests.stress.texts import BODIES, LIKED, TITLES
from tests.tables import add_embedding

_REGIONS = ("eu", 'the "us"')


@dataclass(frozen=True)
class Embedding:
    """An embedding as it is declared; `source` names title and body."""

    layout: Layout
    on_change: OnChange
    source: tuple[str, ...] = ("title", "body")
    name: str = "embedding"
    storage: Storage = "vector"


@dataclass(frozen=True)
class Subject:
    """A table of an application; the last column of its key is a number."""

    name: tuple[str, ...]
    embeddings: tuple[Embedding, ...]
    key: tuple[str, ...] = ("id",)
    title: str = "title"
    body: str = "body"
    likes: str = "likes"
    deferrable: bool = False
    partitions: int = 0
    # A trigger of the application that changes the text in an UPDATE of something else.
    has_trigger: bool = False

    @property
    def written(self) -> str:
        return sql.Identifier(*self.name).as_string()

    def key_of(self, number: int) -> tuple[object, ...]:
        """Return the key that stands for a number."""
        region = (_REGIONS[number % len(_REGIONS)],)
        return (*region, number) if len(self.key) > 1 else (number,)

    def sources(self, embedding: Embedding) -> tuple[str, ...]:
        columns = {"title": self.title, "body": self.body}
        return tuple(columns[source] for source in embedding.source)

    def create(self, dsn: str, connection: Connection, model: str, *, keys: int) -> None:
        """Create the table with a row for every key, then its embeddings."""
        for statement in self._create_statements():
            connection.execute(statement)
        row = fill(
            sql.SQL("INSERT INTO {table} VALUES (" + ", ".join(["%s"] * (len(self.key) + 2)) + ")"),
            table=sql.Identifier(*self.name),
        )
        # Rows that have no text when an embedding is added are pending until a worker has seen them.
        pairs = itertools.product(filter(None, TITLES), filter(None, BODIES))
        texts = itertools.cycle(pairs)
        rows = [(*self.key_of(number), *next(texts)) for number in range(1, keys + 1)]
        with connection.cursor() as cursor:
            cursor.executemany(row, rows)
        for embedding in self.embeddings:
            add_embedding(
                dsn,
                connection,
                self.written,
                self.sources(embedding),
                model,
                name=embedding.name,
                storage=embedding.storage,
                layout=embedding.layout,
                on_change=embedding.on_change,
            )

    def registered(self, connection: Connection) -> list[Registered]:
        return load_all(connection, self.written)

    def _create_statements(self) -> list[sql.Composed]:
        terms = {
            "table": sql.Identifier(*self.name),
            "regions": sql.SQL("{} text, ").format(sql.Identifier(self.key[0]))
            if len(self.key) > 1
            else sql.SQL(""),
            "number": sql.Identifier(self.key[-1]),
            "key": sql.SQL(", ").join(map(sql.Identifier, self.key)),
            "deferrable": sql.SQL("DEFERRABLE" if self.deferrable else ""),
            "title": sql.Identifier(self.title),
            "body": sql.Identifier(self.body),
            "likes": sql.Identifier(self.likes),
            "partitioned": sql.SQL("PARTITION BY HASH ({})" if self.partitions else "").format(
                sql.Identifier(self.key[-1])
            ),
        }
        statements = []
        if len(self.name) > 1:
            schema = sql.Identifier(self.name[0])
            statements.append(sql.SQL("CREATE SCHEMA {}").format(schema))
        statements.append(_CREATE.format(**terms))
        for part in range(self.partitions):
            partition = sql.Identifier(*self.name[:-1], f"{self.name[-1]} {part}")
            statements.append(_PARTITION.format(partition, terms["table"], self.partitions, part))
        if self.has_trigger:
            statements.append(_TRIGGER.format(**terms, liked=sql.Literal(LIKED)))
        return statements


_CREATE = sql.SQL("""
CREATE TABLE {table} (
    {regions}{number} bigint, {title} text, {body} text, {likes} int NOT NULL DEFAULT 0,
    PRIMARY KEY ({key}) {deferrable}
) {partitioned}
""")

_PARTITION = sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES WITH (MODULUS {}, REMAINDER {})")

_TRIGGER = sql.SQL("""
CREATE FUNCTION liked() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF NEW.{likes} % 5 = 4 THEN
        NEW.{title} := {liked};
    END IF;
    RETURN NEW;
END
$body$;
CREATE TRIGGER liked BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION liked()
""")

SUBJECTS = (
    Subject(("articles",), (Embedding("columns", "clear"),), has_trigger=True),
    Subject(("notes",), (Embedding("columns", "keep", storage="halfvec"),), deferrable=True),
    Subject(("letters",), (Embedding("companion", "clear"),), deferrable=True),
    Subject(("pages",), (Embedding("companion", "keep", storage="halfvec"),)),
    Subject(
        ("events",),
        (
            Embedding("columns", "clear"),
            Embedding("companion", "keep", source=("body",), name="about"),
        ),
        partitions=3,
    ),
    Subject(
        ('Odd "App" %s', "My {0} Table %s"),
        (
            Embedding("companion", "clear", name="The %s Vector"),
            Embedding("columns", "keep", source=("body", "title"), name='other "one"'),
        ),
        key=("Region %s", "No."),
        title='The "Title" %(x)s',
        body="Böd:y {1}",
        likes="select",
    ),
)
