"""Sending: which jobs are accepted, which are refused before the storage is called, and which option wins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import START, FrozenClock, RecordingClock
from tests.conformance.storages import on_both_storages
from tests.runtime.catalogs import Letter, mail_catalog, nothing
from tests.runtime.conftest import QueueOn
from tests.runtime.intercepted import Intercepted
from zeke_queue.client.insert import INSERT_WAITS
from zeke_queue.client.queue import Queue
from zeke_queue.core.options import JobOptions, SendOptions
from zeke_queue.errors import (
    InvalidNameError,
    InvalidOptionError,
    JobConflictError,
    LockTimeoutError,
    PayloadTooLargeError,
    PayloadValidationError,
    StatementTimeoutError,
    StorageUnavailableError,
)
from zeke_queue.model import Job, JobQuery, NewJob, RowState
from zeke_queue.storage.forwarding import Call
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.task import Send

OWN = UUID("0193aaaa-0000-7000-8000-000000000001")


async def stored(queue: Queue, job_id: UUID | None) -> Job:
    assert job_id is not None
    job = await queue.get(job_id)
    assert job is not None
    return job


async def number_of_jobs(queue: Queue) -> int:
    return len((await queue.find(JobQuery(limit=1000))).jobs)


# What is sent


@on_both_storages
async def test_payload_may_be_the_model_or_its_fields(queue: Queue) -> None:
    payloads = (Letter(to="ann"), {"to": "ann", "copies": 1}, {"to": "ann"})
    sent = [(await queue.send("mail", payload)).id for payload in payloads]
    assert [(await stored(queue, job_id)).data for job_id in sent] == [{"to": "ann", "copies": 1}] * 3
    job = await stored(queue, (await queue.send("clean")).id)
    assert (job.row_state, job.data) == (RowState.CREATED, None)


async def test_task_is_accepted_itself_by_name_or_by_alias(queue: Queue) -> None:
    for which in (queue.catalog.get("mail"), "mail", "post"):
        assert (await stored(queue, (await queue.send(which, {"to": "ann"})).id)).name == "mail"


async def test_task_of_the_catalog_is_validated_even_with_external(queue: Queue) -> None:
    with pytest.raises(PayloadValidationError):
        await queue.send("mail", {"copies": 2}, external=True)


# When it starts


@on_both_storages
async def test_job_is_delayed_by_seconds_or_a_timedelta_or_to_an_instant(queue: Queue) -> None:
    async def check(option: str, delay: Any) -> None:
        job = await stored(queue, (await queue.send("clean", **{option: delay})).id)
        assert job.start_after == START + timedelta(seconds=90)

    later = timedelta(seconds=90)
    cases = [("delay", 90), ("delay", 90.0), ("delay", later), ("start_at", START + later)]
    await check_each_async(cases, check)


# Which option wins


@on_both_storages
async def test_options_of_a_send_win_over_the_task_and_those_over_the_catalog(queue: Queue) -> None:
    plain = await stored(queue, (await queue.send("mail", {"to": "ann"})).id)
    assert (plain.retry_limit, plain.priority, plain.expire_in, plain.retry_delay) == (5, 7, 60, 1)
    own = await stored(queue, (await queue.send("mail", {"to": "ann"}, retry_limit=2, expire_in=5)).id)
    assert (own.retry_limit, own.priority, own.expire_in, own.retry_delay) == (2, 7, 5, 1)


async def test_explicit_zero_or_false_wins_over_any_default(queue: Queue) -> None:
    sent = (await queue.send("mail", {"to": "ann"}, retry_limit=0, priority=0, retry_backoff=False)).id
    job = await stored(queue, sent)
    assert (job.retry_limit, job.priority, job.retry_backoff) == (0, 0, False)


async def test_option_of_none_takes_the_default_of_the_task(queue: Queue) -> None:
    assert (
        await stored(queue, (await queue.send("mail", {"to": "ann"}, retry_limit=None)).id)
    ).retry_limit == 5


# What is refused before the storage is asked


async def test_invalid_payload_is_refused_by_field(queue: Queue) -> None:
    with pytest.raises(PayloadValidationError) as caught:
        await queue.send("mail", {"copies": "many"})
    assert [field.path for field in caught.value.fields] == ["to", "copies"]
    assert await number_of_jobs(queue) == 0


INVALID_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"delay": -1}, "delay"),
    ({"retry_limit": 2**31}, "retry_limit"),
    ({"priority": 1.5}, "priority"),
    ({"expire_in": 0}, "expire_in"),
    ({"throttle": 0}, "throttle"),
    ({"delay": 1, "start_at": START}, "start_at"),
    ({"start_at": START.replace(tzinfo=None)}, "start_at"),
    ({"throttle": 1, "debounce": 1}, "debounce"),
    ({"id": "not-a-uuid"}, "id"),
    ({"id": ""}, "id"),
    ({"parent": "not-a-uuid"}, "parent"),
    ({"retries": 3}, "retries"),
    ({"meta": [1]}, "meta"),
]


async def test_invalid_option_is_refused_by_name(queue: Queue) -> None:
    async def check(options: dict[str, Any], field: str) -> None:
        with pytest.raises(InvalidOptionError, match=field):
            await queue.send("clean", **options)
        assert await number_of_jobs(queue) == 0

    await check_each_async(INVALID_OPTIONS, check)


async def test_invalid_external_name_is_refused(queue: Queue) -> None:
    with pytest.raises(InvalidNameError):
        await queue.send("__pgboss__maintenance", external=True)


@on_both_storages
async def test_payload_and_meta_are_measured_as_postgres_writes_them(queue: Queue) -> None:
    few, many = {"n": [1e300] * 3}, {"n": [1e300] * 4}
    job = await stored(queue, (await queue.send("elsewhere", few, external=True, meta=few)).id)
    assert (job.data, job.meta) == ({"n": [10**300] * 3},) * 2
    with pytest.raises(PayloadTooLargeError, match=r"payload of 'elsewhere' has 1219 bytes .*, 1000 at most"):
        await queue.send("elsewhere", many, external=True)
    with pytest.raises(PayloadTooLargeError, match=r"^meta has 1219 bytes .*, 1000 at most"):
        await queue.send("clean", meta=many)
    with pytest.raises(PayloadTooLargeError, match=r"'mail' has .*1000 at most"):
        await queue.send("mail", {"to": "ß" * 501})


# Uniqueness


@on_both_storages
async def test_two_sends_under_one_id_make_one_job(queue: Queue) -> None:
    assert (await queue.send("clean", id=OWN)).id == OWN
    assert (await queue.send("clean", id=OWN)).id == OWN
    assert await number_of_jobs(queue) == 1


@on_both_storages
async def test_second_debounced_job_takes_the_next_slot_and_a_third_is_refused(
    queue: Queue, clock: FrozenClock
) -> None:
    clock.advance(20)
    runs = [await queue.send("clean", debounce=60) for _ in range(3)]
    assert [run.created for run in runs] == [True, True, False]
    assert runs[2].id == runs[1].id
    expected = [START + timedelta(seconds=20), START + timedelta(seconds=60)]
    assert [(await stored(queue, run.id)).start_after for run in runs[:2]] == expected


@on_both_storages
async def test_refused_trigger_names_the_conflicting_job(queue: Queue) -> None:
    async def check(rule: dict[str, Any]) -> None:
        first = await queue.trigger("clean", **rule)
        with pytest.raises(JobConflictError) as caught:
            await queue.trigger("clean", **rule)
        assert caught.value.holder == first.id
        assert str(first.id) in str(caught.value)

    await check_each_async([{"singleton_key": "k"}, {"throttle": 60}], check)


# Many at once


@on_both_storages
async def test_send_many_stores_jobs_in_order_each_with_its_own_options(queue: Queue) -> None:
    runs = await queue.send_many(
        [
            Send("mail", {"to": "ann"}, priority=1),
            Send("clean", singleton_key="k", id=OWN),
            Send("clean", singleton_key="k"),
            Send("elsewhere", 5, external=True, meta={"a": 1}, parent=OWN),
        ]
    )
    assert [run.created for run in runs] == [True, True, False, True]
    assert runs[1].id == runs[2].id == OWN
    mail, other = await stored(queue, runs[0].id), await stored(queue, runs[3].id)
    assert (mail.name, mail.priority) == ("mail", 1)
    assert (other.name, other.data, other.meta, other.parent) == ("elsewhere", 5, {"a": 1}, OWN)


async def test_send_many_with_one_invalid_job_sends_none(queue: Queue) -> None:
    with pytest.raises(PayloadValidationError):
        await queue.send_many([Send("clean"), Send("mail", {})])
    assert await number_of_jobs(queue) == 0


@on_both_storages
async def test_send_many_debounces_only_refused_jobs(queue: Queue) -> None:
    runs = await queue.send_many(
        [Send("clean", debounce=60), Send("mail", {"to": "a"}), *[Send("clean", debounce=60)] * 2]
    )
    starts = [(await stored(queue, run.id)).start_after for run in runs[:3]]
    assert starts == [START, START, START + timedelta(seconds=60)]
    assert (runs[3].id, runs[3].created) == (runs[2].id, False)


@on_both_storages
async def test_one_id_twice_in_send_many_makes_one_job(queue: Queue) -> None:
    runs = await queue.send_many([Send("clean", id=OWN, debounce=60)] * 2)
    assert [run.id for run in runs] == [OWN, OWN]
    assert await number_of_jobs(queue) == 1
    assert await queue.send_many([]) == []


# Answers that are lost


class Flaky(MemoryStorage):
    """A storage whose first answers are lost: before the insert, or after it."""

    def __init__(self, clock: FrozenClock, lost: int, *, done: bool) -> None:
        super().__init__(clock)
        self._lost = lost
        self._done = done
        self.clock = clock
        self.fresh: list[bool] = []

    async def insert(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        self._lost -= 1
        self.fresh.append(all(job.fresh for job in jobs))
        if self._lost < 0:
            return await super().insert(jobs)
        if self._done:
            await super().insert(jobs)
        raise StorageUnavailableError("the connection broke")


async def test_send_with_a_lost_answer_is_repeated_and_makes_one_job(clock: FrozenClock) -> None:
    async def check(done: bool) -> None:  # noqa: FBT001 - the row of a table
        recording = RecordingClock(clock)
        flaky = Queue(mail_catalog(), Flaky(clock, 2, done=done), clock=recording)
        assert (await flaky.send("clean", singleton_key="k")).created
        assert await number_of_jobs(flaky) == 1
        assert recording.slept == list(INSERT_WAITS)

    await check_each_async({"lost before the insert": False, "lost after it": True}, check)


async def test_only_the_first_try_under_a_generated_id_is_fresh(clock: FrozenClock) -> None:
    async def check(options: SendOptions) -> None:
        storage = Flaky(clock, 2, done=True)
        await Queue(mail_catalog(), storage, clock=RecordingClock(clock)).send("clean", **options)
        assert storage.fresh == ["id" not in options, False, False]

    await check_each_async([SendOptions(), SendOptions(priority=1), SendOptions(id=UUID(int=7))], check)


async def test_send_fails_after_about_a_second_without_an_answer(clock: FrozenClock) -> None:
    recording = RecordingClock(clock)
    flaky = Queue(mail_catalog(), Flaky(clock, 9, done=False), clock=recording)
    with pytest.raises(StorageUnavailableError):
        await flaky.send("clean")
    assert sum(recording.slept) == pytest.approx(1)


async def test_send_that_the_database_has_given_up_is_not_repeated(clock: FrozenClock) -> None:
    """Nothing has changed, and a caller who waited for a lock would wait three times as long."""

    async def check(error: type[StorageUnavailableError]) -> None:
        tries = 0

        def refuse(call: Call) -> None:
            nonlocal tries
            if call.verb == "insert":
                tries += 1
                raise error("it took too long")

        intercepted = Intercepted(clock)
        intercepted.before = refuse
        recording = RecordingClock(clock)
        with pytest.raises(error):
            await Queue(mail_catalog(), intercepted.storage, clock=recording).send("clean")
        assert (tries, recording.slept) == (1, [])

    await check_each_async([(LockTimeoutError,), (StatementTimeoutError,)], check)


async def test_lock_met_after_a_lost_answer_does_not_say_that_nothing_was_inserted(
    clock: FrozenClock,
) -> None:
    """A caller who sends again under another id would double the job."""

    async def check(error: type[StorageUnavailableError]) -> None:
        answers: list[Exception] = [StorageUnavailableError("the connection broke"), error("locked")]

        def refuse(call: Call) -> None:
            if call.verb == "insert":
                raise answers.pop(0)

        intercepted = Intercepted(clock)
        intercepted.before = refuse
        with pytest.raises(StorageUnavailableError, match="the connection broke") as caught:
            await Queue(mail_catalog(), intercepted.storage, clock=RecordingClock(clock)).send("clean")
        assert isinstance(caught.value.__cause__, error)
        assert answers == []

    await check_each_async([(LockTimeoutError,), (StatementTimeoutError,)], check)


async def test_lock_met_by_a_later_insert_of_a_call_does_not_say_that_nothing_was_inserted(
    clock: FrozenClock,
) -> None:
    """A caller who sends all again would double those that the first insert has stored."""

    async def check(sends: list[Send], stored: bool) -> None:  # noqa: FBT001 - the row of a table
        intercepted = Intercepted(clock)
        queue = Queue(mail_catalog(), intercepted.storage, clock=clock)
        await queue.send("clean", debounce=60)
        inserts = 0

        def refuse(call: Call) -> None:
            nonlocal inserts
            if call.verb == "insert":
                inserts += 1
                if inserts == 2:
                    raise LockTimeoutError.of("a test")

        intercepted.before = refuse
        with pytest.raises(StorageUnavailableError) as caught:
            await queue.send_many(sends)
        assert isinstance(caught.value, LockTimeoutError) is not stored
        assert await number_of_jobs(queue) == 1 + stored

    debounced = Send("clean", debounce=60)
    await check_each_async(
        [([debounced], False), ([Send("elsewhere", external=True), debounced], True)], check
    )


async def test_debounce_of_the_catalog_tries_the_next_slot_too(queue_on: QueueOn) -> None:
    catalog = Catalog(defaults=JobOptions(debounce=60))

    catalog.task("clean")(nothing)
    queue = queue_on(catalog)

    async def check(task: str) -> None:
        runs = [await queue.send(task, external=True) for _ in range(3)]
        starts = [(await stored(queue, run.id)).start_after for run in runs[:2]]
        assert starts == [START, START + timedelta(seconds=60)]
        assert not runs[2].created
        assert not (await queue.send(task, throttle=60, external=True)).created

    await check_each_async(["clean", "elsewhere"], check)


async def test_refused_debounced_send_is_repeated_before_any_lookup(clock: FrozenClock) -> None:
    place, verbs = Intercepted(clock), list[str]()
    place.before = lambda call: verbs.append(call.verb)
    queue = Queue(mail_catalog(), place.storage, clock=clock)
    assert [(await queue.send("clean", debounce=60)).created for _ in range(2)] == [True, True]
    assert verbs == ["insert"] * 3


async def test_debounced_send_takes_the_slot_that_begins_between_its_two_tries(clock: FrozenClock) -> None:
    def advance(call: Call) -> None:
        if calls.count("insert") == 2:
            clock.advance(30)
        calls.append(call.verb)

    place, calls = Intercepted(clock), list[str]()
    place.before = advance
    clock.advance(50)
    queue = Queue(mail_catalog(), place.storage, clock=clock)
    runs = [await queue.send("clean", debounce=60) for _ in range(3)]
    assert ([run.created for run in runs], calls.count("insert")) == ([True, True, True], 5)
    starts = [(await stored(queue, run.id)).start_after for run in runs]
    assert starts == [START + timedelta(seconds=seconds) for seconds in (50, 80, 120)]


async def test_defaults_of_the_catalog_apply_to_external_tasks(queue_on: QueueOn) -> None:
    queue = queue_on(Catalog(defaults=JobOptions(retry_limit=1)))
    assert (await stored(queue, (await queue.send("elsewhere", external=True)).id)).retry_limit == 1
