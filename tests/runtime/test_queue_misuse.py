"""Invalid calls of a queue: each is refused with the argument at fault and what to give in its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.conformance.storages import on_both_storages
from tests.runtime.catalogs import mail_catalog
from tests.runtime.conftest import QueueOn
from tests.runtime.odd_values import nested, wrong_values
from zeke_queue.client.queue import Queue
from zeke_queue.errors import (
    InvalidNameError,
    InvalidOptionError,
    ResultTimeoutError,
    SerializationError,
    StorageUnavailableError,
    UsageError,
)
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.storage import Storage
from zeke_queue.system.settings import Settings
from zeke_queue.task.task import Send

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
EASTWARD = timezone(timedelta(hours=5, minutes=30))
SECRET = "postgresql://zeke:secret@localhost/zeke"


HUGE = [10**5_000]
"""A value whose repr raises an error, since Python writes no integer of so many digits."""

NOT_JSON: dict[str, Any] = {
    "too deep": {"a": nested(300)},
    "half a surrogate pair": {"a": "half \ud83d"},
    "a key of half a surrogate pair": {"\ud83d": 1},
    "too many digits": {"a": 10**140_000},
    "NaN": {"a": math.nan},
    "object": {"a": object()},
}


async def sent(queue: Queue) -> UUID:
    job_id = (await queue.send("clean")).id
    assert job_id is not None
    return job_id


# Sending


async def test_value_without_json_form_is_refused_everywhere(queue: Queue) -> None:
    async def check(value: Any) -> None:
        for sending in (
            queue.send("elsewhere", value, external=True),
            queue.send("clean", meta=value),
            queue.send_many([Send("clean"), Send("clean", meta=value)]),
            queue.trigger("clean", meta=value),
            queue.schedules.put("nightly", "0 3 * * *", task="elsewhere", payload=value, external=True),
        ):
            with pytest.raises(SerializationError):
                await sending
        with pytest.raises(SerializationError):
            async with queue.transaction(meta=value):
                pass
        assert (await queue.find(JobQuery())).jobs == []

    await check_each_async(NOT_JSON, check)


async def test_send_many_takes_only_an_iterable_of_sends(queue: Queue) -> None:
    task = queue.catalog.get("clean")
    for position, jobs in ((0, [task]), (1, [Send("clean"), ("clean", None)]), (0, ["clean"]), (0, {"a": 1})):
        with pytest.raises(UsageError, match=rf"^jobs\[{position}\]: must be a Send, got .*; pass task.job"):
            await queue.send_many(jobs)  # type: ignore[arg-type] - what untyped callers do
        async with queue.transaction() as transaction:
            with pytest.raises(UsageError, match=rf"^jobs\[{position}\]: must be a Send, got "):
                await transaction.send_many(jobs)  # type: ignore[arg-type] - as above
    for jobs in (None, 5, task, Send("clean")):
        with pytest.raises(UsageError, match=r"^jobs: must be an iterable of Send, got "):
            await queue.send_many(jobs)  # type: ignore[arg-type] - what untyped callers do
    assert (await queue.find(JobQuery())).jobs == []


async def test_external_must_be_a_flag(queue: Queue) -> None:
    async def check(value: Any) -> None:
        for attempt in (
            queue.send("mail", {"to": "ann"}, external=value),
            queue.schedules.put("clean", "0 3 * * *", external=value),
        ):
            with pytest.raises(InvalidOptionError, match=r"^external: must be True or False, got "):
                await attempt

    await check_each_async(["yes", 1, 0, HUGE], check)


async def test_id_must_be_a_uuid(queue: Queue) -> None:
    async def check(value: Any) -> None:
        for sending in (queue.send("clean", id=value), queue.send("clean", parent=value)):
            with pytest.raises(InvalidOptionError, match=r"^(id|parent): must be a UUID, got "):
                await sending
        with pytest.raises(InvalidOptionError, match=r"^parent: must be a UUID, got "):
            async with queue.transaction(parent=value):
                pass

    await check_each_async([0, "5", b"x", object(), HUGE], check)


# Looking and waiting


async def test_timeout_must_be_a_number_of_seconds(queue: Queue) -> None:
    run = await queue.get_run(await sent(queue))

    async def check(timeout: Any) -> None:
        with pytest.raises(InvalidOptionError, match=r"^timeout: must be a number of seconds, got "):
            await run.result(timeout=timeout)

    await check_each_async(["5", "", b"1", True, math.nan, [], timedelta(seconds=1), HUGE], check)


async def test_timeout_of_zero_reads_once(queue: Queue) -> None:
    async def check(timeout: float) -> None:
        with pytest.raises(ResultTimeoutError):
            await (await queue.get_run(await sent(queue))).result(timeout)

    await check_each_async([0, 0.0, -1, -math.inf], check)


async def test_timeout_beyond_all_time_waits_until_the_queue_is_closed(queue_on: QueueOn) -> None:
    async def check(timeout: float | None) -> None:
        queue = queue_on(mail_catalog())
        run = await queue.get_run(await sent(queue))
        waiting = run.result(timeout=timeout)
        await queue.close()
        with pytest.raises(StorageUnavailableError, match="the queue was closed"):
            await waiting

    await check_each_async({"none": None, "inf": math.inf, "2**63": 2**63, "10**400": 10**400}, check)


async def test_find_takes_only_a_filter(queue: Queue) -> None:
    async def check(which: Any) -> None:
        with pytest.raises(UsageError, match=r"^query: must be a JobQuery, got .*; pass JobQuery\(\)"):
            await queue.find(which)

    await check_each_async([None, 5, "clean", {"names": ("clean",)}, JobQuery], check)
    await check((("clean",),))


WRONG_FILTERS: dict[str, list[Any]] = {
    "names": ["clean", None, (5,), ({},), ("a\0",), ("\ud800",)],
    "status": ["QUEUED", 5, ("created",), (None,), ([],)],
    "parent": ["5", 0],
    "before": [object()],
    "created_from": ["2026-01-05", 1767614400, NOON.replace(tzinfo=None)],
    "created_to": [NOON.date(), NOON.replace(tzinfo=None)],
    "text": ["", 5, b"order", ("order",), "a\0", "\ud800", "a" * 201],
    "archived": [1, ""],
    "ids": [("5",), 5],
    "without": ["data", ("state",), ([],)],
    "bytes_max": [0, "10", True, 2**63],
    "limit": ["10", None, True, 1.5, math.nan, 10**5_000],
}


async def test_invalid_filter_is_refused_by_its_field(queue: Queue) -> None:
    async def check(field: str, value: Any) -> None:
        with pytest.raises(InvalidOptionError, match=rf"^{field}: must "):
            await queue.find(JobQuery(**{field: value}))

    await check_each_async(wrong_values(WRONG_FILTERS), check)


@on_both_storages
async def test_invalid_filter_is_refused_by_each_storage(queue: Queue) -> None:
    with pytest.raises(InvalidOptionError, match=r"^text: must "):
        await queue.find(JobQuery(text="a\0"))


async def test_filter_must_end_later_than_it_begins(queue: Queue) -> None:
    async def check(until: datetime) -> None:
        with pytest.raises(InvalidOptionError, match=r"^created_to: must be later than created_from, got "):
            await queue.find(JobQuery(created_from=NOON, created_to=until))

    await check_each_async([NOON, NOON - timedelta(seconds=1), NOON.astimezone(EASTWARD)], check)


@on_both_storages
async def test_filter_takes_the_longest_text_and_all_of_time(queue: Queue) -> None:
    key = "k" * 200
    job_id = (await queue.send("clean", singleton_key=key)).id
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=EASTWARD)
    (found,) = (await queue.find(JobQuery(created_from=first, created_to=last, text=key.upper()))).jobs
    assert found.id == job_id


@on_both_storages
async def test_query_takes_statuses_by_their_words_and_any_sequences(queue: Queue) -> None:
    job_id = await sent(queue)
    words: Any = ["QUEUED", JobStatus.FAILED]
    names: Any = ["clean"]
    assert [job.id for job in (await queue.find(JobQuery(names=names, status=words))).jobs] == [job_id]


# Schedules


async def test_invalid_option_of_a_schedule_is_refused(queue: Queue) -> None:
    async def check(field: str, value: Any) -> None:
        with pytest.raises(InvalidOptionError, match=rf"^{field}: must "):
            await queue.schedules.put("clean", "0 3 * * *", **{field: value})
        assert await queue.schedules.list() == []

    wrong = {"description": [5, "a\0", "\ud800"], "paused": ["yes", None, 1], "catch_up": [HUGE]}
    await check_each_async(wrong_values(wrong), check)


async def test_unschedule_takes_only_a_name(queue: Queue) -> None:
    async def check(name: Any) -> None:
        with pytest.raises(InvalidNameError, match=r"^name: must be the stored name of a schedule, got "):
            await queue.schedules.delete(name)

    await check_each_async([None, 5, [], {}, object(), b"clean", "a\0", "\ud800"], check)


# Opening and closing


async def open_and_close(opening: AbstractAsyncContextManager[Queue]) -> None:
    async with opening:
        pass


async def test_queue_needs_a_catalog(storage: Storage) -> None:
    async def check(catalog: Any) -> None:
        for opening in (
            lambda: Queue.connect(catalog),
            lambda: Queue.connect(catalog, settings=Settings.load()),
            lambda: Queue.in_memory(catalog),
        ):
            with pytest.raises(UsageError, match=r"^catalog: must be a Catalog, got .*; .*\(catalog, ") as no:
                await open_and_close(opening())
            assert "secret" not in str(no.value)
        with pytest.raises(UsageError, match=r"^catalog: must be a Catalog, got "):
            Queue(catalog, storage)

    await check_each_async([SECRET, None, 5, Settings, mail_catalog], check)


async def test_parts_of_a_queue_must_be_of_their_types(storage: Storage) -> None:
    catalog = mail_catalog()

    async def check(wrong: Any) -> None:
        for field in ("settings", "clock", "entropy"):
            with pytest.raises(UsageError, match=rf"^{field}: must be a {field.title()}, got .*; pass") as no:
                Queue(catalog, storage, **{field: wrong})
            assert "secret" not in str(no.value)
        remedy = r"^storage: must be a Storage, got .*; .*Queue\.connect\(catalog, dsn\)"
        with pytest.raises(UsageError, match=remedy):
            Queue(catalog, wrong)
        with pytest.raises(UsageError, match=r"^settings: must be a Settings, got .*; pass"):
            await open_and_close(Queue.connect(catalog, settings=wrong))
        with pytest.raises(UsageError, match=r"^clock: must be a Clock, got .*; pass"):
            await open_and_close(Queue.in_memory(catalog, clock=wrong))

    await check_each_async([SECRET, 5, 0, {}, Settings], check)


@pytest.fixture(params=["memory", "postgres"])
def opening(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Queue]:
    if request.param == "memory":
        return Queue.in_memory(mail_catalog())
    dsn: str = request.getfixturevalue("emptied_dsn")
    return Queue.connect(mail_catalog(), dsn)


async def test_every_call_after_the_block_of_a_queue_is_refused(
    opening: AbstractAsyncContextManager[Queue],
) -> None:
    async with opening as queue:
        job_id = await sent(queue)
        run = await queue.get_run(job_id)

    async def in_transaction() -> None:
        async with queue.transaction() as transaction:
            await transaction.send("clean")

    uses: dict[str, Callable[[], Any]] = {
        "send": lambda: queue.send("clean"),
        "send_many": lambda: queue.send_many([Send("clean")]),
        "trigger": lambda: queue.trigger("clean"),
        "transaction": in_transaction,
        "get": lambda: queue.get(job_id),
        "find": lambda: queue.find(JobQuery()),
        "stats": queue.stats,
        "get_run": lambda: queue.get_run(job_id),
        "cancel": lambda: queue.cancel(job_id),
        "resume": lambda: queue.resume(job_id),
        "retry": lambda: queue.retry(job_id),
        "schedules.put": lambda: queue.schedules.put("clean", "0 3 * * *"),
        "schedules.delete": lambda: queue.schedules.delete("clean"),
        "schedules.list": queue.schedules.list,
        "schedules.trigger": lambda: queue.schedules.trigger("clean"),
        "run.job": run.job,
        "run.cancel": run.cancel,
        "run.result": lambda: run.result(timeout=1),
        "run.watch": lambda: anext(run.watch()),
    }

    async def check(use: Callable[[], Any]) -> None:
        with pytest.raises(UsageError, match=r"^The queue was closed at the end of its block; use it inside"):
            await use()

    await check_each_async(uses, check)


@on_both_storages
async def test_closed_queue_on_an_open_storage_still_sends(queue: Queue) -> None:
    await queue.close()
    assert await queue.get(await sent(queue)) is not None
