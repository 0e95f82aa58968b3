"""One run: tables, applications, workers and trouble, with samples while it lasts; then drained."""

from __future__ import annotations

import multiprocessing
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from gte_pg.database import Connection, Registered, connect, engine, ensure_schema, load_all
from gte_pg.encoder import Encoder, load_encoder
from gte_pg.errors import DatabaseError
from gte_pg.sync import Worker, missing_triggers, status
from tests.conftest import DATA
from tests.postgres import new_database
from tests.stress.check import Sample, Violation, take_sample
from tests.stress.client import Diary, write
from tests.stress.server import Server
from tests.stress.subjects import SUBJECTS, Subject
from tests.stress.texts import create_reference
from tests.stress.worker import LEASE, REFUSAL, work
from tests.stress.workers import Workers

_CLIENTS = 4
_SAMPLE_SECONDS = 0.1
_TROUBLE_SECONDS = (0.3, 1.5)

# When Postgres crashes, as parts of the run.
_CRASHES = (0.4, 0.75)

# How long the workers may take to finish what is left.
_DRAIN_SECONDS = 90.0

# A run that must find something is repeated so often until it has.
_PATIENCE = 4

_MODEL = str(DATA / "golden" / "new_ntk")


@dataclass(frozen=True)
class Plan:
    """What a run is made of.

    Where `holds`, it must find nothing, and trouble makes it harder; otherwise it must find something,
    and goes on until it has. `only` names the roads that the applications take, if not all of them.
    `harm` breaks the tables, `without` the write-back of the workers.
    """

    name: str
    seconds: float
    seed: int
    holds: bool = True
    subjects: Sequence[Subject] = SUBJECTS
    keys: int = 70
    batch_rows: int = 48
    only: Sequence[str] = ()
    harm: Callable[[Connection, Registered], None] | None = None
    without: str | None = None


@dataclass
class Outcome:
    """What a run came to. `problems` are broken promises of another kind than the invariant's."""

    diary: Diary = field(default_factory=Diary)
    trouble: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    rows: int = 0
    violations: list[Violation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    drained_seconds: float = 0.0

    def add(self, sample: Sample) -> None:
        self.samples += 1
        self.rows += sample.rows
        self.violations += sample.violations
        if not sample.agrees:
            self.problems.append(
                f"gte-pg's own check counts {sample.counted} broken rows where there are "
                f"{len(sample.violations)}: {sample.violations[:3]}"
            )


def run(plan: Plan, server: Server) -> Outcome:
    """Run a plan on a database of its own."""
    encoder = load_encoder(_MODEL)
    with (
        new_database(server.dsn, "template1") as name,
        tempfile.TemporaryDirectory(prefix="gte-pg-stress-") as logs,
    ):
        dsn = psycopg.conninfo.make_conninfo(server.dsn, dbname=name)
        log = Path(logs) / "workers.log"
        log.touch()
        _prepare(plan, dsn, encoder)
        return _Run(plan, server, dsn, log, encoder).outcome()


def _prepare(plan: Plan, dsn: str, encoder: Encoder) -> None:
    with engine(dsn).begin() as transaction:
        ensure_schema(transaction)
    with connect(dsn) as connection:
        for subject in plan.subjects:
            subject.create(dsn, connection, _MODEL, keys=plan.keys)
        embeddings = load_all(connection)
        (generation,) = {one.declaration.generation for one in embeddings}
        create_reference(connection, encoder, generation)
        if plan.harm is not None:
            for registered in embeddings:
                plan.harm(connection, registered)


class _Run:
    def __init__(self, plan: Plan, server: Server, dsn: str, log: Path, encoder: Encoder) -> None:
        self._plan, self._server, self._dsn = plan, server, dsn
        self._encoder, self._log = encoder, log
        self._outcome = Outcome()
        self._random = random.Random(f"{plan.seed} run")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([write.__module__, work.__module__])
        self._connection = connect(dsn)
        self._embeddings = load_all(self._connection)

    def outcome(self) -> Outcome:
        plan, outcome = self._plan, self._outcome
        workers = Workers(
            self._context,
            self._dsn,
            _MODEL,
            str(plan.seed),
            plan.batch_rows,
            self._log,
            plan.without,
            outcome.trouble,
        )
        try:
            for _ in range(1 if plan.holds else _PATIENCE):
                self._disturb(workers, plan.seconds)
                if outcome.violations:
                    break
            if plan.holds:
                self._drain()
            outcome.problems += workers.finish()
            if plan.holds:
                self._check_all()
        finally:
            workers.kill()
            self._connection.close()
        outcome.problems += outcome.diary.unexpected
        outcome.warnings.update(map(_kind, self._log.read_text().splitlines()))
        return outcome

    def _disturb(self, workers: Workers, seconds: float) -> None:
        """Let the applications write for so long, sample meanwhile and trouble the workers."""
        plan = self._plan
        diaries = self._context.SimpleQueue()
        everyone = self._context.Barrier(_CLIENTS + 1, timeout=60)
        seed = f"{plan.seed} client {self._outcome.samples}"
        clients = [
            self._context.Process(
                target=write,
                args=(
                    self._dsn,
                    plan.subjects,
                    plan.keys,
                    plan.only,
                    f"{seed} {n}",
                    seconds,
                    everyone,
                    diaries,
                ),
                daemon=True,
            )
            for n in range(_CLIENTS)
        ]
        for client in clients:
            client.start()
        everyone.wait()
        begun = time.time()
        crashes = [begun + part * seconds for part in _CRASHES] if plan.holds else []
        next_trouble = begun
        while (now := time.time()) < begun + seconds:
            if crashes and now > crashes[0]:
                crashes.pop(0)
                self._server.crash()
                self._outcome.trouble["Postgres crashed"] += 1
            try:
                self._sample()
                if plan.holds and now > next_trouble:
                    workers.make_trouble(self._connection)
                    next_trouble = now + self._random.uniform(*_TROUBLE_SECONDS)
            except psycopg.OperationalError:
                self._connection.close()
                self._connection = self._connected()
            time.sleep(max(0.0, now + _SAMPLE_SECONDS - time.time()))
        for _ in clients:
            _merge(self._outcome.diary, diaries.get())
        for client in clients:
            client.join()
        self._sample()

    def _connected(self) -> Connection:
        while True:
            try:
                return connect(self._dsn)
            except (DatabaseError, psycopg.OperationalError):
                time.sleep(0.1)

    def _sample(self) -> None:
        for registered in self._embeddings:
            self._outcome.add(take_sample(self._connection, registered))

    def _drain(self) -> None:
        """Wait until nothing is pending but what is parked."""
        begun = time.monotonic()
        while any(self._unfinished(registered) for registered in self._embeddings):
            self._sample()
            if time.monotonic() - begun > _DRAIN_SECONDS:
                self._outcome.problems.append(f"not drained in {_DRAIN_SECONDS:.0f} s")
                break
            time.sleep(_SAMPLE_SECONDS)
        self._outcome.drained_seconds = time.monotonic() - begun

    def _unfinished(self, registered: Registered) -> int:
        now = status(self._connection, registered)
        return now.pending - now.parked

    def _check_all(self) -> None:
        """Look at what is left when all is done."""
        outcome = self._outcome
        # A lease of one that was killed after its work was done is taken over when it has run out.
        time.sleep(LEASE.total_seconds())
        for registered in self._embeddings:
            for _ in Worker(self._connection, registered, self._encoder, lease=LEASE).rounds():
                pass
        self._sample()
        (leases,) = self._connection.execute("SELECT count(*) FROM gte.lease").fetchone() or (None,)
        if leases:
            outcome.problems.append(f"{leases} leases are left")
        errors = self._connection.execute("SELECT DISTINCT error FROM gte.failure").fetchall()
        outcome.problems += [f"a failure: {error}" for (error,) in errors if error != REFUSAL]
        for registered in self._embeddings:
            declaration = registered.declaration
            name = f"{declaration.written}.{declaration.name}"
            now = status(self._connection, registered)
            if now.pending != now.parked:
                outcome.problems.append(
                    f"{name}: {now.pending} rows are pending, {now.parked} of them parked"
                )
            if missing := missing_triggers(self._connection, registered):
                outcome.problems.append(f"{name}: {missing} are missing")


def _merge(all_of_them: Diary, one: Diary) -> None:
    all_of_them.operations += one.operations
    all_of_them.errors += one.errors
    all_of_them.unexpected += one.unexpected
    all_of_them.longest = max(all_of_them.longest, one.longest)


def _kind(warning: str) -> str:
    """Return what warnings of one kind have in common."""
    short = re.sub("row .* cannot", "a row cannot", warning)
    return re.sub(r"\d+", "N", re.sub('"/[^"]*"', "…", short))
