"""Rows that an application moves to another partition while their vectors are written back."""

from __future__ import annotations

import threading

from gte_pg.database import Connection, connect
from gte_pg.encoder import Encoder
from gte_pg.sync import Worker, count_broken, status
from tests.tables import Interrupted, add_embedding

# A statement that reads the text of the first row takes half a second.
_PARTITIONED = """
CREATE TABLE articles (id int PRIMARY KEY, title text) PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF articles FOR VALUES FROM (0) TO (100);
CREATE TABLE high PARTITION OF articles FOR VALUES FROM (100) TO (200);
INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 20) AS n;
CREATE FUNCTION slowly(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $body$
BEGIN
    PERFORM pg_sleep(0.5) WHERE $1 = 'title 1';
    RETURN $1;
END
$body$
"""


def test_the_others_are_written_and_it_is_encoded_where_it_is(
    dsn: str, connection: Connection, model: str, encoder: Encoder
) -> None:
    connection.execute(_PARTITIONED)
    registered = add_embedding(
        dsn, connection, "articles", (), model, expression="public.slowly({title})"
    )

    def move() -> None:
        with connect(dsn) as application:
            application.execute("UPDATE articles SET id = id + 100 WHERE id IN (7, 20)")

    movers: list[threading.Timer] = []

    def move_soon(_texts: list[str]) -> None:
        if not movers:
            movers.append(threading.Timer(0.2, move))
            movers[0].start()

    worker = Worker(connection, registered, Interrupted(encoder, move_soon))
    encoded = [done.encoded for done in worker.rounds()]
    movers[0].join()
    assert (encoded[0], sum(encoded)) == (18, 20)
    assert status(connection, registered).failed == 0
    assert count_broken(connection, registered) == 0
    moved = "SELECT count(*) FROM high WHERE embedding_pending IS NULL"
    assert connection.execute(moved).fetchone() == (2,)
