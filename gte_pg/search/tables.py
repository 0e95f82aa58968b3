"""The tables that a search reads: the one with the vectors, and the user's where filters refer to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gte_pg.declaration import Declaration
from gte_pg.search.parameters import number, registry
from gte_pg.search.plain_tables import called, plain_vectors

# In a stored statement these stand for the tables, whatever their names are when it runs.
_VECTORS, _RELATION = "{vectors}", "{relation}"


@dataclass(frozen=True, slots=True)
class Tables:
    """`vectors` has the key columns and the vectors. `rows`, the table as the `filters` refer to it, is
    the same in the layout "columns"; else it is joined where there are filters.
    """

    declaration: Declaration
    vectors: sa.FromClause
    rows: sa.FromClause
    filters: tuple[sa.ColumnElement[bool], ...] = ()

    @classmethod
    def of(
        cls,
        declaration: Declaration,
        rows: sa.FromClause,
        filters: Sequence[sa.ColumnElement[bool]] = (),
    ) -> Tables:
        """Return the tables of a search over `rows`, the user's table as the filters refer to it."""
        vectors = rows if declaration.companion is None else plain_vectors(declaration)
        return cls(declaration, vectors, rows, tuple(filters))

    @classmethod
    def stored(cls, declaration: Declaration) -> Tables:
        """Return the tables of a statement that is stored: placeholders, and no filters."""
        vectors = called(declaration, (_VECTORS,))
        if declaration.companion is None:
            return cls(declaration, vectors, vectors)
        return cls(declaration, vectors, called(declaration, (_RELATION,)))

    def select(self, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        """Select from the rows that match."""
        source = self.vectors
        if self.rows is not self.vectors and self.filters:
            source = self.vectors.join(self.rows, self._same_row(self.rows))
        return sa.select(*columns).select_from(source).where(*self.filters)

    def locked_first(self) -> list[sa.ColumnElement[Any]]:
        """What the statement names first for Postgres to lock the user's table before a companion.

        TRUNCATE locks them in this order, by its trigger: the other way round the two would deadlock.
        """
        if self.rows is self.vectors:
            return []
        nothing = sa.select(number(1)).select_from(self.rows.alias("gte_first")).limit(number(0))
        return [nothing.scalar_subquery().label("locked")]

    def belong_to_a_row(self, embedding: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
        """Whether vectors are those of a row that is there and may be seen.

        A companion has the policy that its rows are seen with theirs, but its owner is not bound by it.
        Where that may matter it is asked here: the table has policies that bind this role (FORCE ROW LEVEL
        SECURITY), or it is partitioned, and may have lost a partition with its rows, without a trigger.
        """
        if self.rows is self.vectors:
            return sa.true()
        declared, active = registry(), sa.func.row_security_active
        relation = sa.table("pg_class", sa.column("oid"), sa.column("relkind"), schema="pg_catalog")
        is_partitioned = relation.c.relkind == sa.literal_column("'p'")
        may_matter = sa.or_(active(declared.c.relation), is_partitioned)
        is_no_matter = (
            sa.select(sa.or_(active(declared.c.vectors), sa.not_(may_matter)))
            .join_from(declared, relation, relation.c.oid == declared.c.relation)
            .where(declared.c.id == embedding)
        )
        row = self.rows.alias("gte_row")
        # OFFSET keeps Postgres from reading the whole table into a hash for a few hundred candidates.
        is_there = sa.select(number(1)).where(self._same_row(row)).offset(number(0))
        return sa.or_(is_no_matter.scalar_subquery(), is_there.correlate(self.vectors).exists())

    def _same_row(self, rows: sa.FromClause) -> sa.ColumnElement[bool]:
        names = [column.name for column in self.declaration.key]
        return sa.and_(*(named_column(rows, name) == self.column(name) for name in names))

    def keys(self) -> list[sa.ColumnElement[Any]]:
        return [
            self.column(column.name).label(f"key_{place}")
            for place, column in enumerate(self.declaration.key)
        ]

    def column(self, name: str) -> sa.ColumnElement[Any]:
        return named_column(self.vectors, name)

    def system_column(self, name: str) -> sa.ColumnElement[Any]:
        """A column that every table has and no declaration of it names: ctid, tableoid."""
        return sa.column(name, _selectable=self.vectors)


def named_column(table: sa.FromClause, name: str) -> sa.ColumnElement[Any]:
    """Return the column that the database calls so; SQLAlchemy finds columns by their keys."""
    return next(column for column in table.c if column.name == name)
