"""What jobs do in a run without a kill, and the property that killed jobs do it, too.

Only a job that a kill affected is compared, and only if it completes. What other jobs do, such as those of
schedules, may depend on how long a run takes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from zeke_queue.model import RowState, Waiting
from zeke_sim.history.events import Effect
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.definition import holds

if TYPE_CHECKING:
    from zeke_sim.history.state import Life, RunState
    from zeke_sim.properties.definition import Property

LOST: Final = "nothing is lost by a crash"
"""The property of ``crash_test`` that a killed job does what it does without a kill."""

_NUMBERS: Final = re.compile(r"[\w-]*\d[\w-]*(?:[ ,.:+]*[\w-]*\d[\w-]*)*")
"""Numbers, times and ids in an effect's key, which may differ between attempts."""

Done = Mapping[UUID, Mapping[str, Sequence[str]]]
"""What each completed job does, as texts that are grouped by what is counted."""


def observed(results: list[Done]) -> Property:
    """Make a property that is never violated, and appends what the run's jobs did to a list.

    That is all of the attempt that completed a job; and once each, what else the attempts before it did that
    ended by ``Snooze``, ``Retry`` or by waiting for a job.
    """

    @holds("what jobs do", Effect, End)
    def check(event: Effect | End, state: RunState) -> None:
        effects = state.of("effects of jobs", list[Effect])
        if isinstance(event, Effect):
            effects.append(event)
            return
        done: dict[UUID, Mapping[str, Sequence[str]]] = {}
        for job, life in state.lives.items():
            if life.row is None or life.row.state is not RowState.COMPLETED:
                continue
            last: defaultdict[str, list[str]] = defaultdict(list)
            earlier: dict[str, list[str]] = {}
            for one in _deeds(state, effects, job):
                if one.attempt == life.row.attempt:
                    last[one.kind].append(one.text)
                elif _goes_on_later(life, one.attempt):
                    earlier.setdefault(one.kind, [one.text])
            done[job] = {**earlier, **last}
        results.append(done)

    return check


def nothing_lost(required: Done, may_lose: Sequence[str]) -> Property:
    """Make a property that requires of each killed job that completes what it did in a run without a kill.

    How often calls of a method of a double happen is compared, effects with the same key but for numbers and
    ids, and jobs of a task that it sends, in all attempts together.

    Args:
        may_lose: the beginnings of effects, and of ``a job of TASK``, that may be missing.
    """
    left_out = tuple(may_lose)

    @holds(LOST, Effect, End)
    def check(event: Effect | End, state: RunState) -> None:
        effects = state.of(LOST, list[Effect])
        if isinstance(event, Effect):
            effects.append(event)
            return
        killed = {one.job: fault.at for fault in state.faults for one in fault.affected}
        for job, at in killed.items():
            row = state.lives[job].row
            if row is None or row.state is not RowState.COMPLETED:
                continue
            deeds = [one for one in _deeds(state, effects, job) if not one.text.startswith(left_out)]
            for kind, texts in required.get(job, {}).items():
                wanted = [text for text in texts if not text.startswith(left_out)]
                made = [one.text for one in deeds if one.kind == kind]
                if len(made) < len(wanted):
                    raise Broken(_lost(kind, wanted, made), job=job, since=at)

    return check


def _lost(kind: str, wanted: Sequence[str], made: Sequence[str]) -> str:
    missing = next((text for text in wanted if text not in made), wanted[0])
    often = f"{kind!r} happens {len(wanted)} times without a kill, and here {len(made)}"
    return (
        f"{missing!r} is missing: {often if made else 'it happens without a kill'}; do it, with an "
        "idempotency key, before you record that it is done, or name it in may_lose="
    )


class _Deed(NamedTuple):
    """An effect of an attempt, or a job that it sent: its text, and what it is counted with."""

    attempt: int
    kind: str
    text: str


def _deeds(state: RunState, effects: Sequence[Effect], job: UUID) -> list[_Deed]:
    found = [
        _Deed(one.attempt, one.key.partition("(")[0] if one.called else _NUMBERS.sub("#", one.key), one.key)
        for one in effects
        if one.job == job and (one.alive or one.called)
    ]
    began = sorted((begun.at, number) for number, ones in state.lives[job].began.items() for begun in ones)
    for life in state.lives.values():
        if not life.sends or life.sends[0].what.parent != job:
            continue
        # A refused send has no row; one that was rolled back, or did not arrive, has neither row nor answer.
        if life.changes or any(send.call.outcome == "ok" for send in life.sends):
            first = life.sends[0]
            attempt = max((number for at, number in began if at <= first.call.invoked.at), default=0)
            text = f"a job of {first.what.name}"
            found.append(_Deed(attempt, text, text))
    return found


def _goes_on_later(life: Life, attempt: int) -> bool:
    """Return whether an attempt ended by ``Snooze``, ``Retry``, or by waiting for a job."""
    asked = [one.asked for one in life.ended.get(attempt, ())]
    return any(one is not None for one in asked) or any(
        isinstance(outcome.what, Waiting) for outcome in life.outcomes.get(attempt, ())
    )
