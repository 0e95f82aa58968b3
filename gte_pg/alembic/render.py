"""How the operations are written into a migration."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext

from gte_pg.alembic.operations import (
    AddEmbeddingOp,
    AlterEmbeddingOp,
    CreateSearchIndexesOp,
    DropSearchIndexesOp,
    RemoveEmbeddingOp,
    SuspendEmbeddingOp,
    SwitchEmbeddingOp,
)
from gte_pg.declaration import Declaration

# These stand at another place, or follow from others.
_ELSEWHERE = ("schema", "table", "name", "key", "companion")

_REPLACED = "# All rows are encoded anew, and not found until they are."
_SWITCHED = (
    "# Where the table has rows, gte-pg switch comes first: it encodes them while they are found."
)


@renderers.dispatch_for(AddEmbeddingOp)
def render_add(_context: AutogenContext, operation: AddEmbeddingOp) -> str:
    return _call("add_embedding", operation.declaration, _values(operation.declaration))


@renderers.dispatch_for(AlterEmbeddingOp)
def render_alter(_context: AutogenContext, operation: AlterEmbeddingOp) -> str:
    return _call("alter_embedding", operation.wanted, _values(operation.wanted))


@renderers.dispatch_for(SwitchEmbeddingOp)
def render_switch(_context: AutogenContext, operation: SwitchEmbeddingOp) -> list[str]:
    return [_SWITCHED, _call("switch_embedding", operation.wanted, _values(operation.wanted))]


@renderers.dispatch_for(SuspendEmbeddingOp)
def render_suspend(_context: AutogenContext, operation: SuspendEmbeddingOp) -> str:
    return _call("suspend_embedding", operation.present, _layout(operation.present))


@renderers.dispatch_for(RemoveEmbeddingOp)
def render_remove(_context: AutogenContext, operation: RemoveEmbeddingOp) -> list[str]:
    declaration = operation.declaration
    call = _call("remove_embedding", declaration, _layout(declaration))
    return [_REPLACED, call] if operation.replaced else [call]


@renderers.dispatch_for(CreateSearchIndexesOp)
def render_create_indexes(_context: AutogenContext, operation: CreateSearchIndexesOp) -> str:
    how = {"concurrently": True} if operation.concurrently else {}
    return _call("create_search_indexes", operation.declaration, how)


@renderers.dispatch_for(DropSearchIndexesOp)
def render_drop_indexes(_context: AutogenContext, operation: DropSearchIndexesOp) -> str:
    return _call("drop_search_indexes", operation.declaration, {})


def _layout(declaration: Declaration) -> dict[str, Any]:
    return {} if declaration.companion is None else {"layout": declaration.layout}


def _values(declaration: Declaration) -> dict[str, Any]:
    """Return what differs from a default."""
    values: dict[str, Any] = {"key": [str(column.name) for column in declaration.key]}
    for field in fields(declaration):
        value = getattr(declaration, field.name)
        if field.name not in _ELSEWHERE and value not in (None, field.default):
            values[field.name] = list(map(str, value)) if isinstance(value, tuple) else value
    values |= _layout(declaration)
    if (declaration.template, declaration.expression) != (None, None):
        # It names its columns.
        del values["source"]
    return values


def _call(operation: str, declaration: Declaration, values: dict[str, Any]) -> str:
    if declaration.schema is not None:
        values["schema"] = declaration.schema
    arguments = [
        f"{str(declaration.table)!r}",
        f"{str(declaration.name)!r}",
        *(f"{name}={value!r}" for name, value in values.items()),
    ]
    return (
        f"op.{operation}({', '.join(arguments)})"
        if len(arguments) <= 4
        else (f"op.{operation}(\n    " + ",\n    ".join(arguments) + ",\n)")
    )
