"""Progress and log lines, and notifications that a job may have changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.cases import check_each_async
from tests.conformance.driver import Driver, is_kept_waiting, soon
from zeke_queue.core.event_limits import ATTEMPTS_KEPT, TRIMMED_AT_ONCE
from zeke_queue.model import JobEvent
from zeke_queue.storage import Storage


def progress(job_id: object, value: float, attempt: int = 1) -> JobEvent:
    return JobEvent(job_id, attempt, "progress", f'{{"value":{value}, "message":null}}')  # type: ignore[arg-type]


async def test_events_keep_their_order_and_the_time_of_the_storage(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    await storage.append_events(
        [progress(job.id, 0.5), JobEvent(job.id, 1, "log", '{"level":"info","message":"hi"}')]
    )
    first_at = jobs.clock.now()
    jobs.clock.advance(1)
    await storage.append_events([progress(job.id, 1.0)])
    events = await storage.events({job.id: 0})
    assert [(event.kind, event.attempt, event.data, event.at) for event in events] == [
        ("progress", 1, '{"value": 0.5, "message": null}', first_at),
        ("log", 1, '{"level": "info", "message": "hi"}', first_at),
        ("progress", 1, '{"value": 1.0, "message": null}', jobs.clock.now()),
    ]
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert events[0].seq > 0


async def test_events_are_read_after_a_position(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    await storage.append_events([progress(job.id, n / 10) for n in range(5)])
    events = await storage.events({job.id: 0})
    assert await storage.events({job.id: events[2].seq}) == events[3:]
    assert await storage.events({job.id: events[-1].seq}) == []


async def test_events_are_read_a_thousand_at_a_time(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    await storage.append_events([progress(job.id, 0.5) for _ in range(1001)])
    events = await storage.events({job.id: 0})
    assert len(events) == 1000
    assert len(await storage.events({job.id: events[-1].seq})) == 1


async def test_events_are_stored_once_by_their_numbers(storage: Storage, jobs: Driver) -> None:
    job, other = await jobs.running(), await jobs.running()

    def numbered(number: int | None, attempt: int = 1) -> JobEvent:
        value = 1.0 if number is None else number / 10
        return replace(progress(job.id, value, attempt), number=number)

    async def values() -> list[float]:
        events = await storage.events({job.id: 0})
        assert {event.number for event in events} == {None}
        return [json.loads(event.data)["value"] for event in events]

    for numbers in ((1, 2), (1, 2, 3), (None,), (None,), (3, 1), (5, 5)):
        await storage.append_events([numbered(number) for number in numbers])
    assert await values() == [0.1, 0.2, 0.3, 1.0, 1.0, 0.5]
    async with storage.subscribe() as watch:
        await watch.add([job.id, other.id])
        await storage.append_events([numbered(5)])
        await storage.append_events([progress(other.id, 0.5)])
        assert await soon(watch.wait(30)) == [other.id]
        await storage.append_events([numbered(5), numbered(6)])
        assert await soon(watch.wait(30)) == [job.id]
    # The number of an event is free when that is deleted.
    await storage.append_events([numbered(7, ATTEMPTS_KEPT + 1)])
    await storage.append_events([numbered(1)])
    assert await values() == [0.7, 0.1]


async def test_events_of_jobs_are_separate(storage: Storage, jobs: Driver) -> None:
    a, b = await jobs.running(), await jobs.running()
    await storage.append_events([progress(a.id, 0.1), progress(b.id, 0.2), progress(a.id, 0.3)])
    assert [event.data for event in await storage.events({b.id: 0})] == ['{"value": 0.2, "message": null}']
    assert await storage.events({jobs.new_id(): 0}) == []


async def test_events_of_several_jobs_are_read_each_after_its_position(jobs: Driver) -> None:
    a, b, c = [await jobs.running() for _ in range(3)]
    for value in (0.1, 0.2, 0.3):
        await jobs.storage.append_events([progress(job.id, value) for job in (b, a, c)])
    seen = (await jobs.storage.events({a.id: 0}))[1].seq
    found = await jobs.storage.events({a.id: seen, b.id: 0, jobs.new_id(): 0})
    assert found == sorted(
        [*(await jobs.storage.events({a.id: 0}))[2:], *await jobs.storage.events({b.id: 0})],
        key=lambda event: event.seq,
    )
    assert [event.job_id for event in found] == [b.id, b.id, b.id, a.id]
    assert await jobs.storage.events({}) == []


async def test_thousand_events_are_shared_among_the_jobs_oldest_first(storage: Storage, jobs: Driver) -> None:
    a, b = await jobs.running(), await jobs.running()
    await storage.append_events([progress(a.id, 0.5) for _ in range(1001)])
    await storage.append_events([progress(b.id, 0.5) for _ in range(3)])
    assert len(await storage.events({a.id: 0})) == 1000
    found = await storage.events({a.id: 0, b.id: 0})
    assert found == [*(await storage.events({a.id: 0}))[:500], *await storage.events({b.id: 0})]
    third = jobs.new_id()  # that there is no such job changes nothing
    rest = await storage.events({a.id: found[499].seq, b.id: found[-1].seq, third: 0})
    assert rest == (await storage.events({a.id: 0}))[500:833]


async def test_each_of_many_jobs_has_at_least_one_event(storage: Storage, jobs: Driver) -> None:
    running = [await jobs.running() for _ in range(3)]
    await storage.append_events([progress(job.id, 0.5) for job in running for _ in range(2)])
    nobodys = [jobs.new_id() for _ in range(1500)]
    found = await storage.events(dict.fromkeys([*(job.id for job in running), *nobodys], 0))
    assert [event.job_id for event in found] == [job.id for job in running]


async def test_subscription_reports_each_kind_of_change_and_keeps_it_until_it_is_read(
    storage: Storage, jobs: Driver
) -> None:
    async def cancel_in_a_transaction(job_id: UUID) -> None:
        async with storage.transaction() as transaction:
            await transaction.cancel([job_id])

    async def check(begun: bool, change: Callable[[Any], Awaitable[object]]) -> None:  # noqa: FBT001
        job = await jobs.running() if begun else await jobs.look(await jobs.send())
        async with storage.subscribe() as watch:
            await watch.add([job.id])
            await change(job)
            assert await soon(watch.wait(30)) == [job.id]

    cases: dict[str, Any] = {
        "start": (False, lambda job: jobs.claim_one()),
        "completion": (True, jobs.complete),
        "failure": (True, lambda job: jobs.fail(job, 5.0)),
        "cancellation": (False, lambda job: storage.cancel([job.id])),
        "commit": (False, lambda job: cancel_in_a_transaction(job.id)),
        "events": (True, lambda job: storage.append_events([progress(job.id, 0.5)])),
    }
    await check_each_async(cases, check)
    await storage.append_events([])


async def test_change_ends_the_wait_of_a_subscription(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    async with storage.subscribe() as watch:
        await watch.add([job.id])
        told = asyncio.create_task(watch.wait(30))
        await jobs.complete(job)
        assert await soon(told) == [job.id]


async def test_two_subscriptions_to_a_job_report_each_change(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    async with storage.subscribe() as first, storage.subscribe() as second:
        await first.add([job.id])
        await second.add([job.id])
        await jobs.complete(job)
        assert await soon(first.wait(30)) == [job.id]
        assert await soon(second.wait(30)) == [job.id]


async def test_subscription_reports_its_own_jobs_only(storage: Storage, jobs: Driver) -> None:
    ids = [await jobs.send() for _ in range(5)]
    async with storage.subscribe() as watch:
        await watch.add(ids[:2])
        await watch.add(ids[2:4])
        await storage.cancel([*ids[1:3], ids[4]])
        told: set[object] = set()
        while told != set(ids[1:3]):
            told |= set(await soon(watch.wait(30)))
        assert ids[4] not in told


async def test_subscription_does_not_report_discarded_jobs(storage: Storage, jobs: Driver) -> None:
    gone, kept = await jobs.send(), await jobs.send()
    async with storage.subscribe() as watch:
        await watch.add([gone, kept])
        await watch.discard([gone])
        await storage.cancel([gone])
        await storage.cancel([kept])
        assert await soon(watch.wait(30)) == [kept]


async def test_wake_ends_the_wait_of_a_subscription(storage: Storage, jobs: Driver) -> None:
    async with storage.subscribe() as watch:
        await watch.add([await jobs.send()])
        waiting = asyncio.create_task(watch.wait(30))
        assert await is_kept_waiting(asyncio.shield(waiting))
        watch.wake()
        assert await soon(waiting) == []
        watch.wake()  # before the wait counts too
        assert await soon(watch.wait(30)) == []


async def test_events_of_old_attempts_are_deleted(storage: Storage, jobs: Driver) -> None:
    async def attempts(job_id: UUID) -> list[int]:
        return [event.attempt for event in await storage.events({job_id: 0})]

    job, other = await jobs.running(), await jobs.running()
    await storage.append_events([progress(other.id, 0.5)])
    for attempt in range(1, ATTEMPTS_KEPT + 1):
        await storage.append_events([progress(job.id, 0.5, attempt)] * 2)
    assert await attempts(job.id) == sorted([*range(1, ATTEMPTS_KEPT + 1)] * 2)
    await storage.append_events([progress(job.id, 0.5, ATTEMPTS_KEPT + 1), progress(other.id, 0.5)])
    assert await attempts(job.id) == sorted([*range(2, ATTEMPTS_KEPT + 1)] * 2 + [ATTEMPTS_KEPT + 1])
    # An event of an attempt that lost its job comes late, and gives way to the next one.
    await storage.append_events([progress(job.id, 0.5)])
    assert (await attempts(job.id))[-1] == 1
    await storage.append_events([progress(job.id, 0.5), progress(job.id, 0.5, ATTEMPTS_KEPT + 2)])
    assert await attempts(job.id) == [
        *sorted([*range(3, ATTEMPTS_KEPT + 1)] * 2),
        ATTEMPTS_KEPT + 1,
        1,
        ATTEMPTS_KEPT + 2,
    ]
    assert await attempts(other.id) == [1, 1]


async def test_one_write_deletes_a_limited_number_of_old_events(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running()
    await storage.append_events([progress(job.id, 0.5)] * (TRIMMED_AT_ONCE + 5))
    for left in (5, 0):
        await storage.append_events([progress(job.id, 0.5, ATTEMPTS_KEPT + 1)])
        kept = [event.attempt for event in await storage.events({job.id: 0})]
        assert kept.count(1) == left
