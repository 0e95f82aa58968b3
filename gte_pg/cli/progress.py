"""How a sync shows itself: a bar on a terminal, JSON Lines elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

from gte_pg.declaration import Declaration
from gte_pg.sync import Progress


def show(declaration: Declaration, progress: Iterable[Progress]) -> Progress:
    """Show the progress of one embedding, a bar on a terminal, else lines; returns its last value.

    Where a program reads stdout it gets its lines, whoever sees stderr.
    """
    if all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr)):
        return show_bar(f"{declaration.written}: {declaration.name}", progress)
    return show_lines(declaration, progress)


def show_bar(title: str, progress: Iterable[Progress]) -> Progress:
    """Show the progress of one embedding as a bar on stderr and return its last value."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    last = Progress("done", 0)
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"encoding {title}", total=None, rate="")
        for last in progress:
            rate = last.encoded / max(last.seconds, 1e-9)
            # Rows that came in meanwhile are encoded too.
            total = max(last.pending, last.encoded + last.failed)
            bar.update(task, total=total, completed=last.encoded + last.failed)
            if last.stage == "encoding":
                bar.update(task, description=f"encoding {title}")
            if last.stage == "encoding" and last.pending:
                # It may have to be loaded, or fetched, before.
                first = "waiting for the model's first batch"
                bar.update(task, rate=f"{rate:,.0f} rows/s" if last.encoded else first)
            if last.stage == "copying keys":
                bar.update(task, description=f"copying the keys of {title}")
            if last.stage == "indexing":
                bar.update(task, description=f"building the index {last.index}", refresh=True)
            if last.stage == "done":
                # Rows without text were nothing to do.
                total = last.encoded + last.left
                bar.update(task, description=title, total=total, completed=last.encoded)
    return last


def show_lines(declaration: Declaration, progress: Iterable[Progress]) -> Progress:
    """Print the progress of one embedding, a JSON object a step, and return its last value."""
    last = Progress("done", 0)
    for last in progress:
        line = {
            "table": declaration.written,
            "embedding": declaration.name,
            "stage": last.stage,
            "pending": last.pending,
            "encoded": last.encoded,
            "failed": last.failed,
            "left": last.left,
            "seconds": round(last.seconds, 3),
        }
        if last.index:
            line["index"] = last.index
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    return last
