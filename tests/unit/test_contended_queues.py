"""Queues whose row another session has locked: when a claim tries them again, and what is logged."""

from __future__ import annotations

import pytest

from zeke_queue.core.contended_queues import (
    REPORT_AFTER,
    REPORT_INTERVAL,
    RETRY_FIRST,
    RETRY_MAX,
    ContendedQueues,
)


def test_queue_is_left_out_until_its_pause_is_over() -> None:
    queues = ContendedQueues()
    queues.record(["a", "b"], {"a": "7"}, 1.0)
    assert queues.left_out("a", 1.0)
    assert not queues.left_out("b", 1.0)
    at = queues.next_retry() or 0.0
    assert at == pytest.approx(1.0 + RETRY_FIRST)
    assert queues.due(1.0) == []
    assert not queues.left_out("a", at)
    assert queues.due(at) == ["a"]
    assert queues.due(at) == [], "it is announced once"
    assert queues.next_retry() is None


def test_pause_doubles_up_to_a_limit_while_one_transaction_has_the_row() -> None:
    queues, now, pauses = ContendedQueues(), 0.0, list[float]()
    for _ in range(12):
        queues.record(["a"], {"a": "7"}, now)
        at = queues.next_retry()
        assert at is not None
        pauses.append(round(at - now, 6))
        now = at
    assert pauses[:4] == [RETRY_FIRST, RETRY_FIRST * 2, RETRY_FIRST * 4, RETRY_FIRST * 8]
    assert pauses[-1] == RETRY_MAX


def test_pause_stays_short_while_other_claims_have_the_row_in_turn() -> None:
    queues = ContendedQueues()
    for holder in range(20):
        stuck = queues.record(["a"], {"a": str(holder)}, float(holder))
        assert stuck == [], "no transaction had it for long"
        assert queues.next_retry() == pytest.approx(holder + RETRY_FIRST)


def test_queue_that_could_be_locked_is_forgotten() -> None:
    queues = ContendedQueues()
    queues.record(["a"], {"a": "7"}, 0.0)
    queues.record(["a"], {}, RETRY_FIRST)
    assert queues.next_retry() is None
    queues.record(["a"], {"a": "7"}, 100.0)
    assert queues.next_retry() == pytest.approx(100.0 + RETRY_FIRST)


def test_row_that_stays_locked_is_reported_once_an_interval() -> None:
    queues, reports = ContendedQueues(), list[float]()
    for tenths in range(1300):
        now = tenths / 10
        if not queues.left_out("a", now):
            reports += [stuck.seconds for stuck in queues.record(["a"], {"a": "7"}, now)]
    first, *others = reports
    assert REPORT_AFTER <= first < REPORT_AFTER + 2
    assert [round(b - a) for a, b in zip(reports, others, strict=False)] == [REPORT_INTERVAL] * 2
