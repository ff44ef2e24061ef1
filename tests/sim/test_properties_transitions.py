"""How rows may change, and how attempts end: histories that hold, and ones that break each property."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.cases import check_each
from tests.sim.histories import (
    CANCELLED,
    COMPLETED,
    CREATED,
    ERROR,
    ERROR_STORED,
    FAILED,
    RETRY,
    WORKERS,
    History,
)
from zeke_queue.model import Completed, Failed, Released

CURRENT, STORED = "a settlement is of the current attempt", "an output is what the handler returned"
POLICY, SNOOZE = "retries wait as the policy says", "a snoozed job waits as requested"
SKIPPED, TELLS = "no retry is skipped", "answers match what was done"
UNASKED, SENT = "nothing changes without a request", "what was sent never changes"
NUMBERED = "attempts are numbered by claims"


def test_whole_lives_hold(h: History) -> None:
    done = h.send(data='{"n":1}', retry_limit=0)
    h.claim(done)
    h.run(done, "returned", {"n": 1.0})
    h.settle(done, Completed(done, 1, '{"n":1.0}'), output='{"n": 1.0}')
    failed = h.send(retry_limit=1)
    h.fail(failed, 1.5)
    h.fail(failed, None)
    h.by_hand("retry", failed, RETRY, retry_limit=2)
    h.complete(failed)
    snoozed = h.send_claimed()
    h.settle(snoozed, Released(snoozed, 1, 5.0))
    h.by_hand("cancel", snoozed, CANCELLED)
    h.by_hand("resume", snoozed, CREATED)
    h.complete(snoozed)
    h.wait(60)
    h.archive(done)
    h.wait(60)
    h.purge(done)
    assert h.verdict() is None


def _illegal_step(h: History, job: UUID) -> None:
    h.complete(job)
    h.change(job, state=CANCELLED)


def _release_uses_retry(h: History, job: UUID) -> None:
    h.claim(job)
    h.settle(job, Released(job, 1))
    h.claim(job, retry_count=1)


def _ends_without_time(h: History, job: UUID) -> None:
    h.claim(job)
    h.run(job)
    h.settle(job, Completed(job, 1, None), completed_on=None)


def _completes_raised(h: History, job: UUID) -> None:
    h.claim(job)
    h.run(job, "raised", "E: boom")
    h.settle(job, Completed(job, 1, None))


def _completes_by_other_attempt(h: History, job: UUID) -> None:
    h.fail(job)
    h.claim(job)
    h.settle(job, Completed(job, 2, None))


def _snooze_cut_short(h: History, job: UUID) -> None:
    h.claim(job)
    h.settle(job, Released(job, 1, 30.0), start_after=h.now + timedelta(seconds=3))


def _resumed_for_tomorrow(h: History, job: UUID) -> None:
    h.by_hand("cancel", job, CANCELLED)
    h.by_hand("resume", job, CREATED, start_after=h.now + timedelta(days=1))


def _changed_by_other_verb(h: History, job: UUID) -> None:
    h.change(job, h.invoke("heartbeat", "w1", worker=None), state=CANCELLED, completed_on=h.now)


def _changed_without_being_named(h: History, job: UUID) -> None:
    h.change(job, h.invoke("cancel", ids=(h.send(),)), state=CANCELLED, completed_on=h.now)


def _answers_what_was_not_done(h: History, job: UUID) -> None:
    h.answer(h.invoke("cancel", ids=(job,)), {job})


def _omits_what_was_done(h: History, job: UUID) -> None:
    call = h.invoke("cancel", ids=(job,))
    h.change(job, call, state=CANCELLED, completed_on=h.now)
    h.answer(call, set())


def _ignores_settlement(h: History, job: UUID) -> None:
    h.claim(job)
    h.answer(_settle(h, job), set())


def _settles_again_as_if_new(h: History, job: UUID) -> None:
    h.claim(job)
    h.answer(_settle(h, job), outcome="unknown")
    _settle(h, job)


def _denies_what_it_did(h: History, job: UUID) -> None:
    h.claim(job)
    call = _settle(h, job)
    h.change(job, call, state=COMPLETED, completed_on=h.now)
    h.answer(call, outcome="unknown")
    h.answer(_settle(h, job, repeated=True), set())


def _kept_with(h: History, job: UUID, **columns: Any) -> None:
    """Complete a job, and keep it in the archive for its parent."""
    h.complete(job)
    h.wait(60.0)
    h.archive(job)
    h.keep(job, **columns)


def _settle(h: History, job: UUID, *, repeated: bool = False) -> int:
    """Ask to complete the first attempt of a job."""
    done = (Completed(job, 1, None),)
    return h.invoke("settle", "w1", completed=done, failed=(), released=(), repeated=repeated)


# A job is sent, then this is done to it, which breaks the property with this text (a pattern).
BREAKS: list[tuple[Callable[[History, UUID], object], str, str]] = [
    (_illegal_step, "only legal transitions", "completed became cancelled"),
    (lambda h, job: h.claim(job, priority=4), SENT, "0 became 4"),
    (lambda h, job: h.claim(job, retry_limit=4), SENT, "retry_limit was 3 and became 4 after 0 retries"),
    (lambda h, job: _kept_with(h, job, priority=4), SENT, "priority was 0 in the archive and became 4"),
    (lambda h, job: _kept_with(h, job, output="1"), SENT, "output was None in the archive and became '1'"),
    (lambda h, job: h.claim(job, attempt=0), NUMBERED, "attempt is 0, and should be 1"),
    (lambda h, job: h.claim(job, attempt=2), NUMBERED, "attempt is 2, and should be 1"),
    (
        _release_uses_retry,
        "only failures use retries",
        "created became active with 1 retries used, and should with 0",
    ),
    (
        lambda h, job: h.fail(job, 1.0, failures=0),
        "each failed attempt is kept",
        "its history has 0 attempts, and should have 1",
    ),
    (_ends_without_time, "each state has its columns", "completed, and completed_on is None"),
    (_completes_raised, STORED, "completed, and the handler of attempt 1 raised E: boom"),
    (_completes_by_other_attempt, STORED, "completed, and the handler of attempt 2 did not end"),
    (lambda h, job: h.fail(job, None), SKIPPED, "given up after 0 retries of 3, for E: boom"),
    (lambda h, job: h.fail(job, 0.9), POLICY, "retried in 0.9 s, and after 0 retries it is 1.0 to 2.0 s"),
    (lambda h, job: h.fail(job, 2.1), POLICY, "retried in 2.1 s, and after 0 retries it is 1.0 to 2.0 s"),
    (lambda h, job: h.fail(job, 1.5, start_after=h.now), POLICY, ".*should be 1.5 s from.*"),
    (_snooze_cut_short, SNOOZE, ".*should be 30.0 s from.*"),
    (_resumed_for_tomorrow, SNOOZE, ".*should be 0.0 s from.*"),
    (_changed_by_other_verb, UNASKED, "created became cancelled in job by heartbeat, and cancel does that"),
    (_changed_without_being_named, UNASKED, ".*by cancel, .*"),
    (_answers_what_was_not_done, TELLS, "cancel says that it changed it, and nothing changed"),
    (_omits_what_was_done, TELLS, "cancel changed it, and its answer does not say so"),
    (_ignores_settlement, TELLS, "settle left attempt 1 alone, which was current"),
    (
        _settles_again_as_if_new,
        "a repeated settlement is marked as repeated",
        "w1 had no answer to the same settle at .*",
    ),
    (_denies_what_it_did, "a repeated settlement names settled jobs", "an earlier settle changed it, .*"),
]


def test_wrong_change_of_row_breaks_its_property() -> None:
    def check(changes: Callable[[History, UUID], object], rule: str, told: str) -> None:
        h = History()
        changes(h, h.send())
        assert re.fullmatch(told, h.breaks(rule))

    check_each(BREAKS, check)


def test_settlement_of_a_purged_job_is_not_the_same_as_that_of_its_successor(h: History) -> None:
    new = h.new("a")
    for answer in ("unknown", "ok"):
        call = h.invoke("insert", jobs=(new,))
        h.insert(new, call)
        h.answer(call, [new.id])
        h.claim(new.id)
        call = _settle(h, new.id)
        h.change(new.id, call, state=COMPLETED, completed_on=h.now)
        h.answer(call, outcome=answer)
        if answer == "unknown":
            h.wait(20)
            h.archive(new.id)
            h.wait(20)
            h.purge(new.id)
    assert h.holds("a repeated settlement is marked as repeated")


def test_row_is_kept_in_the_archive(h: History) -> None:
    _kept_with(h, h.send())
    assert h.holds(SENT)


def test_leases_do_not_overlap(h: History) -> None:
    job = h.send_claimed()
    h.claim(job, node="w2")
    text = h.breaks("no two leases overlap")
    assert f"attempt 1 of worker {WORKERS['w1']}" in text
    assert f"attempt 2 of worker {WORKERS['w2']}" in text


def test_history_keeps_only_the_last_failures(h: History) -> None:
    job = h.send(retry_limit=100, retry_backoff=False)
    for number in range(1, 28):
        h.fail(job, 1.0, failures=min(number, 25))
    assert h.verdict() is None


def test_settlement_of_earlier_attempt_changes_nothing(h: History) -> None:
    job = h.send()
    h.fail(job)
    h.claim(job)
    h.change(job, _settle(h, job), state=COMPLETED, completed_on=h.now, output=None)
    told = "attempt 2 became completed with output None; asked was nothing for attempt 2"
    assert told in h.breaks(CURRENT)


def test_settlement_stores_its_values(h: History) -> None:
    job = h.send_claimed()
    h.run(job, "returned", 1)
    h.settle(job, Completed(job, 1, "1"), output="2")
    text = h.breaks(CURRENT)
    assert "output 2" in text
    assert "Completed(1)" in text
    assert h.breaks(STORED) == "output is 2, and the handler returned 1"


def test_job_fails_no_more_often_than_its_limit(h: History) -> None:
    job = h.send(retry_limit=1)
    h.fail(job)
    h.fail(job)
    h.fail(job, None)
    assert h.breaks(SKIPPED) == "retried after 1 retries of 1"


def test_requeued_job_may_fail_once_more(h: History) -> None:
    job = h.send(retry_limit=0)
    h.fail(job, None)
    h.by_hand("retry", job, RETRY, retry_limit=1)
    h.fail(job, None)
    assert h.verdict() is None


def test_final_failure_skips_no_retry(h: History) -> None:
    job = h.send_claimed()
    h.run(job, "raised", "Fail: no")
    error = ERROR.replace('"E"', '"Fail"')
    h.settle(job, Failed(job, 1, None, error), output=ERROR_STORED.replace('"E"', '"Fail"'))
    assert h.verdict() is None


def test_retry_delay_doubles_up_to_its_maximum(h: History) -> None:
    job = h.send(retry_limit=5, retry_delay=2, retry_delay_max=10)
    for wait in (2.0, 4.0, 8.0, 10.0):
        h.fail(job, wait)
    assert h.verdict() is None
    h.fail(job, 10.5)
    assert "10.5 s" in h.breaks(POLICY)


def test_settlement_of_ended_or_unknown_job_is_ignored(h: History) -> None:
    job = h.send()
    h.complete(job)
    h.answer(_settle(h, job), set())
    h.answer(_settle(h, job, repeated=True), {job})
    h.answer(_settle(h, UUID(int=99)), set())
    assert h.verdict() is None


def test_released_job_whose_key_is_taken_ends(h: History) -> None:
    job = h.send_claimed(singleton_key="__pgboss__singleton_queue")
    h.send(singleton_key="__pgboss__singleton_queue")
    output = '{"type": "Superseded", "message": "m", "superseded_by": "x", "traceback": null}'
    ends: dict[str, Any] = {"state": FAILED, "completed_on": h.now, "superseded": True, "failures": 1}
    start = h.rows[job].start_after
    h.settle(job, Released(job, 1), **ends, output=output, worker=WORKERS["w1"], start_after=start)
    assert h.verdict() is None
