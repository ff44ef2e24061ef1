"""What is sent, what is told of it, and where it goes: histories that hold, and ones that break them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.sim.histories import ACTIVE, CREATED, EPOCH, History
from zeke_queue.model import Completed, Job
from zeke_sim.history import Change, Image


def as_job(row: Image, **columns: Any) -> Job:
    """What a reader answers for a row."""
    same = {field: getattr(row, field) for field in Job.__slots__ if field in Image._fields}
    rest = {"keep_until": row.created_on, "policy": None, "group_key": None, "meta": None}
    return Job(**{**same, **rest, **columns})


def test_sends_of_all_kinds_hold() -> None:
    h = History()
    h.send(delay=5.0)
    h.send(start_at=EPOCH - timedelta(days=1), delay=5.0)
    h.wait(0.3)
    h.send(priority=-3, retry_limit=0, retry_backoff=False, expire_in=0.0015, data='{"b":1.50,"a":[]}')
    slot = h.new(slot_seconds=300)
    h.wait(7)
    call = h.invoke("insert", jobs=(slot,))
    h.insert(slot, call, singleton_on=datetime(2026, 3, 2, 9, 0))  # noqa: DTZ001 - as the column is
    h.answer(call, [slot.id])
    late = h.new(slot_seconds=300, slot_offset=300)
    call = h.invoke("insert", jobs=(late,))
    start = EPOCH + timedelta(seconds=300)
    h.insert(late, call, singleton_on=start.replace(tzinfo=None), start_after=start)
    h.answer(call, [late.id])
    assert h.verdict() is None


@pytest.mark.parametrize(
    ("sent", "stored", "told"),
    [
        ({"priority": 2}, {"priority": 0}, "priority is 0, and was sent as 2"),
        ({"retry_limit": 0}, {"retry_limit": 3}, "retry_limit is 3, and was sent as 0"),
        ({"data": '{"n":1}'}, {"data": '{"n": 2}'}, """data is '{"n": 2}', and was sent as '{"n": 1}'"""),
        ({"expire_in": 5.0}, {"expire_in": 6.0}, "expire_in is 6.0, and was sent as 5.0"),
        ({"delay": 30.0}, {"start_after": EPOCH}, f"start_after is {EPOCH}, and should be"),
        ({}, {"attempt": 1}, "attempt is 1, and was sent as 0"),
        (
            {"slot_seconds": 60},
            {},
            "singleton_on is None, and was sent as datetime.datetime(2026, 3, 2, 9, 0)",
        ),
        (
            {},
            {"created_on": EPOCH - timedelta(hours=1), "start_after": EPOCH - timedelta(hours=1)},
            "created_on is",
        ),
    ],
)
def test_a_row_that_is_not_what_was_sent(sent: dict[str, Any], stored: dict[str, Any], told: str) -> None:
    h = History()
    job = h.new(**sent)
    h.insert(job, h.invoke("insert", jobs=(job,)), **stored)
    assert h.breaks("a row is what was sent").startswith(told)


def test_a_row_that_nobody_sent() -> None:
    h = History()
    h.insert(h.new())
    assert h.breaks("a rolled-back send is never seen") == "there is a row, and nobody sent it"


def test_a_send_in_a_transaction_is_seen_when_it_has_committed() -> None:
    h = History()
    job = h.new()
    h.answer(h.invoke("insert", transaction=1, jobs=(job,)), [job.id])
    commit = h.invoke("commit", transaction=1)
    h.insert(job, commit)
    h.answer(commit)
    assert h.verdict() is None


def test_a_send_in_a_transaction_is_seen_too_early() -> None:
    h = History()
    job = h.new()
    call = h.invoke("insert", transaction=1, jobs=(job,))
    h.insert(job, call)
    text = h.breaks("a rolled-back send is never seen")
    assert text == "there is a row, and what sent it is transaction 1, which was not committed"


def test_a_send_that_failed_is_seen() -> None:
    h = History()
    job = h.new()
    call = h.invoke("insert", jobs=(job,))
    h.answer(call, "refused", outcome="failed")
    h.insert(job, call)
    text = h.breaks("a rolled-back send is never seen")
    assert text == "there is a row, and what sent it is call 1, which failed"


def test_a_send_without_an_answer_may_be_seen_later() -> None:
    h = History()
    job = h.new()
    call = h.invoke("insert", jobs=(job,))
    h.answer(call, "gone", outcome="unknown")
    again = h.invoke("insert", jobs=(job,))
    h.insert(job, call)
    h.answer(again, [job.id])
    assert h.verdict() is None


def test_a_send_that_makes_a_second_job() -> None:
    h = History()
    job = h.new()
    first = h.invoke("insert", jobs=(job,))
    h.insert(job, first)
    h.claim(job.id)
    h.insert(job, h.invoke("insert", jobs=(job,)))
    assert h.breaks("a job is sent once") == "it was sent again, and was active in job"


def test_an_acknowledged_send_that_is_not_there() -> None:
    h = History()
    job = h.new()
    h.answer(h.invoke("insert", jobs=(job,)), [job.id])
    expected = "its send was acknowledged, and there is no row"
    assert h.breaks("an acknowledged send is there") == expected


def test_an_acknowledged_transaction_whose_send_is_not_there() -> None:
    h = History()
    job = h.new()
    h.answer(h.invoke("insert", transaction=1, jobs=(job,)), [job.id])
    h.answer(h.invoke("commit", transaction=1))
    expected = "its send was acknowledged, and there is no row"
    assert h.breaks("an acknowledged send is there") == expected


def test_an_answer_under_another_id() -> None:
    h = History()
    job, other = h.new(), h.send()
    h.answer(h.invoke("insert", jobs=(job,)), [other])
    expected = f"sent as {job.id}, and acknowledged as {other}"
    assert h.breaks("an acknowledged send is there") == expected


@pytest.mark.parametrize("state", [CREATED, ACTIVE])
def test_two_jobs_with_one_key(state: Any) -> None:
    h = History()
    first = h.send(singleton_key="k")
    if state is ACTIVE:
        h.claim(first)
    h.send(singleton_key="k")
    assert h.breaks("one job per key and slot") == f"it has key 'k' of 'a', and so has job {first}"


def test_keys_that_are_free_again() -> None:
    h = History()
    h.complete(h.send(singleton_key="k"))
    h.send("b", singleton_key="k")
    h.send(singleton_key="k")
    assert h.verdict() is None


def test_two_jobs_in_one_slot() -> None:
    h = History()
    slot = EPOCH.replace(tzinfo=None)
    first, second = h.new(slot_seconds=60), h.new(slot_seconds=60)
    h.insert(first, h.invoke("insert", jobs=(first,)), singleton_on=slot)
    h.claim(first.id)
    h.run(first.id)
    h.settle(first.id, Completed(first.id, 1, None))
    h.insert(second, h.invoke("insert", jobs=(second,)), singleton_on=slot)
    text = h.breaks("one job per key and slot")
    assert text == f"it has the slot of 2026-03-02 09:00:00 of 'a', and so has job {first.id}"


def test_a_refusal_with_a_reason() -> None:
    h = History()
    h.send(singleton_key="k")
    h.answer(h.invoke("insert", jobs=(h.new(singleton_key="k"),)), [None])
    assert h.verdict() is None


def test_a_refusal_whose_reason_has_gone_meanwhile() -> None:
    h = History()
    first = h.send(singleton_key="k")
    call = h.invoke("insert", jobs=(h.new(singleton_key="k"),))
    h.complete(first)
    h.answer(call, [None])
    assert h.verdict() is None


def test_a_refusal_without_a_reason() -> None:
    h = History()
    h.complete(h.send(singleton_key="k"))
    h.answer(h.invoke("insert", jobs=(h.new(singleton_key="k"),)), [None])
    assert h.breaks("a refusal has a reason") == "refused, and nobody has key 'k' of 'a'"


def test_reads_of_any_moment_since_the_question_hold() -> None:
    h = History()
    job = h.send()
    waiting = as_job(h.rows[job])
    call = h.invoke("get", ids=(job,))
    h.claim(job)
    running = as_job(h.rows[job])
    h.run(job)
    h.settle(job, Completed(job, 1, None))
    h.answer(call, {job: waiting})
    h.answer(h.invoke("get", ids=(job,)), {job: as_job(h.rows[job])})
    assert h.verdict() is None
    h.answer(h.invoke("get", ids=(job,)), {job: running})
    text = h.breaks("reads tell the truth")
    assert text == "told is active, attempt 1; it is completed, attempt 1"


def test_a_read_that_misses_a_job() -> None:
    h = History()
    job = h.send()
    h.answer(h.invoke("get", ids=(job,)), {})
    assert h.breaks("reads tell the truth") == "it is there, and was not found"


def test_a_move_to_the_archive_hides_a_job_from_nobody() -> None:
    h = History()
    job = h.send()
    h.complete(job)
    h.wait(60)
    call = h.invoke("get", ids=(job,))
    h.archive(job)
    h.answer(call, {job: as_job(h.rows[job])})
    assert h.verdict() is None
    h.answer(h.invoke("get", ids=(job,)), {})
    assert h.breaks("reads tell the truth") == "it is there, and was not found"


def ended_job(h: History) -> Any:
    job = h.send()
    h.complete(job)
    return job


def test_a_job_that_is_archived_too_early() -> None:
    h = History()
    job = ended_job(h)
    h.wait(9)
    h.archive(job)
    text = h.breaks("archived and purged not too early")
    assert text == "archived 9.002 s after its end, and it is kept for 10.0 s"


def test_a_job_that_is_purged_too_early() -> None:
    h = History()
    job = ended_job(h)
    h.wait(11)
    h.archive(job)
    h.wait(5)
    h.purge(job)
    text = h.breaks("archived and purged not too early")
    assert text == "purged 5.002 s after it was archived, and it is kept for 10.0 s"


def test_a_waiting_job_that_is_archived() -> None:
    h = History()
    job = h.send()
    h.wait(60)
    h.archive(job)
    assert h.breaks("archived and purged not too early").endswith("and it is created")


def test_a_job_that_is_lost_on_the_way() -> None:
    h = History()
    job = ended_job(h)
    h.wait(60)
    h.archive(job)
    gone = next(e for e in reversed(h.events) if isinstance(e, Change) and e.table == "archive")
    h.events.remove(gone)
    expected = "it was completed, and is neither live nor archived"
    assert h.breaks("nothing is lost on the way to the archive") == expected


def test_a_job_that_is_live_and_archived() -> None:
    h = History()
    job = ended_job(h)
    h.wait(60)
    h.archive(job)
    gone = next(e for e in reversed(h.events) if isinstance(e, Change) and e.table == "job")
    h.events.remove(gone)
    expected = "it is both live (completed) and archived"
    assert h.breaks("nothing is lost on the way to the archive") == expected


def test_a_job_that_changes_on_the_way() -> None:
    h = History()
    job = ended_job(h)
    h.wait(60)
    h.archive(job, priority=7)
    expected = "priority is not the same before and after it was archived: 0 and 7"
    assert h.breaks("nothing is lost on the way to the archive") == expected


def sweeping(**rules: Any) -> History:
    """A history in its quiet phase, with a supervisor that has been at it for long enough."""
    h = History(archive_after=100.0, delete_after=50.0, sweep=5.0, **rules)
    h.lived("v1", "started")
    h.answer(h.invoke("archive", "v1", after=100.0, limit=10), 0)
    h.answer(h.invoke("purge", "v1", after=50.0, limit=10), 0)
    h.phase("quiet")
    return h


def test_jobs_that_go_in_time() -> None:
    h = sweeping()
    job = ended_job(h)
    h.wait(103)
    h.archive(job, 100.0)
    h.wait(53)
    h.purge(job, 50.0)
    assert h.verdict() is None


def test_a_job_that_stays_for_too_long() -> None:
    h = sweeping()
    ended_job(h)
    h.wait(110)
    text = h.breaks("archived and purged in time")
    assert text.startswith("due to archive at 101.0")
    assert "and still not done at 111.0" in text


def test_a_job_that_is_purged_too_late() -> None:
    h = sweeping()
    job = ended_job(h)
    h.wait(103)
    h.archive(job, 100.0)
    h.wait(70)
    h.purge(job, 50.0)
    text = h.breaks("archived and purged in time")
    assert text.startswith("due to purge at 154.0")
    assert "and done at 174.0" in text


def test_where_nobody_sweeps_nothing_is_late() -> None:
    h = sweeping()
    ended_job(h)
    h.lived("v1", "killed")
    h.wait(1000)
    assert h.verdict() is None
