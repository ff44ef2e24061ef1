"""The simulated network: a statement travels to the database, is applied in one step, and answered.

A statement in transit is not stopped by a kill of its node or by a cancellation of its caller.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import Completed, Failed, Released, Waiting
from zeke_sim.errors import SimulationError
from zeke_sim.history.events import Affected, Answered, Invoked
from zeke_sim.loop.event_loop import HANDLER, RUN_QUEUE
from zeke_sim.world.database import Stepper
from zeke_sim.world.faults import statement_fault
from zeke_sim.world.node import ON_THE_WAY

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from datetime import datetime

    from zeke_sim.loop.event_loop import RunQueue
    from zeke_sim.world.database import OpenTransaction
    from zeke_sim.world.node import Node

SHORTEST: Final = 0.0005
"""Minimum latency of a statement in each direction, in seconds."""

RECONNECT: Final = 5.0
"""Seconds after which a statement that cannot reach the database fails."""


class Calls:
    """Sends the calls of one node and applies their faults.

    Args:
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
        call = _Call(node, verb, args, number, address, transaction, decision or {}, do)
        call.start()
        return await call.answer()


@dataclass(slots=True, eq=False)
class _Call:
    """One statement in transit."""

    node: Node
    verb: str
    args: Mapping[str, Any]
    number: int
    address: str
    transaction: int | None
    decision: Mapping[str, Any]
    do: Callable[[], Coroutine[Any, Any, Any]]
    fault: str | None = field(init=False)
    incarnation: int = field(init=False)
    counted: bool = field(init=False)
    run_queue: RunQueue = field(init=False)
    restarts: int = field(init=False)
    waiter: asyncio.Future[Any] = field(init=False)
    waited: float = 0.0
    gone: bool = False
    done: bool = False

    def __post_init__(self) -> None:
        """Return the facts on which the answer depends."""
        self.fault = self.decision.get("fault")
        self.incarnation = self.node.incarnation
        self.waiter = asyncio.get_running_loop().create_future()
        # A call that stays unanswered for long does not count as activity, except for a heartbeat, whose
        # absence ends a lease.
        self.run_queue = RUN_QUEUE.get() or self.node.run_queue
        quiet = self.fault in {"hung", "abandoned", "pool", "conflict"}
        self.counted = self.verb == "heartbeat" or not quiet
        self.restarts = self.node.world.server.restarts

    def start(self) -> None:
        """Send the statement."""
        node, world = self.node, self.node.world
        fault = self.fault
        world.open_calls += self.counted
        if fault is not None:
            seconds = self.decision.get("for", self.decision.get("wait"))
            world.record_fault(node, self.address, fault, seconds, affected=self._affected())
        for address, one in node.awaits.pop(self.verb, ()):
            self._later(ON_THE_WAY, node.inject, address, one)
        if world.down or node.link in {"partition", "partition_out"}:
            self._later(
                RECONNECT if node.link else SHORTEST, self._fail, "unknown" if node.link else "failed"
            )
            return
        if fault in {"pool", "conflict"}:
            self._later(self.decision["for"], self._fail, "failed")
        elif fault == "refused":
            self._later(self.decision.get("wait", SHORTEST), self._fail, "failed")
        elif fault == "kill_before":
            self._uncount()
            self._later(0.0, node.kill)
        elif fault == "hung" and not self.decision.get("applied"):
            self._later(self.decision["for"], self._fail, "unknown")
        else:
            if fault == "abandoned":
                self._later(self.decision["for"], self._fail, "unknown")
                if (opened := self._opened()) is not None:
                    opened.busy_until = world.time() + self.decision["wait"] + SHORTEST
            self._later(self.decision.get("wait", SHORTEST), self._arrive)

    def _affected(self) -> list[Affected]:
        """Return the attempts that a fault of the statement affects: its handler's, or those in it."""
        world = self.node.world
        if (handler := HANDLER.get()) is not None:
            return [handler.affected()]
        ended = [
            (one.id, one.attempt)
            for part in self.args.values()
            if isinstance(part, list | tuple)
            for one in cast("Sequence[Any]", part)
            if isinstance(one, Completed | Failed | Released | Waiting)
        ]
        jobs = world.store.tables.jobs
        return [
            Affected(jobs[job].name, job, attempt, None, returned=True)
            for job, attempt in ended
            if job in jobs
        ]

    async def answer(self) -> Any:
        """Wait for the answer."""
        try:
            return await self.waiter
        except asyncio.CancelledError:
            self.gone = True
            self._record_answer("unknown", "cancelled", None)
            raise

    def _later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Schedule a callback in the world, which runs even if the node ends before."""
        self.node.world.later(seconds, callback, *args)

    def _arrive(self) -> None:
        world = self.node.world
        if world.down:
            self._fail("failed")
            return
        # An abandoned statement runs on the server already, and ends with it.
        ended = self.fault == "abandoned" and self.restarts != world.server.restarts
        if ended or (self.gone and not world.cancelled_arrives(self.address)):
            self._uncount()
            return
        self._apply()

    def _uncount(self) -> None:
        """Stop counting the call as activity."""
        self.node.world.open_calls -= self.counted
        self.counted = False

    def _apply(self) -> None:
        world = self.node.world
        issued = world.database_clock.now()
        if self.transaction is not None and self.transaction not in world.server.transactions:
            self._finish((StorageUnavailableError(f"{self.verb}: the transaction is gone"), None), issued)
            return
        if (opened := self._opened()) is not None:
            opened.statement_begins()
        world.statement = self.address
        statement = Stepper(world.recorder, self.number, self.do())
        statement.begin()
        if not statement.ended and not world.server.transactions:
            statement.close()
            raise SimulationError("a statement waited although no transaction holds a lock")
        if statement.ended:
            self._finish((statement.error, statement.result), issued)
        else:
            task, began = world.server.go_on(statement, self.transaction), world.time()

            def applied(_: asyncio.Task[None]) -> None:
                self.waited = world.time() - began
                self._applied(task, statement, issued)

            task.add_done_callback(applied, context=world.context)

    def _opened(self) -> OpenTransaction | None:
        """Return the statement's transaction, if the server has it."""
        transactions = self.node.world.server.transactions
        return None if self.transaction is None else transactions.get(self.transaction)

    def _applied(self, task: asyncio.Task[None], statement: Stepper, issued: datetime) -> None:
        if task.cancelled():
            statement.close()
            gone = StorageUnavailableError(f"{self.verb}: the server ended the transaction")
            self._finish((gone, None), issued)
        else:
            self._finish((statement.error, statement.result), issued)

    def _finish(self, step: tuple[BaseException | None, Any], issued: datetime) -> None:
        node, world = self.node, self.node.world
        error, result = step
        fault = self.fault
        if (opened := self._opened()) is not None:
            opened.statement_ends()
        if fault == "kill_after" and node.incarnation == self.incarnation:
            node.kill()
        back = self.decision.get("back", SHORTEST)
        if fault == "abandoned":
            return
        if fault == "hung":
            self._later(self.decision["for"], self._fail, "unknown")
        elif fault == "lost":
            self._later(back, self._fail, "unknown")
        elif node.link in {"partition", "partition_in"} or world.down:
            self._later(RECONNECT, self._fail, "unknown")
        else:
            self._later(back, self._deliver, error, result, issued)

    def _deliver(self, error: BaseException | None, result: Any, issued: datetime) -> None:
        node = self.node
        if node.link in {"partition", "partition_in"}:
            self._later(RECONNECT, self._fail, "unknown")
        elif error is not None:
            self._answer("failed", error, issued)
        else:
            self._answer("ok", result, issued)

    def _fail(self, outcome: str) -> None:
        said = {"failed": "the database can't be reached", "unknown": "the connection broke"}[outcome]
        self._answer(outcome, StorageUnavailableError(f"{self.verb}: {said}"), None)

    def _answer(self, outcome: str, result: Any, issued: datetime | None) -> None:
        """Deliver the answer when the node runs next, unless the node has died."""
        node, loop = self.node, self.node.world.loop
        self._uncount()
        if node.incarnation != self.incarnation or node.dead or self.waiter.done():
            return
        if self.run_queue.ready or self.run_queue.paused:
            second, context = node.thread
            context = context if self.run_queue is second else node.context
            loop.call_soon(self._receive, outcome, result, issued, context=context)
        else:
            self._receive(outcome, result, issued)  # it would run next anyway

    def _receive(self, outcome: Any, result: Any, issued: datetime | None) -> None:
        if self.waiter.done():
            return
        self._record_answer(outcome, result, issued)
        if isinstance(result, BaseException):
            self.waiter.set_exception(result)
        else:
            self.waiter.set_result(result)

    def _record_answer(self, outcome: Any, result: Any, issued: datetime | None) -> None:
        if self.done:
            return
        self.done = True
        node, world = self.node, self.node.world
        told = str(result) if isinstance(result, BaseException) else result
        facts = world.time(), node.name, self.number, self.verb, outcome, told, issued, self.waited
        world.recorder.add(Answered(*facts))
