"""Calls that can't be: each is refused alike on each storage, and told by its argument and what to do."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from tests.runtime.catalogs import mail_catalog
from zeke_queue.config import Settings
from zeke_queue.errors import BadName, BadOption, NotJson, ResultTimeout, StorageUnavailable, UsageError
from zeke_queue.model import JobFilter, JobState
from zeke_queue.queue import Queue
from zeke_queue.sending import Send

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from zeke_queue.storage.store import Storage

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
EASTWARD = timezone(timedelta(hours=5, minutes=30))
SECRET = "postgresql://zeke:secret@localhost/zeke"


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


HALVES: list[Any] = [{"a": nested(300)}, {"a": "half \ud83d"}, {"\ud83d": 1}, {"a": 10**140_000}]


async def sent(queue: Queue) -> UUID:
    job_id = await queue.send("clean")
    assert job_id is not None
    return job_id


# Sending


@pytest.mark.parametrize("value", HALVES)
async def test_what_has_no_json_form_is_refused_wherever_it_is_given(queue: Queue, value: Any) -> None:
    for sending in (
        queue.send("elsewhere", value, external=True),
        queue.send("clean", meta=value),
        queue.send_many([Send("clean"), Send("clean", meta=value)]),
        queue.trigger("clean", meta=value),
        queue.schedule("nightly", "0 3 * * *", task="elsewhere", payload=value, external=True),
    ):
        with pytest.raises(NotJson):
            await sending
    with pytest.raises(NotJson):
        async with queue.transaction(meta=value):
            pass
    assert await queue.find(JobFilter()) == []


async def test_what_is_sent_many_times_must_be_sends(queue: Queue) -> None:
    task = queue.catalog.get("clean")
    for position, jobs in ((0, [task]), (1, [Send("clean"), ("clean", None)]), (0, ["clean"]), (0, {"a": 1})):
        with pytest.raises(
            UsageError, match=rf"^jobs\[{position}\]: .* is no Send; give Send\(task, payload\)"
        ):
            await queue.send_many(jobs)  # type: ignore[arg-type] - what untyped callers do
        async with queue.transaction() as transaction:
            with pytest.raises(UsageError, match=rf"^jobs\[{position}\]: .* is no Send"):
                await transaction.send_many(jobs)  # type: ignore[arg-type] - as above
    for jobs in (None, 5, task, Send("clean")):
        with pytest.raises(UsageError, match=r"^jobs: .*; give a list of Send\(task, payload\)"):
            await queue.send_many(jobs)  # type: ignore[arg-type] - what untyped callers do
    assert await queue.find(JobFilter()) == []


@pytest.mark.parametrize("value", ["yes", 1, 0, [10**5_000]])
async def test_external_is_a_flag(queue: Queue, value: Any) -> None:
    with pytest.raises(BadOption, match=r"^external: .* is neither True nor False"):
        await queue.send("mail", {"to": "ann"}, external=value)
    with pytest.raises(BadOption, match=r"^external: .* is neither True nor False"):
        await queue.schedule("clean", "0 3 * * *", external=value)


@pytest.mark.parametrize("value", [0, "5", b"x", object(), [10**5_000]])
async def test_an_id_is_a_uuid(queue: Queue, value: Any) -> None:
    for sending in (queue.send("clean", id=value), queue.send("clean", parent=value)):
        with pytest.raises(BadOption, match=r"^(id|parent): .* is no UUID"):
            await sending
    with pytest.raises(BadOption, match=r"^parent: .* is no UUID"):
        async with queue.transaction(parent=value):
            pass


# Looking and waiting


@pytest.mark.parametrize("timeout", ["5", "", b"1", True, math.nan, [], timedelta(seconds=1), [10**5_000]])
async def test_a_timeout_is_a_number_of_seconds(queue: Queue, timeout: Any) -> None:
    run = await queue.run(await sent(queue))
    with pytest.raises(BadOption, match=r"^timeout: .*; give seconds"):
        await run.result(timeout=timeout)


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -math.inf])
async def test_a_timeout_of_no_length_looks_once(queue: Queue, timeout: float) -> None:
    with pytest.raises(ResultTimeout):
        await queue.result(await sent(queue), timeout)


@pytest.mark.parametrize("timeout", [None, math.inf, 2**63, 10**400])
async def test_a_timeout_beyond_all_time_waits_for_ever(queue: Queue, timeout: float | None) -> None:
    job_id = await sent(queue)
    run = await queue.run(job_id)
    waiting = run.result(timeout=timeout)
    await queue.close()
    with pytest.raises(StorageUnavailable, match="the queue was closed"):
        await waiting


@pytest.mark.parametrize("which", [None, 5, "clean", {"names": ("clean",)}, ("clean",), JobFilter])
async def test_jobs_are_found_by_a_filter_alone(queue: Queue, which: Any) -> None:
    with pytest.raises(UsageError, match=r"is no JobFilter; give JobFilter\(names=\('…',\)\)"):
        await queue.find(which)


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": "clean"},
        {"names": None},
        {"names": (5,)},
        {"names": ({},)},
        {"names": ("a\0",)},
        {"names": ("\ud800",)},
        {"states": "created"},
        {"states": 5},
        {"states": ("QUEUED",)},
        {"states": (None,)},
        {"states": ([],)},
        {"parent": "5"},
        {"parent": 0},
        {"before": object()},
        {"created_from": "2026-01-05"},
        {"created_from": 1767614400},
        {"created_from": NOON.replace(tzinfo=None)},
        {"created_to": NOON.date()},
        {"created_to": NOON.replace(tzinfo=None)},
        {"text": ""},
        {"text": 5},
        {"text": b"order"},
        {"text": ("order",)},
        {"text": "a\0"},
        {"text": "\ud800"},
        {"text": "a" * 201},
        {"archived": 1},
        {"archived": ""},
        {"ids": ("5",)},
        {"ids": 5},
        {"without": "data"},
        {"without": ("state",)},
        {"without": ([],)},
        {"bytes_max": 0},
        {"bytes_max": "10"},
        {"bytes_max": True},
        {"bytes_max": 2**63},
        {"limit": "10"},
        {"limit": None},
        {"limit": True},
        {"limit": 1.5},
        {"limit": math.nan},
        {"limit": 10**5_000},
    ],
)
async def test_a_filter_that_can_not_be_is_refused_by_its_field(queue: Queue, wrong: dict[str, Any]) -> None:
    (field,) = wrong
    with pytest.raises(BadOption, match=rf"^{field}: .*; give"):
        await queue.find(JobFilter(**wrong))


@pytest.mark.parametrize("until", [NOON, NOON - timedelta(seconds=1), NOON.astimezone(EASTWARD)])
async def test_a_filter_s_end_lies_behind_its_beginning(queue: Queue, until: datetime) -> None:
    with pytest.raises(BadOption, match=r"^created_to: .* is not later than created_from.*; give"):
        await queue.find(JobFilter(created_from=NOON, created_to=until))


async def test_a_filter_takes_the_longest_text_and_all_of_time(queue: Queue) -> None:
    key = "k" * 200
    job_id = await queue.send("clean", singleton_key=key)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=EASTWARD)
    (found,) = await queue.find(JobFilter(created_from=first, created_to=last, text=key.upper()))
    assert found.id == job_id


@pytest.mark.parametrize("limit", [-1, 0, 1_001])
async def test_a_filter_asks_for_some_jobs_but_not_for_too_many(queue: Queue, limit: int) -> None:
    with pytest.raises(BadOption, match=rf"^limit: {limit} is not at least 1 and at most 1000"):
        await queue.find(JobFilter(limit=limit))


async def test_a_filter_may_have_states_by_their_words_and_any_sequences(queue: Queue) -> None:
    job_id = await sent(queue)
    words: Any = ["created", JobState.RETRY]
    names: Any = ["clean"]
    assert [job.id for job in await queue.find(JobFilter(names=names, states=words))] == [job_id]


# Schedules


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"description": 5}, "description"),
        ({"description": "a\0"}, "description"),
        ({"description": "\ud800"}, "description"),
        ({"paused": "yes"}, "paused"),
        ({"paused": None}, "paused"),
        ({"paused": 1}, "paused"),
        ({"catch_up": [10**5_000]}, "catch_up"),
    ],
)
async def test_an_option_of_a_schedule_that_can_not_be_is_refused(
    queue: Queue, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadOption, match=rf"^{field}: .*; give"):
        await queue.schedule("clean", "0 3 * * *", **wrong)
    assert await queue.schedules() == []


@pytest.mark.parametrize("name", [None, 5, [], {}, object(), b"clean", "a\0", "\ud800"])
async def test_a_schedule_is_dropped_by_its_name_alone(queue: Queue, name: Any) -> None:
    with pytest.raises(BadName, match="is no name of a schedule; give"):
        await queue.unschedule(name)


# Opening and closing


async def open_and_close(opening: AbstractAsyncContextManager[Queue]) -> None:
    async with opening:
        pass


@pytest.mark.parametrize("catalog", [SECRET, None, 5, Settings, mail_catalog])
async def test_a_queue_needs_a_catalog(storage: Storage, catalog: Any) -> None:
    opened: list[Callable[[], Any]] = [
        lambda: open_and_close(Queue.connect(catalog)),
        lambda: open_and_close(Queue.connect(catalog, settings=Settings.load())),
        lambda: open_and_close(Queue.in_memory(catalog)),
    ]
    for opening in opened:
        with pytest.raises(UsageError, match=r"^catalog: .* is no Catalog; .*\(catalog, ") as refused:
            await opening()
        assert "secret" not in str(refused.value)
    with pytest.raises(UsageError, match=r"^catalog: .* is no Catalog"):
        Queue(catalog, storage)


@pytest.mark.parametrize("wrong", [SECRET, 5, 0, {}, Settings])
async def test_a_queue_takes_nothing_else_for_its_parts(storage: Storage, wrong: Any) -> None:
    catalog = mail_catalog()
    for field in ("settings", "clock", "entropy"):
        with pytest.raises(UsageError, match=rf"^{field}: .* is no {field.title()}; give") as refused:
            Queue(catalog, storage, **{field: wrong})
        assert "secret" not in str(refused.value)
    with pytest.raises(UsageError, match=r"^storage: .* is no Storage; .*Queue\.connect\(catalog, dsn\)"):
        Queue(catalog, wrong)
    with pytest.raises(UsageError, match=r"^settings: .* is no Settings; give"):
        await open_and_close(Queue.connect(catalog, settings=wrong))
    with pytest.raises(UsageError, match=r"^clock: .* is no Clock; give"):
        await open_and_close(Queue.in_memory(catalog, clock=wrong))


@pytest.fixture(params=["memory", "postgres"])
def opening(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Queue]:
    """A queue that opens its own storage."""
    if request.param == "memory":
        return Queue.in_memory(mail_catalog())
    dsn: str = request.getfixturevalue("dsn")
    return Queue.connect(mail_catalog(), dsn)


async def test_a_queue_is_of_no_use_after_its_block(opening: AbstractAsyncContextManager[Queue]) -> None:
    async with opening as queue:
        job_id = await sent(queue)
        run = await queue.run(job_id)

    async def in_transaction() -> None:
        async with queue.transaction() as transaction:
            await transaction.send("clean")

    uses: list[Callable[[], Any]] = [
        lambda: queue.send("clean"),
        lambda: queue.send_many([Send("clean")]),
        lambda: queue.trigger("clean"),
        in_transaction,
        lambda: queue.get(job_id),
        lambda: queue.find(JobFilter()),
        queue.count,
        lambda: queue.run(job_id),
        lambda: queue.result(job_id, 0),
        lambda: queue.cancel(job_id),
        lambda: queue.resume(job_id),
        lambda: queue.retry(job_id),
        lambda: queue.schedule("clean", "0 3 * * *"),
        lambda: queue.unschedule("clean"),
        queue.schedules,
        queue.declare,
        run.job,
        run.cancel,
        lambda: run.result(timeout=1),
        lambda: anext(run.watch()),
    ]
    for use in uses:
        with pytest.raises(UsageError, match=r"^The queue was closed at the end of its block; use it inside"):
            await use()


async def test_a_queue_on_a_storage_that_stays_open_still_sends_after_it_was_closed(queue: Queue) -> None:
    await queue.close()
    assert await queue.get(await sent(queue)) is not None
