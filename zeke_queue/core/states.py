"""The state machine of a job: one table, which every storage's statements implement.

A job *waits* in ``created`` or ``retry``, *runs* in ``active``, and has *ended* in the four others. The two
waiting states differ in a count: claiming a job from ``retry`` uses a retry, claiming it from ``created``
does not. That is why a failed attempt goes to ``retry``, while a job that was released without a failure
(shutdown, snooze) goes to ``created`` and keeps its count.

The table has a row per state and a column per event; a dot is an illegal transition::

    state     | CLAIM  COMPLETE  RETRY FAIL   EXPIRE  RELEASE CANCEL    RESUME  REVIVE SUPERSEDE
    ----------+---------------------------------------------------------------------------------
    created   | active .         .     .      .       .       cancelled .       .      .
    retry     | active .         .     .      .       .       cancelled .       .      .
    active    | .      completed retry failed expired created cancelled .       .      failed
    completed | .      .         .     .      .       .       .         .       .      .
    expired   | .      .         .     .      .       .       .         .       retry  .
    cancelled | .      .         .     .      .       .       .         created .      .
    failed    | .      .         .     .      .       .       .         .       retry  .

Consequences, which are tested:

- Only an active job can be settled, so a failure reported for an unclaimed job changes nothing.
- A completed job stays completed: RESUME takes cancelled jobs only, REVIVE failed and expired ones only.
- FAIL and EXPIRE are two ways to give up, and differ only in the reason. SUPERSEDE is the third: the job
  should return to waiting, but another job has taken the place that a uniqueness rule allows.
- Every state but ``completed`` has a transition out, and every state has one in.

Source: pg-boss 9's states; the events and what each allows are defined here.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from zeke_queue.model import RowState

if TYPE_CHECKING:
    from collections.abc import Mapping


class Event(enum.StrEnum):
    """Events of a job.

    CLAIM: a worker takes it. COMPLETE: its handler returned. RETRY: an attempt failed and another is allowed.
    FAIL: it failed permanently. EXPIRE: its deadline or its worker's lease ran out, and no retries are left.
    RELEASE: its worker returns it without a failure. CANCEL: a user cancels it. RESUME: a cancelled job waits
    again.
    REVIVE: a failed or expired job gets another try. SUPERSEDE: it can't return to waiting, since another job
    holds its place.
    """

    CLAIM = "claim"
    COMPLETE = "complete"
    RETRY = "retry"
    FAIL = "fail"
    EXPIRE = "expire"
    RELEASE = "release"
    CANCEL = "cancel"
    RESUME = "resume"
    REVIVE = "revive"
    SUPERSEDE = "supersede"


TRANSITIONS: Final[Mapping[tuple[RowState, Event], RowState]] = MappingProxyType(
    {
        (RowState.CREATED, Event.CLAIM): RowState.ACTIVE,
        (RowState.RETRY, Event.CLAIM): RowState.ACTIVE,
        (RowState.ACTIVE, Event.COMPLETE): RowState.COMPLETED,
        (RowState.ACTIVE, Event.RETRY): RowState.RETRY,
        (RowState.ACTIVE, Event.FAIL): RowState.FAILED,
        (RowState.ACTIVE, Event.EXPIRE): RowState.EXPIRED,
        (RowState.ACTIVE, Event.SUPERSEDE): RowState.FAILED,
        (RowState.ACTIVE, Event.RELEASE): RowState.CREATED,
        (RowState.CREATED, Event.CANCEL): RowState.CANCELLED,
        (RowState.RETRY, Event.CANCEL): RowState.CANCELLED,
        (RowState.ACTIVE, Event.CANCEL): RowState.CANCELLED,
        (RowState.CANCELLED, Event.RESUME): RowState.CREATED,
        (RowState.FAILED, Event.REVIVE): RowState.RETRY,
        (RowState.EXPIRED, Event.REVIVE): RowState.RETRY,
    }
)
