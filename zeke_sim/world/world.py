"""A simulated world: a database, nodes, virtual time, and injected faults.

A run has three phases: the fault phase; the quiet phase, in which all faults are healed and all jobs must
end; and the tail, in which ended jobs are archived and deleted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from zeke_queue.model import FINAL
from zeke_queue.storage.memory import MemoryStorage
from zeke_sim.errors import Livelock, SimulationError, Stalled
from zeke_sim.history.events import Change, Fault, Lived, Phase, Rules, ScheduleRow, Violation
from zeke_sim.history.recorder import Recorder
from zeke_sim.loop.clock import VirtualClock
from zeke_sim.loop.event_loop import VirtualLoop
from zeke_sim.world import node as nodes_of
from zeke_sim.world.database import Server, Stepper
from zeke_sim.world.faults import DATABASE, HANDLER, NODE, faults_over_time
from zeke_sim.world.handlers import observed
from zeke_sim.world.network import ON_THE_WAY
from zeke_sim.world.node import DUTIES, RESTART, Node
from zeke_sim.world.sandbox import whence
from zeke_sim.world.setup import LONG, default_settings
from zeke_sim.world.task_order import Order, Skips
from zeke_sim.world.time_skipping import TimeSkipper

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from uuid import UUID

    from zeke_queue.core.options import JobOptions
    from zeke_queue.task.catalog import Catalog
    from zeke_sim.errors import Outside
    from zeke_sim.history.events import Event
    from zeke_sim.loop.decisions import Decisions, Draws
    from zeke_sim.world.faults import Knobs
    from zeke_sim.world.setup import Setup


class World:
    """The world of one run.

    Args:
        setup: the world's setup.
        decisions: the decisions, drawn or given.
        knobs: the fault rates.
        see: checks each event; raises ``Violation``.
    """

    def __init__(
        self, setup: Setup, decisions: Decisions, knobs: Knobs, see: Callable[[Event], None]
    ) -> None:
        self.setup = setup
        self.decisions = decisions
        self.knobs = knobs
        self.epoch = setup.epoch
        self.settings = setup.settings or default_settings()
        setup.check_names()
        self.loop = loop = VirtualLoop()
        loop.refused, loop.whence = self.reached_outside, whence
        self.context = loop.context(loop.root)
        self.database_clock = VirtualClock(loop, setup.epoch)
        self.recorder = Recorder(loop.time, see, loop.stop)
        self.skips = Skips(self)
        self.store = MemoryStorage(self.database_clock, entropy=self.skips, freedom=knobs.skip)
        self.recorder.watch(self.store, self.database_clock)
        self.nodes: dict[str, Node] = {}
        self.server = Server(self)
        self.time_skipper = TimeSkipper(self)
        self.faulty = False
        self.down = False
        self._down_until = 0.0
        self.over = False
        self.open_calls = 0
        self.running: dict[tuple[UUID, int], tuple[str, str]] = {}
        self.deeds: dict[str, None] = {}
        self._calls = 0
        self._jobs: dict[UUID, int] = {}
        self._progress = asyncio.Event()
        if knobs.order != "turns":
            loop.choose = Order(self).choose
        if knobs.elide or setup.phase > LONG:
            loop.jump = self.time_skipper.jump
        self._populate()

    # For the parts of the world.

    def time(self) -> float:
        """Return the true time, in seconds since the run began."""
        return self.loop.time()

    def seed_of(self, address: str) -> int:
        """Derive a seed from the run's seed."""
        return self.decisions.draws(f"seed/{address}").seed()

    def next_call(self) -> int:
        """Return the next call number."""
        self._calls += 1
        return self._calls

    def apply(self, call: int, address: str, coroutine: Coroutine[Any, Any, Any]) -> Stepper:
        """Apply a statement in one step, or its first step if it must wait for another transaction."""
        self.skips.begin(address)
        applied = Stepper(self.recorder, call, coroutine)
        applied.begin()
        if not applied.ended and not self.server.transactions:
            applied.close()
            raise SimulationError("a statement waited though nobody holds a lock")
        return applied

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Schedule a callback in the world."""
        self.loop.call_at(self.loop.time() + seconds, callback, *args, context=self.context)

    def hit(self, node: Node | None, address: str, kind: str, seconds: float | None = None) -> None:
        """Record that a fault was injected."""
        now = self.time()
        until = None if seconds is None else now + seconds
        self.recorder.add(Fault(now, "db" if node is None else node.name, address, kind, until))

    def cancelled_arrives(self, address: str) -> bool:
        """Decide whether a statement whose caller was cancelled in transit still arrives."""
        return self.faulty and bool(
            self.decisions.at(f"{address}/cancelled", lambda draws: True if draws.chance(0.5) else None)
        )

    def job_number(self, job: UUID) -> int:
        """Return a job's number in order of creation."""
        return self._jobs.setdefault(job, len(self._jobs))

    def leaves_out(self, deed: str) -> bool:
        """Decide whether a client skips an action; only a given plan can skip any.

        Args:
            deed: the action's address: ``deed/``, the client's name, and the action's number.
        """
        self.deeds[deed] = None
        return bool(self.decisions.at(deed, lambda _: None))

    # Nodes.

    def kill(self, node: Node, back: float = RESTART) -> None:
        """Kill a process at once; a replacement starts after ``back`` seconds."""
        if node.dead or self.over:
            return
        self.loop.kill(node.lane)
        node.dead = True
        node.paused = False
        self.recorder.add(Lived(self.time(), node.name, "killed"))
        self.server.end_of(node)
        for key, (where, _) in list(self.running.items()):
            if where == node.name:
                del self.running[key]
        self.later(back, node.start)

    def pause(self, node: Node, seconds: float) -> None:
        """Freeze a process for ``seconds``."""
        if node.dead or node.paused:
            return
        node.paused = True
        self.loop.pause(node.lane)
        self.recorder.add(Lived(self.time(), node.name, "paused"))
        self.later(seconds, self._resume, node, node.incarnation)

    def _resume(self, node: Node, incarnation: int) -> None:
        if node.paused and not node.dead and node.incarnation == incarnation:
            node.paused = False
            self.loop.resume(node.lane)
            self.recorder.add(Lived(self.time(), node.name, "resumed"))

    def drain(self, node: Node, back: float = RESTART) -> None:
        """Stop a process as SIGTERM does; a replacement starts ``back`` seconds after it has ended."""
        if not node.dead and not node.paused and node.stop is not None:
            node.back = back
            self.recorder.add(Lived(self.time(), node.name, "stopping"))
            node.context.run(node.stop)

    def cut(self, node: Node, how: Any) -> None:
        """Partition a node from the database, or (None) reconnect it."""
        if node.link != how:
            node.link = how
            self.recorder.add(Lived(self.time(), node.name, "joined" if how is None else "cut"))

    def ended(self, node: Node) -> None:
        """Handle a process that ended by itself: all but clients are replaced."""
        self._progress.set()
        if node.role != "client" and not self.over:
            self.later(node.back, node.start)

    def reached_outside(self, error: Outside) -> None:
        """Handle an access to the outside: end the run, since it cannot be repeated from here on."""
        self.recorder.fail(Violation("nothing reaches outside", str(error), at=self.time()))

    def crashed(self, node: Node, error: BaseException) -> None:
        """Report a crashed process as a violation, since processes must survive external faults."""
        if isinstance(error, Violation):
            self.recorder.fail(error)
            return
        rule = "a client's program ends" if node.role == "client" else "no part of the runtime crashes"
        self._fail_of(error, rule, f"{node.name}: {type(error).__name__}: {error}")

    def _fail_of(self, error: BaseException, rule: str, text: str) -> None:
        violation = Violation(rule, text, at=self.time())
        violation.__cause__ = error
        self.recorder.fail(violation)

    # The run.

    def run(self) -> None:
        """Run the world to its end or to the first violation."""
        try:
            self.loop.call_soon(self._begin, context=self.context)
            self.loop.run_forever()
        except Livelock as error:
            there = sorted({task for where, task in self.running.values() if where == error.lane})
            self.recorder.fail(Violation("time passes", error.said(there), at=self.time()))
        except Stalled as error:
            self.recorder.fail(Violation("somebody can go on", str(error), at=self.time()))
        finally:
            self.over = self.recorder.closed = True
            self.loop.jump = None
            self.loop.leave()
            self.loop.close()

    def _begin(self) -> None:
        self.loop.create_task(self._direct(), name="director", context=self.context)

    async def _direct(self) -> None:
        try:
            await self._phases()
        except Violation as violation:
            self.recorder.fail(violation)
        except Exception as error:  # noqa: BLE001 - an error of the simulator itself ends the run
            self._fail_of(error, "the simulator works", repr(error))
        self.loop.stop()

    async def _phases(self) -> None:
        setup, clock = self.setup, self.database_clock
        self.recorder.add(Phase(self.time(), "faults"))
        for node in self.nodes.values():
            node.start()
        self.faulty = True
        self._plan_faults()
        await clock.sleep(setup.phase)
        self.faulty = False
        self._heal()
        self.recorder.compare()
        self.recorder.add(Phase(self.time(), "quiet"))
        deadline = self.time() + setup.quiet
        while self.time() < deadline and not self._drained():
            self._progress.clear()
            await self._progressed(deadline - self.time())
        self._see_that_clients_ended()
        tail = setup.tail
        if tail is None:
            tail = setup.archive_after + setup.delete_after + 4 * setup.sweep if setup.supervisors else 1.0
        await clock.sleep(tail)
        self.recorder.compare()
        self.recorder.add(Phase(self.time(), "end"))

    def _see_that_clients_ended(self) -> None:
        for node in self.nodes.values():
            if node.role == "client" and not node.done:
                told = f"{node.name} goes on {self.setup.quiet:g} s after everything was healed"
                raise Violation("a client's program ends", told, at=self.time())

    async def _progressed(self, seconds: float) -> None:
        waiting = self.loop.create_task(self._progress.wait())
        await asyncio.wait([waiting], timeout=seconds)
        waiting.cancel()

    def _drained(self) -> bool:
        if any(node.role == "client" and not node.done for node in self.nodes.values()):
            return False
        counts = self.store.tables.counts.values()
        return not any(number for states in counts for state, number in states.items() if state not in FINAL)

    def see_change(self, event: Event) -> None:
        """Handle a change of a row."""
        if isinstance(event, Change):
            if event.before is None and event.table == "job" and event.after is not None:
                self.job_number(event.after.id)
            if event.after is None or event.after.completed_on is not None:
                self._progress.set()
            self.time_skipper.see(event)
        elif isinstance(event, ScheduleRow):
            self.time_skipper.see(event)

    def rules(self) -> Rules:
        """Return the run's parameters, for properties."""
        setup = self.setup
        options = setup.worker
        limits = {
            queue.name: queue.concurrency_limit
            for queue in setup.catalog.stored_queues()
            if queue.concurrency_limit is not None
        }
        shared: dict[tuple[str, ...], list[int | None]] = {}
        options_of: dict[str, list[JobOptions]] = {}
        for catalog in (setup.catalog, *setup.others.values()):
            for task in catalog.tasks.values():
                options_of.setdefault(task.name, []).append(task.options)
                if task.aliases:
                    shared.setdefault((task.name, *task.aliases), []).append(task.concurrency_limit)
        return Rules(
            archive_after=setup.archive_after if setup.supervisors else None,
            delete_after=setup.delete_after if setup.supervisors else None,
            sweep=setup.sweep,
            poll=options.get("poll", 2.0),
            lease=options.get("lease", 15.0),
            slack=1.0,
            limits=limits,
            strict_order=not self.knobs.skip,
            grace=options.get("grace", 30.0),
            shared=shared,
            options=options_of,
            duties={node.name: DUTIES[node.role] for node in self.nodes.values() if node.role in DUTIES},
        )

    def _populate(self) -> None:
        setup = self.setup
        catalog = observed(setup.catalog, self)
        sweeping = {
            "every": setup.sweep,
            "archive_after": setup.archive_after,
            "delete_after": setup.delete_after,
            "batch": setup.batch,
        }
        for number in range(1, setup.workers + 1):
            self._add(f"w{number}", "worker", nodes_of.worker(**setup.worker), catalog)
        for name, other in setup.others.items():
            self._add(name, "worker", nodes_of.worker(**setup.worker), observed(other, self))
        for number in range(1, setup.schedulers + 1):
            self._add(f"s{number}", "scheduler", nodes_of.scheduler(), catalog)
        for number in range(1, setup.supervisors + 1):
            self._add(f"v{number}", "supervisor", nodes_of.supervisor(**sweeping), catalog)
        for name, main in setup.clients.items():
            self._add(name, "client", main, catalog)
        if setup.before is not None:
            setup.before(self)

    def _add(self, name: str, role: str, main: nodes_of.Main, catalog: Catalog) -> None:
        self.nodes[name] = Node(self, name, role, main, catalog)

    # Faults over time.

    def _plan_faults(self) -> None:
        knobs, setup = self.knobs, self.setup
        lease = float(setup.worker.get("lease", 15.0))
        for node in self.nodes.values():
            allowed = [kind for kind in knobs.kinds if kind in NODE]
            if node.role == "client":
                allowed = [kind for kind in allowed if kind in {"cut", "cut_out", "cut_in", "stall", "clock"}]
            self._plan(f"node/{node.name}", node, allowed, knobs.node, lease)
        self._plan("db", None, [kind for kind in knobs.kinds if kind in DATABASE], knobs.database, lease)

    def _plan(self, address: str, node: Node | None, kinds: list[str], rate: float, lease: float) -> None:
        """Schedule the faults of a node, each as a separate decision that a plan can omit."""
        if self.decisions.given is None:
            phase = self.setup.phase
            rate *= min(1.0, LONG / phase)
            role = "" if node is None else node.role
            drawn = faults_over_time(self.decisions.draws(address), kinds, rate, phase, lease, role=role)
            for number, one in enumerate(drawn):
                self.decisions.made[f"{address}/{number}"] = one
                self.later(one["at"], self._inject_or_wait, f"{address}/{number}", node, one)
        else:
            for key, one in self.decisions.given.items():
                if key.rpartition("/")[0] == address:
                    self.decisions.made[key] = one
                    self.later(one["at"], self._inject_or_wait, key, node, one)

    def _inject_or_wait(self, address: str, node: Node | None, one: Mapping[str, Any]) -> None:
        if node is not None and "on" in one:
            node.awaits.setdefault(one["on"], []).append((address, one))
        else:
            self.inject(address, node, one)

    def inject(self, address: str, node: Node | None, one: Mapping[str, Any]) -> None:
        """Inject a fault now, unless the quiet phase has begun."""
        if not self.faulty:
            return
        kind, seconds = one["fault"], one.get("for")
        if node is not None and not node.can_meet(kind):
            return
        self.hit(node, address, kind, seconds)
        if node is None:
            self._inject_into_database(kind, one)
        elif kind == "kill":
            self.kill(node, one["for"])
        elif kind in {"pause", "stall"}:
            self.pause(node, one["for"])
        elif kind == "drain":
            self.drain(node, one["for"])
        elif kind in {"cut", "cut_out", "cut_in"}:
            self.cut(node, kind)
            node.cut_until = max(node.cut_until, self.time() + one["for"])
            self.later(one["for"], self._join, node)
        elif kind == "clock":
            node.set_clocks(offset=node.clock.offset + one["by"])
        elif kind == "drift":
            node.set_clocks(rate=one["rate"])

    def _inject_into_database(self, kind: str, one: Mapping[str, Any]) -> None:
        if kind == "db_clock":
            self.database_clock.offset += one["by"]
            return
        self._go_down(one["for"])

    def go_away(self, seconds: float) -> None:
        """Stop the database for ``seconds``, as part of the workload."""
        if self.faulty:
            self.hit(None, "workload/db", "restart", seconds)
            self._go_down(seconds)

    def _go_down(self, seconds: float) -> None:
        self.down = True
        self.server.restart()
        self._down_until = max(self._down_until, self.time() + seconds)
        self.later(seconds, self._come_up)

    def _come_up(self) -> None:
        if self.time() >= self._down_until:
            self.down = False

    def _join(self, node: Node) -> None:
        if self.time() >= node.cut_until:
            self.cut(node, None)

    def _heal(self) -> None:
        self.down = False
        for node in self.nodes.values():
            self.cut(node, None)
            if node.paused:
                self._resume(node, node.incarnation)
            if node.dead and not node.done:
                node.start()
            node.set_clocks(offset=0.0, rate=1.0)

    def handler_began(self, node: Node, task: str, job: UUID, attempt: int) -> None:
        """Inject the faults that are due for an attempt, and decide whether the process dies during it."""
        for address, one in node.awaits.pop("handler", ()):
            self.later(ON_THE_WAY, self.inject, address, node, one)
        if not self.faulty or not self.knobs.handler or "kill_handler" not in self.knobs.kinds:
            return
        address = f"handler/{task}/{self.job_number(job)}/{attempt}"

        def draw(draws: Draws) -> dict[str, Any] | None:
            if not draws.chance(self.knobs.handler):
                return None
            return {"fault": next(iter(HANDLER)), "after": round(draws.tail(0.3, 10.0), 3)}

        decision = self.decisions.at(address, draw)
        if decision is not None:
            self.later(decision["after"], self._kill_handler, address, node, (job, attempt))

    def _kill_handler(self, address: str, node: Node, which: tuple[UUID, int]) -> None:
        if self.faulty and self.running.get(which, ("", ""))[0] == node.name:
            self.hit(node, address, "kill_handler")
            self.kill(node)
