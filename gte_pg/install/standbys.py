"""What a switch keeps in step beside an embedding: the one that is to come, or the one that was before."""

from __future__ import annotations

from dataclasses import replace

from gte_pg.database import Connection, Registered, load_all
from gte_pg.declaration import Declaration, companion_name


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
