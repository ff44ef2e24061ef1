"""``zeke send``, ``zeke jobs`` and ``zeke job …``: jobs, one at a time and listed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from zeke_queue.cli.render import console, cut, job_value, moment, plain, print_json, state_text, table
from zeke_queue.cli.session import AppOption, Options, execute, open_queue, options_of, parse_id, parse_json
from zeke_queue.errors import JobNotFound
from zeke_queue.model import JobFilter, JobState

if TYPE_CHECKING:
    from zeke_queue.model import Job, JobEvent

job_app = typer.Typer(help="Look at one job, cancel it, or run it again.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]


def send(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="The task's name.")],
    payload: Annotated[str | None, typer.Argument(help="JSON, or - to read it from standard input.")] = None,
    app: AppOption = None,
    external: Annotated[bool, typer.Option(help="Send to a queue that no catalog here knows.")] = False,
    delay: Annotated[float | None, typer.Option(help="Seconds until it may start.")] = None,
    priority: Annotated[int | None, typer.Option(help="Higher goes first.")] = None,
    singleton_key: Annotated[
        str | None, typer.Option(help="At most one waiting or running job with this key.")
    ] = None,
    wait: Annotated[
        float | None, typer.Option(help="Wait so many seconds for the result, and print it.")
    ] = None,
) -> None:
    """Send a job. Without --wait, prints its id at once; a refused send exits with 1."""
    options = options_of(context)
    value = parse_json(payload, "the payload")

    async def command() -> int:
        async with open_queue(options, app) as queue:
            run = await queue.trigger(
                task,
                value,
                external=external,
                delay=delay,
                priority=priority,
                singleton_key=singleton_key,
            )
            result: dict[str, Any] = {"id": run.id, "status": "created", "taskId": run.task}
            if wait is not None:
                result |= {"status": "COMPLETED", "output": await run.result(timeout=wait)}
            if options.json:
                print_json(result)
            elif wait is None:
                typer.echo(str(run.id))
            else:
                typer.echo(json.dumps(plain(result["output"]), indent=2, ensure_ascii=False))
            return 0

    execute(command())


def list_jobs(
    context: typer.Context,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", help="Only of this queue; may be repeated.")
    ] = None,
    state: Annotated[list[JobState] | None, typer.Option("--state", "-s", help="Only in this state.")] = None,
    archived: Annotated[bool, typer.Option(help="Look into the archive.")] = False,
    before: Annotated[
        str | None, typer.Option(metavar="ID", help="Older than this job, for the next page.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
) -> None:
    """List jobs, newest first."""
    options = options_of(context)
    which = JobFilter(
        names=tuple(queue or ()),
        states=tuple(state or ()),
        archived=archived,
        before=parse_id(before) if before else None,
        limit=limit,
    )

    async def command() -> int:
        async with open_queue(options) as opened:
            found = await opened.find(which)
        if options.json:
            print_json([job_value(job) for job in found])
        elif not found:
            typer.echo("No such jobs." if which.names or which.states else "No jobs yet.")
        else:
            rows = [
                (
                    job.id,
                    job.name,
                    state_text(job.state),
                    job.attempt,
                    moment(job.created_on),
                    cut(job.data, 48),
                )
                for job in found
            ]
            console().print(table(("id", "queue", "state", "#attempt", "created (UTC)", "payload"), rows))
            if len(found) == limit:
                typer.echo(f"Older ones: --before {found[-1].id}")
        return 0

    execute(command())


@job_app.command("show")
def show(context: typer.Context, job_id: IdArgument) -> None:
    """Show a job: its state, times, payload, output, failed attempts, progress and log."""
    options = options_of(context)
    wanted = parse_id(job_id)

    async def command() -> int:
        async with open_queue(options) as queue:
            job = await queue.get(wanted)
            if job is None:
                raise JobNotFound(f"There is no job {wanted}, neither live nor archived.")
            events = await queue.storage.events(wanted)
        if options.json:
            print_json({**job_value(job), "events": [_event_value(event) for event in events]})
        else:
            _print_job(job, events)
        return 0

    execute(command())


def _event_value(event: JobEvent) -> dict[str, Any]:
    return {**plain(event), "data": json.loads(event.data)}


def _print_job(job: Job, events: list[JobEvent]) -> None:
    out = console()
    out.print(
        Text.assemble(
            job.name, " ", (str(job.id), "bold"), "  ", state_text(job.state), f" ({job.status.value})"
        )
    )
    facts = {
        "created": moment(job.created_on),
        "start after": moment(job.start_after),
        "started": moment(job.started_on),
        "ended": moment(job.completed_on),
        "archived": moment(job.archived_on) if job.archived_on else None,
        "attempt": job.attempt,
        "retries": f"{job.retry_count} of {job.retry_limit}",
        "priority": job.priority,
        "expires in": f"{job.expire_in:g} s",
        "singleton key": job.singleton_key,
        "worker": job.worker,
        "parent": job.parent,
    }
    for name, value in facts.items():
        if value is not None:
            out.print(f"  {name:<14}{value}", highlight=False)
    for name, value in (("payload", job.data), ("output", job.output), ("meta", job.meta)):
        if value is not None:
            out.print(f"{name}:", style="bold")
            out.print_json(json.dumps(value))
    for failed in job.history:
        error = failed.error
        out.print(
            Text.assemble(
                (f"attempt {failed.attempt}", "bold"),
                f"  {moment(failed.at)}  → ",
                state_text(failed.state),
                f"  {error.get('type')}: {error.get('message')}",
            )
        )
        if error.get("traceback"):
            out.print(Text(str(error["traceback"]).rstrip(), style="bright_black"))
    for event in events:
        out.print(f"  {moment(event.at)}  {event.kind:<8}  {event.data}", highlight=False, markup=False)


def _change(context: typer.Context, job_id: str, verb: str, done: str) -> None:
    options: Options = options_of(context)
    wanted = parse_id(job_id)

    async def command() -> int:
        async with open_queue(options) as queue:
            changed = await getattr(queue, verb)(wanted)
            job = await queue.get(wanted)
        state = job.state.value if job else "gone"
        if options.json:
            print_json({"id": wanted, "changed": changed, "state": state})
        elif changed:
            typer.echo(f"Job {wanted} {done}.")
        else:
            typer.secho(f"zeke: job {wanted} is {state}: nothing to {verb}.", err=True, fg="red")
        return 0 if changed else 1

    execute(command())


@job_app.command("cancel")
def cancel(context: typer.Context, job_id: IdArgument) -> None:
    """Cancel a job that waits or runs; it is never retried."""
    _change(context, job_id, "cancel", "is cancelled")


@job_app.command("retry")
def retry(context: typer.Context, job_id: IdArgument) -> None:
    """Run a failed or expired job again, at once."""
    _change(context, job_id, "retry", "will run again")


@job_app.command("resume")
def resume(context: typer.Context, job_id: IdArgument) -> None:
    """Put a cancelled job back into its queue."""
    _change(context, job_id, "resume", "waits again")
