"""Settlements of attempts: valid and invalid histories."""

from __future__ import annotations

from typing import Any

from tests.cases import check_each
from tests.sim.histories import ERROR, History
from zeke_queue.core.failure import error_record
from zeke_queue.model import Completed, Failed, Released, RowState
from zeke_sim.history.events import Ended, Fault

SAYS = "a settlement says what the handler did"
EXPIRED = error_record("Expired", "too long")


def _ended(h: History, how: Any, value: Any = None, asked: float | None = None, **send: Any) -> Any:
    """Run an attempt for a second, and return its job."""
    job = h.send(**send)
    h.heartbeat()
    h.claim(job)
    h.begin(job)
    h.wait(1.0)
    h.events.append(Ended(h.at, "w1", "a", job, 1, how, value, asked))
    return job


def test_result_is_settled_as_it_was_returned() -> None:
    def check(value: Any, text: str | None, holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        job = _ended(h, "returned", value)
        h.settle(job, Completed(job, 1, text))
        if holds:
            assert h.verdict() is None
        else:
            assert h.breaks(SAYS) == f"Completed(None) is said of attempt 1, whose handler returned {value!r}"

    falsy: list[tuple[Any, str]] = [(0, "0"), (False, "false"), ("", '""'), ([], "[]")]
    others = [({}, "{}", True), (None, None, True), ({"a": 1.0}, '{"a": 1.0}', True)]
    right = [(value, text, True) for value, text in falsy]
    check_each([*right, *others, *((value, None, False) for value, _ in falsy)], check)


def test_final_failure_is_not_retried() -> None:
    for wait, holds in ((None, True), (1.0, False)):
        h = History()
        job = _ended(h, "raised", "Fail: no")
        h.invoke("settle", "w1", failed=(Failed(job, 1, wait, error_record("Fail", "no")),))
        assert (h.verdict() is None) is holds


def test_snooze_releases_the_job_for_its_delay() -> None:
    for delay, holds in ((4.0, True), (0.0, False)):
        h = History()
        job = _ended(h, "raised", "Snooze: Snoozed for 4 s", 4.0)
        h.settle(job, Released(job, 1, delay))
        assert (h.verdict() is None) is holds
    h = History()
    job = _ended(h, "raised", "Snooze: Snoozed for 4 s", 4.0)
    h.invoke("settle", "w1", failed=(Failed(job, 1, 1.0, ERROR),))
    assert h.breaks(SAYS) == (
        "Failed(E, retry in 1.0 s) is said of attempt 1, whose handler raised"
        " 'Snooze: Snoozed for 4 s' (4.0 s)"
    )


def test_retry_waits_for_the_delay_of_the_handler() -> None:
    for limit, wait, holds in ((3, 9.0, True), (3, 1.5, False), (0, None, True), (0, 9.0, False)):
        h = History()
        job = _ended(h, "raised", "Retry: later", 9.0, retry_limit=limit)
        h.invoke("settle", "w1", failed=(Failed(job, 1, wait, error_record("Retry", "later")),))
        assert (h.verdict() is None) is holds


def test_job_of_stopping_worker_is_released() -> None:
    for outcome, holds in ((Released, True), (Failed, False)):
        h = History(shutdown_timeout=0.5)
        job = h.send()
        h.heartbeat()
        h.claim(job)
        h.begin(job)
        h.lived("w1", "stopping")
        h.wait(1.0)
        h.events.append(Ended(h.at, "w1", "a", job, 1, "cancelled", None))
        said = Released(job, 1) if outcome is Released else Failed(job, 1, 1.0, ERROR)
        h.invoke("settle", "w1", released=(said,) if holds else (), failed=() if holds else (said,))
        assert (h.verdict() is None) is holds


def test_result_after_the_deadline_is_not_settled() -> None:
    for expire_in, holds in ((0.5, False), (1.0, True)):
        h = History()
        job = _ended(h, "returned", None, expire_in=expire_in)
        h.invoke("settle", "w1", completed=(Completed(job, 1, None),))
        assert (h.verdict() is None) is holds


def test_process_that_stood_still_may_settle_late(h: History) -> None:
    job = h.send(expire_in=0.5)
    h.heartbeat()
    h.claim(job)
    h.begin(job)
    h.events.append(Fault(h.at, "w1", "node/w1/0", "freeze", h.at + 1.0))
    h.wait(1.0)
    h.events.append(Ended(h.at, "w1", "a", job, 1, "returned", None))
    h.invoke("settle", "w1", completed=(Completed(job, 1, None),))
    assert h.verdict() is None


def test_attempt_past_its_deadline_expires() -> None:
    for expired, holds in ((True, True), (False, False)):
        h = History()
        job = _ended(h, "returned", None, expire_in=0.5, retry_limit=0)
        final = RowState.EXPIRED if expired else RowState.FAILED
        h.invoke("settle", "w1", failed=(Failed(job, 1, None, EXPIRED, final),))
        assert (h.verdict() is None) is holds
    h = History()
    job = _ended(h, "returned", None)
    h.invoke("settle", "w1", failed=(Failed(job, 1, 1.0, EXPIRED, RowState.EXPIRED),))
    assert (
        h.breaks(SAYS) == "Failed(Expired, retry in 1.0 s) is said of attempt 1, whose handler returned None"
    )


def test_job_is_not_released_while_its_handler_runs(h: History) -> None:
    job = h.send()
    h.heartbeat()
    h.claim(job)
    h.begin(job)
    h.wait(1.0)
    h.settle(job, Released(job, 1))
    assert h.breaks(SAYS) == "Released is said of attempt 1, whose handler goes on"
    h = History(lease=4.0)
    job = h.send()
    h.heartbeat(lease=4.0)
    h.claim(job)
    h.begin(job)
    h.wait(5.0)
    h.settle(job, Released(job, 1))
    assert h.verdict() is None


def test_retries_are_within_the_limit() -> None:
    for limit, holds in ((1, True), (0, False)):
        h = History()
        job = h.send(retry_limit=1)
        h.fail(job)
        h.claim(job, retry_limit=limit)
        assert h.holds("retries within the limit") is holds


def test_maintenance_of_the_same_process_ends_overdue_attempt() -> None:
    for called, holds in ((True, True), (False, False)):
        h = History()
        job = _ended(h, "returned", None)
        h.wait(20.0)
        if called:
            h.overdue(job, "lease")
        lost = Failed(job, 1, 1.0, error_record("WorkerLost", "silent"))
        h.invoke("settle", "w1", failed=(lost,))
        assert h.holds(SAYS) is holds


def test_late_settlement_of_earlier_job_of_the_same_id_is_ignored(h: History) -> None:
    job = h.send()
    h.heartbeat("w2")
    h.claim(job, node="w2")
    h.invoke("settle", "w1", completed=(Completed(job, 1, "1"),), failed=(), released=(), repeated=True)
    assert h.holds(SAYS)


def test_settlement_of_attempt_that_never_began() -> None:
    def check(outcome: Any, said: str | None) -> None:
        h = History()
        job = h.send()
        h.heartbeat()
        h.claim(job)
        h.settle(job, outcome(job))
        if said is None:
            assert h.holds(SAYS)
        else:
            told = h.breaks(SAYS)
            assert told.startswith(said)
            assert told.endswith("is said of attempt 1, whose handler never began")

    invalid = error_record("PayloadValidationError", "n: missing")
    cases: dict[str, tuple[Any, str | None]] = {
        "completed": (lambda job: Completed(job, 1, "1"), "Completed(1)"),
        "failed": (lambda job: Failed(job, 1, None, ERROR), "Failed"),
        "expired": (lambda job: Failed(job, 1, 1.0, EXPIRED, RowState.EXPIRED), None),
        "invalid payload": (lambda job: Failed(job, 1, None, invalid), None),
        "released": (lambda job: Released(job, 1), None),
    }
    check_each(cases, check)
