"""Outcomes that workers report match what their handlers did, and none is reported for a running handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.model import Completed, Failed, Released, RowState, Waiting
from zeke_sim.history.events import Answered, Ended, Invoked, Lived, WorkerRow
from zeke_sim.history.state import MOMENT, Broken
from zeke_sim.properties.definition import holds
from zeke_sim.properties.interruptions import PROMPT, deadline, known_of, lease_over, remember, was_paused
from zeke_sim.properties.settlements import described, error_of, normal, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zeke_sim.history.state import RunState

UNSTORABLE = frozenset({"SerializationError", "PayloadTooLargeError", "Wait"})
"""Types of failures of handlers that returned: their result can't be stored, or they caught a ``Wait``."""

UNBEGUN = frozenset({"Expired", "PayloadValidationError"})
"""Error types of failures without a handler run: the deadline had passed, or the payload is invalid."""

_SHORT = MOMENT.total_seconds()


@holds(
    "a settlement says what the handler did",
    Invoked,
    Answered,
    Lived,
    WorkerRow,
    verbs=("settle", "settle_unlocked", "suspend", "heartbeat"),
)
def a_settlement_says_what_the_handler_did(
    event: Invoked | Answered | Lived | WorkerRow, state: RunState
) -> None:
    """A worker reports what an attempt's handler did: returned, failed (permanently or not), snoozed, waits.

    An attempt whose deadline passed is reported as expired. One that the worker abandoned, because it stops
    or its lease ended, may be released. A running handler is not reported.
    """
    if not isinstance(event, Invoked):
        if not isinstance(event, Answered) or event.verb == "heartbeat":
            remember(event, state)
        return
    args = event.args
    for key in ("completed", "failed", "released", "waiting"):
        for outcome in args.get(key, ()):
            _check_outcome(outcome, event, state)


def _check_outcome(outcome: Any, event: Invoked, state: RunState) -> None:
    error = error_of(outcome.output) if isinstance(outcome, Failed) else {}
    if isinstance(outcome, Failed):
        _check_expired(outcome, error)
    ruled = state.ruled_overdue.get((outcome.id, outcome.attempt))
    if "while_storing" in error or (ruled and error.get("type") in {"Expired", "WorkerLost"}):
        return  # the latter is said by maintenance, possibly in the same process
    life = state.lives[outcome.id]
    ends = [end for end in life.ended.get(outcome.attempt, ()) if end.node == event.node]
    if ends:
        _as_it_did(outcome, error, ends[-1], state)
    elif any(began.node == event.node for began in life.began.get(outcome.attempt, ())):
        now = Ended(event.at, event.node, "", outcome.id, outcome.attempt, "cancelled", None)
        if (outcome.id, outcome.attempt) in state.nodes[event.node].running and not _gave_up(now, state):
            raise Broken(
                f"{type(outcome).__name__} is said of attempt {outcome.attempt}, whose handler goes on",
                job=outcome.id,
                since=life.began[outcome.attempt][-1].at,
            )
    elif _claimed(outcome, event, state) and (
        isinstance(outcome, Completed | Waiting)
        or (isinstance(outcome, Failed) and error.get("type") not in UNBEGUN)
    ):
        raise Broken(
            f"{_shown(outcome, error)} is said of attempt {outcome.attempt}, whose handler never began",
            job=outcome.id,
        )


def _claimed(outcome: Any, event: Invoked, state: RunState) -> bool:
    """Return whether the reporting worker claimed the attempt; if not, the report is of an earlier job.

    A repeated report returns False too, since it was checked the first time.
    """
    if event.args.get("repeated"):
        return False
    claim = state.lives[outcome.id].claims.get(outcome.attempt)
    call = state.calls.get(claim.call) if claim is not None and claim.call is not None else None
    return call is not None and call.invoked.node == event.node


def _check_expired(outcome: Failed, error: dict[str, Any]) -> None:
    """Check that an attempt ends as expired if and only if it took too long."""
    expired = error.get("type") == "Expired"
    if expired is not (outcome.final is RowState.EXPIRED):
        raise Broken(
            f"attempt {outcome.attempt} failed of {error.get('type')}, and is to end as {outcome.final}",
            job=outcome.id,
        )


def _as_it_did(outcome: Any, error: dict[str, Any], end: Ended, state: RunState) -> None:
    """Check that an outcome matches what a handler did, even if its worker did not wait for it."""
    if isinstance(outcome, Failed) and error.get("type") == "Expired":
        if end.at + _SHORT >= deadline(end, state, 1 / (1 + state.rules.drift)):
            return
    elif isinstance(outcome, Released) and _gave_up(end, state):
        return
    elif _too_late(end, state) and not _gave_up(end, state):
        raise Broken(
            f"{_shown(outcome, error)} is said of attempt {outcome.attempt}, which ended at {end.at:.3f} s"
            f" and had time until {deadline(end, state, 1.0):.3f} s",
            job=outcome.id,
            since=end.at,
        )
    elif any(_is(outcome, error, end, state)):
        return
    asked = "" if end.asked is None else f" ({end.asked} s)"
    raise Broken(
        f"{_shown(outcome, error)} is said of attempt {outcome.attempt}, whose handler {end.how}"
        f" {end.value!r}{asked}",
        job=outcome.id,
        since=end.at,
    )


def _is(outcome: Any, error: dict[str, Any], end: Ended, state: RunState) -> Iterator[bool]:
    """Yield for each kind of end whether the outcome matches what the handler did."""
    kind = str(end.value).partition(":")[0] if end.how == "raised" else end.how
    if kind == "returned":
        yield isinstance(outcome, Completed) and normal(outcome.output) == written(end.value)
        yield isinstance(outcome, Failed) and outcome.retry_in is None and error.get("type") in UNSTORABLE
    elif kind == "Snooze":
        yield isinstance(outcome, Released) and end.asked in {None, outcome.delay}
    elif kind == "Wait":
        yield isinstance(outcome, Waiting) and str(outcome.child) in str(end.value)
        yield isinstance(outcome, Failed) and error.get("type") in {"JobNotFoundError", "Wait"}
    elif kind == "Fail":
        yield isinstance(outcome, Failed) and outcome.retry_in is None and error.get("type") == kind
    elif kind == "Retry":
        yield isinstance(outcome, Failed) and error.get("type") == kind and _asked_for(outcome, end, state)
    elif kind != "cancelled":
        yield isinstance(outcome, Failed)


def _asked_for(outcome: Failed, end: Ended, state: RunState) -> bool:
    """Return whether a failure is retried after the delay that its handler requested, if a retry is left."""
    claim = state.lives[end.job].claims.get(end.attempt)
    if claim is None or claim.after is None:
        return True
    if claim.after.retry_count >= claim.after.retry_limit:
        return outcome.retry_in is None
    return outcome.retry_in is not None and end.asked in {None, outcome.retry_in}


def _gave_up(end: Ended, state: RunState) -> bool:
    """Return whether a worker may have abandoned an attempt because it stopped or its lease ended."""
    early = 1 / (1 + state.rules.drift)
    stopped = known_of(state).stops.get(end.node)
    if stopped is not None and end.at + _SHORT >= stopped + state.rules.shutdown_timeout * early:
        return True
    began = state.lives[end.job].began[end.attempt][-1].at
    return lease_over(end, state, began, early) is not None


def _too_late(end: Ended, state: RunState) -> bool:
    """Return whether a handler certainly ran past its deadline, so that it was interrupted."""
    claim = state.lives[end.job].claims.get(end.attempt)
    since = end.at if claim is None else claim.at
    return end.at > deadline(end, state, 1 + state.rules.drift) + PROMPT and not was_paused(
        end.node, since, state
    )


def _shown(outcome: Any, error: dict[str, Any]) -> str:
    if isinstance(outcome, Failed):
        return f"Failed({error.get('type')}, retry in {outcome.retry_in} s)"
    return described(outcome)
