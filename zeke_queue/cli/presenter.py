"""The presenter of one job: its data, its attempts, and its progress and log lines."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from rich.highlighter import JSONHighlighter
from rich.text import Text

from zeke_queue.cli.render import console, cut, json_text, moment, named_lines, status_text
from zeke_queue.core import jsonb
from zeke_queue.core.status import attempt_of, output_of
from zeke_queue.model import STATUS_OF, RowState
from zeke_queue.system.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from zeke_queue.model import Attempt, Job, JobEvent

_LONGEST_LINE: Final = 500
_OF_ERROR: Final = frozenset(("type", "message", "traceback"))


def print_job(job: Job, events: Sequence[JobEvent]) -> None:
    """Print a job, its failed attempts, and its progress and log lines; times are UTC."""
    out = console()
    out.print(
        Text.assemble(
            (harmless(job.name), "bold"),
            f" {job.id}  ",
            status_text(job.status),
            f", attempt {attempt_of(job)}" if job.row_state is RowState.RETRY else "",
        ),
        soft_wrap=True,
    )
    fields = {
        "created": moment(job.created_on),
        "waits for": None if job.waits_for is None else f"job {job.waits_for}",
        "start after": moment(job.start_after) if job.waits_for is None else None,
        "started": moment(job.started_on),
        "deadline": _deadline(job),
        "ended": moment(job.completed_on),
        "archived": moment(job.archived_on) if job.archived_on else None,
        "attempts": job.attempt,
        "retries used": f"{job.retry_count} of {job.retry_limit}",
        "priority": job.priority,
        "time limit": f"{job.expire_in:g} s",
        "singleton key": job.singleton_key,
        "worker": job.worker,
        "parent": job.parent,
    }
    for line in named_lines(fields):
        out.print(Text(line), soft_wrap=True)
    # The last failure is also the output, so print it only once.
    output = None if job.history and job.history[-1].error == job.output else output_of(job)
    for name, value in (("payload", job.data), ("output", output), ("meta", job.meta)):
        if value is not None:
            out.print(Text(name, style="bold"))
            _print_value(out, value)
    for attempt in job.history:
        _print_attempt(out, attempt)
    if events:
        out.print(Text("progress and log", style="bold"))
    for event in events:
        out.print(Text(f"  {moment(event.at)}  {_event_text(event)}"), soft_wrap=True)


def _deadline(job: Job) -> str | None:
    """Return the deadline of a running job's attempt; None for a job that does not run."""
    if job.row_state is not RowState.ACTIVE or job.started_on is None:
        return None
    try:
        return moment(job.started_on + timedelta(seconds=job.expire_in))
    except OverflowError:
        return f"{job.expire_in:g} s after its start, beyond the calendar"


def _print_value(out: Console, value: Any) -> None:
    if not isinstance(value, dict) or not value.keys() >= _OF_ERROR:
        _print_json(out, value)
        return
    # The record of a failure is more readable as lines than as JSON.
    error = cast("dict[str, Any]", value)
    _print_error(out, error)
    if rest := {key: part for key, part in error.items() if key not in _OF_ERROR}:
        _print_json(out, rest)


def _print_json(out: Console, value: Any) -> None:
    text = json_text(value, indent=2)
    out.print(JSONHighlighter()(text), soft_wrap=True)


def _print_attempt(out: Console, attempt: Attempt) -> None:
    out.print(
        Text.assemble(
            (f"attempt {attempt.attempt}", "bold"),
            f"  {moment(attempt.at)}  → ",
            status_text(STATUS_OF[attempt.row_state]),
            f"  on worker {attempt.worker}" if attempt.worker else "",
        ),
        soft_wrap=True,
    )
    _print_error(out, attempt.error)


def _print_error(out: Console, error: Mapping[str, Any]) -> None:
    for text, style in (
        (f"{error.get('type')}: {error.get('message')}", "red"),
        (str(error.get("traceback") or ""), "bright_black"),
    ):
        for line in text.rstrip().splitlines():
            out.print(Text(f"  {harmless(line.expandtabs())}", style=style), soft_wrap=True)


def _event_text(event: JobEvent) -> str:
    data: dict[str, Any] = jsonb.loads(event.data)
    if event.kind == "progress":
        value = data.get("value")
        share = f"{value:>4.0%}" if isinstance(value, int | float) else "    "
        return f"{share}  {cut(data.get('message') or '', _LONGEST_LINE)}".rstrip()
    rest = {key: part for key, part in data.items() if key not in {"level", "message"}}
    fields = " ".join(f"{key}={cut(part, _LONGEST_LINE)}" for key, part in rest.items())
    return f"{data.get('level', 'info'):<8}{cut(data.get('message') or '', _LONGEST_LINE)} {fields}".rstrip()
