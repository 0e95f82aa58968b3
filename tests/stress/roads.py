"""Every road by which the applications of the run write, as one statement with its weight.

`{here}` and `{there}` are the conditions of two keys, `{from}` and `{to}` their values.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from gte_pg.database import Connection, Registered, fill
from gte_pg.declaration import Declaration, join_texts, row_text
from tests.stress.subjects import Subject
from tests.stress.texts import BODIES, TITLES, UNLUCKY

Roads = Mapping[str, tuple[float, str]]

_INSERT = "INSERT INTO {table} ({key}, {title}, {body}) VALUES ({from}, %(title)s, %(body)s)"

_NEAR = "{number} BETWEEN %(number)s AND %(number)s + 4"

ROADS: Roads = {
    "insert": (12, _INSERT),
    "insert two": (4, _INSERT + ", ({to}, %(title)s, NULL)"),
    "text": (12, "UPDATE {table} SET {title} = %(title)s WHERE {here}"),
    "all text": (6, "UPDATE {table} SET {title} = %(title)s, {body} = %(body)s WHERE {here}"),
    "text of many": (4, "UPDATE {table} SET {body} = %(body)s WHERE " + _NEAR),
    "text of a block": (
        0.5,
        "UPDATE {table} SET {title} = %(title)s "
        "WHERE {number} BETWEEN %(number)s AND %(number)s + 99",
    ),
    "no text": (2, "UPDATE {table} SET {title} = '', {body} = NULL WHERE {here}"),
    "same text": (2, "UPDATE {table} SET {title} = {title} WHERE {here}"),
    "other column": (6, "UPDATE {table} SET {likes} = {likes} + 1 WHERE {here}"),
    "other column of many": (2, "UPDATE {table} SET {likes} = {likes} + 1 WHERE " + _NEAR),
    "text and other": (
        4,
        "UPDATE {table} SET {body} = %(body)s, {likes} = {likes} + 1 WHERE {here}",
    ),
    "merge": (
        6,
        "MERGE INTO {table} AS t USING (VALUES ({from})) AS v ({key}) ON {same_key} "
        "WHEN MATCHED AND t.{likes} %% 3 = 2 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET {title} = %(title)s, {likes} = t.{likes} + 1 "
        "WHEN NOT MATCHED THEN INSERT ({key}, {body}) VALUES ({from}, %(body)s)",
    ),
    "delete": (4, "DELETE FROM {table} WHERE {here}"),
    "delete many": (0.3, "DELETE FROM {table} WHERE " + _NEAR),
    "key": (5, "UPDATE {table} SET ({key}) = ROW({to}) WHERE {here}"),
    "key and text": (3, "UPDATE {table} SET ({key}) = ROW({to}), {title} = %(title)s WHERE {here}"),
    "clone": (
        3,
        "INSERT INTO {table} ({key}, {title}, {body}) "
        "SELECT {to}, {title}, {body} FROM {table} WHERE {here}",
    ),
    "delete and insert": (
        2,
        "WITH gone AS (DELETE FROM {table} WHERE {here} RETURNING *) "
        "INSERT INTO {table} ({key}, {title}, {body}) SELECT {key}, %(title)s, {body} FROM gone",
    ),
    "truncate": (0.2, "TRUNCATE {table}"),
}

# Postgres has no ON CONFLICT where the key is deferrable, and no swap where it is not.
IMMEDIATE_KEY: Roads = {
    "upsert": (
        8,
        _INSERT + " ON CONFLICT ({key}) DO UPDATE SET {title} = excluded.{title}",
    ),
    "insert or leave": (3, _INSERT + ", ({to}, NULL, %(body)s) ON CONFLICT DO NOTHING"),
}
DEFERRABLE_KEY: Roads = {
    "swap": (
        6,
        "UPDATE {table} SET {number} = 2 * %(number)s + 2 - {number} "
        "WHERE {number} IN (%(number)s, %(number)s + 2)",
    ),
    "shift": (2, "UPDATE {table} SET {number} = {number} + 1 WHERE " + _NEAR),
}

_EAGER = """
UPDATE {table} AS t SET {dense} = r.dense, {sparse} = r.sparse, {hash} = r.hash, {pending} = NULL
FROM stress.reference AS r WHERE {here} AND r.text = """

# What an application does to the embedding's own columns.
OWN_COLUMNS: Roads = {
    "vector taken away": (2, "UPDATE {table} SET {dense} = NULL WHERE {here}"),
    "hash taken away": (1, "UPDATE {table} SET {hash} = NULL WHERE {here}"),
    "all taken away": (
        2,
        "UPDATE {table} SET {dense} = NULL, {sparse} = NULL, {hash} = NULL WHERE {here}",
    ),
    "pending taken away": (3, "UPDATE {table} SET {pending} = NULL WHERE {here}"),
    "pending of many taken away": (1, "UPDATE {table} SET {pending} = NULL WHERE " + _NEAR),
    "eager, right": (5, _EAGER + "{text}"),
    "eager, wrong": (3, _EAGER + "%(joined)s"),
    "eager, strange hash": (
        1,
        "UPDATE {table} AS t SET {dense} = r.dense, {sparse} = r.sparse, {hash} = sha256(r.hash) "
        "FROM stress.reference AS r WHERE {here} AND r.text = %(joined)s",
    ),
    "text with its vector": (
        4,
        "UPDATE {table} AS t SET {title} = %(title)s, {body} = %(body)s, {dense} = r.dense, "
        "{sparse} = r.sparse, {hash} = r.hash, {pending} = NULL "
        "FROM stress.reference AS r WHERE {here} AND r.text = %(joined)s",
    ),
    "insert with its vector": (
        3,
        "INSERT INTO {table} ({key}, {title}, {body}, {dense}, {sparse}, {hash}, {pending}) "
        "SELECT {from}, %(title)s, %(body)s, r.dense, r.sparse, r.hash, NULL "
        "FROM stress.reference AS r WHERE r.text = %(joined)s",
    ),
    "insert that says it is done": (
        2,
        "INSERT INTO {table} ({key}, {title}, {pending}) VALUES ({from}, %(title)s, NULL)",
    ),
    "clone with vectors": (
        4,
        "INSERT INTO {table} ({key}, {title}, {body}, {all}) "
        "SELECT {to}, {title}, {body}, {all} FROM {table} WHERE {here}",
    ),
    "clone with vectors, other text": (
        4,
        "INSERT INTO {table} ({key}, {title}, {body}, {all}) "
        "SELECT {to}, %(title)s, {body}, {all} FROM {table} WHERE {here}",
    ),
    "vector of another row": (
        3,
        "UPDATE {table} AS t SET {dense} = o.{dense}, {sparse} = o.{sparse}, {hash} = o.{hash}, "
        "{pending} = NULL FROM (SELECT * FROM {table} WHERE {there}) AS o WHERE {here_t}",
    ),
}

_COPY = sql.SQL("COPY {} ({}, {}, {}) FROM STDIN")
_COPY_WEIGHT = 6

# How often a title is one that cannot be encoded.
_UNLUCKY = 0.005


@dataclass
class Writer:
    """An application that writes to one table, on keys from 1 to `keys`."""

    subject: Subject
    embeddings: list[Registered]
    keys: int
    only: Sequence[str]
    random: random.Random

    def __post_init__(self) -> None:
        self._on_the_row = [
            one.declaration for one in self.embeddings if one.declaration.layout == "columns"
        ]
        roads = {
            **ROADS,
            **(DEFERRABLE_KEY if self.subject.deferrable else IMMEDIATE_KEY),
            **(OWN_COLUMNS if self._on_the_row else {}),
            "copy": (_COPY_WEIGHT, ""),
        }
        self._roads = {
            name: road for name, road in roads.items() if not self.only or name in self.only
        }
        sides = {
            side: ", ".join(f"%({side}_{place})s" for place in range(len(self.subject.key)))
            for side in ("from", "to")
        }
        self._placeholders = {
            "{from}": sides["from"],
            "{to}": sides["to"],
            "{here}": f"({{key}}) = ({sides['from']})",
            "{here_t}": f"({{t_key}}) = ({sides['from']})",
            "{there}": f"({{key}}) = ({sides['to']})",
        }

    def pick(self) -> str:
        """Return the name of a road, the heavier ones more often."""
        weights = [weight for weight, _ in self._roads.values()]
        return self.random.choices(list(self._roads), weights)[0]

    def write(self, connection: Connection, road: str) -> None:
        """Take this road once, with random keys and texts."""
        if road == "copy":
            self._copy(connection)
            return
        number, other = self._number(), self._number()
        title, body = self._texts()
        values: dict[str, object] = {"number": number, "title": title, "body": body}
        for side, chosen in (("from", number), ("to", other)):
            for place, value in enumerate(self.subject.key_of(chosen)):
                values[f"{side}_{place}"] = value
        terms = self._terms()
        if self._on_the_row:
            declaration = self.random.choice(self._on_the_row)
            by_column = {self.subject.title: title, self.subject.body: body}
            values["joined"] = join_texts(by_column[source] for source in declaration.source)
            terms |= self._own_terms(declaration)
        template = self._roads[road][1]
        for name, placeholders in self._placeholders.items():
            template = template.replace(name, placeholders)
        connection.execute(fill(sql.SQL(template), **terms), values)

    def _copy(self, connection: Connection) -> None:
        subject = self.subject
        columns = [sql.Identifier(subject.title), sql.Identifier(subject.body)]
        statement = _COPY.format(sql.Identifier(*subject.name), _list(subject.key), *columns)
        with connection.cursor().copy(statement) as copy:
            for number in sorted({self._number() for _ in range(self.random.randint(1, 4))}):
                copy.write_row((*subject.key_of(number), *self._texts()))

    def _texts(self) -> tuple[str | None, str | None]:
        unlucky = self.random.random() < _UNLUCKY
        return UNLUCKY if unlucky else self.random.choice(TITLES), self.random.choice(BODIES)

    def _number(self) -> int:
        return self.random.randint(1, self.keys)

    def _terms(self) -> dict[str, sql.Composable]:
        subject = self.subject
        return {
            "table": sql.Identifier(*subject.name),
            "key": _list(subject.key),
            "number": sql.Identifier(subject.key[-1]),
            "title": sql.Identifier(subject.title),
            "body": sql.Identifier(subject.body),
            "likes": sql.Identifier(subject.likes),
            "t_key": sql.SQL(", ").join(sql.Identifier("t", column) for column in subject.key),
            "same_key": sql.SQL(" AND ").join(
                sql.SQL("t.{0} = v.{0}").format(sql.Identifier(column)) for column in subject.key
            ),
        }

    def _own_terms(self, declaration: Declaration) -> dict[str, sql.Composable]:
        everything = [column for one in self._on_the_row for column in one.columns]
        return {
            "dense": sql.Identifier(declaration.dense_column),
            "sparse": sql.Identifier(declaration.sparse_column),
            "hash": sql.Identifier(declaration.hash_column),
            "pending": sql.Identifier(declaration.pending_column),
            "text": row_text(declaration, "t"),
            "all": _list(everything),
        }


def _list(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
