"""The simulated network: a statement travels to the database, is applied in one step, and answered.

A statement in transit is not stopped by a kill of its node or by a cancellation of its caller.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.errors import StorageUnavailableError
from zeke_sim.errors import SimulationError
from zeke_sim.history.events import Answered, Invoked
from zeke_sim.world.database import Stepper
from zeke_sim.world.faults import statement_fault
from zeke_sim.world.node import ON_THE_WAY

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from datetime import datetime

    from zeke_sim.world.node import Node

SHORTEST: Final = 0.0005
"""Minimum latency of a statement in each direction, in seconds."""

RECONNECT: Final = 5.0
"""Seconds after which a statement that cannot reach the database fails."""


class Calls:
    """Sends the calls of one node and applies their faults.

    Args:
        node: the calling node.
        counts: number of calls of each storage method under the node's name, by all its processes.
    """

    def __init__(self, node: Node, counts: dict[str, int]) -> None:
        self.node = node
        self.world = node.world
        self._counts = counts

    async def call(
        self,
        verb: str,
        args: Mapping[str, Any],
        do: Callable[[], Coroutine[Any, Any, Any]],
        *,
        transaction: int | None = None,
        fails: bool = True,
    ) -> Any:
        """Send a call and wait for its answer.

        Args:
            verb: the storage method, for the address and the history.
            args: the arguments, for the history.
            do: creates the method's coroutine when the statement arrives.
            transaction: the number of its transaction, if any.
            fails: whether faults can affect it.

        Raises:
            StorageUnavailableError: the call failed, or was not answered.
        """
        node, world = self.node, self.world
        number = world.next_call()
        if node.dead or world.loop.leaving:
            raise asyncio.CancelledError  # the node has ended, and its remaining tasks are being cancelled
        count = self._counts[verb] = self._counts.get(verb, 0) + 1
        world.recorder.add(Invoked(world.time(), node.name, number, verb, args, transaction))
        address = f"{node.name}/{verb}/{count}"
        decision = None
        if fails and world.faulty:
            knobs = world.knobs
            decision = world.decisions.at(address, lambda draws: statement_fault(draws, knobs))
        call = _Call(self, verb, number, do, decision=decision, address=address, transaction=transaction)
        call.start()
        return await call.answer()


class _Call:
    """One statement in transit."""

    __slots__ = (
        "_address",
        "_calls",
        "_counted",
        "_decision",
        "_do",
        "_done",
        "_fault",
        "_gone",
        "_incarnation",
        "_number",
        "_transaction",
        "_verb",
        "_waiter",
    )

    def __init__(
        self,
        calls: Calls,
        verb: str,
        number: int,
        do: Callable[[], Coroutine[Any, Any, Any]],
        *,
        decision: dict[str, Any] | None,
        address: str,
        transaction: int | None,
    ) -> None:
        self._address = address
        self._transaction = transaction
        self._calls = calls
        self._verb = verb
        self._number = number
        self._do = do
        self._decision = decision or {}
        self._fault: str | None = self._decision.get("fault")
        self._waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._incarnation = calls.node.incarnation
        self._gone = False
        self._done = False
        # A call that stays unanswered for long does not count as activity, except for a heartbeat, whose
        # absence ends a lease.
        self._counted = verb == "heartbeat" or self._fault not in {"hung", "pool", "conflict"}

    def start(self) -> None:
        """Send the statement."""
        node, world = self._calls.node, self._calls.world
        fault = self._fault
        world.open_calls += self._counted
        if fault is not None:
            world.record_fault(
                node, self._address, fault, self._decision.get("for", self._decision.get("wait"))
            )
        for address, one in node.awaits.pop(self._verb, ()):
            self._later(ON_THE_WAY, node.inject, address, one)
        if world.down or node.link in {"partition", "partition_out"}:
            self._later(
                RECONNECT if node.link else SHORTEST, self._fail, "unknown" if node.link else "failed"
            )
            return
        if fault in {"pool", "conflict"}:
            self._later(self._decision["for"], self._fail, "failed")
        elif fault == "refused":
            self._later(self._decision.get("wait", SHORTEST), self._fail, "failed")
        elif fault == "kill_before":
            world.open_calls -= self._counted
            self._later(0.0, node.kill)
        elif fault == "hung" and not self._decision.get("applied"):
            self._later(self._decision["for"], self._fail, "unknown")
        else:
            self._later(self._decision.get("wait", SHORTEST), self._arrive)

    async def answer(self) -> Any:
        """Wait for the answer."""
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self._gone = True
            self._told("unknown", "cancelled", None)
            raise

    def _later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Schedule a callback in the world, which runs even if the node ends before."""
        self._calls.world.later(seconds, callback, *args)

    def _arrive(self) -> None:
        world = self._calls.world
        if world.down:
            self._fail("failed")
            return
        if self._gone and not world.cancelled_arrives(self._address):
            world.open_calls -= self._counted
            return
        self._apply()

    def _apply(self) -> None:
        world = self._calls.world
        issued = world.database_clock.now()
        if self._transaction is not None and self._transaction not in world.server.transactions:
            self._finish((StorageUnavailableError(f"{self._verb}: the transaction is gone"), None), issued)
            return
        world.statement = self._address
        statement = Stepper(world.recorder, self._number, self._do())
        statement.begin()
        if not statement.ended and not world.server.transactions:
            statement.close()
            raise SimulationError("a statement waited though nobody holds a lock")
        if statement.ended:
            self._finish((statement.error, statement.result), issued)
        else:
            task = world.server.go_on(statement, self._transaction)
            task.add_done_callback(lambda _: self._applied(task, statement, issued), context=world.context)

    def _applied(self, task: asyncio.Task[None], statement: Stepper, issued: datetime) -> None:
        if task.cancelled():
            statement.close()
            gone = StorageUnavailableError(f"{self._verb}: the server ended the transaction")
            self._finish((gone, None), issued)
        else:
            self._finish((statement.error, statement.result), issued)

    def _finish(self, step: tuple[BaseException | None, Any], issued: datetime) -> None:
        node, world = self._calls.node, self._calls.world
        error, result = step
        fault = self._fault
        if fault == "kill_after" and node.incarnation == self._incarnation:
            node.kill()
        back = self._decision.get("back", SHORTEST)
        if fault == "hung":
            self._later(self._decision["for"], self._fail, "unknown")
        elif fault == "lost":
            self._later(back, self._fail, "unknown")
        elif node.link in {"partition", "partition_in"} or world.down:
            self._later(RECONNECT, self._fail, "unknown")
        else:
            self._later(back, self._deliver, error, result, issued)

    def _deliver(self, error: BaseException | None, result: Any, issued: datetime) -> None:
        node = self._calls.node
        if node.link in {"partition", "partition_in"}:
            self._later(RECONNECT, self._fail, "unknown")
        elif error is not None:
            self._answer("failed", error, issued)
        else:
            self._answer("ok", result, issued)

    def _fail(self, outcome: str) -> None:
        said = {"failed": "the database can't be reached", "unknown": "the connection broke"}[outcome]
        self._answer(outcome, StorageUnavailableError(f"{self._verb}: {said}"), None)

    def _answer(self, outcome: str, result: Any, issued: datetime | None) -> None:
        """Deliver the answer when the node runs next, unless the node has died."""
        node, loop = self._calls.node, self._calls.world.loop
        self._calls.world.open_calls -= self._counted
        if node.incarnation != self._incarnation or node.dead or self._waiter.done():
            return
        if node.lane.ready or node.lane.paused:
            loop.call_soon(self._hear, outcome, result, issued, context=node.context)
        else:
            self._hear(outcome, result, issued)  # it would run next anyway

    def _hear(self, outcome: Any, result: Any, issued: datetime | None) -> None:
        if self._waiter.done():
            return
        self._told(outcome, result, issued)
        if isinstance(result, BaseException):
            self._waiter.set_exception(result)
        else:
            self._waiter.set_result(result)

    def _told(self, outcome: Any, result: Any, issued: datetime | None) -> None:
        if self._done:
            return
        self._done = True
        node, world = self._calls.node, self._calls.world
        told = str(result) if isinstance(result, BaseException) else result
        world.recorder.add(Answered(world.time(), node.name, self._number, self._verb, outcome, told, issued))
