"""``zeke playbook add | list | run | show | cancel``: series of tasks that a team runs as one unit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

import typer
from rich.table import Column

from zeke_queue.cli.render import console, echo, moment, print_json, print_table
from zeke_queue.cli.session import options_of
from zeke_queue.errors import InvalidOptionError, ResultTimeoutError, ZekeError
from zeke_queue.model import ENDED
from zeke_queue.system.install_hints import on_same
from zeke_tasks.cli.hints import WORKER
from zeke_tasks.cli.ids import Abbreviation
from zeke_tasks.cli.session import (
    on_database,
    open_all_read_only,
    open_rows_read_only,
    progress_console,
    rows_to_change,
)

if TYPE_CHECKING:
    from zeke_queue.cli.session import Options
    from zeke_queue.model import Job
    from zeke_queue.system.settings import Settings
    from zeke_tasks.store.playbooks import Playbook, PlaybookRun, RunEvent, Step
    from zeke_tasks.store.repository import Rows

playbook_app = typer.Typer(help="Store, run, show and cancel playbooks.", no_args_is_help=True)

PlaybookArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="The playbook's id, or its beginning; see `zeke playbook list`."),
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, which `run` prints.")]


@playbook_app.command("add")
def add(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="JSON: teamId, name, steps.", exists=True, dir_okay=False, readable=True
        ),
    ],
) -> None:
    """Store a playbook: JSON with teamId, name, steps (name, task, input), and optionally its id."""

    async def command(options: Options, settings: Settings) -> int:
        from zeke_tasks.catalog import catalog  # noqa: PLC0415 - see the package
        from zeke_tasks.playbooks.flow import BadReference, check_references  # noqa: PLC0415

        playbook = _read(file)
        for step in playbook.steps:
            # ``get`` raises for an unknown task and names similar ones.
            if catalog.get(step.task).name == "playbook-run" and _names(step, playbook.id):
                raise InvalidOptionError(
                    f"FILE: {file.name}: step {step.name!r} runs the playbook itself, which would never end;"
                    " name another playbook."
                )
        try:
            check_references(playbook.steps)
        except BadReference as error:
            raise InvalidOptionError(f"FILE: {file.name}: {error}.") from error
        async with rows_to_change(settings) as rows:
            await rows.put_playbook(playbook)
        if options.json:
            print_json(_value(playbook))
        else:
            echo(f"{playbook.id}")
        return 0

    on_database(context, command)


def _names(step: Step, playbook_id: UUID) -> bool:
    """Return whether the input of a step that runs a playbook names this one."""
    for key in ("playbookId", "playbook_id"):
        try:
            if UUID(str(step.input.get(key))) == playbook_id:
                return True
        except ValueError:
            continue  # a reference is resolved when the playbook runs
    return False


def _read(file: Path) -> Playbook:
    """Read a playbook from a file.

    Raises:
        InvalidOptionError: the file has no valid playbook; the message says where and why.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - see the package

    from zeke_queue.system.clock import SystemClock  # noqa: PLC0415
    from zeke_queue.system.entropy import Ids, SystemEntropy  # noqa: PLC0415
    from zeke_tasks.store.playbooks import Playbook  # noqa: PLC0415

    try:
        given: dict[str, Any] = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise InvalidOptionError(f"FILE: {file.name} must contain a JSON object: {error}.") from error
    given.setdefault("id", str(Ids(SystemClock(), SystemEntropy())()))
    given["team_id"] = given.pop("teamId", None)
    try:
        return TypeAdapter(Playbook).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])).replace("team_id", "teamId") or "the playbook"
        reason = first["msg"].removeprefix("Value error, ")
        raise InvalidOptionError(
            f"FILE: {file.name}: {field}: {reason}. A playbook has teamId, name, and steps with name,"
            " task and input."
        ) from error


@playbook_app.command("list")
def list_playbooks(context: typer.Context) -> None:
    """List the playbooks of all teams."""

    async def command(options: Options, settings: Settings) -> int:
        from zeke_tasks.cli.formatting import abbreviated, printable_words  # noqa: PLC0415 - see the package

        async with open_rows_read_only(settings) as rows:
            found = await rows.every_playbook()
        if options.json:
            print_json([_value(playbook) for playbook in found])
        elif not found:
            keep = on_same("zeke playbook add FILE", embedded=options.embedded)
            echo(f"No playbooks yet: `{keep}` stores one.")
        else:
            short = abbreviated(playbook.id for playbook in found)
            columns = (
                Column("id"),
                Column("status"),
                Column("name", min_width=12),
                Column("steps", min_width=1),
            )
            print_table(
                columns,
                [
                    (
                        short[one.id],
                        one.status,
                        printable_words(one.name),
                        " → ".join(s.name for s in one.steps),
                    )
                    for one in found
                ],
            )
        return 0

    on_database(context, command)


@playbook_app.command("run")
def run(
    context: typer.Context,
    playbook_id: PlaybookArgument,
    *,
    metadata: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="A JSON object that steps can refer to as run.metadata.…"),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1.0, help="Wait at most this long for the result.")
    ] = 120.0,
) -> None:
    """Run a playbook, wait for it, and show the result of each step."""
    from zeke_queue.cli.session import parse_json  # noqa: PLC0415 - see the package

    listing = on_same("zeke playbook list", embedded=options_of(context).embedded)
    wanted = Abbreviation(playbook_id, "playbook", "playbooks", listing)
    about: Any = parse_json(metadata, "--metadata")
    if not isinstance(about, dict | None):
        raise InvalidOptionError('--metadata: must be a JSON object, such as {"storyId": "…"}.')

    async def command(options: Options, settings: Settings) -> int:
        from zeke_tasks.cli.run_jobs import open_job_runner  # noqa: PLC0415 - see the package
        from zeke_tasks.payloads import PlaybookRun as Asked  # noqa: PLC0415
        from zeke_tasks.store.playbooks import RunStatus, TriggerSource  # noqa: PLC0415

        async with open_job_runner(settings) as runner:
            async with runner.rows() as rows:
                playbook = await _find(rows, wanted)
            asked = Asked(
                playbook_id=playbook.id,
                team_id=playbook.team_id,
                trigger_source=TriggerSource.API,
                metadata=cast("dict[str, Any] | None", about),
            )
            job = await runner.queue.trigger("playbook-run", asked)
            echo(f"run {job.id}", err=True)
            came, *_ = await runner.run([job.id], timeout=timeout, console=progress_console())
            async with runner.rows() as rows:
                done, events = await rows.run(job.id), await rows.run_events(job.id)
        if done is not None:
            done = _with_job_status(done, came)
            _show(done, events, options)
        if done is None or came.status not in ENDED:
            raise _not_ended(job.id, timeout, begun=done is not None, embedded=options.embedded)
        return 0 if done.status is RunStatus.SUCCEEDED else 1

    on_database(context, command)


def _not_ended(run_id: UUID, timeout: float, *, begun: bool, embedded: bool) -> ResultTimeoutError:
    """Return the error for a run that has not ended in time."""
    worker = on_same(WORKER, embedded=embedded)
    follow = on_same(f"zeke playbook show {run_id}", embedded=embedded)
    return ResultTimeoutError(
        f"Run {run_id} has not {'ended' if begun else 'begun'} after {timeout:g} s; it continues on a worker"
        f" (`{worker}` starts one). `{follow}` shows its progress{'' if begun else ' then'}."
    )


async def _find(rows: Rows, wanted: Abbreviation) -> Playbook:
    playbooks = {playbook.id: playbook for playbook in await rows.every_playbook()}
    found = playbooks.get(wanted.among((each.id, each.name) for each in playbooks.values()))
    if found is None:
        raise wanted.missing()
    return found


@playbook_app.command("show")
def show(context: typer.Context, run_id: RunArgument) -> None:
    """Show a run and the result of each step; times are UTC."""

    async def command(options: Options, settings: Settings) -> int:
        async with open_all_read_only(settings) as (queue, rows):
            found = await _run(rows, run_id, embedded=options.embedded)
            found = _with_job_status(found, await queue.get(found.id))
            _show(found, await rows.run_events(found.id), options)
        return 0

    on_database(context, command)


async def _run(rows: Rows, text: str, *, embedded: bool) -> PlaybookRun:
    """Return a run.

    Raises:
        ZekeError: there is no such run.
    """
    listing = on_same("zeke jobs --queue playbook-run", embedded=embedded)
    wanted = Abbreviation(text, "run", "runs", listing)
    known: list[tuple[UUID, str]] = []
    if wanted.whole is None:
        for playbook in await rows.every_playbook():
            known += [(each.id, playbook.name) for each in await rows.runs_of(playbook.id)]
    found = await rows.run(wanted.among(known))
    if found is None:
        raise wanted.missing()
    return found


def _with_job_status(found: PlaybookRun, job: Job | None) -> PlaybookRun:
    """Return a run with its job's final status where the job has ended and the run's row is not updated."""
    from zeke_tasks.cli.report import why_it_failed  # noqa: PLC0415
    from zeke_tasks.playbooks.cancel import status_of  # noqa: PLC0415 - see the package
    from zeke_tasks.store.playbooks import RunStatus  # noqa: PLC0415

    status = status_of(found, job)
    if status is not RunStatus.FAILED or found.status is status:
        return replace(found, status=status)
    return replace(found, status=status, error=why_it_failed(job) if job else "its job no longer exists")


def _show(found: PlaybookRun, events: list[RunEvent], options: Options) -> None:
    from zeke_tasks.cli.formatting import wrapped  # noqa: PLC0415 - see the package

    if options.json:
        print_json(
            {
                "id": found.id,
                "playbookId": found.playbook_id,
                "teamId": found.team_id,
                "status": found.status,
                "error": found.error,
                "outputs": dict(found.outputs),
                "events": [
                    {"kind": event.kind, "step": event.step, "round": event.round, "at": event.at}
                    for event in events
                ],
            }
        )
        return
    out = console()
    wrapped(out, f"Run {found.id} {found.status}", style="bold")
    for event in events:
        wrapped(out, f"{event.kind} {event.step or ''}", f"  {moment(event.at)}  ")
    if found.error:
        wrapped(out, found.error, "  ", style="red")


@playbook_app.command("cancel")
def cancel(context: typer.Context, run_id: RunArgument) -> None:
    """Cancel a run and its running step; `zeke job resume RUN` continues at that step."""

    async def command(options: Options, settings: Settings) -> int:
        from zeke_queue.client.queue import Queue  # noqa: PLC0415 - see the package
        from zeke_tasks.catalog import catalog  # noqa: PLC0415
        from zeke_tasks.playbooks.cancel import cancel_run  # noqa: PLC0415
        from zeke_tasks.store.postgres import PostgresRepository  # noqa: PLC0415

        async with open_all_read_only(settings) as (looked_at, rows):
            found = await _run(rows, run_id, embedded=options.embedded)
            found = _with_job_status(found, await looked_at.get(found.id))
        async with Queue.connect(catalog, settings=settings) as queue:
            cancelled = await cancel_run(queue, PostgresRepository(), found.id)
        if options.json:
            print_json({"id": found.id, "cancelled": cancelled})
        elif cancelled:
            echo(f"Run {found.id} is cancelled.")
        else:
            raise ZekeError(
                f"Run {found.id} has {found.status}; only a waiting or running one can be cancelled."
            )
        return 0 if cancelled else 1

    on_database(context, command)


def _value(playbook: Playbook) -> dict[str, Any]:
    return {
        "id": playbook.id,
        "teamId": playbook.team_id,
        "name": playbook.name,
        "status": playbook.status,
        "steps": [{"name": s.name, "task": s.task, "input": dict(s.input)} for s in playbook.steps],
    }
