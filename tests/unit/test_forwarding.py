"""``storage.forwarding``: each call goes through one function, with the arguments of the protocol."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from tests.cases import check_each
from tests.clocks import FrozenClock
from tests.conformance.driver import rolled_back
from zeke_queue.model import NewJob, QueueCapacity
from zeke_queue.storage import Storage
from zeke_queue.storage.access import Access
from zeke_queue.storage.forwarding import Call, forward
from zeke_queue.storage.inspect import ChangeFeed
from zeke_queue.storage.jobs import Transaction
from zeke_queue.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

JOB, WORKER = UUID(int=1), UUID(int=2)


class Calls:
    """The calls that a forwarder made of a storage in memory."""

    def __init__(self, **rewrite: Callable[[Call], Call]) -> None:
        self.made: list[Call] = []
        self.real = MemoryStorage(FrozenClock())
        self.storage = forward(self.real, self._invoke, rewrite=rewrite)

    async def _invoke(self, call: Call, do: Callable[[], Awaitable[Any]]) -> Any:
        self.made.append(call)
        return await do()


async def test_every_coroutine_of_every_protocol_is_forwarded() -> None:
    calls = Calls()
    async with calls.storage.transaction() as transaction, calls.storage.subscribe() as feed:
        owners: list[tuple[type, Any]] = [
            (Storage, calls.storage),
            (Access, calls.storage.access),
            (Transaction, transaction),
            (ChangeFeed, feed),
        ]

        def check(protocol: type, owner: Any) -> None:
            coroutines = inspect.getmembers(protocol, inspect.iscoroutinefunction)
            assert coroutines
            for name, _ in coroutines:
                assert getattr(owner, name).__module__ == forward.__module__, name

        check_each(owners, check)


async def test_arguments_are_named_frozen_and_complete() -> None:
    calls, jobs = Calls(), [NewJob(JOB, "a")]
    assert await calls.storage.insert(jobs) == [JOB]
    jobs.clear()
    await calls.storage.claim(WORKER, limit=5, capacity=[QueueCapacity("a", 1)])
    await calls.storage.settle()
    await calls.storage.access.has_keys()
    claim = {"worker": WORKER, "capacity": (QueueCapacity("a", 1),)}
    outcomes = {"completed": (), "failed": (), "released": ()}
    assert calls.made == [
        Call("insert", {"jobs": (NewJob(JOB, "a"),)}),
        Call("claim", {**claim, "limit": 5, "bytes_max": None}),
        Call("settle", {**outcomes, "repeated": False}),
        Call("has_keys", {}),
    ]


async def test_blocks_are_calls_and_what_is_in_them_names_the_transaction() -> None:
    calls, heard = Calls(), list[str]()
    async with calls.storage.transaction() as transaction:
        await transaction.insert([NewJob(JOB, "a")])
        transaction.on_commit(lambda: heard.append("committed"))
    async with rolled_back(calls.storage) as transaction:
        transaction.on_rollback(lambda: heard.append("rolled back"))
    async with calls.storage.subscribe() as feed:
        await feed.add([JOB])
        feed.wake()
        assert await feed.wait(1.0) == []
    assert [(call.verb, call.transaction) for call in calls.made] == [
        *(("begin", 1), ("insert", 1), ("commit", 1), ("begin", 2), ("rollback", 2)),
        *(("subscribe", None), ("add", None), ("wait", None), ("unsubscribe", None)),
    ]
    assert heard == ["committed", "rolled back"]
    assert (await calls.real.get([JOB])).keys() == {JOB}


async def test_rewritten_call_is_what_is_seen_and_made() -> None:
    calls = Calls(insert=lambda call: call._replace(arguments={"jobs": (NewJob(WORKER, "b"),)}))
    assert await calls.storage.insert([NewJob(JOB, "a")]) == [WORKER]
    assert calls.made == [Call("insert", {"jobs": (NewJob(WORKER, "b"),)})]


async def test_wrong_arguments_are_refused_as_by_the_protocol() -> None:
    calls: Any = Calls()
    for call in (
        calls.storage.insert(),
        calls.storage.settle((), completed=()),
        calls.storage.get([], job=JOB),
        calls.storage.extend((), ()),
    ):
        with pytest.raises(TypeError):
            await call
    assert calls.made == []
