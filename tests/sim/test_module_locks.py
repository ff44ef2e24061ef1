"""Locks in an application's modules: each simulated process has its own."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from tests.sim.worlds import played, scenario_of, sending
from zeke_queue import Catalog
from zeke_sim.experiment.crashes import crash_everywhere
from zeke_sim.history.events import Ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# What follows is the code of an application.

LOCK = asyncio.Lock()
SEMAPHORE = asyncio.Semaphore(1)
CONDITION = asyncio.Condition(LOCK)
QUEUE: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
OF_KEYS = {"bank": asyncio.Lock()}
THREAD_LOCK = threading.Lock()
REENTRANT = threading.RLock()


class Bank:
    """A client with a lock of its own."""

    __slots__ = ("lock",)
    of_all = asyncio.Lock()

    def __init__(self) -> None:
        self.lock = asyncio.Lock()


BANK = Bank()


def locked(lock: Any) -> Callable[[], Awaitable[None]]:
    async def within() -> None:
        async with lock:
            await asyncio.sleep(1)  # noqa: TID251 - as an application does

    return within


async def queued() -> None:
    await QUEUE.put(1)
    await asyncio.sleep(1)  # noqa: TID251
    assert await QUEUE.get() == 1
    QUEUE.task_done()
    await QUEUE.join()


async def notified() -> None:
    async with CONDITION:
        assert LOCK.locked()
        await CONDITION.wait_for(lambda: True)
        CONDITION.notify_all()


async def in_a_thread() -> None:
    with THREAD_LOCK, REENTRANT, REENTRANT:
        told.append("worked")
    assert not THREAD_LOCK.locked()


told: list[str] = []

HANDLERS = {
    "lock": locked(LOCK),
    "semaphore": locked(SEMAPHORE),
    "collection": locked(OF_KEYS["bank"]),
    "object": locked(BANK.lock),
    "class": locked(Bank.of_all),
    "condition": notified,
    "queue": queued,
    "thread": in_a_thread,
}


@pytest.mark.parametrize("name", HANDLERS)
def test_killed_process_leaves_no_lock_locked(name: str) -> None:
    catalog = Catalog()

    @catalog.task("look", retry_limit=1, expire_in=300)
    async def look() -> None:
        await HANDLERS[name]()

    tried = 0
    for results, outcome in crash_everywhere(scenario_of(catalog, sending("look"), workers=2, phase=200.0)):
        ended = [event.how for event in outcome.events if isinstance(event, Ended)]
        assert (outcome.violation, ended) == (None, ["returned"])
        tried = results.tried
    assert tried > 4
    assert type(LOCK) is asyncio.Lock
    assert not any(lock.locked() for lock in (LOCK, SEMAPHORE, THREAD_LOCK, BANK.lock))


def test_processes_do_not_wait_for_each_other_at_a_lock() -> None:
    catalog = Catalog()
    inside: defaultdict[str, int] = defaultdict(int)

    @catalog.task("look")
    async def look() -> None:
        async with LOCK:
            inside["now"] += 1
            inside["most"] = max(inside["most"], inside["now"])
            await asyncio.sleep(60)  # noqa: TID251
            inside["now"] -= 1

    scenario = scenario_of(catalog, sending("look", times=4), workers=2, phase=300.0)
    assert played(scenario).violation is None
    assert inside["most"] == 2
