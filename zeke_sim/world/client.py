"""A node's storage: the memory store behind a simulated network and server that can fail.

``NodeCalls`` receives the calls of a node from ``storage.forwarding``; ``network.Calls`` determines what
happens to each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.errors import StorageError, StorageUnavailableError
from zeke_queue.storage.forwarding import Call, forward
from zeke_sim.world.faults import feed_fault, wake_fault
from zeke_sim.world.network import SHORTEST, Calls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from zeke_queue.storage import Storage
    from zeke_queue.storage.inspect import ChangeFeed
    from zeke_sim.world.database import OpenTransaction
    from zeke_sim.world.node import Node

IDLE_IN_TRANSACTION: Final = 10.0
"""Seconds after which the server ends a transaction whose client is silent."""

_REPEATED: Final = frozenset(
    {"settle", "settle_unlocked", "suspend", "append_events", "resume_waiting", "archive", "purge"}
)
"""Calls that are repeated after a failure, while others may succeed."""

_UNRECORDED: Final = frozenset({"close", "discard", "unsubscribe", "wait"})
"""Calls that no fault can affect and no property reads."""

_SHOWN: Final = 8


class _ServerTransaction:
    """A transaction of the server: its callbacks run there, in the step that ends it.

    They run even if the node gets no answer or is dead by then.
    """

    connection: None = None

    def __init__(self, calls: Calls, server: OpenTransaction, number: int) -> None:
        self._calls = calls
        self._opened = server.opened
        self.server = server
        self.number = number
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)

    def require_whole(self, verb: str) -> None:
        """Refuse further statements after one failed, since the connection or the transaction is lost.

        Raises:
            StorageUnavailableError: a statement has failed.
        """
        if self.broken:
            raise StorageUnavailableError(f"{verb}: an earlier statement failed, and the transaction with it")

    def on_commit(self, apply: Callable[[], None]) -> None:
        """Register ``apply`` to run in the step that commits."""
        self._require_open()
        self._opened.on_commit(apply)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Register ``undo`` to run in the step that rolls back."""
        self._require_open()
        self._opened.on_rollback(undo)

    def _require_open(self) -> None:
        if self.number not in self._calls.world.server.transactions:
            raise StorageUnavailableError("The connection broke: the transaction is gone")


class NodeCalls:
    """The calls of one node's process, as ``node.NodeCalls`` declares them."""

    def __init__(self, node: Node, counts: dict[str, int]) -> None:
        self._node = node
        self._world = node.world
        self._counts = counts
        self._calls = Calls(node, counts)
        self._open: dict[int | None, _ServerTransaction] = {}
        self.asleep = 0
        self.failing = False
        self.owing: set[str] = set()
        self._handled: Mapping[str, Callable[[Call, Callable[[], Awaitable[Any]]], Awaitable[Any]]] = {
            "begin": self._begin,
            "commit": self._commit,
            "rollback": self._rollback,
            "subscribe": self._subscribe,
            "add": lambda call, do: self._send(call._replace(verb="watch"), do),
            "wait_for_jobs": self._wait_for_jobs,
        }
        self.storage: Storage = forward(
            node.world.store, self._invoke, rewrite={"heartbeat": self._without_machine}
        )

    def _without_machine(self, call: Call) -> Call:
        """Replace the real host and process id, which would differ between runs."""
        worker = replace(call.arguments["worker"], host=self._node.name, pid=self._node.incarnation)
        return call._replace(arguments={"worker": worker})

    def _invoke(self, call: Call, do: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
        if call.verb in self._handled:
            return self._handled[call.verb](call, do)
        if call.verb in _UNRECORDED:
            return do()
        return self._send(call, do) if call.transaction is None else self._send_within(call, do)

    async def _send(self, call: Call, do: Callable[[], Any]) -> Any:
        verb = call.verb
        self.failing = True
        if verb in _REPEATED:
            self.owing.add(verb)
        result = await self._calls.call(verb, _recorded(call.arguments), do)
        self.failing = False
        self.owing.discard(verb)
        return result

    async def _send_within(self, call: Call, do: Callable[[], Any]) -> Any:
        opened = self._open[call.transaction]
        opened.require_whole(call.verb)
        if call.arguments.get("idle_timeout") is not None:
            opened.server.idle_timeout = call.arguments["idle_timeout"]
        try:
            return await self._calls.call(call.verb, call.arguments, do, transaction=opened.number)
        except StorageError:
            opened.broken = True
            raise

    async def _begin(self, call: Call, _do: Callable[[], Any]) -> _ServerTransaction:
        """Open a transaction, which the server rolls back if its node dies."""
        world = self._world
        if world.down or self._node.link is not None:
            # A begin is a call of its own only if the database is unreachable, so that it can fail.
            await self._send(Call("begin", {}), world.store.now)
        number, server = world.server.open(self._node, own=call.arguments["own"])
        opened = self._open[call.transaction] = _ServerTransaction(self._calls, server, number)
        return opened

    async def _commit(self, call: Call, _do: Callable[[], Any]) -> None:
        opened = self._open[call.transaction]
        try:
            opened.require_whole("commit")
        except StorageUnavailableError:
            await self._rollback(call, _do)
            raise
        del self._open[call.transaction]
        try:
            await self._calls.call("commit", {}, opened.server.commit, transaction=opened.number)
        except BaseException:
            self.failing = True
            self._world.server.end(opened.number, SHORTEST)
            raise
        self.failing = False

    async def _rollback(self, call: Call, _do: Callable[[], Any]) -> None:
        self.failing = True
        number = self._open.pop(call.transaction).number
        self._world.server.end(number, IDLE_IN_TRANSACTION if self._node.link else SHORTEST)

    async def _subscribe(self, _call: Call, do: Callable[[], Any]) -> _NodeFeed:
        return _NodeFeed(self._node, await do(), self._counts)

    async def _wait_for_jobs(self, call: Call, _do: Callable[[], Any]) -> bool:
        """Sleep until one of the queues may have work; the wake-up can be lost, late, or spurious."""
        self.asleep += 1
        try:
            return await self._wait(**call.arguments)
        finally:
            self.asleep -= 1

    async def _wait(self, queues: Sequence[str], timeout: float) -> bool:
        node, world = self._node, self._world
        waits = self._counts["wake"] = self._counts.get("wake", 0) + 1
        decision: dict[str, Any] = {}
        if world.faulty:
            address = f"{node.name}/wake/{waits}"
            decision = world.decisions.at(address, lambda draws: wake_fault(draws, world.knobs)) or {}
            if decision:
                world.record_fault(node, address, decision["fault"], decision.get("for"), affected=())
        kind = decision.get("fault")
        if kind == "lost_wakeup":
            await world.database_clock.sleep(timeout)
            return False
        if kind == "spurious":
            timeout = min(timeout, decision["after"])
        woken = await self._notified(queues, timeout)
        if node.link is not None or world.down:
            return False
        if woken and kind == "late_wakeup":
            await world.database_clock.sleep(decision["for"])
        return woken or kind == "spurious"

    async def _notified(self, queues: Sequence[str], timeout: float) -> bool:
        """Wait for a wake-up that the server delivers."""
        # This clock does not advance while idle time is skipped.
        world, clock = self._world, self._node.resting_clock
        until = clock.monotonic() + timeout
        while await world.store.wait_for_jobs(queues, max(0.0, until - clock.monotonic())):
            if world.server.notifies:
                return True
        return False


def _recorded(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the recorded arguments of a call: keys by id and tokens by the start of their digest."""
    if "digest" in arguments:
        return {**arguments, "digest": arguments["digest"].hex()[:_SHOWN]}
    return {"key": arguments["key"].id} if "key" in arguments else arguments


class _NodeFeed:
    """A change feed whose notifications are lost while its node is unreachable.

    Args:
        counts: number of notifications sent under the node's name.
    """

    def __init__(self, node: Node, feed: ChangeFeed, counts: dict[str, int]) -> None:
        self._node = node
        self._feed = feed
        self._counts = counts
        self._woken = False
        self.add = feed.add
        self.discard = feed.discard

    def wake(self) -> None:
        """End the current wait, or the next one if there is none."""
        self._woken = True
        self._feed.wake()

    async def wait(self, timeout: float) -> list[UUID]:
        """Return the jobs with notifications; none after ``timeout`` seconds."""
        loop = self._node.world.loop
        until = loop.time() + timeout
        while True:
            changed = await self._feed.wait(until - loop.time())
            told = [job_id for job_id in changed if self._arrives()]
            if told or self._woken or not changed:
                self._woken = False
                return told

    def _arrives(self) -> bool:
        node, world = self._node, self._node.world
        if node.link is not None or world.down or not world.server.notifies:
            return False
        if not world.faulty:
            return True
        count = self._counts["told"] = self._counts.get("told", 0) + 1
        address = f"{node.name}/told/{count}"
        if world.decisions.at(address, lambda draws: feed_fault(draws, world.knobs)) is None:
            return True
        world.record_fault(node, address, "lost_wakeup", affected=())
        return False
