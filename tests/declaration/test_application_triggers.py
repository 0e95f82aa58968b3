"""What an application's own triggers do to a row, beside those of the capture."""

from __future__ import annotations

import pytest

from gte_pg.database import Connection
from gte_pg.declaration import Layout, OnChange
from gte_pg.sync import count_broken, status
from tests.tables import ARTICLES, add_embedding, drain


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_a_text_that_comes_from_an_after_trigger_is_encoded(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    connection.execute(ARTICLES)
    articles = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    connection.execute("""
        CREATE FUNCTION number() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE articles SET title = 'Ticket ' || NEW.id WHERE id = NEW.id AND title IS NULL;
            RETURN NULL;
        END $$;
        CREATE TRIGGER number AFTER INSERT OR UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION number();
    """)
    connection.execute("INSERT INTO articles (id) VALUES (1), (2)")
    connection.execute("UPDATE articles SET title = NULL WHERE id = 2")
    assert status(connection, articles).pending == 2
    assert drain(connection, articles).encoded == 2
    connection.execute("UPDATE articles SET title = NULL WHERE id = 1")
    assert drain(connection, articles).encoded == 1
    assert count_broken(connection, articles) == 0
    connection.execute("ALTER TABLE articles DISABLE TRIGGER number")
    connection.execute("UPDATE articles SET title = 'x'")
    connection.execute("UPDATE articles SET title = NULL")
    assert drain(connection, articles).encoded == 0
    found = status(connection, articles)
    assert (found.pending, found.encoded) == (0, 0)


@pytest.mark.parametrize("on_change", ["clear", "keep"])
@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_a_row_whose_key_a_trigger_changes_takes_no_former_vector_along(
    dsn: str, connection: Connection, model: str, layout: Layout, on_change: OnChange
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'one'), (2, 'two')")
    articles = add_embedding(
        dsn, connection, "articles", ("title",), model, layout=layout, on_change=on_change
    )
    drain(connection, articles)
    connection.execute("""
        CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE articles SET id = id + 100 WHERE id = NEW.id AND id < 100;
            RETURN NULL;
        END $$;
        CREATE TRIGGER move AFTER UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION move();
    """)
    connection.execute("UPDATE articles SET title = 'closed' WHERE id = 2")
    connection.execute("UPDATE articles SET likes = 1 WHERE id = 1")
    drain(connection, articles)
    assert count_broken(connection, articles) == 0
    found = status(connection, articles)
    assert (found.rows, found.encoded, found.pending) == (2, 2, 0)


@pytest.mark.parametrize("on_change", ["clear", "keep"])
@pytest.mark.parametrize(
    "reset",
    [
        "NEW.embedding := NULL",
        "NEW.embedding_sparse := NULL",
        "NEW.embedding_hash := NULL",
        "NEW.embedding := NULL; NEW.embedding_sparse := NULL; NEW.embedding_hash := NULL",
        "NEW.embedding_hash := sha256('')",
    ],
)
def test_a_vector_that_only_a_trigger_touches_is_made_anew(
    dsn: str, connection: Connection, model: str, on_change: OnChange, reset: str
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'one'), (2, 'two')")
    articles = add_embedding(dsn, connection, "articles", ("title",), model, on_change=on_change)
    drain(connection, articles)
    connection.execute(
        "CREATE FUNCTION reset() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {}; RETURN NEW; END'; "
        "CREATE TRIGGER reset BEFORE UPDATE ON articles FOR EACH ROW "
        "WHEN (OLD.likes <> NEW.likes) EXECUTE FUNCTION reset()".format(
            reset.replace("'", "''")
        ).encode()
    )
    connection.execute("UPDATE articles SET likes = 1 WHERE id = 1")
    assert count_broken(connection, articles) == 0
    assert drain(connection, articles).encoded == 1
    assert status(connection, articles).encoded == 2


def test_the_mark_of_a_kept_vector_is_not_taken_away_by_a_trigger(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'one')")
    articles = add_embedding(dsn, connection, "articles", ("title",), model, on_change="keep")
    drain(connection, articles)
    connection.execute("UPDATE articles SET title = 'other'")
    connection.execute("""
        CREATE FUNCTION unmark() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.embedding_pending := NULL; RETURN NEW; END';
        CREATE TRIGGER unmark BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION unmark();
    """)
    connection.execute("UPDATE articles SET likes = 1")
    assert (status(connection, articles).pending, count_broken(connection, articles)) == (1, 0)


def test_what_an_application_s_trigger_writes_at_a_write_back_stays(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'one', '')")
    articles = add_embedding(dsn, connection, "articles", ("title", "body"), model)
    connection.execute("""
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE articles SET body = 'encoded', likes = likes + 1 WHERE id = NEW.id;
            RETURN NULL;
        END $$;
        CREATE TRIGGER note AFTER UPDATE OF embedding ON articles FOR EACH ROW
        WHEN (OLD.embedding IS NULL AND NEW.body = '') EXECUTE FUNCTION note();
    """)
    drain(connection, articles)
    written = connection.execute("SELECT body, likes FROM articles").fetchone()
    assert written == ("encoded", 1)
    assert count_broken(connection, articles) == 0
