"""What `import gte_pg` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gte_pg


def imported(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_every_public_name_is_there() -> None:
    assert all(getattr(gte_pg, name) is not None for name in gte_pg.__all__)
    assert set(gte_pg.__all__) <= set(dir(gte_pg))
    with pytest.raises(AttributeError, match="'gte_pg' has no attribute 'nothing'"):
        _ = gte_pg.nothing  # type: ignore[attr-defined]


def test_who_only_encodes_loads_nothing_of_postgres() -> None:
    assert not imported("from gte_pg import load_encoder, score") & {"psycopg", "sqlalchemy"}


def test_a_command_loads_no_orm() -> None:
    assert "gte_pg.orm" not in imported("import gte_pg.cli")
