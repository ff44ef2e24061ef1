"""What all parts of a simulated world share: the loop, clocks, decisions, the recorder and the database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from zeke_queue.storage.memory import MemoryStorage
from zeke_sim.history.events import Answered, Fault, Invoked, Violation
from zeke_sim.history.recorder import Recorder
from zeke_sim.loop.clock import VirtualClock
from zeke_sim.loop.event_loop import VirtualLoop
from zeke_sim.world.database import Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.system.entropy import Entropy
    from zeke_queue.system.settings import Settings
    from zeke_sim.errors import Outside
    from zeke_sim.history.events import Event, Place
    from zeke_sim.loop.decisions import Decisions
    from zeke_sim.world.faults import Knobs


class Named(Protocol):
    """A node, as far as a fault's record names it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


class WorldContext:
    """The shared state of one run.

    Args:
        see: checks each event; raises ``Violation``.
        epoch: the virtual start time.
        entropy: decides which rows a claim skips.

    Attributes:
        faulty: whether faults are injected now.
        over: whether the run has ended.
        statement: the address of the statement that began last.
        open_calls: number of calls in transit that count as activity.
        running: the node and the task of each running attempt.
        actions: the clients' actions, done or left out.
        progress: set when the quiet phase may be over.
    """

    def __init__(
        self,
        decisions: Decisions,
        knobs: Knobs,
        see: Callable[[Event], None],
        *,
        epoch: datetime,
        settings: Settings,
        entropy: Callable[[WorldContext], Entropy],
    ) -> None:
        self.decisions = decisions
        self.knobs = knobs
        self.epoch = epoch
        self.settings = settings
        self.loop = loop = VirtualLoop()
        self.context = loop.context(loop.root)
        self.database_clock = VirtualClock(loop, epoch)
        self.recorder = Recorder(loop.time, see, loop.stop)
        self.store = MemoryStorage(self.database_clock, entropy=entropy(self), freedom=knobs.skip)
        self.recorder.watch(self.store, self.database_clock)
        self.server = Server(self.store, loop, self.context, self._rolled_back)
        self.progress = asyncio.Event()
        self.faulty = False
        self.over = False
        self.statement = ""
        self.open_calls = 0
        self.running: dict[tuple[UUID, int], tuple[str, str]] = {}
        self.actions: dict[str, None] = {}
        self._calls = 0
        self._jobs: dict[UUID, int] = {}

    @property
    def down(self) -> bool:
        """Whether the database is unavailable."""
        return self.server.down

    def time(self) -> float:
        """Return the true time, in seconds since the run began."""
        return self.loop.time()

    def seed_of(self, address: str) -> int:
        """Derive a seed from the run's seed."""
        return self.decisions.stream(f"seed/{address}").seed()

    def next_call(self) -> int:
        """Return the next call number."""
        self._calls += 1
        return self._calls

    def _rolled_back(self, transaction: int) -> None:
        """Record that the server has rolled a transaction back, whatever the reason."""
        at, call = self.time(), self.next_call()
        self.recorder.add(Invoked(at, "db", call, "rollback", {}, transaction))
        self.recorder.add(Answered(at, "db", call, "rollback", "ok", None, None))

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Schedule a callback in the world."""
        self.loop.call_at(self.loop.time() + seconds, callback, *args, context=self.context)

    def record_fault(
        self,
        node: Named | None,
        address: str,
        kind: str,
        seconds: float | None = None,
        row: UUID | str | Place | None = None,
    ) -> None:
        """Record that a fault was injected into a node, or (None) into the database."""
        now = self.time()
        until = None if seconds is None else now + seconds
        self.recorder.add(Fault(now, "db" if node is None else node.name, address, kind, until, row))

    def cancelled_arrives(self, address: str) -> bool:
        """Decide whether a statement whose caller was cancelled in transit still arrives."""
        return self.faulty and bool(
            self.decisions.at(f"{address}/cancelled", lambda draws: True if draws.chance(0.5) else None)
        )

    def job_number(self, job: UUID) -> int:
        """Return a job's number in order of creation."""
        return self._jobs.setdefault(job, len(self._jobs))

    def leaves_out(self, action: str) -> bool:
        """Decide whether a client skips an action; only a given plan can skip any.

        Args:
            action: the action's address: ``action/``, the client's name, and the action's number.
        """
        self.actions[action] = None
        return bool(self.decisions.at(action, lambda _: None))

    def reached_outside(self, error: Outside) -> None:
        """Handle an access to the outside: end the run, since it cannot be repeated from here on."""
        self.fail("nothing reaches outside", str(error))

    def fail(self, rule: str, text: str, cause: BaseException | None = None) -> None:
        """End the run with a violation."""
        violation = Violation(rule, text, at=self.time())
        violation.__cause__ = cause
        self.recorder.fail(violation)
