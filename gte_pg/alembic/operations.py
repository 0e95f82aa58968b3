"""`op.add_embedding` and its kin: what an application's migration says of an embedding."""

from __future__ import annotations

from typing import Any, Unpack

from alembic.operations import MigrateOperation, Operations

from gte_pg.alembic.facts import Facts, declared, named
from gte_pg.declaration import Declaration, Layout


@Operations.register_operation("add_embedding")
class AddEmbeddingOp(MigrateOperation):
    """Put an embedding on a table."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration

    @classmethod
    def add_embedding(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        schema: str | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        """Put an embedding on a table: its columns and triggers.

        The table is neither read nor rewritten; every row with text is then pending, and `gte-pg sync`
        encodes it. An empty table gets its indexes at once, others by sync.
        """
        operations.invoke(cls(declared(table_name, name, schema, facts)))

    def reverse(self) -> RemoveEmbeddingOp:
        return RemoveEmbeddingOp(self.declaration)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("add_embedding", self.declaration.written, self.declaration.name)


@Operations.register_operation("alter_embedding")
class AlterEmbeddingOp(MigrateOperation):
    """Change how the text of an embedding is made, or what becomes of a vector when it changes."""

    def __init__(
        self, wanted: Declaration, present: Declaration, *, suspended: bool = False
    ) -> None:
        self.wanted = wanted
        self.present = present
        self.suspended = suspended

    @classmethod
    def alter_embedding(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        schema: str | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        """Make an embedding what is said here, where its vectors stay what they are for the same text.

        Rows whose text is another now become pending, in one UPDATE; the others keep their vectors. Also
        after a source column was renamed, or changed its type (see `suspend_embedding`). Raises
        DeclarationError for other vectors: another model, dimension, storage or layout.
        """
        wanted = declared(table_name, name, schema, facts)
        operations.invoke(cls(wanted, wanted))

    def reverse(self) -> AlterEmbeddingOp | SuspendEmbeddingOp:
        if self.suspended:
            return SuspendEmbeddingOp(self.wanted, self.present)
        return AlterEmbeddingOp(self.present, self.wanted)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("alter_embedding", self.wanted.written, self.wanted.name)


@Operations.register_operation("switch_embedding")
class SwitchEmbeddingOp(MigrateOperation):
    """Say that an embedding has vectors of another model from here on."""

    def __init__(self, wanted: Declaration, present: Declaration) -> None:
        self.wanted = wanted
        self.present = present

    @classmethod
    def switch_embedding(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        schema: str | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        """Say which model an embedding has from here on: `gte-pg switch` has seen to it before.

        A table without rows is switched here. Raises DeclarationError where there are rows and the
        embedding is not switched yet: they would not be found until they are encoded anew.
        """
        wanted = declared(table_name, name, schema, facts)
        operations.invoke(cls(wanted, wanted))

    def reverse(self) -> SwitchEmbeddingOp:
        return SwitchEmbeddingOp(self.present, self.wanted)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("switch_embedding", self.wanted.written, self.wanted.name)


@Operations.register_operation("suspend_embedding")
class SuspendEmbeddingOp(MigrateOperation):
    """Take the triggers of an embedding away, until it is altered to what is `wanted`."""

    def __init__(self, present: Declaration, wanted: Declaration) -> None:
        self.present = present
        self.wanted = wanted

    @classmethod
    def suspend_embedding(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        layout: Layout = "columns",
        schema: str | None = None,
    ) -> None:
        """Take the triggers away: Postgres changes no type of a column that a trigger names.

        `alter_embedding` in the same transaction puts them back.
        """
        present = named(table_name, name, schema, layout)
        operations.invoke(cls(present, present))

    def reverse(self) -> AlterEmbeddingOp:
        return AlterEmbeddingOp(self.present, self.wanted)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("suspend_embedding", self.present.written, self.present.name)


@Operations.register_operation("remove_embedding")
class RemoveEmbeddingOp(MigrateOperation):
    """Take an embedding off a table; `replaced` where another of the same name takes its place."""

    def __init__(self, declaration: Declaration, *, replaced: bool = False) -> None:
        self.declaration = declaration
        self.replaced = replaced

    @classmethod
    def remove_embedding(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        layout: Layout = "columns",
        schema: str | None = None,
    ) -> None:
        """Take an embedding off a table: its vectors, indexes and triggers."""
        operations.invoke(cls(named(table_name, name, schema, layout)))

    def reverse(self) -> AddEmbeddingOp:
        return AddEmbeddingOp(self.declaration)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("remove_embedding", self.declaration.written, self.declaration.name)


@Operations.register_operation("create_search_indexes")
class CreateSearchIndexesOp(MigrateOperation):
    """Build the search indexes of an embedding."""

    def __init__(self, declaration: Declaration, *, concurrently: bool = False) -> None:
        self.declaration = declaration
        self.concurrently = concurrently

    @classmethod
    def create_search_indexes(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        concurrently: bool = False,
        schema: str | None = None,
    ) -> None:
        """Build the search indexes that are missing now, instead of leaving it to `gte-pg sync`.

        Blocks writes to the table for as long as it takes, minutes where it is large. With `concurrently`
        it blocks nobody, outside of a transaction: what the migration has done so far is committed first.
        Raises DatabaseError offline, where nobody knows which embedding that is, and when somebody else
        is building one of them.
        """
        embedding = named(table_name, name, schema)
        operations.invoke(cls(embedding, concurrently=concurrently))

    def reverse(self) -> DropSearchIndexesOp:
        return DropSearchIndexesOp(self.declaration, concurrently=self.concurrently)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("create_search_indexes", self.declaration.written, self.declaration.name)


@Operations.register_operation("drop_search_indexes")
class DropSearchIndexesOp(MigrateOperation):
    """Drop the search indexes of an embedding; `concurrently` is how they would be built again."""

    def __init__(self, declaration: Declaration, *, concurrently: bool = False) -> None:
        self.declaration = declaration
        self.concurrently = concurrently

    @classmethod
    def drop_search_indexes(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        schema: str | None = None,
    ) -> None:
        """Drop the search indexes; the next `gte-pg sync` builds them again."""
        operations.invoke(cls(named(table_name, name, schema)))

    def reverse(self) -> CreateSearchIndexesOp:
        return CreateSearchIndexesOp(self.declaration, concurrently=self.concurrently)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("drop_search_indexes", self.declaration.written, self.declaration.name)
