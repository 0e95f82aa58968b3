"""`python -m tests.stress`: the run that must find nothing, then those that must find something."""

from __future__ import annotations

import random
from collections import Counter

import click
from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import drop_capture, trigger_names
from tests.stress.run import Outcome, Plan, run
from tests.stress.server import start_server
from tests.stress.subjects import Embedding, Subject

_SHORT_SECONDS = 8.0

# How much of a worker's warning is shown.
_WIDTH = 240

_ON_THE_ROW = (
    Subject(("articles",), (Embedding("columns", "clear"),), has_trigger=True),
    Subject(("notes",), (Embedding("columns", "keep"),), deferrable=True),
)
_BESIDE = (Subject(("letters",), (Embedding("companion", "clear"),), deferrable=True),)


@click.command()
@click.option("--seed", type=int, help="Repeats the choices of a run, though not its timing.")
@click.option("--seconds", default=90.0, show_default=True, help="How long the first run writes.")
@click.option("--only", type=int, help="Only the run of this number.")
def main(seed: int | None, seconds: float, only: int | None) -> None:
    """Let applications, workers and trouble loose on a Postgres, and look at every vector meanwhile.

    Then break the code in several ways: a proof that passes without what it proves is none.
    """
    seed = random.randrange(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}")
    failures = []
    with start_server() as server:
        for number, plan in enumerate(_plans(seed, seconds), 1):
            if only in (None, number):
                click.echo(f"\n{number}. {plan.name}")
                outcome = run(plan, server)
                _report(outcome)
                failures += [f"{plan.name}: {failure}" for failure in _failures(plan, outcome)]
    for failure in failures:
        click.echo(f"FAILED {failure}")
    if failures:
        raise click.exceptions.Exit(1)
    click.echo("nothing stale, nothing lost, and what was broken on purpose was found")


def _plans(seed: int, seconds: float) -> list[Plan]:
    """Return the runs that must find nothing, then those that must find something."""
    return [
        Plan("everything as it is", seconds, seed),
        Plan(
            "columns: the write-back compares no hash, the triggers alone refuse what is stale",
            _SHORT_SECONDS,
            seed,
            subjects=_ON_THE_ROW,
            without="hash",
        ),
        Plan(
            "columns without the triggers",
            _SHORT_SECONDS,
            seed,
            holds=False,
            subjects=_ON_THE_ROW[:1],
            harm=_drop_triggers,
        ),
        Plan(
            "companion: the write-back compares no version",
            _SHORT_SECONDS,
            seed,
            holds=False,
            subjects=_BESIDE,
            only=("text of a block",),
            keys=2_000,
            batch_rows=1_000,
            without="version",
        ),
        Plan(
            "companion without the trigger on UPDATE",
            _SHORT_SECONDS,
            seed,
            holds=False,
            subjects=_BESIDE,
            harm=_disable_update_trigger,
        ),
    ]


def _failures(plan: Plan, outcome: Outcome) -> list[str]:
    if not plan.holds:
        return [] if outcome.violations else ["nothing was found"]
    found = [f"{len(outcome.violations)} violations"] if outcome.violations else []
    problems = Counter(outcome.problems).most_common(8)
    return found + [f"{count} × {problem[:600]}" for problem, count in problems]


def _drop_triggers(connection: Connection, registered: Registered) -> None:
    for statement in drop_capture(registered.declaration):
        connection.execute(statement)


def _disable_update_trigger(connection: Connection, registered: Registered) -> None:
    declaration = registered.declaration
    (name,) = (name for name in trigger_names(declaration) if name.endswith("update"))
    connection.execute(
        sql.SQL("ALTER TABLE {} DISABLE TRIGGER {}").format(
            declaration.relation, sql.Identifier(name)
        )
    )


def _report(outcome: Outcome) -> None:
    diary = outcome.diary
    click.echo(f"  applications  {diary.operations.total():,} writes: {_counts(diary.operations)}")
    click.echo(f"                refused: {_counts(diary.errors) or 'nothing'}")
    click.echo(f"                the longest transaction took {diary.longest:.1f} s")
    click.echo(f"  workers       {_counts(outcome.trouble) or 'left alone'}")
    for warning, count in outcome.warnings.most_common():
        click.echo(f"                {count} × {warning[:_WIDTH]}")
    click.echo(f"  samples       {outcome.samples:,} of {outcome.rows:,} rows")
    if outcome.drained_seconds:
        click.echo(f"  drained       in {outcome.drained_seconds:.1f} s")
    click.echo(f"  violations    {len(outcome.violations):,}")
    kinds = Counter((one.embedding, one.wrong) for one in outcome.violations)
    for (embedding, wrong), count in kinds.most_common(8):
        click.echo(f"                {count:,} × {embedding}: {wrong}")


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counter.most_common())


if __name__ == "__main__":
    main()
