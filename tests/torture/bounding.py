"""What is known of when things happened: bounds, where a simulation has instants.

The server reads its clock at the start of a commit, and others see the commit a moment later, at the latest
when its call is answered. When a statement began is known only to lie between its call and its answer. So
that no property takes one end of such an interval for the other, the history is made to say the end that each
needs.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core.slots import slot_start
from zeke_sim.history.events import Answered, Change, Invoked, Lived

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from zeke_sim.history.events import Event

SEEN_AT_LAST: Final = 5.0
"""Seconds after which a commit is seen by all, though its call has no answer: the server's own work, which no
fault is on, takes milliseconds."""

_LOOKS: Final = frozenset(
    {"get", "insert", "cancel", "resume", "retry", "extend", "lock_expired"}
    | {"http_get", "http_cancel", "http_watch"}
)
"""Verbs whose answer depends on the visible rows."""


def bounded(events: list[Event], began: datetime) -> list[Event]:
    """Return the events in order, with a call that may not have seen a commit placed before it.

    ``issued`` is the time for properties: of ``lock_expired`` the latest time at which it can have
    been decided, of a send whose slot may have passed meanwhile nothing.
    """
    known = _Known(events)
    changed: list[Event] = []
    for event in events:
        if isinstance(event, Invoked) and event.verb in _LOOKS:
            changed.append(event._replace(at=known.seen_from(event)))
        elif isinstance(event, Answered) and event.issued is not None:
            decided = began + timedelta(seconds=event.at)
            changed.append(event._replace(issued=_issued(event, decided, known.invoked[event.call])))
        else:
            changed.append(event)
    changed.sort(key=lambda event: event.at)
    return changed


def _issued(event: Answered, decided: datetime, invoked: Invoked) -> datetime | None:
    """Return the time to use for the beginning of a statement."""
    issued = event.issued
    if event.verb == "lock_expired":
        return decided
    if event.verb != "insert" or issued is None:
        return issued
    slots = ((job.slot_seconds, job.slot_offset) for job in invoked.args["jobs"] if job.slot_seconds)
    same = all(slot_start(issued, *slot) == slot_start(decided, *slot) for slot in slots)
    return issued if same else None


class _Known:
    """Which process may have seen which commit, and since when."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.invoked: dict[int, Invoked] = {}
        self._answered: dict[int, Answered] = {}
        self._commits: dict[int, int] = {}
        self._beats: defaultdict[UUID, list[Invoked]] = defaultdict(list)
        self._lives: defaultdict[str, list[float]] = defaultdict(list)
        self._changes: defaultdict[UUID, list[Change]] = defaultdict(list)
        for event in events:
            if isinstance(event, Invoked):
                self._call(event)
            elif isinstance(event, Answered):
                self._answered[event.call] = event
            elif isinstance(event, Lived):
                self._lives[event.node].append(event.at)
            elif isinstance(event, Change):
                row = event.after or event.before
                if row is not None:
                    self._changes[row.id].append(event)

    def _call(self, event: Invoked) -> None:
        self.invoked[event.call] = event
        if event.verb == "commit" and event.transaction is not None:
            self._commits[event.transaction] = event.call
        elif event.verb == "heartbeat":
            self._beats[event.args["worker"].id].append(event)

    def seen_from(self, call: Invoked) -> float:
        """Return since when what a call saw may have stood so: before any commit that it may have missed."""
        at = call.at
        jobs, workers = _looked_at(call, self._answered.get(call.call))
        missed = [
            change.at
            for job in jobs
            for change in self._changes[job]
            if change.at <= at < self._seen_by_all(change.at, change.call)
        ]
        missed += [
            beat.at
            for worker in workers
            for beat in self._beats[worker]
            if beat.at <= at < self._seen_by_all(beat.at, beat.call)
        ]
        # A process does nothing before it has begun, or gone on.
        lived = max((one for one in self._lives[call.node] if one <= at), default=0.0)
        return max(lived, min(missed, default=at))

    def _seen_by_all(self, at: float, number: int | None) -> float:
        call = None if number is None else self.invoked.get(number)
        if call is not None and call.transaction is not None:
            number = self._commits.get(call.transaction)
        answer = None if number is None else self._answered.get(number)
        latest = at + SEEN_AT_LAST
        return min(answer.at, latest) if answer is not None and answer.outcome == "ok" else latest


def _looked_at(call: Invoked, answer: Answered | None) -> tuple[set[UUID], set[UUID]]:
    args: Any = call.args
    if call.verb == "lock_expired":
        found: Any = answer.result if answer is not None and answer.outcome == "ok" else ()
        return {job.id for job in found}, {job.worker for job in found if job.worker is not None}
    named = args.get("ids") or [one.id for one in args.get("jobs") or args.get("extended") or ()]
    return set(named), set()
