"""The history of a run, merged from the logs of the server and the processes, and checked."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from tests.torture.attributing import attributed
from tests.torture.bounding import bounded
from tests.torture.cluster import read_commits
from tests.torture.decoding import Tables
from tests.torture.recording import loads
from tests.torture.tasks import LIMIT, options
from zeke_queue.model import STATUS_OF, RowState
from zeke_sim.history.events import Answered, Change, Fault, Lived, Rules, Violation
from zeke_sim.history.state import Broken
from zeke_sim.properties import ALL, holds
from zeke_sim.properties.checker import Checker
from zeke_sim.properties.transitions import STEPS
from zeke_sim.report.as_json import ids, line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from uuid import UUID

    from zeke_sim.history.events import Event
    from zeke_sim.history.state import RunState

_LATE = "how late is too late depends on the machine; that all is drained in the end, the run sees to itself"

LEFT_OUT: Final[Mapping[str, str]] = {
    "due jobs are picked up": _LATE,
    "abandoned jobs are released": _LATE,
    "archived and purged in time": _LATE,
    "ticks are served in time": _LATE,
    "expired and lost handlers are interrupted": _LATE,
    "a stopping process starts nothing": _LATE,
    "idle workers are woken": _LATE,
    "a locked row delays only its own outcome": _LATE,
    "a locked row delays no other claim": _LATE,
    "a locked key delays no other schedule": _LATE,
    "a stopping process ends in time": _LATE,
    "a worker that leaves holds nothing": _LATE,
    "every process performs its duty": _LATE,
    "an edit takes effect soon": _LATE,
    "a worker whose lease ended starts no job": _LATE,
    "a worker with a free slot starts what it claimed": _LATE,
    "no job waits for an ended job": _LATE,
    "the end of a job resumes those that wait for it": "who is locked is passed over, and locks are not seen",
    "a task's names share its limit": "no task has a second name here",
    "claims go in order": "rows that others hold locked for a moment are passed over, and locks are not seen",
}
"""Properties that are not judged here, by name, each with the reason: by these rules nothing could break
them, or much that is no fault of ours."""


@holds("a send is one job", Change)
def a_send_is_one_job(event: Change, past: RunState) -> None:
    """What a client sends once is one job, however often the send had no answer and was repeated."""
    row = event.after
    if event.table != "job" or event.before is not None or row is None or row.data is None:
        return
    send = json.loads(row.data).get("send", 0)
    known = past.of("sends of clients", dict[int, "UUID"])
    if send and known.setdefault(send, row.id) != row.id:
        raise Broken(f"of send {send}, which is job {known[send]} already", job=row.id)


@holds("answers over HTTP tell the truth", Answered, verbs=("http_get", "http_cancel"))
def answers_over_http_tell_the_truth(event: Answered, past: RunState) -> None:
    """An answer shows a job as it was at some time during the request; one that was cancelled was so then."""
    if event.outcome != "ok":
        return
    request = past.calls[event.call].invoked
    (job,) = request.args["ids"]
    rows = [row and (row.state, row.attempt) for row in past.lives[job].between(request.at, event.at)]
    told = event.result.get(job)
    if told not in rows:
        raise Broken(f"{event.verb} answered {told}, and it was {rows}", job=job, since=request.at)
    if told and event.verb == "http_cancel" and RowState.CANCELLED not in {row[0] for row in rows if row}:
        raise Broken(f"its cancellation was acknowledged, and it was {rows}", job=job, since=request.at)


@holds("streams go forward", Answered, verbs=("http_watch",))
def streams_go_forward(event: Answered, past: RunState) -> None:
    """A stream over HTTP shows statuses that its job has had since the request, in their order."""
    request = past.calls[event.call].invoked
    ((job, status),) = event.result.items()
    shown = past.of("the change that a stream showed last", dict[int, int])
    changes = past.lives[job].changes
    for place in range(shown.get(event.call, -1) + 1, len(changes)):
        after = changes[place].after
        lasted = place + 1 == len(changes) or changes[place + 1].at >= request.at
        if lasted and after is not None and STATUS_OF[after.state] is status:
            shown[event.call] = place
            return
    raise Broken(f"its stream shows {status}, which it has not been since", job=job, since=request.at)


PROPERTIES: Final = (
    *(one for one in ALL if one.name not in LEFT_OUT),
    a_send_is_one_job,
    answers_over_http_tell_the_truth,
    streams_go_forward,
)

DRIFT: Final = 0.5
"""The fraction by which an interval may seem to end early: a process may be delayed between reading
the clock and recording its call."""

SLACK: Final = 60.0
"""Seconds until a statement's changes are committed; used if their call is unknown."""


def read(folder: Path) -> list[Event]:
    """Return all events of a run in their order.

    Commits stay in the order of the log. What processes wrote is put between them by time: all clocks are of
    one machine, so a commit lies between the call that asked for it and its answer.
    """
    tables = Tables(datetime.fromisoformat(about(folder)["began"]))
    events: list[Event] = []
    for commit in read_commits(folder / "commits.jsonl"):
        events += tables.events(commit)
    for path in sorted(folder.glob("*.jsonl")):
        if path.name not in ("commits.jsonl", "schedule.jsonl"):
            with path.open(encoding="utf-8") as file:
                # A line that is cut short is the last word of a process on a full disk; none other can be.
                events += [loads(line) for line in file]
    events.sort(key=lambda event: event.at)
    return events


def put_together(folder: Path) -> list[Event]:
    """Return the events as properties take them: each change with its call, where that is known."""
    began = datetime.fromisoformat(about(folder)["began"])
    events = bounded(list(attributed(read(folder))), began)
    # Other programs use the machine too, so any process may pause for a moment at any time.
    nodes = sorted({event.node for event in events if isinstance(event, Lived)})
    return [*(Fault(0.0, node, f"{node}/freeze", "freeze", None) for node in nodes), *events]


def about(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "about.json").read_text(encoding="utf-8"))


def rules(folder: Path) -> Rules:
    noted = about(folder)["rules"]
    limits: dict[str, int] = dict.fromkeys(("limited", "calling"), LIMIT)
    return Rules(**noted, slack=SLACK, drift=DRIFT, limits=limits, options=options())


def judge(events: list[Event], rules: Rules) -> Violation | None:
    checker = Checker(rules, properties=PROPERTIES)
    if not any(isinstance(event, Change) for event in events):
        return Violation("history", "has no change of any job, so there is nothing to judge")
    try:
        for event in events:
            checker.see(event)
        checker.finish(events[-1].at)
    except Violation as violation:
        return violation
    return None


def never(events: list[Event]) -> list[str]:
    """Return the steps of the state machine that no job took."""
    taken = {
        (None if change.before is None else change.before.state, change.after.state)
        for change in events
        if isinstance(change, Change) and change.table == "job" and change.after is not None
    }
    return sorted(f"{before or 'sent'} to {after}" for before, after in STEPS - taken)


def life(events: list[Event], violation: Violation) -> list[str]:
    """Return all that names the job of a violation, and what went wrong in its interval, a line each."""
    return [
        f"{event.at:9.3f}  {getattr(event, 'node', ''):7}  {line(event)}"
        for event in events
        if violation.job in set(ids(event))
        or (isinstance(event, Fault | Lived) and violation.since <= event.at <= violation.at)
    ]
