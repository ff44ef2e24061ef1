"""Options that a task gives its jobs, and sends that a uniqueness rule refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel

from tests.cases import check_each_async
from tests.clocks import FrozenClock, RecordingClock
from tests.runtime.catalogs import mail_catalog, nothing
from tests.runtime.conftest import QueueOn
from tests.runtime.test_send import stored
from zeke_queue.client.queue import Queue
from zeke_queue.errors import InvalidOptionError, JobConflictError, StorageUnavailableError
from zeke_queue.model import JobQuery, NewJob
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.task import Send
from zeke_queue.web.triggers import send_job

# Options of a task


class Parcel(BaseModel):
    to: str
    number: int = 0


async def test_options_of_a_task_apply_to_sends_and_ticks(queue_on: QueueOn, clock: FrozenClock) -> None:
    catalog = Catalog()

    @catalog.task("parcel", singleton_key=lambda parcel: parcel.to or None, priority=4)
    async def parcel(payload: Parcel) -> None: ...

    sweep = catalog.task("sweep", throttle=60)(nothing)
    queue = queue_on(catalog)
    first = await queue.send(parcel, Parcel(to="ann"))
    job = await stored(queue, first.id)
    assert (job.singleton_key, job.priority) == ("ann", 4)
    options: dict[str, Any]
    for options in ({}, {"priority": 1}):
        kept = await queue.send("parcel", {"to": "ann", "number": 2}, **options)
        assert (kept.id, kept.created) == (first.id, False)
    assert (await queue.send(parcel, Parcel(to=""))).created
    assert (await queue.send(parcel, Parcel(to=""))).created
    assert (await queue.send(parcel, Parcel(to="ann"), singleton_key="own")).created
    assert (await queue.send(sweep)).created
    assert not (await queue.send(sweep)).created

    await queue.schedules.put("daily", "0 0 * * *", task=parcel, payload=Parcel(to="bea"))
    run = await queue.schedules.trigger("daily")
    assert (await run.job()).singleton_key == "bea"
    assert not (await queue.send(parcel, Parcel(to="bea"))).created


async def test_key_that_a_task_computes_must_be_one(queue_on: QueueOn) -> None:
    async def check(key: Any) -> None:
        catalog = Catalog()

        @catalog.task("parcel", singleton_key=lambda _: key)
        async def parcel(payload: Parcel) -> None: ...

        with pytest.raises(InvalidOptionError, match=r"^singleton_key: "):
            await queue_on(catalog).send(parcel, Parcel(to="ann"))

    await check_each_async([5, "", "a\0b", "x" * 1001], check)


async def test_holder_that_has_ended_meanwhile_is_replaced_by_the_job(
    clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = MemoryStorage(clock)
    queue = Queue(mail_catalog(), storage, clock=clock)
    first = await queue.send("clean", singleton_key="k")
    insert = storage.insert
    tries: list[int] = []

    async def refused_once(jobs: Sequence[NewJob]) -> list[UUID | None]:
        ids = await insert(jobs)
        if not tries:
            await storage.cancel([first.id])
        tries.append(len(jobs))
        return ids

    monkeypatch.setattr(storage, "insert", refused_once)
    second = await queue.send("clean", singleton_key="k")
    assert second.created
    assert second.id != first.id
    assert tries == [1, 1]


def hide_holders(storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer as if each conflicting job ended just before it is looked up."""

    async def find_conflicts(wanted: Sequence[NewJob | UUID]) -> list[UUID | None]:
        return [None] * len(wanted)

    monkeypatch.setattr(storage, "find_conflicts", find_conflicts)


async def test_unknown_holder_is_a_conflict_which_carries_the_runs_of_the_others(
    clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = MemoryStorage(clock)
    queue = Queue(mail_catalog(), storage, clock=clock)
    await queue.send("clean", singleton_key="k")
    hide_holders(storage, monkeypatch)
    with pytest.raises(JobConflictError) as caught:
        await queue.send_many([Send("clean"), Send("clean", singleton_key="k"), Send("post", {"to": "a"})])
    assert caught.value.holder is None
    assert [run.task for run in caught.value.sent] == ["clean", "mail"]
    assert [(await run.job()).id for run in caught.value.sent] == [run.id for run in caught.value.sent]


async def test_holder_that_can_not_be_looked_up_is_an_unknown_one(
    clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = MemoryStorage(clock)
    queue = Queue(mail_catalog(), storage, clock=RecordingClock(clock))
    await queue.send("clean", singleton_key="k")
    tries: list[int] = []

    async def find_conflicts(wanted: Sequence[NewJob | UUID]) -> list[UUID | None]:
        tries.append(len(wanted))
        raise StorageUnavailableError("The database is away")

    monkeypatch.setattr(storage, "find_conflicts", find_conflicts)
    for send, expected in ((queue.trigger, 1), (queue.send, 3)):
        with pytest.raises(JobConflictError) as caught:
            await send("clean", singleton_key="k")
        assert caught.value.holder is None
        assert len(tries) == expected
        tries.clear()
    assert len((await queue.find(JobQuery())).jobs) == 1


async def test_send_returns_the_holder_that_followed_the_first_one(
    clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = MemoryStorage(clock)
    queue = Queue(mail_catalog(), storage, clock=clock)
    holders = [(await queue.send("clean", singleton_key="k")).id, UUID(int=5), UUID(int=6)]
    look_up = storage.find_conflicts

    async def find_conflicts(wanted: Sequence[NewJob | UUID]) -> list[UUID | None]:
        if len(holders) == 1:
            return await look_up(wanted)
        await storage.cancel([holders.pop(0)])
        await storage.insert([NewJob(holders[0], "clean", singleton_key="k")])
        return [None]

    monkeypatch.setattr(storage, "find_conflicts", find_conflicts)
    run = await queue.send("clean", singleton_key="k")
    assert (run.id, run.created) == (UUID(int=6), False)


async def test_lookup_of_a_holder_is_repeated(clock: FrozenClock, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage(clock)
    queue = Queue(mail_catalog(), storage, clock=RecordingClock(clock))
    first = await queue.send("clean", singleton_key="k")
    look_up, failures = storage.find_conflicts, [StorageUnavailableError("The database is away")]

    async def find_conflicts(wanted: Sequence[NewJob | UUID]) -> list[UUID | None]:
        if failures:
            raise failures.pop()
        return await look_up(wanted)

    monkeypatch.setattr(storage, "find_conflicts", find_conflicts)
    _, kept = await queue.send_many([Send("clean"), Send("clean", singleton_key="k")])
    assert (kept.id, kept.created) == (first.id, False)


async def test_computed_keys_apply_to_every_way_to_send(queue_on: QueueOn) -> None:
    catalog = Catalog()

    @catalog.task("parcel", singleton_key=lambda parcel: parcel.to)
    async def parcel(payload: Parcel) -> None: ...

    queue = queue_on(catalog)
    (run,) = await queue.send_many([parcel.job(Parcel(to="ann"))])
    async with queue.transaction() as transaction:
        await transaction.send(parcel, Parcel(to="bea"))
        with pytest.raises(JobConflictError):
            await transaction.trigger(parcel, Parcel(to="ann"))
    await send_job(queue, "parcel", {"to": "cid", "unknown": 1})
    assert (await run.job()).singleton_key == "ann"
    expected = ["ann", "bea", "cid"]
    assert sorted(str(job.singleton_key) for job in (await queue.find(JobQuery())).jobs) == expected


async def test_error_of_a_key_function_names_task_and_error(queue_on: QueueOn) -> None:
    catalog = Catalog()

    @catalog.task("parcel", singleton_key=lambda parcel: parcel.nothing)
    async def parcel(payload: Parcel) -> None: ...

    with pytest.raises(InvalidOptionError, match=r"^singleton_key: .*'parcel' raised AttributeError: "):
        await queue_on(catalog).send(parcel, Parcel(to="ann"))


async def test_payload_of_http_is_validated_once(queue_on: QueueOn) -> None:
    catalog = Catalog()

    @catalog.task("double")
    async def double(payload: Annotated[int, AfterValidator(lambda number: number * 2)]) -> None: ...

    queue = queue_on(catalog)
    sent = await send_job(queue, "double", 2)
    assert (await stored(queue, sent.id)).data == 4
    other = await send_job(queue, "another-program", {"a": 1}, external=True)
    assert (await stored(queue, other.id)).data == {"a": 1}
