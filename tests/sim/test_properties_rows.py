"""How rows may change, and how attempts end: histories that hold, and one that breaks each property."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

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


def test_whole_lives_hold() -> None:
    h = History()
    done = h.send(data='{"n":1}', retry_limit=0)
    h.claim(done)
    h.run(done, "returned", {"n": 1.0})
    h.settle(done, Completed(done, 1, '{"n":1.0}'), output='{"n": 1.0}')
    failed = h.send(retry_limit=1)
    h.fail(failed, 1.5)
    h.fail(failed, None)
    h.by_hand("retry", failed, RETRY, retry_limit=2)
    h.complete(failed)
    snoozed = h.send()
    h.claim(snoozed)
    h.settle(snoozed, Released(snoozed, 1, 5.0))
    h.by_hand("cancel", snoozed, CANCELLED)
    h.by_hand("resume", snoozed, CREATED)
    h.complete(snoozed)
    h.wait(60)
    h.archive(done)
    h.wait(60)
    h.purge(done)
    assert h.verdict() is None


def test_a_step_that_is_not_in_the_state_machine() -> None:
    h = History()
    job = h.send()
    h.complete(job)
    h.change(job, state=CANCELLED)
    assert h.breaks("only legal transitions") == "completed became cancelled"


def test_a_second_lease_while_the_first_lasts() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.claim(job, node="w2")
    text = h.breaks("no two leases overlap")
    assert f"attempt 1 of worker {WORKERS['w1']}" in text
    assert f"attempt 2 of worker {WORKERS['w2']}" in text


def test_a_priority_that_changes() -> None:
    h = History()
    job = h.send(priority=3)
    h.claim(job, priority=4)
    assert h.breaks("a job stays what it is") == "3 became 4"


def test_a_retry_limit_that_grows_without_a_revival() -> None:
    h = History()
    job = h.send(retry_limit=2)
    h.claim(job, retry_limit=3)
    assert h.breaks("a job stays what it is") == "retry_limit was 2 and became 3 after 0 retries"


@pytest.mark.parametrize("attempt", [0, 2])
def test_a_claim_that_counts_wrongly(attempt: int) -> None:
    h = History()
    h.claim(h.send(), attempt=attempt)
    assert h.breaks("attempts are numbered by claims") == f"attempt is {attempt}, and should be 1"


def test_a_release_that_uses_a_retry() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.settle(job, Released(job, 1))
    h.claim(job, retry_count=1)
    expected = "created became active with 1 retries used, and should with 0"
    assert h.breaks("only failures use retries") == expected


def test_a_failure_that_is_not_kept() -> None:
    h = History()
    h.fail(h.send(), 1.0, failures=0)
    assert h.breaks("each failed attempt is kept") == "its history has 0 attempts, and should have 1"


def test_only_the_last_failures_are_kept() -> None:
    h = History()
    job = h.send(retry_limit=100, retry_backoff=False)
    for number in range(1, 28):
        h.fail(job, 1.0, failures=min(number, 25))
    assert h.verdict() is None


def test_an_end_without_its_time() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.run(job)
    h.settle(job, Completed(job, 1, None), completed_on=None)
    assert h.breaks("an ended job rests") == "completed, and completed_on is None"


def test_a_settlement_of_an_earlier_attempt() -> None:
    h = History()
    job = h.send()
    h.fail(job)
    h.claim(job)
    call = h.invoke("settle", "w1", completed=(Completed(job, 1, None),), failed=(), released=(), again=False)
    h.change(job, call, state=COMPLETED, completed_on=h.now, output=None)
    assert "attempt 2 became completed with output None; asked was nothing for attempt 2" in h.breaks(
        "a settlement is of the current attempt"
    )


def test_a_settlement_that_stores_something_else() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.run(job, "returned", 1)
    h.settle(job, Completed(job, 1, "1"), output="2")
    text = h.breaks("a settlement is of the current attempt")
    assert "output 2" in text
    assert "Completed(1)" in text
    assert h.breaks("a handler returned what is stored") == "output is 2, and the handler returned 1"


def test_a_completion_though_the_handler_raised() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.run(job, "raised", "E: boom")
    h.settle(job, Completed(job, 1, None))
    expected = "completed, and the handler of attempt 1 raised E: boom"
    assert h.breaks("a handler returned what is stored") == expected


def test_a_completion_by_the_handler_of_another_attempt() -> None:
    h = History()
    job = h.send()
    h.fail(job)
    h.claim(job)
    h.settle(job, Completed(job, 2, None))
    expected = "completed, and the handler of attempt 2 did not end"
    assert h.breaks("a handler returned what is stored") == expected


def test_one_failure_too_many() -> None:
    h = History()
    job = h.send(retry_limit=1)
    h.fail(job)
    h.fail(job)
    h.fail(job, None)
    assert h.breaks("failures within the retry limit") == "it failed 3 times, and may 2 times"
    assert h.breaks("no retry is skipped") == "retried after 1 retries of 1"


def test_a_revival_gives_one_more_failure() -> None:
    h = History()
    job = h.send(retry_limit=0)
    h.fail(job, None)
    h.by_hand("retry", job, RETRY, retry_limit=1)
    h.fail(job, None)
    assert h.verdict() is None


def test_giving_up_though_a_retry_is_left() -> None:
    h = History()
    h.fail(h.send(), None)
    assert h.breaks("no retry is skipped") == "given up after 0 retries of 3, for E: boom"


def test_giving_up_for_good_is_no_skipped_retry() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.run(job, "raised", "Fail: no")
    error = ERROR.replace('"E"', '"Fail"')
    h.settle(job, Failed(job, 1, None, error), output=ERROR_STORED.replace('"E"', '"Fail"'))
    assert h.verdict() is None


@pytest.mark.parametrize("wait", [0.9, 2.1])
def test_a_wait_out_of_the_policys_bounds(wait: float) -> None:
    h = History()
    h.fail(h.send(), wait)
    expected = f"retried in {wait} s, and after 0 retries it is 1.0 to 2.0 s"
    assert h.breaks("retries wait as the policy says") == expected


def test_the_window_doubles_up_to_its_cap() -> None:
    h = History()
    job = h.send(retry_limit=5, retry_delay=2, retry_delay_max=10)
    for wait in (2.0, 4.0, 8.0, 10.0):
        h.fail(job, wait)
    assert h.verdict() is None
    h.fail(job, 10.5)
    assert "10.5 s" in h.breaks("retries wait as the policy says")


def test_a_row_that_waits_for_another_time_than_it_was_told() -> None:
    h = History()
    job = h.send()
    h.fail(job, 1.5, start_after=h.now)
    assert "should be 1.5 s from" in h.breaks("retries wait as the policy says")


def test_a_snooze_that_is_cut_short() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.settle(job, Released(job, 1, 30.0), start_after=h.now + timedelta(seconds=3))
    assert "should be 30.0 s from" in h.breaks("a snoozed job waits as asked")


def test_a_job_brought_back_for_another_day() -> None:
    h = History()
    job = h.send()
    h.by_hand("cancel", job, CANCELLED)
    h.by_hand("resume", job, CREATED, start_after=h.now + timedelta(days=1))
    assert "should be 0.0 s from" in h.breaks("a snoozed job waits as asked")


def test_a_change_by_a_call_that_is_not_there_for_it() -> None:
    h = History()
    job = h.send()
    call = h.invoke("beat", "w1", worker=None)
    h.change(job, call, state=CANCELLED, completed_on=h.now)
    expected = "created became cancelled in job by beat, and cancel does that"
    assert h.breaks("nothing changes unasked") == expected


def test_a_change_of_a_job_that_the_call_does_not_name() -> None:
    h = History()
    job, other = h.send(), h.send()
    call = h.invoke("cancel", ids=(other,))
    h.change(job, call, state=CANCELLED, completed_on=h.now)
    assert "by cancel" in h.breaks("nothing changes unasked")


def test_an_answer_that_claims_what_was_not_done() -> None:
    h = History()
    job = h.send()
    h.answer(h.invoke("cancel", ids=(job,)), {job})
    expected = "cancel says that it changed it, and nothing changed"
    assert h.breaks("answers tell what was done") == expected


def test_an_answer_that_leaves_out_what_was_done() -> None:
    h = History()
    job = h.send()
    call = h.invoke("cancel", ids=(job,))
    h.change(job, call, state=CANCELLED, completed_on=h.now)
    h.answer(call, set())
    expected = "cancel changed it, and its answer does not say so"
    assert h.breaks("answers tell what was done") == expected


def test_a_settlement_that_is_ignored() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    call = h.invoke("settle", "w1", completed=(Completed(job, 1, None),), failed=(), released=(), again=False)
    h.answer(call, set())
    expected = "settle left attempt 1 alone, which was current"
    assert h.breaks("answers tell what was done") == expected


def test_a_settlement_of_what_is_over_is_rightly_ignored() -> None:
    h = History()
    job = h.send()
    h.complete(job)
    call = h.invoke("settle", "w1", completed=(Completed(job, 1, None),), failed=(), released=(), again=False)
    h.answer(call, set())
    again = h.invoke("settle", "w1", completed=(Completed(job, 1, None),), failed=(), released=(), again=True)
    h.answer(again, {job})
    assert h.verdict() is None


def test_a_job_that_has_to_wait_again_and_whose_place_is_taken_ends() -> None:
    h = History()
    job = h.send(singleton_key="__pgboss__singleton_queue")
    h.claim(job)
    h.send(singleton_key="__pgboss__singleton_queue")
    output = '{"type": "Superseded", "message": "m", "superseded_by": "x", "traceback": null}'
    ends = {"state": FAILED, "completed_on": h.now, "output": output, "superseded": True, "failures": 1}
    h.settle(job, Released(job, 1), **ends, worker=WORKERS["w1"], start_after=h.rows[job].start_after)
    assert h.verdict() is None


def test_an_unknown_job_is_not_settled() -> None:
    h = History()
    stranger = UUID(int=99)
    call = h.invoke(
        "settle", "w1", completed=(Completed(stranger, 1, None),), failed=(), released=(), again=False
    )
    h.answer(call, set())
    assert h.verdict() is None
