from __future__ import annotations

import json
import logging
import threading
from datetime import datetime

import click
from psycopg import sql

from gte_pg.cli.database import dsn_option
from gte_pg.cli.embeddings import find_embeddings, no_embedding
from gte_pg.cli.print_sql import print_comment, print_named
from gte_pg.cli.problems import noting_problems, raise_problems
from gte_pg.cli.progress import show
from gte_pg.cli.stopping import told_to_stop
from gte_pg.cli.words import rows_are, time_of_day
from gte_pg.database import (
    Connection,
    Registered,
    connect,
    connect_pooled,
    late_triggers,
    load_all,
    vector_path,
)
from gte_pg.declaration import TRIGGER_PREFIX
from gte_pg.errors import DatabaseError
from gte_pg.sync import (
    Limit,
    OnceAMinute,
    Team,
    check_statements,
    clock,
    count_broken,
    count_failures,
    find_held,
    missing_triggers,
    repair_statements,
    sync_once,
    warn_if_unguarded,
    worker_statements,
)
from gte_pg.sync import repair as repair_rows
from gte_pg.sync import watch as keep_watching

logger = logging.getLogger(__name__)


@click.command()
@click.option("--table", help="Only this table.")
@click.option("--watch", is_flag=True, help="Keep going: encode what is written from now on.")
@click.option("--check", is_flag=True, help="Only count rows whose vector is not their text's.")
@click.option("--repair", is_flag=True, help="Make such rows pending first.")
@click.option("--limit", type=click.IntRange(1), help="Encode at most so many rows, then leave.")
@click.option(
    "--batch", default=256, show_default=True, type=click.IntRange(1, 10_000), help="Rows a batch."
)
@click.option(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Connections that take turns at the encoder: one reads and writes while another encodes.",
)
@click.option("--print-sql", is_flag=True, help="Print the statements instead of running them.")
@dsn_option
def sync(
    table: str | None,
    watch: bool,
    check: bool,
    repair: bool,
    limit: int | None,
    batch: int,
    workers: int,
    print_sql: bool,
    dsn: str,
) -> None:
    """Encode every pending row and build the search indexes.

    Any number of these may run, on any number of machines. On a terminal it shows a bar, elsewhere
    it prints JSON Lines. Exit code 1: rows are left that were pending when it began, because they
    failed or others held them; see gte-pg status. Once a --limit is used up, only failed ones count.
    On SIGTERM and Ctrl-C it writes what it is encoding and leaves, with exit code 1 as it is not done;
    --watch leaves with 0 then.

    What goes past triggers (somebody who disables them, pg_restore --disable-triggers, ATTACH of a filled
    partition) can leave a row with a vector that is not its text's: --check reads every row and
    compares, with exit code 1 if there are such rows, and --repair has them encoded again.
    """
    if (check, watch, repair).count(True) > 1:
        raise click.UsageError("--check, --watch and --repair are three different things: say one")
    if limit is not None and (check or watch):
        raise click.UsageError(
            "--limit is for a sync that leaves: not for --watch, nor for --check"
        )
    if print_sql:
        _print_sql(dsn, table, check=check, repair=repair)
        return
    if check:
        _check(dsn, table)
        return
    problems = _repair(dsn, table) if repair else []
    with told_to_stop() as stop:
        team = Team(dsn, stop, workers=workers, batch_rows=batch, limit=Limit(limit))
        if watch:
            _watch(team, table)
        else:
            _sync_once(team, table, problems)


def _print_sql(dsn: str, table: str | None, *, check: bool, repair: bool) -> None:
    problems: list[DatabaseError] = []
    with connect_pooled(dsn) as connection:
        path = vector_path(connection)
        if path is not None:
            find_types = sql.SQL("SET search_path = {}").format(path)
            print_named({"find pgvector's types": find_types})
        for registered in find_embeddings(connection, table, problems):
            with noting_problems(connection, registered, problems):
                if check:
                    print_named(check_statements(registered))
                    continue
                if repair:
                    print_named(repair_statements(connection, registered))
                print_comment("To be read: for each %(name)s a worker binds a value.")
                print_named(worker_statements(connection, registered))
    raise_problems(problems)


def _watch(team: Team, table: str | None) -> None:
    said = OnceAMinute()
    begun = threading.Lock()

    def embeddings(connection: Connection) -> list[Registered]:
        problems: list[DatabaseError] = []
        found = load_all(connection, table, problems=problems)
        if table is not None and not found and not problems:
            # It may be still to come.
            problems.append(no_embedding(table))
        for problem in map(str, problems):
            if said.is_due(problem):
                logger.warning("%s", problem)
        # Every worker asks, again and again; it is taken once.
        if begun.acquire(blocking=False):
            count = "1 embedding" if len(found) == 1 else f"{len(found)} embeddings"
            click.echo(f"watching {count}; stop with Ctrl-C or SIGTERM", err=True)
        return found

    for registered, progress in keep_watching(team, embeddings):
        if progress.stage == "done" and progress.encoded + progress.failed:
            show(registered.declaration, [progress])


def _repair(dsn: str, table: str | None) -> list[DatabaseError]:
    """Repair every embedding; what cannot be repaired holds up no other, and is returned."""
    problems: list[DatabaseError] = []
    with connect(dsn) as connection:
        # One that is broken itself is said where it is to be synced.
        embeddings = load_all(connection, table, problems=[])
    for registered in embeddings:
        # The one before may have taken hours, for which no server keeps an idle connection.
        with connect(dsn) as connection, noting_problems(connection, registered, problems):
            done = repair_rows(connection, registered)
            results = {"repaired": done.rows, "triggers": done.triggers}
            click.echo(json.dumps(_names(registered) | results))
    return problems


def _sync_once(team: Team, table: str | None, problems: list[DatabaseError]) -> None:
    left = 0
    with connect(team.dsn) as connection:
        embeddings = find_embeddings(connection, table, problems)
    for place, registered in enumerate(embeddings):
        with connect(team.dsn) as connection, noting_problems(connection, registered, problems):
            warn_if_unguarded(connection, registered)
            begun = clock(connection)
            done = show(registered.declaration, sync_once(connection, registered, team))
            if team.limit.rows == 0:
                left += _failed(team, registered)
            elif done.left:
                left += done.left - _note_held(team, registered, begun, problems)
        if team.stop.is_set():
            problems.append(_stopped(embeddings[place:]))
            break
    if left > 0:
        problems.append(DatabaseError(f"{rows_are(left)} still pending; see gte-pg status"))
    raise_problems(problems)


def _failed(team: Team, registered: Registered) -> int:
    """Count the rows that failed: those over the limit are nothing amiss."""
    with connect(team.dsn) as connection:
        return count_failures(connection, registered)


def _note_held(
    team: Team, registered: Registered, since: datetime, problems: list[DatabaseError]
) -> int:
    """Note how many rows that are pending since before others hold, and return it."""
    with connect(team.dsn) as connection:
        held = find_held(connection, registered, since=since)
    if held.until is not None:
        problems.append(
            DatabaseError(
                f"{registered}: {rows_are(held.rows)} held by another worker "
                f"({', '.join(held.owners)}) until {time_of_day(held.until)}; if that one is gone, they "
                "come back then"
            )
        )
    return held.rows


def _stopped(unfinished: list[Registered]) -> DatabaseError:
    names = ", ".join(map(str, unfinished))
    return DatabaseError(f"stopped: {names} not done; the same command goes on from here")


def _check(dsn: str, table: str | None) -> None:
    broken = unguarded = late = 0
    problems: list[DatabaseError] = []
    with connect(dsn) as connection:
        for registered in find_embeddings(connection, table, problems):
            with noting_problems(connection, registered, problems):
                found = count_broken(connection, registered)
                missing = missing_triggers(connection, registered)
                behind = late_triggers(connection, registered.declaration)
                results = {"broken": found, "missing_triggers": missing, "late_triggers": behind}
                click.echo(json.dumps(_names(registered) | results))
                broken += found
                unguarded += len(missing)
                late += len(behind)
    if broken or unguarded:
        problems.append(
            DatabaseError(
                f"{broken} rows are broken and {unguarded} triggers missing, disabled or out of date; "
                "gte-pg sync --repair mends them"
            )
        )
    if late:
        problems.append(
            DatabaseError(
                f"{late} triggers fire after gte-pg's and may change a text unseen; give them names that "
                f"sort before {TRIGGER_PREFIX!r}: ALTER TRIGGER … ON … RENAME TO …"
            )
        )
    raise_problems(problems)


def _names(registered: Registered) -> dict[str, object]:
    return {"table": registered.declaration.written, "embedding": registered.declaration.name}
