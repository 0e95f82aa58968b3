"""Tables that are not like most: what their keys include, and the rules that stand before them."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from gte_pg.database import Connection
from gte_pg.declaration import KeyColumn, Layout
from gte_pg.encoder import Encoder
from gte_pg.errors import DeclarationError
from gte_pg.search import encode_query, explain, search
from gte_pg.sync import Worker, count_broken
from tests.tables import add_embedding, drain


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_what_a_primary_key_includes_is_no_part_of_it(
    dsn: str, connection: Connection, model: str, encoder: Encoder, layout: Layout
) -> None:
    connection.execute("""
        CREATE TABLE notes (id int, title text, aside json, PRIMARY KEY (id) INCLUDE (aside));
        INSERT INTO notes VALUES (1, 'a cat', '{}'), (2, 'a dog', NULL);
    """)
    notes = add_embedding(dsn, connection, "notes", ("title",), model, layout=layout)
    assert [column.name for column in notes.declaration.key] == ["id"]
    connection.execute("INSERT INTO notes VALUES (3, 'a cow', NULL)")
    connection.execute("UPDATE notes SET title = 'two dogs', aside = NULL WHERE id = 2")
    assert drain(connection, notes).encoded == 3
    assert count_broken(connection, notes) == 0
    query = encode_query(encoder, notes.declaration, "two dogs")
    assert search(connection, notes, query)[0].key == {"id": 2}
    assert explain(connection, notes, encoder, query, "2").rank == 1
    found = connection.execute("SELECT found_key FROM gte.similar('notes', '2')").fetchall()
    assert sorted(key["id"] for (key,) in found) == [1, 3]


def test_a_key_that_finds_no_row_does_not_keep_a_worker_for_ever(
    dsn: str, connection: Connection, model: str, encoder: Encoder
) -> None:
    """As one with a NULL in it, should one ever come to be."""
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, title text, aside text)")
    connection.execute("INSERT INTO notes VALUES (1, 'a cat', ''), (2, 'a dog', NULL)")
    notes = add_embedding(dsn, connection, "notes", ("title",), model)
    key = (*notes.declaration.key, KeyColumn("aside", "text"))
    unfit = replace(notes, declaration=replace(notes.declaration, key=key))
    rounds = list(islice(Worker(connection, unfit, encoder).rounds(), 4))
    assert [(done.encoded, done.left) for done in rounds] == [(1, 0), (0, 0), (0, 1), (0, 1)]
    # Nor do several, which come batch by batch and in turn.
    connection.execute("INSERT INTO notes VALUES (3, 'a cow', NULL), (4, 'a hen', NULL)")
    rounds = list(islice(Worker(connection, unfit, encoder, batch_rows=1).rounds(), 6))
    assert [done.left for done in rounds][-2:] == [1, 1]


@pytest.mark.parametrize("rule", ["DO ALSO SELECT 1", "WHERE old.id = 1 DO INSTEAD NOTHING"])
def test_a_rule_on_update_is_refused_where_vectors_are_written_to_the_row(
    dsn: str, connection: Connection, model: str, rule: str
) -> None:
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, title text)")
    connection.execute("CREATE RULE watched AS ON DELETE TO notes DO ALSO SELECT 1")
    connection.execute(f"CREATE RULE ruled AS ON UPDATE TO notes {rule}".encode())
    connection.execute("INSERT INTO notes VALUES (1, 'a cat'), (2, 'a dog')")
    with pytest.raises(DeclarationError, match="'ruled' ON UPDATE.*companion"):
        add_embedding(dsn, connection, "notes", ("title",), model)
    notes = add_embedding(dsn, connection, "notes", ("title",), model, layout="companion")
    assert drain(connection, notes).encoded == 2
    connection.execute("DROP RULE ruled ON notes")
    assert add_embedding(dsn, connection, "notes", ("title",), model, name="other").declaration
