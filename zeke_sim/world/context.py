"""What all parts of a simulated world share: the loop, clocks, decisions, the recorder and the database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from zeke_queue.storage.memory import MemoryStorage
from zeke_sim.history.events import Answered, Fault, Invoked, Violation
from zeke_sim.history.recorder import Recorder
from zeke_sim.loop.clock import VirtualClock
from zeke_sim.loop.event_loop import VirtualLoop
from zeke_sim.world.database import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.system.entropy import Entropy
    from zeke_queue.system.settings import Settings
    from zeke_sim.errors import Outside
    from zeke_sim.history.events import Affected, Event, Place
    from zeke_sim.loop.decisions import Decisions
    from zeke_sim.world.faults import Knobs
    from zeke_sim.world.module_locks import ModuleLocks


class Named(Protocol):
    """A node, as far as a fault's record names it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


class RunningHandler(Protocol):
    """An attempt whose handler runs.

    Attributes:
        task: the name of its task.
    """

    task: str

    @property
    def node(self) -> Named:
        """The node that runs it."""
        ...

    def affected(self) -> Affected:
        """Return the record of a fault that affects it now."""
        ...


class Passed(NamedTuple):
    """A point that a handler passed.

    Attributes:
        address: of the decision whether the process is killed in this attempt.
        point: the number of the point in the attempt, from 1.
    """

    address: str
    point: int
    affected: Affected


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
        running: the running handlers by job and attempt.
        passed: the numbers of the points that handlers of each task passed.
        trace: if it is a list, each point that a handler passes is added to it.
        points: all points in the code of this world; other worlds of the process may have had more.
        outside: the points in the code of resources, by their classes.
        locks: the locks in the modules of the application.
        actions: the clients' actions, done or left out.
        progress: set when the quiet phase may be over.
    """

    locks: ModuleLocks

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
        self.running: dict[tuple[UUID, int], RunningHandler] = {}
        self.passed: dict[str, set[int]] = {}
        self.trace: list[Passed] | None = None
        self.points: frozenset[int] = frozenset()
        self.outside: dict[frozenset[type], frozenset[int]] = {}
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
        *,
        affected: Sequence[Affected] | None = None,
        first: Affected | None = None,
    ) -> None:
        """Record that a fault was injected into a node, or (None) into the database.

        Args:
            affected: the attempts that it affects; by default all that run, on the node if there is one.
            first: the one that is recorded before the others, also if it has ended and left a task behind.
        """
        now = self.time()
        until = None if seconds is None else now + seconds
        where = "db" if node is None else node.name
        if affected is None:
            handlers = [one for one in self.running.values() if node is None or one.node.name == where]
            others = [one.affected() for one in handlers]
            affected = others if first is None else [first, *(one for one in others if one != first)]
        self.recorder.add(Fault(now, where, address, kind, until, row, tuple(affected)))

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
