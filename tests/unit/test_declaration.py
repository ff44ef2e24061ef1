"""What a worker declares while rows are locked: what can be stored is stored, the rest again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.place import advance_until
from zeke_queue.errors import LockTimeoutError, PermissionDeniedError, StorageError, StorageUnavailableError
from zeke_queue.model import QueueSettings, Schedule
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.worker.declaration import FAILURES_MAX, Declaration
from zeke_queue.worker.storage_health import StorageHealth


class Rows:
    """A storage with rows, of which some are locked."""

    def __init__(self, number: int) -> None:
        queues = [QueueSettings(f"q{n}", n) for n in range(number)]
        self.storage = self
        self.declared: tuple[list[QueueSettings], list[Schedule]] = (
            queues,
            [Schedule("s", "* * * * *", task="q0")],
        )
        self.known = {queue.name for queue in queues}
        self.locked: set[str] = set()
        self.stored: set[str] = set()
        self.calls = self.failures = 0
        self.error: StorageError | None = None

    def declaration(self) -> Any:
        return self.declared

    async def queues(self) -> list[QueueSettings]:
        return [QueueSettings(name, None) for name in self.known]

    async def declare(self, queues: Sequence[QueueSettings], schedules: Sequence[Schedule]) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        names = {one.name for one in (*queues, *schedules)}
        if names & self.locked:
            self.failures += 1
            raise LockTimeoutError.of("it is locked")
        self.stored |= names


def declaration(rows: Rows, clock: FrozenClock) -> Declaration:
    return Declaration(cast("Any", rows), StorageHealth(clock, SeededEntropy(1)))


async def test_everything_is_stored_at_once_where_nothing_is_locked() -> None:
    rows = Rows(20)
    declared = declaration(rows, FrozenClock())
    await declared.store()
    assert declared.left == []
    assert rows.calls == 1


async def test_locked_rows_hold_up_no_others_and_are_stored_once_unlocked() -> None:
    rows, clock = Rows(20), FrozenClock()
    rows.locked = {"q3", "q4", "s"}
    declared = declaration(rows, clock)
    await declared.store()
    assert rows.stored == set()
    running = asyncio.create_task(declared.run())
    await advance_until(lambda: {one.name for one in declared.left} == rows.locked, clock, 0.1)
    assert rows.stored == {f"q{n}" for n in range(20)} - {"q3", "q4"}
    assert rows.calls < 30, "batches are halved"
    rows.locked = {"s"}
    await advance_until(lambda: {one.name for one in declared.left} == {"s"}, clock, 0.1)
    rows.locked = set()
    await advance_until(lambda: not declared.left, clock, 0.1)
    assert "s" in rows.stored
    assert not running.done(), "a part of a worker that ends counts as failed"
    running.cancel()


async def test_many_locked_rows_do_not_hold_up_the_others() -> None:
    """Each costs the time limit of a lock, and so do all parts that have one."""
    rows, clock = Rows(200), FrozenClock()
    rows.locked = {f"q{n}" for n in range(100)}
    declared = declaration(rows, clock)
    await declared.store()
    running = asyncio.create_task(declared.run())
    await advance_until(lambda: rows.failures > 1, clock, 0.1)
    assert rows.failures == 1 + FAILURES_MAX, "a try ends early"
    assert rows.stored >= {f"q{n}" for n in range(100, 200)} | {"s"}
    await advance_until(lambda: {one.name for one in declared.left} == rows.locked, clock, 0.1)
    running.cancel()


async def test_limit_of_a_new_queue_is_stored_before_anything_is_claimed() -> None:
    """Until then nothing limits that queue."""
    rows, clock = Rows(4), FrozenClock()
    rows.known -= {"q1", "q2"}
    rows.locked = {"q0"}
    declared = declaration(rows, clock)
    await declared.store()
    assert rows.stored == {"q1", "q2"}
    # Another worker is just storing it, in a transaction that does not end.
    rows.known.remove("q3")
    rows.locked = {"q0", "q3"}
    with pytest.raises(LockTimeoutError):
        await declared.store()


@pytest.mark.parametrize("error", [StorageUnavailableError("away"), PermissionDeniedError("no right")])
async def test_rest_is_repeated_after_other_errors(error: StorageError) -> None:
    rows, clock = Rows(5), FrozenClock()
    rows.locked = {"q3"}
    declared = declaration(rows, clock)
    await declared.store()
    rows.locked, rows.error = set(), error
    running = asyncio.create_task(declared.run())
    await advance_until(lambda: rows.calls > 3, clock, 0.1)
    assert len(declared.left) == 6
    rows.error = None
    await advance_until(lambda: not declared.left, clock, 0.1)
    running.cancel()
