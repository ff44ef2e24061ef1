"""Records of processes: before and after a call, and read back unchanged."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest

from tests.cases import check_each, check_each_async
from tests.clocks import FrozenClock
from tests.torture.recording import PASSED_ON, Journal, dumps, loads, recording
from tests.torture.samples import JOB, NOW, WORKER
from zeke_queue.errors import InvalidOptionError, StorageUnavailableError
from zeke_queue.model import CatchUp, Claimed, Failed, NewJob, QueueCapacity, RowState, Schedule
from zeke_queue.storage import Storage
from zeke_queue.storage.access import Access
from zeke_queue.storage.inspect import ChangeFeed
from zeke_queue.storage.jobs import Transaction
from zeke_queue.storage.memory import MemoryStorage
from zeke_sim.history.events import Answered, Event, Invoked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def written(path: Path) -> list[Event]:
    return [loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "w1.jsonl", "w1", 0.0, place=0, life=2)


VALUES: list[Any] = [
    Claimed._make((JOB, "a", b'{"a": 1}', 1, 0, 0, 3, 1, True, None, 60.0, NOW, None, None)),
    Failed(JOB, 1, None, "{}", RowState.EXPIRED),
    Schedule("s", "* * * * *", "a", options={"retry_limit": 1}, catch_up=CatchUp.ALL, last_tick=NOW),
    NewJob(JOB, "a", data="1", start_at=NOW),
    {JOB: 1},
    {"a": {"b": None}},
    {JOB, WORKER},
    (QueueCapacity("a", 1),),
    [JOB, None],
]


def test_written_value_is_read_again() -> None:
    def check(value: Any) -> None:
        event = Answered(1.5, "w1", 7, "claim", "ok", value, NOW)
        line = dumps(event)
        assert "\n" not in line
        assert loads(line) == event
        assert type(loads(line).result) is type(value)

    check_each([(value,) for value in VALUES], check)


def test_time_of_a_frozen_clock_is_read_as_a_time() -> None:
    class FrozenTime(datetime):
        """A time as libraries that freeze clocks make it."""

    time = FrozenTime(2026, 3, 2, 9, tzinfo=UTC)
    assert loads(dumps(time)) == time
    assert "FrozenTime" not in dumps(time)


async def test_call_is_recorded_before_and_after(journal: Journal, tmp_path: Path) -> None:
    storage = recording(MemoryStorage(FrozenClock()), journal)
    assert await storage.insert([NewJob(JOB, "a")]) == [JOB]
    await storage.pause_queue("a", paused=True)
    invoked, answered, paused, _ = written(tmp_path / "w1.jsonl")
    assert isinstance(invoked, Invoked)
    assert isinstance(answered, Answered)
    assert (invoked.node, invoked.verb, invoked.transaction) == ("w1", "insert", None)
    assert invoked.args == {"jobs": (NewJob(JOB, "a"),)}
    assert (answered.call, answered.outcome, answered.result) == (invoked.call, "ok", [JOB])
    assert answered.issued is not None
    assert invoked.at <= answered.at
    assert cast("Invoked", paused).args == {"name": "a", "paused": True}


class Broken(MemoryStorage):
    error: BaseException

    async def cancel(self, ids: Any) -> Any:  # noqa: ARG002 - as the protocol has it
        raise self.error


async def test_only_a_refusal_is_a_certain_failure(journal: Journal, tmp_path: Path) -> None:
    async def check(error: BaseException, outcome: str) -> None:
        broken = Broken(FrozenClock())
        broken.error = error
        with pytest.raises(type(error)):
            await recording(broken, journal).cancel([JOB])
        assert cast("Answered", written(tmp_path / "w1.jsonl")[-1]).outcome == outcome

    await check_each_async(
        [
            (StorageUnavailableError("gone"), "unknown"),
            (asyncio.CancelledError(), "unknown"),
            (RuntimeError("a slip"), "unknown"),
            (psycopg.OperationalError("the connection is lost"), "unknown"),
            (InvalidOptionError("limit"), "failed"),
            (psycopg.errors.UniqueViolation(), "failed"),
        ],
        check,
    )


async def insert_and_break_off(storage: Storage) -> None:
    async with storage.transaction() as transaction:
        await transaction.insert([NewJob(WORKER, "a")])
        raise StorageUnavailableError


async def test_calls_name_their_transaction_and_its_commit_is_a_call(
    journal: Journal, tmp_path: Path
) -> None:
    storage = recording(MemoryStorage(FrozenClock()), journal)
    async with storage.transaction() as transaction:
        await transaction.insert([NewJob(JOB, "a")])
    with pytest.raises(StorageUnavailableError):
        await insert_and_break_off(storage)
    calls = [one for one in written(tmp_path / "w1.jsonl") if isinstance(one, Invoked)]
    assert [call.verb for call in calls] == ["insert", "commit", "insert"]
    assert calls[0].transaction == calls[1].transaction != calls[2].transaction


class CommitLost(MemoryStorage):
    @asynccontextmanager
    async def transaction(self, connection: Any = None, *, own: bool = False) -> AsyncIterator[Transaction]:
        async with super().transaction(connection, own=own) as opened:
            yield opened
        raise StorageUnavailableError("gone")


async def test_commit_without_an_answer_is_unknown(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError):
        async with recording(CommitLost(FrozenClock()), journal).transaction() as transaction:
            await transaction.cancel([JOB])
    ended = cast("Answered", written(tmp_path / "w1.jsonl")[-1])
    assert (ended.verb, ended.outcome) == ("commit", "unknown")


def test_forwarded_names_are_those_of_a_protocol() -> None:
    named = {name for protocol in (Storage, ChangeFeed, Access) for name in dir(protocol)}
    assert PASSED_ON - named == {"begin", "rollback", "unsubscribe"}


def test_calls_of_a_run_have_distinct_numbers(tmp_path: Path) -> None:
    journals = [Journal(tmp_path / "w1.jsonl", "w1", 0.0, place, life) for place in (0, 1) for life in (0, 1)]
    numbers = {journal.number() for _ in range(100) for journal in journals}
    assert len(numbers) == 400
