"""Settlements: attempts end as a settlement requests, and as the handler ended."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_queue.core import jsonb
from zeke_queue.errors import SerializationError
from zeke_queue.model import Completed, Failed, Released, RowState, Waiting
from zeke_sim.history.events import Change
from zeke_sim.history.state import Broken
from zeke_sim.properties.definition import holds, is_claim, is_end

if TYPE_CHECKING:
    from zeke_sim.history.events import Image
    from zeke_sim.history.state import Request, RunState

_CREATED, _RETRY, _ACTIVE = RowState.CREATED, RowState.RETRY, RowState.ACTIVE

FOR_GOOD: Final = frozenset(
    {"Fail", "PayloadValidationError", "SerializationError", "PayloadTooLargeError", "Wait"}
)
"""Errors that a retry would not fix, or that request no retry."""

DOUBLINGS: Final = 16
WAIT_MAX: Final = 2**31 - 1


def outcomes(event: Change, state: RunState) -> list[Request]:
    """Return the settlements that may have made a change that ended an attempt."""
    before = event.before
    if before is None:
        return []
    requests = state.lives[before.id].outcomes.get(before.attempt, [])
    causes = state.causes(event)
    if causes:
        return [request for request in requests if request.call in causes]
    return [request for request in requests if request.call.outcome != "failed"]


def settled(event: Change) -> tuple[Image, Image] | None:
    """Return a row before and after a change that ended an attempt."""
    before, after = event.before, event.after
    return None if before is None or after is None else (before, after)


@holds("a settlement is of the current attempt", Change, steps=is_end)
def a_settlement_is_of_the_current_attempt(event: Change, state: RunState) -> None:
    """An attempt ends as requested by a settlement that names it, with the output of that settlement."""
    rows = settled(event)
    if rows is None:
        return
    before, after = rows
    requests = outcomes(event, state)
    if any(_fits(request.what, after) for request in requests):
        return
    asked = (
        ", ".join(described(request.what) for request in requests) or f"nothing for attempt {before.attempt}"
    )
    others = [number for number in state.lives[after.id].outcomes if number != before.attempt]
    if not requests and others:
        asked += f" (but for {', '.join(map(str, others))})"
    raise Broken(
        f"attempt {before.attempt} became {after.state} with output {after.output}; asked was {asked}",
        job=after.id,
        since=state.lives[after.id].earlier,
    )


def _fits(outcome: Any, after: Image) -> bool:
    state = after.state
    if isinstance(outcome, Completed):
        return state is RowState.COMPLETED and after.output == normal(outcome.output)
    given_back = isinstance(outcome, Released | Waiting)
    waits = given_back or outcome.retry_in is not None
    if after.superseded:
        return waits and state is RowState.FAILED
    if given_back:
        return state is _CREATED
    if after.output != normal(outcome.output):
        return False
    return state is (_RETRY if waits else outcome.final)


def described(outcome: Any) -> str:
    """Format a requested outcome."""
    if isinstance(outcome, Failed):
        how = f"retry in {outcome.retry_in} s" if outcome.retry_in is not None else str(outcome.final)
        return f"Failed({how}, {outcome.output})"
    if isinstance(outcome, Completed):
        return f"Completed({outcome.output})"
    if isinstance(outcome, Waiting):
        return f"Waiting({outcome.child})"
    return f"Released({outcome.delay})"


@holds("an output is what the handler returned", Change, steps=is_end)
def an_output_is_what_the_handler_returned(event: Change, state: RunState) -> None:
    """A job is completed only if the handler of the same attempt returned its output."""
    rows = settled(event)
    if rows is None or rows[1].state is not RowState.COMPLETED:
        return
    before, after = rows
    ends = state.lives[after.id].ended.get(before.attempt, [])
    returned = [end for end in ends if end.how == "returned"]
    if not returned:
        did = ", ".join(f"{end.how} {end.value}" for end in ends) or "did not end"
        raise Broken(f"completed, and the handler of attempt {before.attempt} {did}", job=after.id)
    values = [written(end.value) for end in returned]
    if after.output not in values:
        raise Broken(f"output is {after.output}, and the handler returned {values[0]}", job=after.id)


@holds("retries within the limit", Change, steps=is_claim)
def retries_within_the_limit(event: Change, _state: RunState) -> None:
    """A job has no more retries than its limit, which a revival raises if necessary."""
    row = event.after
    if row is not None and row.retry_count > row.retry_limit:
        raise Broken(f"attempt {row.attempt} is retry {row.retry_count} of {row.retry_limit}", job=row.id)


@holds("no retry is skipped", Change, steps=is_end)
def no_retry_is_skipped(event: Change, _state: RunState) -> None:
    """A failed attempt is retried if and only if retries are left.

    Exempt are failures that a retry would not fix, and those whose handler requests no retry.
    """
    rows = settled(event)
    if rows is None:
        return
    before, after = rows
    left = before.retry_limit - before.retry_count
    if after.state is _RETRY and left <= 0:
        raise Broken(f"retried after {before.retry_count} retries of {before.retry_limit}", job=after.id)
    if after.state not in {RowState.FAILED, RowState.EXPIRED} or left <= 0 or after.superseded:
        return
    error = error_of(after.output)
    if error.get("type") not in FOR_GOOD and "while_storing" not in error:
        raise Broken(
            f"given up after {before.retry_count} retries of {before.retry_limit}, for"
            f" {error.get('type')}: {error.get('message')}",
            job=after.id,
        )


@holds("retries wait as the policy says", Change, steps=is_end)
def retries_wait_as_the_policy_says(event: Change, state: RunState) -> None:
    """A failed attempt is retried after a wait within the bounds of the job's policy, or as requested.

    With backoff, the wait is drawn from the upper half of a window that doubles with each retry, up to
    sixteen times, and is capped; without, it is the delay. The row's start_after matches that wait.
    """
    rows = settled(event)
    if rows is None or rows[1].state is not _RETRY:
        return
    before, after = rows
    low, high = _bounds(before)
    for request in outcomes(event, state):
        wait = request.what.retry_in if isinstance(request.what, Failed) else None
        if wait is None:
            continue
        if not low <= wait <= high and error_of(request.what.output).get("type") != "Retry":
            raise Broken(
                f"retried in {wait} s, and after {before.retry_count} retries it is {low} to {high} s",
                job=after.id,
            )
        _starts_in(wait, after, request.call.invoked.at, state)


@holds("a snoozed job waits as requested", Change)
def a_snoozed_job_waits_as_requested(event: Change, state: RunState) -> None:
    """A released job is due after the requested delay, and a requeued job at once."""
    before, after = event.before, event.after
    if before is None or after is None or event.table != "job" or before.state is after.state:
        return
    if before.state is _ACTIVE and after.state is _CREATED:
        for request in outcomes(event, state):
            if isinstance(request.what, Released):
                _starts_in(request.what.delay, after, request.call.invoked.at, state)
    elif after.state is _CREATED or (after.state is _RETRY and before.state is not _ACTIVE):
        for call in state.causes(event):
            _starts_in(0.0, after, call.invoked.at, state)


def _starts_in(wait: float, after: Image, since: float, state: RunState) -> None:
    if not state.stamped(after.start_after - timedelta(seconds=wait), since):
        raise Broken(
            f"start_after is {after.start_after}, and should be {wait} s from {state.now}", job=after.id
        )


def _bounds(row: Image) -> tuple[float, float]:
    if not row.retry_backoff:
        return float(row.retry_delay), float(row.retry_delay)
    window = row.retry_delay * 2.0 ** min(DOUBLINGS, row.retry_count + 1)
    cap = float(WAIT_MAX if row.retry_delay_max is None else min(row.retry_delay_max, WAIT_MAX))
    return min(cap, window / 2), min(cap, window)


@lru_cache(maxsize=4096)
def normal(text: str | None) -> str | None:
    """Normalize JSON text to the format of jsonb."""
    return None if text is None else jsonb.normalise(text)


@lru_cache(maxsize=4096)
def error_of(output: str | None) -> dict[str, Any]:
    """Return the error of an output; an empty one if it contains none."""
    value = None if output is None else jsonb.loads(output)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def written(value: Any) -> str | None:
    """Return a handler's result in its stored form; None for no result."""
    if value is None:
        return None
    try:
        return normal(jsonb.dumps(value))
    except SerializationError:
        return "<no JSON>"
