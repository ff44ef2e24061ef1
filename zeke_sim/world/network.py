"""Calls on their way: a statement travels to the database, is applied there in one step, and answered.

Once it is on its way, nothing that happens to its node stops it: neither a kill, nor a cancellation.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.errors import StorageUnavailableError
from zeke_sim.history.events import Answered, Invoked
from zeke_sim.world.faults import statement_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from datetime import datetime

    from zeke_sim.world.database import Stepper
    from zeke_sim.world.node import Node

SHORTEST: Final = 0.0005
"""Seconds that a statement takes each way at least."""

ON_THE_WAY: Final = 0.0003
"""Seconds after which a statement is on its way for certain, and has not arrived."""

RECONNECT: Final = 5.0
"""Seconds after which a statement that can't reach the database fails."""


class Calls:
    """Sends the calls of one node, each with what happens to it on the way.

    Args:
        node: whose calls they are.
        counts: how many calls of each verb were made under the node's name, by all its processes.
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
        """Send a call, and wait for its answer.

        Args:
            verb: the storage's, for the address and the history.
            args: for the history.
            do: makes the verb's coroutine, when the statement arrives.
            transaction: which one it is part of.
            fails: whether faults may hit it.

        Raises:
            StorageUnavailableError: no answer came, or a failure.
        """
        node, world = self.node, self.world
        number = world.next_call()
        if node.dead or world.loop.leaving:
            raise asyncio.CancelledError  # only what is left of it is being cancelled
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
    """One statement on its way."""

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
        # One that nobody answers for long does not make the world busy; but a beat does, since its silence
        # ends a lease.
        self._counted = verb == "beat" or self._fault not in {"hung", "pool", "conflict"}

    def start(self) -> None:
        """Send it."""
        node, world = self._calls.node, self._calls.world
        fault = self._fault
        world.open_calls += self._counted
        if fault is not None:
            world.hit(node, self._address, fault, self._decision.get("for", self._decision.get("wait")))
        for address, one in node.awaits.pop(self._verb, ()):
            self._later(ON_THE_WAY, world.strike, address, node, one)
        if world.down or node.link in {"cut", "cut_out"}:
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
            self._later(0.0, world.kill, node)
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
        """Schedule something in the world, which happens even if the node ends meanwhile."""
        world = self._calls.world
        world.loop.call_at(world.loop.time() + seconds, callback, *args, context=world.context)

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
        statement = world.apply(self._number, self._address, self._do())
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
            world.kill(node)
        back = self._decision.get("back", SHORTEST)
        if fault == "hung":
            self._later(self._decision["for"], self._fail, "unknown")
        elif fault == "lost":
            self._later(back, self._fail, "unknown")
        elif node.link in {"cut", "cut_in"} or world.down:
            self._later(RECONNECT, self._fail, "unknown")
        else:
            self._later(back, self._deliver, error, result, issued)

    def _deliver(self, error: BaseException | None, result: Any, issued: datetime) -> None:
        node = self._calls.node
        if node.link in {"cut", "cut_in"}:
            self._later(RECONNECT, self._fail, "unknown")
        elif error is not None:
            self._answer("failed", error, issued)
        else:
            self._answer("ok", result, issued)

    def _fail(self, outcome: str) -> None:
        said = {"failed": "the database can't be reached", "unknown": "the connection broke"}[outcome]
        self._answer(outcome, StorageUnavailableError(f"{self._verb}: {said}"), None)

    def _answer(self, outcome: str, result: Any, issued: datetime | None) -> None:
        """Hand the answer to the node, which hears it in its own time: a dead one never."""
        node, loop = self._calls.node, self._calls.world.loop
        self._calls.world.open_calls -= self._counted
        if node.incarnation != self._incarnation or node.dead or self._waiter.done():
            return
        if node.lane.ready or node.lane.paused:
            loop.call_soon(self._hear, outcome, result, issued, context=node.context)
        else:
            self._hear(outcome, result, issued)  # it would be the next thing that the node does

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
