"""The call behind each change: the log lacks it, but requests, times and answers determine it.

A change is a call's if the call asked for just that, began before the commit, and has no answer from before
it. Where several remain that asked for different things, the change belongs to no known call.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.core import jsonb
from zeke_queue.model import Completed, Failed, Released, RowState, Waiting
from zeke_sim.history.events import Answered, Change, Invoked
from zeke_sim.history.state import is_of_waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from zeke_sim.history.events import Event

_ACTIVE, _CREATED, _RETRY = RowState.ACTIVE, RowState.CREATED, RowState.RETRY


class _Asked(NamedTuple):
    """Something that a call asked for, and until when it may have been done."""

    call: int
    since: float
    until: float
    what: Any
    certain: bool


class Attribution:
    """The calls of a run, by their requests."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._by: defaultdict[tuple[Any, ...], list[_Asked]] = defaultdict(list)
        self._made: dict[tuple[tuple[Any, ...], int], int] = {}
        invoked: dict[int, Invoked] = {}
        answered: dict[int, Answered] = {}
        commits: dict[int, int] = {}
        for event in events:
            if isinstance(event, Invoked):
                invoked[event.call] = event
                if event.verb == "commit" and event.transaction is not None:
                    commits[event.transaction] = event.call
            elif isinstance(event, Answered):
                answered[event.call] = event
        for call in invoked.values():
            answer = answered.get(call.call)
            end = answer
            if call.transaction is not None:
                if call.transaction not in commits:
                    continue  # it was rolled back, or its process died before it asked to commit
                end = answered.get(commits[call.transaction])
            if "failed" in {one.outcome for one in (answer, end) if one is not None}:
                continue
            until = end.at if end is not None and end.outcome == "ok" else math.inf
            result = answer.result if answer is not None and answer.outcome == "ok" else None
            for key, what, certain in _asks(call, result):
                done = certain and until < math.inf
                self._by[key].append(_Asked(call.call, call.at, until, what, done))

    def of(self, change: Change) -> int | None:
        """Return the number of the call that made a change; None if it is not known.

        To be asked for one change after the other, in order: what made one commit does not make another one,
        and of several that could have, the one that was answered first did.
        """
        found = [
            (key, one)
            for key in _keys(change)
            for one in self._by.get(key, ())
            if one.since <= change.at <= one.until
            and self._made.get((key, one.call), change.commit) == change.commit
            and _is_what_became(one, change)
        ]
        found = [(key, one) for key, one in found if one.certain] or found
        if not found or any(one.what != found[0][1].what for _, one in found):
            return None
        key, made = min(found, key=lambda pair: pair[1].until)
        if len(found) > 1 and not made.certain and made.what is None:
            return None  # without details of its request, any of them
        if made.certain:
            self._made[key, made.call] = change.commit
        return made.call


def attributed(events: list[Event]) -> Iterator[Event]:
    attribution = Attribution(events)
    for event in events:
        yield event._replace(call=attribution.of(event)) if isinstance(event, Change) else event


def _asks(call: Invoked, result: Any) -> Iterator[tuple[tuple[Any, ...], Any, bool]]:
    """Yield the requests of a call: a key for matching changes, details, and whether it was done."""
    verb, args = call.verb, call.args
    was_answered = result is not None
    if verb in _LISTS:
        done = result.changed if was_answered and verb in ("settle_unlocked", "suspend") else result
        for one in (one for name in _LISTS[verb] for one in args[name]):
            if verb == "insert":
                yield (verb, one.id), ("insert", one.id), False
            elif not was_answered or one.id in done:
                what = "extend" if verb == "extend" else "settle"
                yield (what, one.id, one.attempt), one if what == "settle" else None, was_answered
    elif verb == "insert_child":
        yield ("insert", args["child"].id), ("insert", args["child"].id), False
    elif verb in ("cancel", "resume", "retry"):
        # Notified is also which children were taken along.
        yield from (((verb, job), None, was_answered) for job in (result if was_answered else args["ids"]))
    elif verb == "claim":
        yield from (((verb, one.id, one.attempt), None, True) for one in result or ())
        if not was_answered:
            yield (verb, args["worker"]), None, False
    elif verb == "purge" or (verb == "archive" and result != 0):
        # Its answer is the number of moved rows; purge renews the time of those that it keeps as well.
        yield (verb,), None, was_answered


_LISTS: Final = {
    "insert": ("jobs",),
    "settle": ("completed", "failed", "released"),
    "settle_unlocked": ("completed", "failed", "released"),
    "suspend": ("waiting",),
    "extend": ("extended",),
}


def _keys(change: Change) -> Iterator[tuple[Any, ...]]:
    """Yield the keys of the requests that may have caused a change."""
    before, after = change.before, change.after
    if is_of_waiting(change):
        return  # the call that ended a child, or starts a wait for it, does that as well
    if change.table == "archive" or after is None:
        yield ("purge",) if change.table == "archive" and before is not None else ("archive",)
    elif before is None:
        yield "insert", after.id
    elif after.state is _ACTIVE and before.state is not _ACTIVE:
        yield "claim", after.id, after.attempt
        yield "claim", after.worker
    elif after.state is _ACTIVE:
        yield "extend", after.id, after.attempt
    elif after.state is RowState.CANCELLED:
        yield "cancel", after.id
    elif before.state is _ACTIVE:
        yield "settle", after.id, after.attempt
    else:
        yield "resume" if after.state is _CREATED else "retry", after.id


def _is_what_became(asked: _Asked, change: Change) -> bool:
    """Return whether a request leads to a row: an outcome's state, output and delay."""
    what, after = asked.what, change.after
    if isinstance(what, Waiting) and after is not None:
        return after.superseded or (after.state is _CREATED and after.waits_for in {what.child, None})
    if after is None or not isinstance(what, Completed | Failed | Released):
        return True
    waits = what.delay if isinstance(what, Released) else what.retry_in if isinstance(what, Failed) else None
    if waits is not None:
        return after.superseded or (
            after.state is (_CREATED if isinstance(what, Released) else _RETRY)
            and (isinstance(what, Released) or _same(what.output, after.output))
            and _was_decided(after.start_after, waits, asked, change)
        )
    ended = what.final if isinstance(what, Failed) else RowState.COMPLETED
    return after.state is ended and not isinstance(what, Released) and _same(what.output, after.output)


def _was_decided(start_after: datetime, waits: float, asked: _Asked, change: Change) -> bool:
    """Return whether the statement that set a start may have run between its call and the commit."""
    early = (change.now - start_after).total_seconds() + waits
    return -MOMENT <= early <= change.at - asked.since + MOMENT


def _same(asked: str | None, stored: str | None) -> bool:
    return (None if asked is None else jsonb.normalise(asked)) == stored


MOMENT: Final = 0.005
"""Seconds of tolerance for rounding, and for commits placed after their neighbours."""
