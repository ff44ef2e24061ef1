"""Progress and log lines on their way to watchers: during failures, and at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.runtime.odd_values import Unprintable, Unwritable
from tests.runtime.workers.faulty import Faulty
from tests.runtime.workers.handler import Lines
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.errors import (
    LockTimeoutError,
    PermissionDeniedError,
    StatementFailedError,
    StorageError,
    StorageUnavailableError,
)
from zeke_queue.model import JobEvent, RowState
from zeke_queue.task.context import JobContext
from zeke_queue.worker import progress
from zeke_queue.worker.progress import LineBudget, ProgressWriter

JOB, WRITER = UUID(int=1), UUID(int=2)


@pytest.fixture
def storage() -> Faulty:
    return Faulty(FrozenClock())


def notes_of(storage: Faulty) -> ProgressWriter:
    return ProgressWriter(storage, WRITER)  # type: ignore[arg-type]


@pytest.fixture
async def notes(storage: Faulty) -> AsyncIterator[ProgressWriter]:
    with closing(notes_of(storage)) as made:
        yield made


async def kept(storage: Faulty) -> list[str]:
    return [json.loads(event.data)["message"] for event in await storage.events({JOB: 0})]


def say(notes: ProgressWriter, *messages: str, budget: LineBudget | None = None) -> None:
    budget = budget or LineBudget()
    for message in messages:
        notes.line(JOB, 1, "info", message, {}, budget)


def unkeepable(storage: Faulty, *messages: str) -> None:
    """Make the storage fail on any of these lines, and on all that are stored with them."""
    real = storage.real.append_events

    async def append_events(events: Sequence[JobEvent]) -> None:
        if any(json.loads(event.data)["message"] in messages for event in events):
            raise ValueError("the driver can't encode this")
        await real(events)

    storage.real.append_events = append_events


async def test_lines_of_failed_writes_are_written_in_order(storage: Faulty, notes: ProgressWriter) -> None:
    real, tries, gate = storage.real.append_events, 0, asyncio.Event()

    async def append_events(events: Sequence[JobEvent]) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:  # the flush, during which the time for another try passes
            await gate.wait()
        if tries <= 3:
            raise StorageUnavailableError("no way to note")
        await real(events)

    storage.real.append_events = append_events
    say(notes, "one")
    await turns(5)
    flushing = asyncio.ensure_future(notes.flush())
    await turns(1)
    say(notes, "two")
    await until(lambda: notes._timer is None)
    await turns(5)
    gate.set()
    await flushing
    await until(lambda: not notes.any)
    assert (tries, await kept(storage)) == (4, ["one", "two"])


async def test_newest_progress_replaces_older_ones_and_follows_the_lines_before_it(
    storage: Faulty, notes: ProgressWriter
) -> None:
    notes.progress(JOB, 1, 0.1, "begun")
    say(notes, "one")
    notes.progress(JOB, 1, 0.9, "ending")
    say(notes, "two")
    await turns(1)
    assert await notes.flush()
    assert await kept(storage) == ["one", "ending", "two"]


async def test_lines_of_an_unanswered_write_are_stored_once(storage: Faulty, notes: ProgressWriter) -> None:
    storage.cut["append_events"] = "after"
    say(notes, "one", "one")
    await turns(5)
    say(notes, "two")
    await turns(1)
    assert await notes.flush() is False
    storage.mend()
    with closing(ProgressWriter(storage, UUID(int=2**64 + 100))) as another:  # type: ignore[arg-type]
        say(another, "three")
        await turns(1)
        assert await another.flush()
    assert await notes.flush()
    assert await kept(storage) == ["one", "one", "two", "three"]


async def test_flush_waits_for_the_lines_of_another_flush(storage: Faulty, notes: ProgressWriter) -> None:
    say(notes, "one")
    await turns(5)  # from then on nothing is written in the background, for a while
    gate = storage.late["append_events"] = asyncio.Event()
    say(notes, "two")
    await turns(1)
    flushes = [asyncio.ensure_future(notes.flush()) for _ in range(2)]
    await turns(5)
    assert (notes.any, [flush.done() for flush in flushes]) == (True, [False, False])
    gate.set()
    await asyncio.gather(*flushes)
    assert (notes.any, await kept(storage)) == (False, ["one", "two"])


async def test_outcomes_do_not_wait_again_for_a_locked_table(storage: Faulty, notes: ProgressWriter) -> None:
    async def check(error: StorageError, *, waits: bool) -> None:
        real, calls, written = storage.real.append_events, 0, await kept(storage)

        async def append_events(events: Sequence[JobEvent]) -> None:
            nonlocal calls
            calls += bool(events)
            raise error

        storage.real.append_events = append_events
        say(notes, "one")
        await turns(5)
        await notes.flush()
        before = calls
        say(notes, "two")
        await notes.flush()
        assert (calls > before) is waits
        storage.real.append_events = real
        await until(lambda: not notes.any)  # the background goes on
        say(notes, "three")
        await turns(1)
        await notes.flush()
        assert await kept(storage) == [*written, "one", "two", "three"]

    for error, waits in (
        (StorageUnavailableError("away"), True),
        (LockTimeoutError.of("a test"), False),
        (StatementFailedError("broken"), False),
    ):
        await check(error, waits=waits)


async def test_line_that_the_storage_refuses_does_not_drop_others(
    storage: Faulty, notes: ProgressWriter, lines: Lines
) -> None:
    unkeepable(storage, "two", "five")
    say(notes, "one", "two", "three", "four", "five", "six")
    await turns()
    await notes.flush()
    assert await kept(storage) == ["one", "three", "four", "six"]
    assert lines.messages == ["storage_error"] * 2


async def test_lines_stored_before_an_outage_are_stored_once(
    storage: Faulty, notes: ProgressWriter, lines: Lines
) -> None:
    unkeepable(storage, "bad")
    real, calls = storage.real.append_events, 0

    async def append_events(events: Sequence[JobEvent]) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # all were refused together, and the first half was stored
            raise StorageUnavailableError("no way to note")
        await real(events)

    storage.real.append_events = append_events
    say(notes, "one", "two", "bad", "three")
    await turns()
    assert (calls, await kept(storage)) == (3, ["one", "two"])
    await notes.flush()
    assert await kept(storage) == ["one", "two", "three"]


async def test_storage_that_refuses_all_lines_is_called_once(
    storage: Faulty, notes: ProgressWriter, lines: Lines
) -> None:
    async def append_events(events: Sequence[JobEvent]) -> None:
        raise PermissionDeniedError("The role lacks a right")

    storage.real.append_events = append_events
    say(notes, "one", "two", "three")
    await turns()
    await notes.flush()
    assert (storage.calls, lines.messages) == (["append_events"], ["storage_error"])


async def test_job_whose_lines_can_not_be_stored_still_completes(place: Place) -> None:
    unkeepable(place.storage, "bad")

    @place.catalog.task("tell")
    async def tell(job: JobContext) -> str:
        job.logger.info("bad")
        return "told"

    async with place.working() as worker:
        sent = [await place.send(tell) for _ in range(2)]
        await worker.drain()
    jobs = [await place.job(job_id) for job_id in sent]
    assert [(job.row_state, job.output) for job in jobs] == [(RowState.COMPLETED, "told")] * 2


async def test_job_ends_after_its_last_lines_though_a_write_of_them_failed(place: Place) -> None:
    real, stored, tries = place.storage.real.append_events, list[RowState](), 0

    async def append_events(events: Sequence[JobEvent]) -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise StorageUnavailableError("the connection broke")
        stored.append((await place.job(events[0].job_id)).row_state)
        await real(events)

    place.storage.real.append_events = append_events

    @place.catalog.task("tell")
    async def tell(job: JobContext) -> None:
        job.logger.info("told")

    place.keep_advancing()
    assert (await place.run_one(tell)).row_state is RowState.COMPLETED
    assert stored == [RowState.ACTIVE]


async def test_worker_that_ends_tries_again_to_store_lines_of_a_locked_table(place: Place) -> None:
    real, tries = place.storage.real.append_events, 0

    async def append_events(events: Sequence[JobEvent]) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise LockTimeoutError.of("a test")
        await real(events)

    place.storage.real.append_events = append_events

    @place.catalog.task("tell")
    async def tell(job: JobContext) -> None:
        job.logger.info("told")

    async with place.working() as worker:
        job_id = await place.send(tell)
        await worker.drain()
    (event,) = await place.storage.events({job_id: 0})
    assert json.loads(event.data)["message"] == "told"


async def test_lines_after_the_close_are_dropped(storage: Faulty, notes: ProgressWriter) -> None:
    """A thread that outlives its worker may still report events, to a storage that may be closed."""
    notes.close()
    say(notes, "late")
    notes.progress(JOB, 1, 0.5, "late")
    await turns()
    others: set[Any] = asyncio.all_tasks() - {asyncio.current_task()}
    assert (storage.calls, others) == ([], set())


async def test_line_with_unwritable_fields_is_stored() -> None:
    async def check(fields: dict[str, Any]) -> None:
        storage = Faulty(FrozenClock())
        with closing(notes_of(storage)) as notes:
            notes.line(JOB, 1, "info", "odd", fields, LineBudget())
            await turns()
        assert await kept(storage) == ["odd"]

    cases: dict[str, dict[str, Any]] = {
        "value": {"value": Unprintable()},
        "model": {"model": Unwritable()},
        "NUL": {"a\0b": 1},
        "half a surrogate pair": {"\ud800": 1},
    }
    await check_each_async(cases, check)


async def test_progress_with_a_message_that_is_not_text_is_stored(
    storage: Faulty, notes: ProgressWriter
) -> None:
    message: Any = {"lines": ["x" * 100] * 100}
    notes.progress(JOB, 1, 0.5, message)
    await turns()
    (event,) = await storage.events({JOB: 0})
    assert json.loads(event.data)["value"] == 0.5


async def test_line_too_long_as_postgres_writes_it_is_shortened(
    storage: Faulty, notes: ProgressWriter
) -> None:
    for count in (90, 120):
        notes.line(JOB, 1, "info", f"{count} numbers", {"numbers": [1e300] * count}, LineBudget())
        await turns()
        await notes.flush()
    first, second = [json.loads(event.data) for event in await storage.events({JOB: 0})]
    assert len(first["numbers"]) == 90
    assert second == {"level": "info", "message": "120 numbers", "shortened": True}


async def log_all(notes: ProgressWriter, budget: LineBudget, messages: Sequence[str]) -> None:
    """Log lines as a handler with pauses does, and end its attempt."""
    for message in messages:
        say(notes, message, budget=budget)
        await turns(1)
        await notes.flush()
    notes.end(JOB, 1, budget)
    await turns(1)
    await notes.flush()


async def test_lines_of_an_attempt_are_bounded_in_number_and_size(
    storage: Faulty, notes: ProgressWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINES_OF_ATTEMPT", 3)
    await log_all(notes, LineBudget(), list("abcdef"))
    stored = await kept(storage)
    assert stored[:3] == list("abc")
    assert "further lines are not stored" in stored[3]
    assert stored[4:] == ["3 more lines were left out"]
    monkeypatch.setattr(progress, "LINES_OF_ATTEMPT", 1000)
    monkeypatch.setattr(progress, "BYTES_OF_ATTEMPT", 3000)
    await log_all(notes, LineBudget(), [str(n) + 980 * "x" for n in range(6)])
    assert [text[:1] for text in (await kept(storage))[5:]] == ["0", "1", "2", "t", "3"]
    await log_all(notes, LineBudget(), [str(n) + 980 * "ü" for n in range(6)])
    assert [text[:1] for text in (await kept(storage))[10:]] == ["0", "1", "t", "4"]


async def test_attempt_that_drops_no_line_has_no_last_line(storage: Faulty, notes: ProgressWriter) -> None:
    await log_all(notes, LineBudget(), ["a"])
    await log_all(notes, LineBudget(), [])
    assert await kept(storage) == ["a"]


async def test_lines_do_not_pile_up_between_threads_and_the_loop(
    storage: Faulty, notes: ProgressWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled = 0
    real = notes._loop.call_soon_threadsafe

    def count(*arguments: Any) -> Any:
        nonlocal scheduled
        scheduled += 1
        return real(*arguments)

    monkeypatch.setattr(notes._loop, "call_soon_threadsafe", count)
    budget = LineBudget()
    say(notes, *map(str, range(5000)), budget=budget)
    assert scheduled == progress.PENDING_MAX
    notes.end(JOB, 1, budget)
    await turns(2)
    await notes.flush()
    assert (await kept(storage))[-2] == f"{5000 - progress.PENDING_MAX} more lines were left out"
