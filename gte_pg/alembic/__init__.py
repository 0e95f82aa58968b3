"""Alembic: operations for embeddings, and an autogenerate that proposes them.

An application's `env.py` has one line more, before `context.configure(…)`:

    import gte_pg.alembic

    gte_pg.alembic.register()
"""

from __future__ import annotations

from alembic.runtime.plugins import Plugin, _all_plugins
from alembic.util import DispatchPriority

import gte_pg.alembic.implementations
import gte_pg.alembic.render  # noqa: F401 - what operations do, and how they are written
from gte_pg.alembic.compare import compare_embeddings
from gte_pg.alembic.operations import (
    AddEmbeddingOp,
    AlterEmbeddingOp,
    CreateSearchIndexesOp,
    DropSearchIndexesOp,
    RemoveEmbeddingOp,
    SuspendEmbeddingOp,
    SwitchEmbeddingOp,
)

__all__ = [
    "AddEmbeddingOp",
    "AlterEmbeddingOp",
    "CreateSearchIndexesOp",
    "DropSearchIndexesOp",
    "RemoveEmbeddingOp",
    "SuspendEmbeddingOp",
    "SwitchEmbeddingOp",
    "register",
]

# Within the name that `autogenerate_plugins` has by default: an env.py that did not ask for it by name
# would be told to drop what gte-pg made.
PLUGIN = "alembic.autogenerate.gte_pg"


def register() -> None:
    """Let `alembic revision --autogenerate` see embeddings; harmless when it does already."""
    if PLUGIN not in _all_plugins:
        # Last: it corrects what the others propose.
        Plugin(PLUGIN).add_autogenerate_comparator(
            compare_embeddings, "autogenerate", priority=DispatchPriority.LAST
        )
