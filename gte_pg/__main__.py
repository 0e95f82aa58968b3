from __future__ import annotations

from gte_pg.cli import main

main()
