"""What a switch keeps in step beside an embedding: the one that is to come, or the one that was before."""

from __future__ import annotations

from dataclasses import replace

from gte_pg.database import Connection, Registered, Table, load_all
from gte_pg.declaration import Declaration, companion_name
from gte_pg.errors import DatabaseError, DeclarationError
from gte_pg.models import ModelIdentity


def next_name(name: str) -> str:
    """Return what the embedding that is to take the place of `name` is called until then."""
    return f"{name}_next"


def previous_name(name: str) -> str:
    """Return what the embedding that `name` has taken the place of is called."""
    return f"{name}_previous"


def under_name(declaration: Declaration, name: str) -> Declaration:
    """Return the same embedding under another name. Raises DeclarationError if that is too long."""
    companion = declaration.companion and companion_name(
        declaration.schema, declaration.table, name
    )
    return replace(declaration, name=name, companion=companion)


def next_of(
    table: Table, present: Declaration, model: ModelIdentity, dimensions: int | None
) -> Declaration:
    """Return the embedding that is to take over: like the present one, by another model."""
    coming = table.declare(
        model,
        present.source,
        template=present.template,
        expression=present.expression,
        name=next_name(present.name),
        dimensions=dimensions,
        storage=present.storage,
        layout=present.layout,
        on_change=present.on_change,
        index_dimensions=present.index_dimensions
        and min(present.index_dimensions, dimensions or model.dimensions),
    )
    if coming.generation == present.generation:
        raise DatabaseError(
            f"{present.written} has {present.generation} already: there is nothing to switch"
        )
    return coming


def previous_of(present: Declaration) -> Declaration:
    """Return what becomes of the present embedding."""
    try:
        return under_name(present, previous_name(present.name))
    except DeclarationError as error:
        raise DatabaseError(
            f"after a switch the present embedding is called {previous_name(present.name)}: {error}. "
            "Remove it, and add it under a shorter name"
        ) from error


def standbys_of(connection: Connection, declaration: Declaration) -> list[Registered]:
    """Return what a switch keeps in step beside an embedding: the next one, or the previous one."""
    names = next_name(declaration.name), previous_name(declaration.name)
    present = load_all(connection, declaration.relation.as_string(), broken=True)
    return [one for one in present if one.standby and one.declaration.name in names]


# What a switch leaves as it is. How much of a vector the dense index holds is a matter of the model's.
_KEPT = ("source", "template", "expression", "on_change", "storage", "layout")


def not_kept(present: Declaration, coming: Declaration) -> list[str]:
    """Return in what the embedding that is to take the place of `present` must be like it, and is not."""
    return [what for what in _KEPT if getattr(coming, what) != getattr(present, what)]


def check_goes_on(table: str, present: Declaration, coming: Declaration, generation: str) -> None:
    """Raise DatabaseError unless the embedding that is there already is the one that is to take over."""
    if coming.generation != generation:
        raise DatabaseError(
            f"the table {table} has {coming.name} for {coming.generation} already; "
            f"finish that switch, or give it up: gte-pg remove {table} --name {coming.name}"
        )
    check_is_like(present, coming, f"Give it up: gte-pg remove {table} --name {coming.name}")


def check_is_like(present: Declaration, other: Declaration, advice: str) -> None:
    """Raise DatabaseError if the exchange would change more than the model."""
    different = not_kept(present, other)
    if different:
        raise DatabaseError(
            f"{other.name} of {present.written} is not like {present.name}: the exchange would change "
            f"{', '.join(different)} too. {advice}"
        )


def altered_along(present: Declaration, wanted: Declaration, coming: Declaration) -> Declaration:
    """Return what becomes of the embedding that is to take the place of `present`, which is altered."""
    index_dimensions = coming.index_dimensions
    if wanted.index_dimensions != present.index_dimensions:
        index_dimensions = wanted.index_dimensions and min(
            wanted.index_dimensions, coming.dimensions
        )
    return replace(
        coming,
        source=wanted.source,
        template=wanted.template,
        expression=wanted.expression,
        on_change=wanted.on_change,
        index_dimensions=index_dimensions,
    )
