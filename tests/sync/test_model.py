"""Any order of writes, transactions and steps of workers, on few rows: the invariant after every step.

A model knows what rows there must be and with what text; the database must say the same, to every
reader, and hold no vector but the one of its text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray
from psycopg import errors, sql

from gte_pg.database import Connection, Registered, connect
from gte_pg.database.binary import adapt_binary_arrays
from gte_pg.declaration import Layout, OnChange, join_texts, text_hash
from gte_pg.encoder import Encoder
from gte_pg.sync import Worker, count_broken
from gte_pg.sync.claim import Batch, Claims
from gte_pg.sync.read import Read, Reader
from gte_pg.sync.write_back import Writer
from tests.tables import ARTICLES, add_embedding

One = TypeVar("One")

Texts = tuple[str | None, str | None]

_VALUES = (None, "", "a", "b", "a\nb")
_KEYS = range(1, 6)

keys = st.sampled_from(_KEYS)
texts = st.tuples(st.sampled_from(_VALUES), st.sampled_from(_VALUES))
sessions = st.integers(0, 1)
own_columns = st.sets(
    st.sampled_from(["embedding", "embedding_sparse", "embedding_hash", "embedding_pending"]),
    min_size=1,
)


@dataclass(frozen=True)
class Vectors:
    """What the model says of each text, and which text has a hash."""

    dense: Mapping[str, NDArray[np.float32]]
    sparse: Mapping[str, str]
    hashes: Mapping[bytes, str]

    @classmethod
    def of(cls, encoder: Encoder, generation: str) -> Vectors:
        found = {join_texts(pair) for pair in itertools.product(_VALUES, _VALUES)}
        known = sorted(text for text in found if text)
        encoded = encoder.encode(known)
        assert encoded.sparse is not None
        sparse = {}
        for place, text in enumerate(known):
            pairs = zip(*(part.tolist() for part in encoded.sparse[place]), strict=True)
            entries = ",".join(f"{index + 1}:{weight}" for index, weight in pairs)
            sparse[text] = f"{{{entries}}}/{encoded.sparse.dimensions}"
        hashes = {text_hash(generation, text): text for text in known}
        return cls(dict(zip(known, encoded.dense, strict=True)), sparse, hashes)


@dataclass
class Session:
    """A connection of an application, and what its open transaction has done.

    `changes` is what became of rows (None: gone), `touched` the keys it may hold locks on, `snapshot`
    what a REPEATABLE READ transaction sees of the others.
    """

    connection: Connection
    open: bool = False
    changes: dict[int, Texts | None] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    savepoint: dict[int, Texts | None] | None = None
    snapshot: dict[int, Texts] | None = None

    def leave(self) -> None:
        """End the transaction, if any is left, without its changes."""
        self.connection.rollback()
        self.open, self.changes, self.touched = False, {}, set()
        self.savepoint, self.snapshot = None, None


@dataclass
class Steps:
    """A worker taken apart: what it has in its hands between two steps."""

    claims: Claims
    reader: Reader
    writer: Writer
    batch: Batch | None = None
    read: Read = field(default_factory=lambda: Read([], [], []))


@dataclass
class World:
    """A table with an embedding and all who are connected to it."""

    connection: Connection
    registered: Registered
    encoder: Encoder
    vectors: Vectors
    sessions: list[Session]
    workers: list[Steps]

    def begin_again(self) -> None:
        for session in self.sessions:
            session.leave()
        for worker in self.workers:
            worker.batch = None
        self.connection.execute("TRUNCATE articles; DELETE FROM gte.lease")


class Interleaving(RuleBasedStateMachine):
    """Two applications and two workers, one step at a time."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.committed: dict[int, Texts] = {}

    @initialize(rows=st.dictionaries(keys, texts), encode=st.booleans())
    def begin(self, rows: dict[int, Texts], encode: bool) -> None:
        self.world.begin_again()
        for key, (title, body) in rows.items():
            self.world.connection.execute(
                "INSERT INTO articles VALUES (%s, %s, %s)", (key, title, body)
            )
        self.committed = dict(rows)
        if encode:
            self.whole_rounds()

    # What applications do to their rows.

    @rule(number=sessions, key=keys, text=texts, upsert=st.booleans())
    def put(self, number: int, key: int, text: Texts, upsert: bool) -> None:
        statement = "INSERT INTO articles VALUES (%(key)s, %(title)s, %(body)s)"
        if upsert:
            statement += (
                " ON CONFLICT (id) DO UPDATE SET title = excluded.title, body = excluded.body"
            )
        elif key in self._seen(number):
            statement = "UPDATE articles SET title = %(title)s, body = %(body)s WHERE id = %(key)s"
        self._write(number, statement, key, {key: text}, title=text[0], body=text[1])

    @rule(number=sessions, key=keys, title=st.sampled_from(_VALUES))
    def merge(self, number: int, key: int, title: str | None) -> None:
        _, body = self._seen(number).get(key, (None, None))
        statement = """
            MERGE INTO articles AS a USING (VALUES (%(key)s)) AS v (id) ON a.id = v.id
            WHEN MATCHED THEN UPDATE SET title = %(title)s, likes = likes + 1
            WHEN NOT MATCHED THEN INSERT (id, title) VALUES (v.id, %(title)s)
        """
        self._write(number, statement, key, {key: (title, body)}, title=title)

    @rule(number=sessions, key=keys)
    def like(self, number: int, key: int) -> None:
        self._write(number, "UPDATE articles SET likes = likes + 1 WHERE id = %(key)s", key, {})

    @rule(number=sessions, key=keys)
    def delete(self, number: int, key: int) -> None:
        # A snapshot may not show it, and then it stays.
        changes = {one: None for one in (key,) if one in self._seen(number)}
        self._write(number, "DELETE FROM articles WHERE id = %(key)s", key, changes)

    @rule(number=sessions, key=keys, other=keys, text=st.none() | texts)
    def move(self, number: int, key: int, other: int, text: Texts | None) -> None:
        seen = self._seen(number)
        assume(key in seen and other not in seen)
        statement = "UPDATE articles SET id = %(other)s WHERE id = %(key)s"
        if text is not None:
            statement = statement.replace(" WHERE", ", title = %(title)s, body = %(body)s WHERE")
        title, body = text or seen[key]
        changes = {key: None, other: (title, body)}
        self._write(number, statement, key, changes, other=other, title=title, body=body)

    @rule(number=sessions, key=keys, other=keys, text=st.none() | texts)
    def clone(self, number: int, key: int, other: int, text: Texts | None) -> None:
        """Copy a row, with its vectors where they are on it, and with other text or the same."""
        seen = self._seen(number)
        assume(key in seen and other not in seen)
        own = "".join(f", {column}" for column in self._own_columns())
        source = "title, body" if text is None else "%(title)s, %(body)s"
        statement = (
            f"INSERT INTO articles (id, title, body{own}) "
            f"SELECT %(other)s, {source}{own} FROM articles WHERE id = %(key)s"
        )
        title, body = text or seen[key]
        changes = {other: (title, body)}
        self._write(number, statement, key, changes, other=other, title=title, body=body)

    @precondition(lambda self: not any(one.open for one in self.world.sessions))
    @rule(text=texts, key=keys)
    def put_many(self, text: Texts, key: int) -> None:
        statement = "UPDATE articles SET title = %(title)s, body = %(body)s WHERE id >= %(key)s"
        changes = {one: text for one in self.committed if one >= key}
        self._write(0, statement, key, changes, title=text[0], body=text[1])

    @precondition(lambda self: not any(one.open for one in self.world.sessions))
    @rule()
    def shift_all(self) -> None:
        moved = {6 - key: text for key, text in self.committed.items()}
        connection = self.world.sessions[0].connection
        connection.execute(
            "ALTER TABLE articles DROP CONSTRAINT articles_pkey, ADD PRIMARY KEY (id) DEFERRABLE"
        )
        connection.execute("UPDATE articles SET id = 6 - id")
        connection.execute(
            "ALTER TABLE articles DROP CONSTRAINT articles_pkey, ADD PRIMARY KEY (id)"
        )
        self.committed = moved

    @precondition(lambda self: not any(one.open for one in self.world.sessions))
    @rule()
    def truncate(self) -> None:
        self.world.sessions[0].connection.execute("TRUNCATE articles")
        self.committed = {}

    # What they do to the embedding's columns.

    @precondition(lambda self: self._own_columns() != ())
    @rule(number=sessions, key=keys, columns=own_columns)
    def take_away(self, number: int, key: int, columns: set[str]) -> None:
        assignments = ", ".join(f"{column} = NULL" for column in sorted(columns))
        self._write(number, f"UPDATE articles SET {assignments} WHERE id = %(key)s", key, {})

    @precondition(lambda self: self._own_columns() != ())
    @rule(number=sessions, key=keys, text=texts, with_text=st.booleans(), strange=st.booleans())
    def be_eager(self, number: int, key: int, text: Texts, with_text: bool, strange: bool) -> None:
        joined = join_texts(text)
        assume(joined)
        assert joined is not None
        changes: dict[int, Texts | None] = {}
        statement = (
            "UPDATE articles SET embedding = %(dense)s::vector, embedding_hash = %(hash)s, "
            "embedding_sparse = %(sparse)s::sparsevec, embedding_pending = NULL WHERE id = %(key)s"
        )
        if with_text:
            statement = statement.replace("SET", "SET title = %(title)s, body = %(body)s,")
            changes = {key: text} if key in self._seen(number) else {}
        vectors = self.world.vectors
        (found,) = (stored for stored, known in vectors.hashes.items() if known == joined)
        self._write(
            number,
            statement,
            key,
            changes,
            title=text[0],
            body=text[1],
            dense=str(vectors.dense[joined].tolist()),
            sparse=vectors.sparse[joined],
            hash=b"strange" if strange else found,
        )

    # Transactions.

    @precondition(lambda self: not all(one.open for one in self.world.sessions))
    @rule(data=st.data(), repeatable=st.booleans())
    def open_transaction(self, data: st.DataObject, repeatable: bool) -> None:
        session = self._one(data, [one for one in self.world.sessions if not one.open])
        level = "REPEATABLE READ" if repeatable else "READ COMMITTED"
        session.connection.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        session.connection.execute("SELECT FROM articles")
        session.open = True
        session.snapshot = dict(self.committed) if repeatable else None

    @precondition(lambda self: any(one.open for one in self.world.sessions))
    @rule(data=st.data(), commit=st.booleans())
    def end_transaction(self, data: st.DataObject, commit: bool) -> None:
        session = self._one(data, [one for one in self.world.sessions if one.open])
        if commit:
            session.connection.commit()
            self._commit(session)
        else:
            session.leave()

    @precondition(lambda self: any(one.open for one in self.world.sessions))
    @rule(data=st.data())
    def go_to_savepoint(self, data: st.DataObject) -> None:
        """Set a savepoint, or return to it where there is one."""
        session = self._one(data, [one for one in self.world.sessions if one.open])
        if session.savepoint is None:
            session.connection.execute("SAVEPOINT here")
            session.savepoint = dict(session.changes)
        else:
            session.connection.execute("ROLLBACK TO here")
            session.changes = dict(session.savepoint)

    # Workers, step by step.

    @precondition(lambda self: any(one.batch is None for one in self.world.workers))
    @rule(data=st.data(), rows=st.integers(1, 5))
    def claim_and_read(self, data: st.DataObject, rows: int) -> None:
        worker = self._one(data, [one for one in self.world.workers if one.batch is None])
        worker.batch = worker.claims.claim(rows)
        if worker.batch is not None:
            worker.read = worker.reader.read(worker.batch.keys)

    @precondition(lambda self: any(one.batch is not None for one in self.world.workers))
    @rule(data=st.data(), end=st.sampled_from(["released", "died", "once more"]))
    def write_back(self, data: st.DataObject, end: str) -> None:
        """Encode and write; then give the lease back, or die, or write the same again later."""
        worker = self._one(data, [one for one in self.world.workers if one.batch is not None])
        assert worker.batch is not None
        found = worker.read.texts
        worker.writer.clear(worker.read.textless)
        if found:
            worker.writer.write(found, self.world.encoder.encode([text.text for text in found]))
        if end == "released":
            worker.claims.release(worker.batch)
        if end != "once more":
            worker.batch = None

    @precondition(lambda self: any(one.batch is not None for one in self.world.workers))
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self._one(data, [one for one in self.world.workers if one.batch is not None]).batch = None

    @rule()
    def leases_run_out(self) -> None:
        self.world.connection.execute("UPDATE gte.lease SET until = '-infinity'")

    @rule()
    def whole_rounds(self) -> None:
        world = self.world
        worker = Worker(world.connection, world.registered, world.encoder, batch_rows=2)
        for done in worker.rounds():
            if done.left and not done.encoded:
                break

    # What must hold.

    @invariant()
    def every_reader_sees_the_invariant(self) -> None:
        self._check(self.world.connection, self.committed)
        for number, session in enumerate(self.world.sessions):
            if session.open:
                self._check(session.connection, self._seen(number))

    def teardown(self) -> None:
        """Whatever has happened, workers finish it."""
        for session in self.world.sessions:
            if session.open:
                session.connection.commit()
                self._commit(session)
        self.leases_run_out()
        self.whole_rounds()
        states = self._check(self.world.connection, self.committed)
        assert states == {
            key: "encoded" if join_texts(text) else "empty" for key, text in self.committed.items()
        }
        assert self.world.connection.execute("SELECT FROM gte.lease").fetchall() == []

    def _check(self, connection: Connection, expected: Mapping[int, Texts]) -> dict[int, str]:
        """Compare a reader's view with what it must be, and return the state of each row."""
        registered = self.world.registered
        declaration = registered.declaration
        companion = declaration.layout == "companion"
        join = (
            sql.SQL("FULL JOIN {} AS d USING (id)").format(declaration.vectors)
            if companion
            else sql.SQL("JOIN articles AS d USING (id)")
        )
        found = connection.execute(
            sql.SQL(
                "SELECT id, r.title, r.body, d.embedding::real[], d.embedding_sparse::text, "
                "d.embedding_hash, d.embedding_pending IS NOT NULL, r.id IS NULL OR d.id IS NULL "
                "FROM articles AS r {}"
            ).format(join)
        ).fetchall()
        assert not any(row[-1] for row in found), "a row without its companion row, or the reverse"
        assert {key: (title, body) for key, title, body, *_ in found} == expected
        states = {
            key: self._state(join_texts((title, body)), dense, sparse, stored, pending=pending)
            for key, title, body, dense, sparse, stored, pending, _ in found
        }
        assert count_broken(connection, registered) == 0
        return states

    def _state(
        self,
        text: str | None,
        dense: list[float] | None,
        sparse: str | None,
        stored: bytes | None,
        *,
        pending: bool,
    ) -> str:
        vectors = self.world.vectors
        filled = [value is not None for value in (dense, sparse, stored)]
        if text is None:
            assert not any(filled)
            assert not pending
            return "empty"
        if not any(filled):
            assert pending, "neither a vector nor pending"
            return "pending"
        assert all(filled), "part of a vector"
        assert stored is not None
        of = vectors.hashes[stored]
        np.testing.assert_allclose(cast("list[float]", dense), vectors.dense[of], atol=1e-5)
        if of != text:
            assert pending, "the vector of another text"
            assert self.world.registered.declaration.on_change == "keep"
        return "kept" if pending else "encoded"

    # The model.

    def _write(
        self,
        number: int,
        statement: str,
        key: int,
        changes: Mapping[int, Texts | None],
        **values: object,
    ) -> None:
        """Run a statement about the row `key`; `changes` is what becomes of the rows, None: gone."""
        session, other = self.world.sessions[number], self.world.sessions[1 - number]
        # It would wait for the end of the other's transaction.
        assume(not {key, *changes} & other.touched)
        try:
            session.connection.execute(statement.encode(), {"key": key, **values})
        except (errors.SerializationFailure, errors.UniqueViolation):
            assert session.snapshot is not None, "only what a snapshot shows may be out of date"
            session.leave()
            return
        session.touched |= {key, *changes}
        session.changes |= changes
        if not session.open:
            self._commit(session)

    @staticmethod
    def _one(data: st.DataObject, among: list[One]) -> One:
        return among[data.draw(st.integers(0, len(among) - 1))]

    def _seen(self, number: int) -> dict[int, Texts]:
        """Return the rows that a session sees."""
        session = self.world.sessions[number]
        others = self.committed if session.snapshot is None else session.snapshot
        seen = {**others, **session.changes}
        return {key: text for key, text in seen.items() if text is not None}

    def _commit(self, session: Session) -> None:
        changed = {**self.committed, **session.changes}
        self.committed = {key: text for key, text in changed.items() if text is not None}
        session.leave()

    def _own_columns(self) -> tuple[str, ...]:
        """Return the embedding's columns where an application can write them."""
        declaration = self.world.registered.declaration
        return declaration.columns if declaration.layout == "columns" else ()


@pytest.fixture
def world(
    dsn: str,
    connection: Connection,
    model: str,
    encoder: Encoder,
    layout: Layout,
    on_change: OnChange,
) -> Iterator[World]:
    connection.execute(ARTICLES)
    registered = add_embedding(
        dsn, connection, "articles", ("title", "body"), model, layout=layout, on_change=on_change
    )
    with ExitStack() as stack:

        def steps(number: int) -> Steps:
            own = stack.enter_context(connect(dsn))
            adapt_binary_arrays(own)
            claims = Claims(own, registered, owner=str(number), lease=timedelta(hours=1))
            return Steps(claims, Reader(own, registered.declaration), Writer(own, registered))

        yield World(
            connection,
            registered,
            encoder,
            Vectors.of(encoder, registered.declaration.generation),
            [Session(stack.enter_context(connect(dsn))) for _ in range(2)],
            [steps(number) for number in range(2)],
        )


@pytest.mark.parametrize("layout", ["columns", "companion"])
@pytest.mark.parametrize("on_change", ["clear", "keep"])
def test_the_invariant_holds_in_any_order_of_steps(world: World) -> None:
    class InWorld(Interleaving):
        def __init__(self) -> None:
            super().__init__(world)

    run_state_machine_as_test(
        InWorld,
        settings=settings(
            max_examples=10,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
