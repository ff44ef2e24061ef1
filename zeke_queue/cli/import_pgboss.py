"""``zeke import-pgboss``: show what a pg-boss 10, 11 or 12 has, and import it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Column

from zeke_queue.cli.render import NOTHING, echo, print_json, print_table
from zeke_queue.cli.session import AppOption, Options, options_of, print_problem
from zeke_queue.errors import UsageError

if TYPE_CHECKING:
    from zeke_queue.core.pgboss_import import QueueReport, ScheduleReport
    from zeke_queue.storage.postgres.pgboss_import import Imported, Importer
    from zeke_queue.storage.postgres.pgboss_source import Preview, Source

STATES: Final = ("created", "scheduled", "retry", "active", "completed", "failed", "cancelled")
FOLLOW_PAUSE: Final = 1.0
"""Seconds between two passes of --follow."""

FOLLOW_QUIET: Final = 10
"""Seconds without a new job after which --follow has caught up."""


def import_pgboss(
    context: typer.Context,
    app: AppOption = None,
    from_dsn: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="DSN", help="The database of pg-boss, if it is another.", show_default=False
        ),
    ] = None,
    from_schema: Annotated[str, typer.Option(metavar="NAME", help="The schema of pg-boss.")] = "pgboss",
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            "-q",
            metavar="NAME",
            help="Import only this queue, in the catalog or not; may be repeated.",
            show_default=False,
        ),
    ] = None,
    all_queues: Annotated[bool, typer.Option("--all", help="Import queues outside the catalog too.")] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Also copy completed, failed and cancelled jobs.")
    ] = False,
    active: Annotated[
        bool,
        typer.Option("--active", help="Also import active jobs, as retries; pg-boss must be stopped."),
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Import; without it, only show.")] = False,
    follow: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="With --apply: import new jobs until none came for 10 s, at most this long.",
            show_default=False,
        ),
    ] = 0,
) -> None:
    """Import the jobs and schedules of a pg-boss 10, 11 or 12, from a schema of this or another database.

    Without --apply it only shows what would be imported, and what can't be. It may be interrupted and
    repeated at any time: no job is imported twice.
    """
    if follow and not apply:
        raise UsageError("--follow: must be used with --apply, which imports; add it, or leave out --follow")
    chosen = _chosen(app, queue, all_queues=all_queues)
    with ExitStack() as opened:
        target, schema = _target(options_of(context), from_dsn, from_schema, applied=apply)
        named = frozenset(queue or ())
        how = _How(chosen=chosen, named=named, active=active, history=history, follow=follow)
        if apply:
            _apply(opened, options_of(context), (from_dsn, from_schema), (target, schema), how)
        else:
            preview = _read(opened, from_dsn or target, from_schema, how)[1]
            _show(preview, options_of(context), how)


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """What to import, and how long to follow."""

    chosen: frozenset[str] | None
    named: frozenset[str]
    active: bool
    history: bool
    follow: int


def _read(
    opened: ExitStack, dsn: str, schema: str, how: _How, *, writing: bool = False
) -> tuple[Source, Preview]:
    """Return the jobs of pg-boss, and what is to be seen of them."""
    from zeke_queue.storage.postgres.pgboss_source import Source, connect

    session = opened.enter_context(connect(dsn))
    source = Source.find(session, schema, writing=writing)
    preview = source.preview(how.chosen)
    session.commit()
    known = {one.name for one in (*preview.queues, *preview.schedules)}
    if unknown := sorted(how.named - known):
        raise UsageError(
            f"--queue: must be a queue of pg-boss, got {', '.join(map(repr, unknown))}; schema {schema!r} has"
            f" {', '.join(sorted(known)) or 'none'}"
        )
    return source, preview


def _apply(
    opened: ExitStack, options: Options, origin: tuple[str | None, str], target: tuple[str, str], how: _How
) -> None:
    """Import, and print what was imported, also if it is interrupted."""
    from zeke_queue.storage.postgres.pgboss_import import Importer
    from zeke_queue.storage.postgres.pgboss_source import connect

    dsn, schema = target
    source, preview = _read(opened, origin[0] or dsn, origin[1], how, writing=True)
    if how.active:
        source.require_stopped()
    importer = Importer(source, opened.enter_context(connect(dsn)) if origin[0] else source.session, schema)
    try:
        _import(importer, how)
    except KeyboardInterrupt:
        echo("Interrupted: run it again to continue.", err=True)
        raise
    finally:
        _show_done(importer.done, preview, options)
    if importer.done.held:
        print_problem("JobsHeld", "Jobs are held, since their rows in pg-boss are gone: see above.", options)
    if importer.done.incomplete:
        print_problem(
            "ScheduleNotImported", "Schedules were left, or some ticks have no job: see above.", options
        )
    if importer.done.held or importer.done.incomplete:
        raise typer.Exit(1)


def _chosen(app: str | None, queue: list[str] | None, *, all_queues: bool) -> frozenset[str] | None:
    """Return the names of the queues to import; None for all."""
    from zeke_queue.cli.catalog_loader import default_catalog, load_catalog

    if all_queues and queue:
        raise UsageError("--all, --queue: must not be used together, got both; leave out one of them")
    if all_queues:
        return None
    return frozenset(queue) if queue else frozenset(load_catalog(app or default_catalog()).served)


def _target(options: Options, from_dsn: str | None, from_schema: str, *, applied: bool) -> tuple[str, str]:
    """Return the database and the schema of the tables here, which are checked if they will be written."""
    from zeke_queue.core.names import schema_name
    from zeke_queue.storage.postgres import migrate

    settings = options.settings()
    if from_dsn is not None and not applied:
        return "", settings.jobs_schema
    settings = options.on_database(settings)
    dsn, schema = settings.require_database(), schema_name(settings.jobs_schema)
    if from_dsn is None and schema == schema_name(from_schema):
        raise UsageError(
            f"--from-schema: must be another schema than that of the tables here, got {schema} for both; name"
            " one for them with --schema or JOBS_SCHEMA, as in `zeke --schema jobs migrate`, or name another"
            " database with --from"
        )
    if applied:
        asyncio.run(migrate.check(dsn, schema))
    return dsn, schema


def pause(seconds: float) -> None:
    """Wait between two passes of --follow."""
    threading.Event().wait(seconds)


def seconds() -> float:
    """Return the machine's monotonic clock."""
    from zeke_queue.system.clock import SystemClock

    return SystemClock().monotonic()


def _import(importer: Importer, how: _How) -> None:
    # Before the jobs that wait, so that slots are taken as they were.
    importer.ended(how.chosen, history=how.history)
    importer.waiting(how.chosen, active=how.active)
    now = quiet_since = seconds()
    end = now + how.follow
    while now < end and now < quiet_since + FOLLOW_QUIET:
        pause(FOLLOW_PAUSE)
        found = importer.waiting(how.chosen)
        now = seconds()
        if found:
            quiet_since = now
    if how.follow:
        importer.done.caught_up = now >= quiet_since + FOLLOW_QUIET
    # Last, since pg-boss's cron may have stopped meanwhile.
    importer.schedules(how.chosen)


def _show(preview: Preview, options: Options, how: _How) -> None:
    """Print what would be imported."""
    if options.json:
        print_json(asdict(preview))
        return
    echo(f"pg-boss {preview.major}, version {preview.version} of its tables")
    _show_queues(preview.queues)
    for one in preview.queues:
        for note in one.notes:
            echo(f"queue {one.name}: {note}")
    for one in preview.schedules:
        echo(_schedule_line(one))
    if preview.schedules and preview.cron_running:
        echo(_CRON)
    echo(_totals(preview, how))


def _totals(preview: Preview, how: _How) -> str:
    """Return what becomes of all jobs; each is counted once."""
    counted: Counter[str] = Counter()
    for one in preview.queues:
        counted.update({"left": sum(one.counts.values())} if one.left else one.counts)
    waiting = sum(counted[state] for state in ("created", "scheduled", "retry", "claimed"))
    ended = sum(counted[state] for state in ("completed", "failed", "cancelled"))
    taken = [f"{waiting} waiting jobs"]
    taken += [f"{counted['active']} active ones as retries"] * how.active
    taken += [f"{ended} that ended"] * how.history
    stays = {
        "active ones (--active takes them)": 0 if how.active else counted["active"],
        "that ended (--history copies them)": 0 if how.history else ended,
        "of a flow": counted["flow"],
        "past their retention": counted["past"],
        "imported before": counted["taken"],
        "in queues that are left": counted["left"],
    }
    rest = ", ".join(f"{jobs} {which}" for which, jobs in stays.items() if jobs)
    return (
        f"--apply imports {', '.join(taken)}"
        + f"; {rest} stay in pg-boss" * bool(rest)
        + ". Nothing was changed."
    )


def _show_queues(queues: tuple[QueueReport, ...]) -> None:
    columns = (
        Column("queue", min_width=12),
        Column("policy"),
        *(Column(state, justify="right") for state in STATES),
        Column(""),
    )
    rows = [
        (
            one.name,
            one.policy,
            *(one.counts.get(state, 0) for state in STATES),
            f"left: {one.left}" * bool(one.left),
        )
        for one in queues
    ]
    print_table(columns, rows)


_CRON: Final = (
    "The schedules are left, since pg-boss's cron ran within two minutes, and both would send: stop it or"
    " start it with schedule: false, and import again."
)

_CAUGHT_UP: Final = f"Caught up: no new job came for {FOLLOW_QUIET} seconds."
_NOT_CAUGHT_UP: Final = (
    f"Not caught up: the time of --follow ended before {FOLLOW_QUIET} seconds without a new job; run it"
    " again."
)


def _schedule_line(one: ScheduleReport) -> str:
    known = f"schedule {one.name}" + f" with key {one.key}" * bool(one.key)
    if one.schedule is None:
        return f"{known} ({one.cron}): left: {one.left}"
    return f"{known}: {one.schedule.name}, {one.cron} in {one.schedule.zone}"


def _show_done(done: Imported, preview: Preview, options: Options) -> None:
    """Print what was imported, and what was left."""
    left = {one.name: one.left for one in preview.queues if one.left and any(one.counts.values())}
    stay = {one.name: kept for one in preview.queues if not one.left and (kept := _stays(one))}
    schedules = [one for one in done.reports if one.schedule is None]
    if options.json:
        value: dict[str, Any] = {
            "jobs": dict(done.jobs),
            "history": dict(done.history),
            "unkeyed": done.unkeyed,
            "takenBack": done.taken_back,
            "caughtUp": done.caught_up,
            "held": {str(job_id): name for job_id, name in done.held.items()},
            "schedules": done.schedules,
            "known": done.known,
            "cronRunning": done.cron_running,
            "lostTicks": {name: tick.isoformat() for name, tick in done.lost_ticks.items()},
            "pendingTicks": done.pending_ticks,
            "left": left,
            "stay": stay,
            "leftSchedules": [asdict(one) for one in schedules],
        }
        print_json(value)
        return
    names = sorted(done.jobs.keys() | done.history.keys())
    if names:
        columns = (
            Column("queue", min_width=12),
            Column("imported", justify="right"),
            Column("ended", justify="right"),
        )
        print_table(
            columns, [(name, done.jobs[name] or NOTHING, done.history[name] or NOTHING) for name in names]
        )
    echo(f"Imported {done.jobs.total()} jobs, and {done.history.total()} that had ended.")
    if done.caught_up is not None:
        echo(_CAUGHT_UP if done.caught_up else _NOT_CAUGHT_UP)
    if done.unkeyed:
        echo(f"{done.unkeyed} without their key, which another job here has: their meta has it.")
    if done.taken_back:
        echo(f"{done.taken_back} stay in pg-boss, since they were changed there after the import took them.")
    for job_id, name in done.held.items():
        echo(
            f"job {job_id} of queue {name} is held, since its row in pg-boss is gone, so it may have run"
            f" there: `zeke job cancel {job_id}` ends it, and `zeke job resume {job_id}` runs it then"
        )
    _show_schedules(done)
    for name, kept in stay.items():
        past, flow = kept.get("past", 0), kept.get("flow", 0)
        echo(f"{name}: {past} past their retention and {flow} of a flow stay in pg-boss")
    for name, reason in left.items():
        echo(f"{name} is left in pg-boss: {reason}")


def _stays(one: QueueReport) -> dict[str, int]:
    """Return the jobs of an imported queue that no import takes."""
    return {which: jobs for which, jobs in one.counts.items() if which in ("past", "flow")}


def _show_schedules(done: Imported) -> None:
    """Print what became of the schedules, and which of their ticks have no job."""
    from zeke_queue.core.pgboss_import import FORWARDED

    for name in done.schedules:
        echo(f"schedule {name} is stored")
    for name in done.known:
        echo(f"schedule {name} is left, since one of its name exists")
    for one in done.reports:
        if one.schedule is None:
            echo(_schedule_line(one))
    if done.cron_running:
        echo(_CRON)
    for name, tick in done.lost_ticks.items():
        echo(
            f"schedule {name} has no job for {tick.isoformat()} and since then, when no cron ran:"
            " `zeke send` sends one"
        )
    for name in done.pending_ticks:
        echo(
            f"queue {name} has no job for a tick that waits in pg-boss's queue {FORWARDED}:"
            f" `zeke send {name}` sends one"
        )
