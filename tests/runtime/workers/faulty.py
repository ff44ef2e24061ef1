"""A storage behind a network that a test can cut, before a call arrives or after it was done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from tests.clocks import FrozenClock
from tests.runtime.workers.place import Place
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage import Storage
from zeke_queue.storage.forwarding import Call, forward
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.task.catalog import Catalog

CALLS = frozenset(
    {
        "claim",
        "settle",
        "settle_unlocked",
        "suspend",
        "insert_child",
        "heartbeat",
        "deregister",
        "set_idle",
        "append_events",
        "extend",
        "get",
        "declare",
    }
)


class Faulty:
    """``MemoryStorage`` behind a network.

    Attributes:
        cut: calls that fail: ``before`` they do anything, or ``after``, when only the answer is lost.
        late: calls that wait until their event is set, before they do anything.
        held: calls that wait until their event is set, after they were done.
        calls: the names of all calls that arrived, in order.
    """

    def __init__(self, clock: FrozenClock) -> None:
        self.real = MemoryStorage(clock)
        self._storage = forward(self.real, self._invoke)
        self.cut: dict[str, Literal["before", "after"]] = {}
        self.late: dict[str, asyncio.Event] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.calls: list[str] = []

    def cut_all(self) -> None:
        self.cut = dict.fromkeys(CALLS, "before")

    def mend(self) -> None:
        self.cut = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage if hasattr(Storage, name) else self.real, name)

    async def _invoke(self, call: Call, do: Callable[[], Awaitable[Any]]) -> Any:
        name = call.verb
        if name not in CALLS or call.transaction is not None:
            return await do()
        self.calls.append(name)
        if self.cut.get(name) == "before":
            raise StorageUnavailableError(f"no way to {name}")
        if name in self.late:
            await self.late[name].wait()
        answer = await do()
        if name in self.held:
            await self.held[name].wait()
        if self.cut.get(name) == "after":
            raise StorageUnavailableError(f"the answer to {name} was lost")
        return answer


def faulty_place(catalog: Catalog | None = None) -> Place:
    clock = FrozenClock()
    return Place(catalog, clock, Faulty(clock))
