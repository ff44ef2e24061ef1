"""Sends, their answers, and the rows: histories that hold, and ones that break each property."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tests.cases import check_each
from tests.sim.histories import EPOCH, PROPERTIES, History
from zeke_queue.model import Completed, Job
from zeke_sim.history.events import Change, Image

ROLLED_BACK, ACKNOWLEDGED = "a rolled-back send is never seen", "an acknowledged send is stored"
ONE, EARLY = "one job per key and slot", "archived and purged not too early"


def _as_job(row: Image, **columns: Any) -> Job:
    """Return what a read answers for a row."""
    same = {field: getattr(row, field) for field in Job.__slots__ if field in Image._fields}
    rest = {"row_state": row.state, "keep_until": row.created_on}
    return Job(**{**same, **rest, "policy": None, "group_key": None, "meta": None, **columns})


def _inserted(h: History, columns: dict[str, Any], **options: Any) -> Any:
    """Send a job, and write its row, correct except for the given columns."""
    job = h.new(**options)
    return h.insert(job, h.invoke("insert", jobs=(job,)), **columns)


def test_sends_of_all_kinds_hold(h: History) -> None:
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


def test_row_equals_the_sent_job() -> None:
    hour_ago = EPOCH - timedelta(hours=1)
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
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
        ({}, {"created_on": hour_ago, "start_after": hour_ago}, "created_on is"),
    ]

    def check(sent: dict[str, Any], stored: dict[str, Any], told: str) -> None:
        h = History()
        _inserted(h, stored, **sent)
        assert h.breaks("a row is what was sent").startswith(told)

    check_each(cases, check)


def test_row_is_seen_only_after_its_send(h: History) -> None:
    h.insert(h.new())
    assert h.breaks(ROLLED_BACK) == "the row exists without a send"
    h = History()
    job = h.new()
    h.insert(job, h.invoke("insert", transaction=1, jobs=(job,)))
    told = "the row exists, and its send is transaction 1, which was not committed"
    assert h.breaks(ROLLED_BACK) == told
    h = History()
    job = h.new()
    call = h.invoke("insert", jobs=(job,))
    h.answer(call, "refused", outcome="failed")
    h.insert(job, call)
    assert h.breaks(ROLLED_BACK) == "the row exists, and its send is call 1, which failed"


def test_send_in_transaction_is_seen_after_the_commit(h: History) -> None:
    job = h.new()
    h.answer(h.invoke("insert", transaction=1, jobs=(job,)), [job.id])
    commit = h.invoke("commit", transaction=1)
    h.insert(job, commit)
    h.answer(commit)
    assert h.verdict() is None


def test_unanswered_send_may_be_seen_later(h: History) -> None:
    job = h.new()
    call = h.invoke("insert", jobs=(job,))
    h.answer(call, "gone", outcome="unknown")
    again = h.invoke("insert", jobs=(job,))
    h.insert(job, call)
    h.answer(again, [job.id])
    assert h.verdict() is None


def test_second_send_inserts_no_second_job(h: History) -> None:
    job = h.new()
    h.insert(job, h.invoke("insert", jobs=(job,)))
    h.claim(job.id)
    h.insert(job, h.invoke("insert", jobs=(job,)))
    assert h.breaks("a job is sent once") == "it was sent again, and was active in job"


def test_only_one_property_notices_a_second_send_of_an_archived_job(h: History) -> None:
    job, archived = h.new(), list[Image]()
    for _ in range(2):
        h.insert(job, h.invoke("insert", jobs=(job,)))
        h.complete(job.id)
        h.wait(11.0)
        h.archive(job.id)
        archived.append(h.rows[job.id])
    moved = h.events[-2]
    assert isinstance(moved, Change)
    # It takes the place of the first one.
    h.events[-2] = Change(*moved[:3], archived[0], *moved[4:])
    assert h.breaks("a job is sent once") == "it was sent again, and was completed in archive"
    assert h.holds("what was sent never changes")


def test_acknowledged_send_has_a_row(h: History) -> None:
    job = h.new()
    h.answer(h.invoke("insert", jobs=(job,)), [job.id])
    assert h.breaks(ACKNOWLEDGED) == "its send was acknowledged, and the row does not exist"
    h = History()
    job = h.new()
    h.answer(h.invoke("insert", transaction=1, jobs=(job,)), [job.id])
    h.answer(h.invoke("commit", transaction=1))
    assert h.breaks(ACKNOWLEDGED) == "its send was acknowledged, and the row does not exist"
    h = History()
    job, other = h.new(), h.send()
    h.answer(h.invoke("insert", jobs=(job,)), [other])
    assert h.breaks(ACKNOWLEDGED) == f"sent as {job.id}, and acknowledged as {other}"


def test_key_has_one_job_at_a_time(h: History) -> None:
    first = h.send(singleton_key="k")
    told = f"it has key 'k' of 'a', and so has job {first}"
    h.send(singleton_key="k")
    assert h.breaks(ONE) == told
    h = History()
    h.send_claimed(singleton_key="k")
    h.send(singleton_key="k")
    assert h.breaks(ONE) == told
    h = History()
    h.complete(h.send(singleton_key="k"))
    h.send("b", singleton_key="k")
    h.send(singleton_key="k")
    assert h.verdict() is None


def test_slot_has_one_job(h: History) -> None:
    slot = {"singleton_on": EPOCH.replace(tzinfo=None)}
    first = _inserted(h, slot, slot_seconds=60)
    h.complete(first)
    _inserted(h, slot, slot_seconds=60)
    assert h.breaks(ONE) == f"it has the slot of 2026-03-02 09:00:00 of 'a', and so has job {first}"


def test_refusal_has_a_reason_at_some_time_of_the_call(h: History) -> None:
    first = h.send(singleton_key="k")
    h.answer(h.invoke("insert", jobs=(h.new(singleton_key="k"),)), [None])
    call = h.invoke("insert", jobs=(h.new(singleton_key="k"),))
    h.complete(first)
    h.answer(call, [None])
    assert h.verdict() is None
    h.answer(h.invoke("insert", jobs=(h.new(singleton_key="k"),)), [None])
    assert h.breaks("a refusal has a reason") == "refused, and no job has key 'k' of 'a'"


def test_send_is_not_refused_by_its_own_job(h: History) -> None:
    sent = h.new(singleton_key="k")
    call = h.invoke("insert", jobs=(sent,))
    h.insert(sent, call)
    h.answer(call, [sent.id])
    assert h.verdict() is None
    h.answer(h.invoke("insert", jobs=(sent,)), [None])
    assert h.breaks("a refusal has a reason") == "refused, and no job has key 'k' of 'a'"


def test_repeated_send_may_be_refused_while_its_job_is_purged(h: History) -> None:
    job = h.send()
    sent = replace(h.new(), id=job)
    h.complete(job)
    h.wait(20)
    h.archive(job)
    h.wait(20)
    call = h.invoke("insert", jobs=(sent,))
    h.purge(job)
    h.answer(call, [None])
    assert h.verdict() is None
    h.answer(h.invoke("insert", jobs=(sent,)), [None])
    assert h.breaks("a refusal has a reason") == "refused, and no job has its id"


def test_read_shows_a_state_since_the_call(h: History) -> None:
    job = h.send()
    waiting = _as_job(h.rows[job])
    call = h.invoke("get", ids=(job,))
    h.claim(job)
    running = _as_job(h.rows[job])
    h.run(job)
    h.settle(job, Completed(job, 1, None))
    h.answer(call, {job: waiting})
    h.answer(h.invoke("get", ids=(job,)), {job: _as_job(h.rows[job])})
    assert h.verdict() is None
    h.answer(h.invoke("get", ids=(job,)), {job: running})
    text = h.breaks("reads tell the truth")
    assert text == "told is active, attempt 1; it is completed, attempt 1"


def test_read_finds_every_job(h: History) -> None:
    job = h.send()
    h.answer(h.invoke("get", ids=(job,)), {})
    assert h.breaks("reads tell the truth") == "it is there, and was not found"


def test_read_finds_archived_job(h: History) -> None:
    job = h.send()
    h.complete(job)
    h.wait(60)
    call = h.invoke("get", ids=(job,))
    h.archive(job)
    h.answer(call, {job: _as_job(h.rows[job])})
    assert h.verdict() is None
    h.answer(h.invoke("get", ids=(job,)), {})
    assert h.breaks("reads tell the truth") == "it is there, and was not found"


def _ended(h: History) -> Any:
    job = h.send()
    h.complete(job)
    return job


def test_job_is_archived_and_purged_not_too_early(h: History) -> None:
    job = _ended(h)
    h.wait(9)
    h.archive(job)
    assert h.breaks(EARLY) == "archived 9.002 s after its end, and it is kept for 10.0 s"
    h = History()
    job = _ended(h)
    h.wait(11)
    h.archive(job)
    h.wait(5)
    h.purge(job)
    assert h.breaks(EARLY) == "purged 5.002 s after it was archived, and it is kept for 10.0 s"
    h = History()
    job = h.send()
    h.wait(60)
    h.archive(job)
    assert h.breaks(EARLY).endswith("and it is created")


def test_child_is_not_purged_while_its_parent_is_live() -> None:
    def check(archived: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        parent = h.send_claimed()
        child = h.insert_child(parent)
        h.complete(child)
        h.run(parent)
        h.settle(parent, Completed(parent, 1, None))
        h.wait(11)
        h.archive(child)
        if archived:
            h.archive(parent)
        h.wait(11)
        h.purge(child)
        if archived:
            assert h.holds(EARLY)
        else:
            assert h.breaks(EARLY, child) == f"purged, and its parent {parent} is not archived"

    check_each([True, False], check)


def test_job_moves_whole_to_the_archive() -> None:
    def check(missing: str | None, told: str, columns: dict[str, Any]) -> None:
        h = History()
        job = _ended(h)
        h.wait(60)
        h.archive(job, **columns)
        if missing is not None:
            written = [event for event in h.events if isinstance(event, Change) and event.table == missing]
            h.events.remove(written[-1])
        assert h.breaks("nothing is lost on the way to the archive") == told

    cases = {
        "lost": ("archive", "it was completed, and is neither live nor archived", {}),
        "in both": ("job", "it is both live (completed) and archived", {}),
        "changed": (
            None,
            "priority is not the same before and after it was archived: 0 and 7",
            {"priority": 7},
        ),
    }
    check_each(cases, check)


def _sweeping(**rules: Any) -> History:
    """Return a history in its quiet phase, with maintenance that has run for long enough."""
    h = History(archive_after=100.0, delete_after=50.0, sweep=5.0, **rules)
    h.lived("v1", "started")
    h.answer(h.invoke("archive", "v1", after=100.0, limit=10), 0)
    h.answer(h.invoke("purge", "v1", after=50.0, limit=10), 0)
    h.phase("quiet")
    return h


def test_job_is_archived_and_purged_in_time() -> None:
    h = _sweeping()
    job = _ended(h)
    h.wait(103)
    h.archive(job, 100.0)
    h.wait(53)
    h.purge(job, 50.0)
    assert h.verdict() is None


def test_job_is_archived_not_too_late() -> None:
    h = _sweeping()
    _ended(h)
    h.wait(110)
    text = h.breaks("archived and purged in time")
    assert text.startswith("due to archive at 101.0")
    assert "and still not done at 111.0" in text


def test_job_is_purged_a_sweep_later_if_a_purge_kept_another() -> None:
    for keeps in (True, False):
        h = _sweeping()
        job, other = _ended(h), _ended(h)
        h.wait(103)
        h.archive(job, 100.0)
        h.archive(other, 100.0)
        h.wait(53)
        if keeps:
            h.keep(other)
        h.wait(4)
        h.purge(job, 50.0)
        found = h.verdict(PROPERTIES["archived and purged in time"])
        assert (found is None or found.job != job) is keeps


def test_job_is_purged_not_too_late() -> None:
    h = _sweeping()
    job = _ended(h)
    h.wait(103)
    h.archive(job, 100.0)
    h.wait(70)
    h.purge(job, 50.0)
    text = h.breaks("archived and purged in time")
    assert text.startswith("due to purge at 154.0")
    assert "and done at 174.0" in text


def test_lateness_is_not_checked_without_maintenance() -> None:
    h = _sweeping()
    _ended(h)
    h.lived("v1", "killed")
    h.wait(1000)
    assert h.verdict() is None
