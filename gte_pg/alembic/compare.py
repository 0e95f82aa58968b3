"""Autogenerate: what the metadata declares against what the database has registered.

Alembic's own comparisons run first. What they found of an embedding's columns, indexes and companion
tables, and of the schema gte, is taken out again: that is what the operations on embeddings do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateTableOp,
    DropColumnOp,
    DropIndexOp,
    DropTableOp,
    MigrateOperation,
    ModifyTableOps,
    UpgradeOps,
)
from alembic.util import PriorityDispatchResult
from psycopg import sql

from gte_pg.alembic.operations import (
    AddEmbeddingOp,
    AlterEmbeddingOp,
    RemoveEmbeddingOp,
    SuspendEmbeddingOp,
    SwitchEmbeddingOp,
)
from gte_pg.database import ask, load_all, plain_connection
from gte_pg.declaration import Declaration
from gte_pg.install import is_alterable, next_name, not_kept, previous_name
from gte_pg.orm import INFO_KEY, embeddings_of

# A table: its schema, None for the one that is searched first, and its name.
_Table = tuple[str | None, str]

# Known by what they index: they keep their names when their table gets another, and somebody may have
# made one by hand.
_INDEXES = sql.SQL("""
SELECT DISTINCT c.relname
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_depend AS d
    ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
WHERE i.indrelid = to_regclass({}) AND a.attname = ANY ({})
""")


def compare_embeddings(context: AutogenContext, upgrade: UpgradeOps) -> PriorityDispatchResult:
    """Propose what makes the embeddings of the database those that are declared."""
    connection = context.connection
    assert connection is not None
    default = connection.dialect.default_schema_name
    tables = [table for table in context.sorted_tables if _is_included(context, table)]
    known = {_place(default, table.schema, table.name) for table in tables}
    declared = {
        (_table(one), one.name): one
        for table in tables
        for embedding in embeddings_of(table).values()
        for one in [_in_default(default, embedding.declaration(table))]
    }
    registered = load_all(plain_connection(connection), broken=True)
    present = [_in_default(default, one.declaration) for one in registered]
    dropped = {(op.schema, op.table_name) for op in upgrade.ops if isinstance(op, DropTableOp)}
    touched = _Touched.by(upgrade.ops)
    own_indexes = {
        (_table(_in_default(default, one.declaration)), index)
        for one in registered
        for index in _indexes_of(connection, one.declaration)
    } - {
        (_place(default, table.schema, table.name), str(index.name))
        for table in tables
        for index in table.indexes
    }
    owned = _Owned.of([*declared.values(), *present], own_indexes)
    upgrade.ops[:] = owned.without(upgrade.ops)
    before: list[MigrateOperation] = []
    after: list[MigrateOperation] = []
    along = {
        (_table(one), name(one.name))
        for one, entry in zip(present, registered, strict=True)
        if not entry.standby
        for name in (next_name, previous_name)
    }
    for one, entry in zip(present, registered, strict=True):
        place = _table(one), one.name
        wanted = declared.pop(place, None)
        if wanted is None and entry.standby and place in along:
            # What a switch of models keeps in step beside another goes where that goes.
            continue
        if wanted is None and _table(one) in dropped | known:
            before.append(RemoveEmbeddingOp(one))
            continue
        # Also one that is nobody's to declare has to follow its columns.
        change = _change(one, wanted or one, touched)
        before += change[0]
        after += change[1]
    # Before columns that an embedding needs are dropped, and after they are there.
    upgrade.ops[:] = [*before, *upgrade.ops, *after, *map(AddEmbeddingOp, declared.values())]
    return PriorityDispatchResult.CONTINUE


def _change(
    present: Declaration, wanted: Declaration, touched: _Touched
) -> tuple[list[MigrateOperation], list[MigrateOperation]]:
    """Return what makes one the other: before the operations on columns, and after them."""
    stored = _as_stored(wanted, present)
    source = {(_table(present), column) for column in present.source}
    # The companion has columns of the key's types.
    key = {(_table(present), column.name) for column in present.key if present.companion}
    if not (source & touched.dropped or key & touched.retyped):
        is_retyped = bool(source & touched.retyped)
        if stored == present and not is_retyped:
            return [], []
        if is_alterable(present, stored) and is_retyped:
            suspend = SuspendEmbeddingOp(present, stored)
            return [suspend], [AlterEmbeddingOp(stored, present, suspended=True)]
        if is_alterable(present, stored):
            return [], [AlterEmbeddingOp(stored, present)]
        if not not_kept(present, stored) and not is_retyped:
            return [], [SwitchEmbeddingOp(stored, present)]
    return [RemoveEmbeddingOp(present, replaced=True)], [AddEmbeddingOp(wanted)]


@dataclass(frozen=True, slots=True)
class _Touched:
    """Columns that a migration drops, and those whose type it changes."""

    dropped: frozenset[tuple[_Table, str]]
    retyped: frozenset[tuple[_Table, str]]

    @classmethod
    def by(cls, operations: Iterable[MigrateOperation]) -> _Touched:
        dropped, retyped = set(), set()
        for op in operations:
            if not isinstance(op, ModifyTableOps):
                continue
            table = op.schema, op.table_name
            for one in op.ops:
                if isinstance(one, DropColumnOp):
                    dropped.add((table, one.column_name))
                if isinstance(one, AlterColumnOp) and one.modify_type is not None:
                    retyped.add((table, one.column_name))
        return cls(frozenset(dropped), frozenset(retyped))


@dataclass(frozen=True, slots=True)
class _Owned:
    """What belongs to embeddings, and is none of Alembic's own comparisons' business."""

    columns: frozenset[tuple[_Table, str]]
    indexes: frozenset[tuple[_Table, str]]
    companions: frozenset[_Table]

    @classmethod
    def of(
        cls, declarations: Iterable[Declaration], indexes: Iterable[tuple[_Table, str]]
    ) -> _Owned:
        columns, companions = set(), set()
        for one in declarations:
            if one.companion is not None:
                *schema, name = one.companion
                companions.add((schema[0] if schema else None, name))
            else:
                columns |= {(_table(one), column) for column in one.columns}
        return cls(frozenset(columns), frozenset(indexes), frozenset(companions))

    def without(self, operations: Iterable[MigrateOperation]) -> Iterator[MigrateOperation]:
        """Yield the operations without those on what belongs to embeddings."""
        for op in operations:
            if isinstance(op, CreateTableOp):
                self._clean(op)
            elif isinstance(op, DropTableOp):
                if self._is_own((op.schema, op.table_name)):
                    continue
                if op._reverse is not None:
                    self._clean(op._reverse)
            elif isinstance(op, ModifyTableOps):
                table = op.schema, op.table_name
                op.ops = [one for one in op.ops if not self._is_on_own(table, one)]
                if op.is_empty():
                    continue
            yield op

    def _clean(self, op: CreateTableOp) -> None:
        table = op.schema, op.table_name
        op.columns = [
            item
            for item in op.columns
            if not (isinstance(item, sa.Column) and (table, item.name) in self.columns)
        ]
        # It would be written into the migration.
        op.info.pop(INFO_KEY, None)

    def _is_own(self, table: _Table) -> bool:
        return table in self.companions or table[0] == "gte"

    def _is_on_own(self, table: _Table, op: MigrateOperation) -> bool:
        if self._is_own(table):
            return True
        if isinstance(op, AddColumnOp):
            return (table, op.column.name) in self.columns
        if isinstance(op, AlterColumnOp | DropColumnOp):
            return (table, op.column_name) in self.columns
        if isinstance(op, DropIndexOp):
            return (table, op.index_name) in self.indexes
        return False


def _is_included(context: AutogenContext, table: sa.Table) -> bool:
    return context.run_object_filters(table, table.name, "table", False, None)


def _as_stored(wanted: Declaration, present: Declaration) -> Declaration:
    """Return what is wanted with what follows from the table, as the database has it."""
    companion = present.companion if wanted.layout == present.layout else wanted.companion
    return replace(wanted, key=present.key, companion=companion)


def _indexes_of(connection: sa.Connection, declaration: Declaration) -> Iterator[str]:
    found = _INDEXES.format(
        sql.Literal(declaration.vectors.as_string()), sql.Literal(list(declaration.columns))
    )
    return map(str, ask(connection, found).scalars())


def _place(default: str | None, schema: str | None, name: str) -> _Table:
    return None if schema == default else schema, name


def _table(declaration: Declaration) -> _Table:
    return declaration.schema, declaration.table


def _in_default(default: str | None, declaration: Declaration) -> Declaration:
    """Return the declaration as Alembic and a person write it: without its schema, where that is the
    default, and 0.088 where Postgres has its single precision of that.
    """
    companion = declaration.companion
    if companion is not None and companion[0] == default and len(companion) > 1:
        companion = companion[1:]
    schema, _ = _place(default, declaration.schema, declaration.table)
    step = float(str(np.float32(declaration.impact_step)))
    return replace(declaration, schema=schema, companion=companion, impact_step=step)
