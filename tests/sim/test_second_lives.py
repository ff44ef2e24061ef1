"""An id that was purged and is sent again is another job, which the properties judge by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from zeke_queue.model import JobState
from zeke_sim.history import Began, Change, Image, Rules
from zeke_sim.judge import Judge
from zeke_sim.properties.nodes import each_attempt_runs_once

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
JOB = UUID(int=1)

CREATED = Image(
    id=JOB,
    name="q",
    state=JobState.CREATED,
    priority=0,
    attempt=0,
    retry_count=0,
    retry_limit=0,
    retry_delay=1,
    retry_backoff=False,
    retry_delay_max=None,
    start_after=NOW,
    started_on=None,
    expire_in=60.0,
    created_on=NOW,
    completed_on=None,
    singleton_key=None,
    singleton_on=None,
    worker=None,
    parent=None,
    data=None,
    output=None,
    archived_on=None,
    superseded=False,
    failures=0,
)
ACTIVE = CREATED._replace(state=JobState.ACTIVE, attempt=1, started_on=NOW, worker=UUID(int=2))
ENDED = ACTIVE._replace(state=JobState.COMPLETED, completed_on=NOW)


def _change(at: float, before: Image | None, after: Image | None) -> Change:
    return Change(at, NOW + timedelta(seconds=at), "job", before, after, None, int(at * 10))


def test_the_first_attempt_of_a_second_life_is_not_the_first_ones() -> None:
    judge = Judge(Rules(), properties=[each_attempt_runs_once])
    for start in (0.0, 10.0):
        judge.see(_change(start, None, CREATED))
        judge.see(_change(start + 1, CREATED, ACTIVE))
        judge.see(Began(start + 2, "w1", "q", JOB, 1))
        judge.see(_change(start + 3, ACTIVE, ENDED))
        judge.see(_change(start + 4, ENDED, None))
    assert len(judge.past.lives[JOB].began[1]) == 1
