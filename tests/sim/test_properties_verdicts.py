"""What workers say of attempts: histories that hold, and such as break it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.histories import ERROR, History
from zeke_queue.core.failure import error_record
from zeke_queue.model import Completed, Failed, JobState, Released
from zeke_sim.history import Began, Ended, Fault
from zeke_sim.properties import by_name

SAYS = "a settlement says what the handler did"
EXPIRED = error_record("Expired", "too long")


def _ended(h: History, how: Any, value: Any = None, asked: float | None = None, **send: Any) -> Any:
    """Let an attempt run for a second and end in a way, and return its job."""
    job = h.send(**send)
    h.beat()
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    h.wait(1.0)
    h.events.append(Ended(h.at, "w1", "a", job, 1, how, value, asked))
    return job


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (False, "false"),
        ("", '""'),
        ([], "[]"),
        ({}, "{}"),
        (None, None),
        ({"a": 1.0}, '{"a": 1.0}'),
    ],
)
def test_what_a_handler_returned_is_said(value: Any, text: str | None) -> None:
    h = History()
    job = _ended(h, "returned", value)
    h.settle(job, Completed(job, 1, text))
    assert h.verdict() is None


@pytest.mark.parametrize("value", [0, False, "", []])
def test_a_result_that_counts_as_false_and_is_lost(value: Any) -> None:
    h = History()
    job = _ended(h, "returned", value)
    h.settle(job, Completed(job, 1, None))
    assert h.breaks(SAYS) == f"Completed(None) is said of attempt 1, whose handler returned {value!r}"


def test_a_failure_for_good_that_is_retried() -> None:
    for wait, holds in ((None, True), (1.0, False)):
        h = History()
        job = _ended(h, "raised", "Fail: no")
        h.invoke("settle", "w1", failed=(Failed(job, 1, wait, error_record("Fail", "no")),))
        assert (h.verdict() is None) is holds


def test_a_snooze_gives_the_job_back_for_as_long_as_was_said() -> None:
    for delay, holds in ((4.0, True), (0.0, False)):
        h = History()
        job = _ended(h, "raised", "Snooze: Snoozed for 4 s", 4.0)
        h.settle(job, Released(job, 1, delay))
        assert (h.verdict() is None) is holds


def test_a_snooze_that_counts_as_a_failure() -> None:
    h = History()
    job = _ended(h, "raised", "Snooze: Snoozed for 4 s", 4.0)
    h.invoke("settle", "w1", failed=(Failed(job, 1, 1.0, ERROR),))
    assert h.breaks(SAYS) == (
        "Failed(E, retry in 1.0 s) is said of attempt 1, whose handler raised"
        " 'Snooze: Snoozed for 4 s' (4.0 s)"
    )


def test_a_retry_comes_when_the_handler_said_while_one_is_left() -> None:
    for limit, wait, holds in ((3, 9.0, True), (3, 1.5, False), (0, None, True), (0, 9.0, False)):
        h = History()
        job = _ended(h, "raised", "Retry: later", 9.0, retry_limit=limit)
        h.invoke("settle", "w1", failed=(Failed(job, 1, wait, error_record("Retry", "later")),))
        assert (h.verdict() is None) is holds


def test_a_job_whose_worker_ends_is_given_back_and_has_not_failed() -> None:
    for outcome, holds in ((Released, True), (Failed, False)):
        h = History(grace=0.5)
        job = h.send()
        h.beat()
        h.claim(job)
        h.events.append(Began(h.at, "w1", "a", job, 1))
        h.lived("w1", "stopping")
        h.wait(1.0)
        h.events.append(Ended(h.at, "w1", "a", job, 1, "cancelled", None))
        said = Released(job, 1) if outcome is Released else Failed(job, 1, 1.0, ERROR)
        h.invoke("settle", "w1", released=(said,) if holds else (), failed=() if holds else (said,))
        assert (h.verdict() is None) is holds


def test_a_handler_that_returns_after_its_time_completes_nothing() -> None:
    for expire_in, holds in ((0.5, False), (1.0, True)):
        h = History()
        job = _ended(h, "returned", None, expire_in=expire_in)
        h.invoke("settle", "w1", completed=(Completed(job, 1, None),))
        assert (h.verdict() is None) is holds


def test_a_process_that_stood_still_may_not_see_that_it_is_late() -> None:
    h = History()
    job = h.send(expire_in=0.5)
    h.beat()
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    h.events.append(Fault(h.at, "w1", "node/w1/0", "stall", h.at + 1.0))
    h.wait(1.0)
    h.events.append(Ended(h.at, "w1", "a", job, 1, "returned", None))
    h.invoke("settle", "w1", completed=(Completed(job, 1, None),))
    assert h.verdict() is None


def test_what_took_too_long_ends_as_that() -> None:
    for expired, holds in ((True, True), (False, False)):
        h = History()
        job = _ended(h, "returned", None, expire_in=0.5, retry_limit=0)
        final = JobState.EXPIRED if expired else JobState.FAILED
        h.invoke("settle", "w1", failed=(Failed(job, 1, None, EXPIRED, final),))
        assert (h.verdict() is None) is holds


def test_an_attempt_that_is_called_expired_before_its_time() -> None:
    h = History()
    job = _ended(h, "returned", None)
    h.invoke("settle", "w1", failed=(Failed(job, 1, 1.0, EXPIRED, JobState.EXPIRED),))
    assert (
        h.breaks(SAYS) == "Failed(Expired, retry in 1.0 s) is said of attempt 1, whose handler returned None"
    )


def test_a_job_that_is_given_back_while_its_handler_goes_on() -> None:
    h = History()
    job = h.send()
    h.beat()
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    h.wait(1.0)
    h.settle(job, Released(job, 1))
    assert h.breaks(SAYS) == "Released is said of attempt 1, whose handler goes on"


def test_a_worker_whose_lease_was_over_gives_back_what_it_gave_up() -> None:
    h = History(lease=4.0)
    job = h.send()
    h.beat(lease=4.0)
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    h.wait(5.0)
    h.settle(job, Released(job, 1))
    assert h.verdict() is None


def test_a_retry_beyond_the_limit() -> None:
    for limit, holds in ((1, True), (0, False)):
        h = History()
        job = h.send(retry_limit=1)
        h.fail(job)
        h.claim(job, retry_limit=limit)
        assert (h.verdict(by_name("retries within the limit")) is None) is holds


def test_a_supervisor_in_the_same_process_gives_back_what_is_overdue() -> None:
    for called, holds in ((True, True), (False, False)):
        h = History()
        job = _ended(h, "returned", None)
        h.wait(20.0)
        if called:
            h.overdue(job, "lease")
        lost = Failed(job, 1, 1.0, error_record("WorkerLost", "silent"))
        h.invoke("settle", "w1", failed=(lost,))
        assert (h.verdict(by_name(SAYS)) is None) is holds


def test_what_is_said_late_of_a_job_that_another_of_its_id_has_followed() -> None:
    h = History()
    job = h.send()
    h.beat("w2")
    h.claim(job, node="w2")
    h.invoke("settle", "w1", completed=(Completed(job, 1, "1"),), failed=(), released=(), again=True)
    assert h.verdict(by_name(SAYS)) is None


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (lambda job: Completed(job, 1, "1"), "Completed(1)"),
        (lambda job: Failed(job, 1, None, ERROR), "Failed"),
        (lambda job: Failed(job, 1, 1.0, EXPIRED, JobState.EXPIRED), None),
        (lambda job: Failed(job, 1, None, error_record("PayloadInvalid", "n: missing")), None),
        (lambda job: Released(job, 1), None),
    ],
)
def test_what_is_said_of_an_attempt_that_never_began(outcome: Any, said: str | None) -> None:
    h = History()
    job = h.send()
    h.beat()
    h.claim(job)
    h.settle(job, outcome(job))
    if said is None:
        assert h.verdict(by_name(SAYS)) is None
    else:
        told = h.breaks(SAYS)
        assert told.startswith(said)
        assert told.endswith("is said of attempt 1, whose handler never began")
