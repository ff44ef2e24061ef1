"""``zeke send``, ``zeke jobs`` and ``zeke job …``: single jobs and lists."""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer
from rich.table import Column
from typer.core import TyperGroup

from zeke_queue.cli.presenter import print_job
from zeke_queue.cli.render import (
    NOTHING,
    ago,
    cut,
    echo,
    job_value,
    plain,
    print_json,
    print_table,
    status_text,
)
from zeke_queue.cli.session import (
    AppOption,
    Options,
    execute,
    open_queue,
    open_read_only,
    options_of,
    parse_id,
    parse_json,
    print_error,
    print_problem,
    runs_async,
)
from zeke_queue.client.parts import parts_of
from zeke_queue.core.status import attempt_of, read_status
from zeke_queue.errors import InvalidOptionError, JobNotFoundError, UnknownTaskError, UsageError, ZekeError
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.task.run import Run

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from datetime import datetime

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Job
    from zeke_queue.task.catalog import Catalog


class JobCommands(TyperGroup):
    """The commands for one job; its id alone shows it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command; an id in its place shows that job."""
        try:
            UUID(args[0])
        except ValueError:
            return super().resolve_command(ctx, args)
        return super().resolve_command(ctx, ["show", *args])


job_app = typer.Typer(
    cls=JobCommands,
    help="Show a job (or just `zeke job ID`), cancel it, or run it again.",
    no_args_is_help=True,
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]

_LONGEST_VALUE: Final = 200
_SENT_OPTIONS: Final = ("delay", "priority", "retry_limit", "expire_in", "singleton_key")


def send(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")],
    payload: Annotated[
        str | None,
        typer.Argument(
            metavar="PAYLOAD",
            help="JSON, or - to read it from standard input. If it begins with -, put -- before TASK.",
        ),
    ] = None,
    app: AppOption = None,
    external: Annotated[
        bool, typer.Option("--external", help="Allow a task that is not in the catalog.")
    ] = False,
    delay: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wait at least this long before the start.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Jobs with a higher priority start first.")
    ] = None,
    retry_limit: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Maximum number of retries.")
    ] = None,
    expire_in: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time limit of an attempt.")
    ] = None,
    singleton_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Refuse the job while one with this key waits or runs.")
    ] = None,
    job_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="The job's id; a repeated id does not send another job."),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Wait at most this long for the result, and print it."),
    ] = None,
) -> None:
    """Send a job and print its id, or its result with --wait."""
    options = options_of(context)
    value = parse_json(payload, "The payload")
    chosen = parse_id(job_id, "--id") if job_id is not None else None
    _require_wait(wait)
    catalog = _catalog_for(task, app, external=external)

    async def command() -> int:
        async with open_queue(options, catalog) as queue:
            with _with_option_names():
                run = await queue.trigger(
                    task,
                    value,
                    external=external,
                    id=chosen,
                    delay=delay,
                    priority=priority,
                    retry_limit=retry_limit,
                    expire_in=expire_in,
                    singleton_key=singleton_key,
                )
            if wait is not None:
                return await _wait(queue, run, wait, options)
        if options.json:
            print_json({"id": run.id, "status": "QUEUED", "taskId": run.task})
        else:
            echo(str(run.id))
        return 0

    execute(command())


@contextmanager
def _with_option_names() -> Generator[None]:
    """Name an option in errors as on the command line: --retry-limit, not retry_limit."""
    try:
        yield
    except InvalidOptionError as error:
        name, colon, what = str(error).partition(":")
        if not colon or name not in _SENT_OPTIONS:
            raise
        raise InvalidOptionError(f"--{name.replace('_', '-')}:{what}") from error


def _catalog_for(task: str, app: str | None, *, external: bool) -> Catalog | None:
    """Load the catalog, and check that it has the task before the database is used."""
    if app is None:
        if external:
            return None
        raise UsageError(
            "Name the catalog of the tasks, as in --app module:catalog, or set ZEKE_APP; or add --external"
            " to send to a queue that another process serves"
        )
    from zeke_queue.cli.catalog_loader import load_catalog

    catalog = load_catalog(app)
    if task not in catalog.served and not external:
        try:
            catalog.get(task)
        except UnknownTaskError as error:
            known = ", ".join(sorted(catalog.tasks)) or "none"
            raise UnknownTaskError(
                f"{str(error).partition(';')[0]} in {app}. Its tasks: {known}. Correct the name, or add"
                " --external if another process serves it"
            ) from error
    return catalog


def _require_wait(seconds: float | None) -> None:
    """Check a waiting time before the job is sent."""
    if seconds is not None and not 0 <= seconds < math.inf:
        raise InvalidOptionError(f"--wait: must be 0 or more seconds, got {seconds:g}")


async def _wait(queue: Queue, run: Run[Any], wait: float, options: Options) -> int:
    """Wait for the result and print it, or print the failed job; return the exit code."""
    # Without the task, the run returns the stored output.
    untyped: Run[Any] = Run(parts_of(queue).runs, run.id, run.task)
    try:
        output = await untyped.result(timeout=wait)
    except asyncio.CancelledError:
        # After an interrupt, print how to find the job.
        message = f"no longer waiting; the job continues: zeke job show {run.id}"
        print_problem("Interrupted", message, options, id=run.id, taskId=run.task)
        raise
    except ZekeError as error:
        print_error(error, options, id=run.id, taskId=run.task)
        return 1
    completed = {"id": run.id, "status": "COMPLETED", "taskId": run.task, "output": output}
    print_json(completed if options.json else output)
    return 0


@runs_async
async def list_jobs(
    context: typer.Context,
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", "-q", metavar="NAME", help="Only jobs of this queue; may be repeated."),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            "-s",
            metavar="STATUS",
            help=f"Only jobs with this status ({', '.join(JobStatus)}); may be repeated.",
        ),
    ] = None,
    state: Annotated[list[str] | None, typer.Option("--state", hidden=True)] = None,
    archived: Annotated[bool, typer.Option("--archived", help="List archived jobs.")] = False,
    before: Annotated[
        str | None, typer.Option(metavar="ID", help="Only jobs older than this one, for the next page.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="NUMBER", min=1, max=1000, help="Maximum number.")
    ] = 20,
) -> None:
    """List jobs, newest first."""
    options = options_of(context)
    query = JobQuery(
        names=tuple(queue or ()),
        status=(*_statuses("--status", status or ()), *_statuses("--state", state or ())),
        archived=archived,
        before=parse_id(before, "--before") if before is not None else None,
        limit=limit,
    )
    async with open_read_only(options) as opened:
        try:
            page = await opened.find(query)
        except JobNotFoundError as error:  # only the start of the page is named by id
            raise JobNotFoundError(f"--{error}") from error
        now = await parts_of(opened).storage.now()
    if options.json:
        print_json([job_value(job) for job in page.jobs])
    elif not page.jobs:
        echo("No matching jobs." if query != JobQuery(limit=limit) else "No jobs yet.")
    else:
        _print_jobs(page.jobs, now)
        if page.has_more:
            echo(f"Older jobs: --before {page.jobs[-1].id}", err=True)


def _statuses(option: str, words: Sequence[str]) -> tuple[JobStatus, ...]:
    """Return the statuses that an option names, and warn of deprecated words and of ``--state``."""
    statuses: list[JobStatus] = []
    for word in words:
        try:
            status, is_deprecated = read_status(word)
        except ValueError:
            known = ", ".join(JobStatus)
            raise InvalidOptionError(f"--status: must be one of {known}, got {word!r}") from None
        if is_deprecated or option != "--status":
            echo(f"zeke: {option} {word} is deprecated; use --status {status}", err=True)
        statuses.append(status)
    return tuple(statuses)


def _print_jobs(jobs: Sequence[Job], now: datetime) -> None:
    columns = (
        Column("id"),
        Column("queue", min_width=12),
        Column("status"),
        Column("attempt", justify="right", min_width=1),
        Column("age", justify="right"),
        Column("payload", min_width=1),
    )
    rows = [
        (
            job.id,
            job.name,
            status_text(job.status),
            attempt_of(job) if job.attempt else NOTHING,
            ago(job.created_on, now),
            cut(job.data, _LONGEST_VALUE),
        )
        for job in jobs
    ]
    print_table(columns, rows)


@job_app.command("show")
@runs_async
async def show(context: typer.Context, job_id: IdArgument) -> None:
    """Show a job: its status, times, payload, output, failed attempts, progress and log."""
    options = options_of(context)
    wanted = parse_id(job_id)
    from zeke_queue.core import jsonb

    async with open_read_only(options) as queue:
        job = await queue.get(wanted)
        if job is None:
            raise JobNotFoundError(
                f"No job has the id {wanted}, live or archived; `zeke jobs` lists the jobs"
            )
        events = await parts_of(queue).storage.events({wanted: 0})
    if options.json:
        shown = [{**plain(event), "data": jsonb.loads(event.data)} for event in events]
        print_json({**job_value(job), "events": shown})
    else:
        print_job(job, events)


@runs_async
async def _change(context: typer.Context, job_id: str, verb: str, done: str, needed: str) -> int:
    options = options_of(context)
    wanted = parse_id(job_id)
    async with open_queue(options) as queue:
        changed = await getattr(queue, verb)(wanted)
        job = await queue.get(wanted)
    if options.json:
        print_json({"id": wanted, "changed": changed, "status": job and job.status})
    elif changed:
        echo(f"Job {wanted} {done}.")
    else:
        archived = job is not None and job.archived_on is not None
        status = "gone" if job is None else f"{job.status}, and archived" if archived else job.status
        echo(
            f"zeke: job {wanted} is {status}; only {needed} can be {_PARTICIPLES[verb]}",
            err=True,
            fg="red",
        )
    return 0 if changed else 1


_PARTICIPLES: Final = {"cancel": "cancelled", "retry": "retried", "resume": "resumed"}


@job_app.command("cancel")
def cancel(context: typer.Context, job_id: IdArgument) -> None:
    """Cancel a waiting or running job; it is never retried."""
    _change(context, job_id, "cancel", "is cancelled", "a waiting or running job")


@job_app.command("retry")
def retry(context: typer.Context, job_id: IdArgument) -> None:
    """Requeue a failed job, due immediately."""
    _change(context, job_id, "retry", "is queued again", "a failed job that is not archived")


@job_app.command("resume")
def resume(context: typer.Context, job_id: IdArgument) -> None:
    """Requeue a cancelled job."""
    _change(context, job_id, "resume", "waits again", "a cancelled job that is not archived")
