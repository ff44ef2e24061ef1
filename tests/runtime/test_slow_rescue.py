"""Overdue jobs that can't be settled, or not in time: the others are rescued, and no sweep takes long."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from tests.runtime.workers.handler import logged
from zeke_queue.client.parts import parts_of
from zeke_queue.core.timeouts import DUTY_SECONDS, RETRY_SECONDS, STATEMENT_SECONDS
from zeke_queue.errors import StatementTimeoutError, StorageError
from zeke_queue.maintenance.runner import Maintenance, MaintenanceResult
from zeke_queue.model import RowState

if TYPE_CHECKING:
    from tests.runtime.broken import Broken
    from zeke_queue.client.queue import Queue
    from zeke_queue.storage.forwarding import Call


async def test_batch_that_takes_too_long_is_halved(maintained: Queue, broken: Broken) -> None:
    ids = [await broken.jobs.send() for _ in range(8)]
    await broken.jobs.claim()
    broken.largest = 3
    maintenance = Maintenance(parts_of(maintained))
    assert [(await maintenance.sweep()).rescued for _ in range(4)] == [0, 0, 0, 8]
    assert set(await broken.jobs.states(ids)) == {RowState.RETRY}


async def test_slow_rows_stop_neither_the_sweep_nor_the_rescue_of_others(
    maintained: Queue, broken: Broken
) -> None:
    jobs = broken.jobs
    ids = sorted([await jobs.send() for _ in range(200)])
    broken.slow_rows = set(ids[:20])
    await jobs.claim(free=200, limit=200)
    maintenance = Maintenance(parts_of(maintained))
    rescued = list[int]()
    for number in range(5):
        jobs.clock.advance(1)
        await jobs.running(f"other{number}")
        began = jobs.clock.monotonic()
        rescued.append((await maintenance.sweep(["rescue"])).rescued)
        assert jobs.clock.monotonic() - began <= STATEMENT_SECONDS
    # The first batch has 201 jobs; its halves, and their halves, are tried when there are no others.
    assert rescued == [0, 1 + 101, 1 + 50, 1 + 25, 1]
    for _ in range(50):
        await maintenance.sweep(["rescue"])
    assert Counter(await jobs.states(ids)) == {RowState.RETRY: 180, RowState.ACTIVE: 20}


async def test_slow_row_is_tried_again_after_ten_minutes(maintained: Queue, broken: Broken) -> None:
    slow = (await broken.jobs.running()).id
    broken.slow_rows = {slow}
    maintenance = Maintenance(parts_of(maintained))
    assert (await maintenance.sweep(["rescue"])).failed == ("rescue",)
    broken.jobs.clock.advance(RETRY_SECONDS - 1)
    assert await maintenance.sweep(["rescue"]) == MaintenanceResult()
    await broken.jobs.running()
    assert (await maintenance.sweep(["rescue"])).rescued == 1
    broken.slow_rows = set()
    broken.jobs.clock.advance(1)
    assert (await maintenance.sweep(["rescue"])).rescued == 1


async def test_rows_found_by_halves_are_left_to_later_calls_after_a_minute(
    maintained: Queue, broken: Broken
) -> None:
    ids = [await broken.jobs.send() for _ in range(64)]
    await broken.jobs.claim()
    broken.bad_rows = set(ids[::2])
    others = list[UUID]()
    check = broken.before

    def wait(call: Call) -> None:
        if call.verb == "settle_unlocked":
            broken.jobs.clock.advance(2.0)  # as for locks of another table
        check(call)

    broken.before = wait
    maintenance = Maintenance(parts_of(maintained))
    for number in range(8):
        others.append((await broken.jobs.running(f"other{number}")).id)
        began = broken.jobs.clock.monotonic()
        assert (await maintenance.sweep(["rescue"])).failed == ()
        assert broken.jobs.clock.monotonic() - began <= DUTY_SECONDS + 2.0
    assert Counter(await broken.jobs.states(ids)) == {RowState.RETRY: 32, RowState.ACTIVE: 32}
    assert set(await broken.jobs.states(others)) == {RowState.RETRY}


async def test_jobs_rescued_before_the_server_became_slow_are_reported(
    maintained: Queue, broken: Broken
) -> None:
    ids = sorted([await broken.jobs.send() for _ in range(8)])
    await broken.jobs.claim()

    def check(call: Call) -> None:
        failed = call.arguments.get("failed", ())
        if call.verb == "settle" or (call.verb == "settle_unlocked" and len(failed) > 2):
            raise StorageError("no")
        if failed and failed[0].id != ids[0]:
            raise StatementTimeoutError("it took too long")

    broken.before = check
    with logged() as lines:
        swept = await Maintenance(parts_of(maintained)).sweep(["rescue"])
    assert (swept.rescued, swept.failed) == (2, ("rescue",))
    assert lines.messages.count("job_lost") == 2
    assert Counter(await broken.jobs.states(ids)) == {RowState.RETRY: 2, RowState.ACTIVE: 6}


async def test_skipped_rows_come_last_in_each_sweep(maintained: Queue, broken: Broken) -> None:
    broken.bad_rows = {(await broken.jobs.running()).id}
    maintenance = Maintenance(parts_of(maintained))
    assert (await maintenance.sweep(["rescue"])).rescued == 0
    broken.bad_rows = set()
    await broken.jobs.running()
    assert (await maintenance.sweep(["rescue"])).rescued == 2
    assert broken.sizes == [1, 1, 1, 1]
