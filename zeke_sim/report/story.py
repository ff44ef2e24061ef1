"""The content of a history for drawings: leases, handler runs, calls, and faults over time.

All drawings are made from a ``Story``. Times are in seconds since the run began; ``first`` and ``last`` are
indexes of events in the history, to which a drawing refers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_queue.model import RowState
from zeke_sim.history import events as history
from zeke_sim.report.as_json import ids, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

DATABASE: Final = "database"
"""The track of row changes and of events of the database itself."""

ALIASES: Final = frozenset({"", "db", "database", "storage", "postgres"})
"""Names of the database in histories."""

DOWN: Final = {
    "killed": "down",
    "stopped": "stopped",
    "paused": "paused",
    "partitioned": "partitioned",
    "stopping": "stopping",
}
"""The condition of a node that begins with an event of its life."""

UP: Final[Mapping[str, tuple[str, ...]]] = {
    "started": ("down", "stopped", "stopping"),
    "killed": ("paused", "stopping"),
    "stopped": ("paused", "stopping"),
    "paused": (),
    "resumed": ("paused",),
    "partitioned": (),
    "reconnected": ("partitioned",),
    "stopping": (),
}
"""The condition of a node that ends with an event of its life."""


class Lease(NamedTuple):
    """The lease of a worker on a job, from the claim to its end; ``until`` is None if it did not end.

    ``outcome`` is the job's next state, ``gone`` if the row was deleted, ``open`` if the lease did not end.
    """

    node: str
    job: UUID
    task: str
    attempt: int
    since: float
    until: float | None
    outcome: str
    first: int
    last: int | None


class Work(NamedTuple):
    """A handler run. ``how`` is the event's, ``killed`` if its node died, ``open`` if it is still running."""

    node: str
    job: UUID
    task: str
    attempt: int
    since: float
    until: float | None
    how: str
    first: int
    last: int | None


class Call(NamedTuple):
    """A storage call. ``outcome`` is that of the answer, or ``killed`` or ``open`` without an answer."""

    node: str
    call: int
    verb: str
    since: float
    until: float | None
    outcome: str
    first: int
    last: int | None


class Span(NamedTuple):
    """A phase of the run, or a node's condition: one of the values of ``DOWN``."""

    node: str
    what: str
    since: float
    until: float | None
    first: int


class Mark(NamedTuple):
    """A fault, at an instant or over an interval."""

    node: str
    address: str
    kind: str
    since: float
    until: float | None
    first: int


@dataclass(slots=True)
class Story:
    """The content of a history.

    Attributes:
        tracks: the nodes in order, the database last.
        track_of: the track of each event.
        jobs: the tasks' names by job, in order of appearance.
        touched: the jobs that each event concerns.
        end: the time of the last event.
    """

    tracks: list[str]
    end: float = 0.0
    track_of: list[str] = field(default_factory=list[str])
    jobs: dict[UUID, str] = field(default_factory=dict["UUID", str])
    touched: list[list[UUID]] = field(default_factory=list["list[UUID]"])
    leases: list[Lease] = field(default_factory=list[Lease])
    works: list[Work] = field(default_factory=list[Work])
    calls: list[Call] = field(default_factory=list[Call])
    spans: list[Span] = field(default_factory=list[Span])
    phases: list[Span] = field(default_factory=list[Span])
    faults: list[Mark] = field(default_factory=list[Mark])


def read(events: Sequence[history.Event], nodes: Iterable[str] = ()) -> Story:
    """Read a history. ``nodes`` are the first tracks; others are added as they appear."""
    reader = _Reader(list(nodes))
    for number, event in enumerate(events):
        reader.take(number, event)
    return reader.finish(events)


class _Reader:
    """Reads the events in one pass, with the open leases by job, runs, calls and spans as state."""

    def __init__(self, nodes: list[str]) -> None:
        self.story = Story(tracks=[node for node in nodes if node not in ALIASES])
        self.workers: dict[UUID, str] = {}
        self.leases: dict[UUID, Lease] = {}
        self.works: dict[tuple[str, UUID, int], Work] = {}
        self.calls: dict[int, Call] = {}
        self.spans: dict[tuple[str, str], Span] = {}

    def take(self, number: int, event: history.Event) -> None:
        """Read the next event, whose index is ``number``."""
        self.story.end = max(self.story.end, event.at)
        match event:
            case history.Change():
                self._change(number, event)
            case history.Invoked():
                self._invoked(number, event)
            case history.Answered():
                self._answered(number, event)
            case history.Began() | history.Ended():
                self._worked(number, event)
            case history.Lived():
                self._lived(number, event)
            case history.Fault():
                self._fault(number, event)
            case history.Phase():
                self._phase(number, event)
            case _:
                pass
        self.story.track_of.append(self._track(getattr(event, "node", DATABASE)))

    def _invoked(self, number: int, event: history.Invoked) -> None:
        if event.verb in {"claim", "heartbeat"}:
            self.workers |= dict.fromkeys(ids(event.args.get("worker")), event.node)
        track = self._track(event.node)
        self.calls[event.call] = Call(track, event.call, event.verb, event.at, None, "open", number, None)

    def _answered(self, number: int, event: history.Answered) -> None:
        call = self.calls.pop(event.call, None)
        if call is None:
            # The call itself precedes this part of the history.
            track = self._track(event.node)
            call = Call(track, event.call, event.verb, event.at, None, "open", number, None)
        self.story.calls.append(call._replace(until=event.at, outcome=event.outcome, last=number))

    def _worked(self, number: int, event: history.Began | history.Ended) -> None:
        key = (self._track(event.node), event.job, event.attempt)
        self.story.jobs[event.job] = event.task
        if isinstance(event, history.Began):
            self.works[key] = Work(
                key[0], event.job, event.task, event.attempt, event.at, None, "open", number, None
            )
        elif work := self.works.pop(key, None):
            self.story.works.append(work._replace(until=event.at, how=event.how, last=number))

    def _fault(self, number: int, event: history.Fault) -> None:
        if event.until is not None and math.isfinite(event.until):
            self.story.end = max(self.story.end, event.until)
        track = self._track(event.node)
        self.story.faults.append(Mark(track, event.address, event.kind, event.at, event.until, number))

    def _phase(self, number: int, event: history.Phase) -> None:
        phases = self.story.phases
        if phases:
            phases[-1] = phases[-1]._replace(until=event.at)
        phases.append(Span(DATABASE, event.phase, event.at, None, number))

    def _track(self, node: str) -> str:
        node = DATABASE if node in ALIASES else node
        if node != DATABASE and node not in self.story.tracks:
            self.story.tracks.append(node)
        return node

    def _change(self, number: int, event: history.Change) -> None:
        row = event.after or event.before
        if row is None:
            return
        self.story.jobs[row.id] = row.name
        if event.table != "job":
            return
        before, after = _active(event.before), _active(event.after)
        if before and after and (before.attempt, before.worker) == (after.attempt, after.worker):
            return
        if before and (lease := self.leases.pop(row.id, None)):
            outcome = "gone" if event.after is None else event.after.state.value
            self.story.leases.append(lease._replace(until=event.at, outcome=outcome, last=number))
        if after:
            node = self._holder(after)
            self.leases[row.id] = Lease(
                node, row.id, row.name, after.attempt, event.at, None, "open", number, None
            )

    def _holder(self, row: history.Image) -> str:
        """Return the node of a row's worker, or the worker's id if its node is unknown."""
        if row.worker is None:
            return DATABASE
        return self._track(self.workers.get(row.worker) or f"worker {short(row.worker)}")

    def _lived(self, number: int, event: history.Lived) -> None:
        node, at = self._track(event.node), event.at
        for what in UP[event.what]:
            if span := self.spans.pop((node, what), None):
                self.story.spans.append(span._replace(until=at))
        if (what := DOWN.get(event.what)) and (node, what) not in self.spans:
            self.spans[node, what] = Span(node, what, at, None, number)
        if event.what == "killed":
            for key in [key for key in self.works if key[0] == node]:
                self.story.works.append(self.works.pop(key)._replace(until=at, how="killed", last=number))
            for call in [call for call in self.calls.values() if call.node == node]:
                ended = self.calls.pop(call.call)._replace(until=at, outcome="killed", last=number)
                self.story.calls.append(ended)

    def finish(self, events: Sequence[history.Event]) -> Story:
        """Return the story, with unfinished intervals marked as open."""
        story = self.story
        story.leases += self.leases.values()
        story.works += self.works.values()
        story.calls += self.calls.values()
        story.spans += self.spans.values()
        for drawn in (story.leases, story.works, story.calls, story.spans):
            drawn.sort(key=lambda one: (one.since, one.first))
        story.tracks.append(DATABASE)
        story.touched = [[job for job in dict.fromkeys(ids(event)) if job in story.jobs] for event in events]
        return story


def _active(row: history.Image | None) -> history.Image | None:
    return row if row is not None and row.state is RowState.ACTIVE else None


def squeeze(times: Iterable[float], usual: float = 0.95) -> list[tuple[float, float]]:
    """Compress idle time: return pairs of a time and its position, to be interpolated linearly.

    A run may idle for a day between two bursts of milliseconds. The shortest gaps between times, a share of
    ``usual`` (0 to 1, never the longest gap), keep their length; longer ones grow only logarithmically.
    """
    moments = sorted({time for time in times if math.isfinite(time)})
    if not moments:
        return [(0.0, 0.0), (1.0, 1.0)]
    gaps = [after - before for before, after in pairwise(moments)]
    if not gaps:
        return [(moments[0], 0.0), (moments[0] + 1.0, 1.0)]
    whole = sorted(gaps)[min(max(len(gaps) - 2, 0), int(usual * len(gaps)))]
    knots, place = [(moments[0], 0.0)], 0.0
    for gap, moment in zip(gaps, moments[1:], strict=True):
        place += gap if gap <= whole else whole * (1.0 + math.log(gap / whole))
        knots.append((moment, place))
    return knots


def placed(knots: Sequence[tuple[float, float]], time: float) -> float:
    """Return a time's position, clamped to both ends."""
    if time <= knots[0][0]:
        return knots[0][1]
    if time >= knots[-1][0]:
        return knots[-1][1]
    index = bisect_right(knots, time, key=lambda knot: knot[0])
    (before, low), (after, high) = knots[index - 1], knots[index]
    return low + (high - low) * (time - before) / (after - before)
