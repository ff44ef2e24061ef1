"""A simulated world: a database, nodes, virtual time, and injected faults.

A run has three phases: the fault phase; the quiet phase, in which all faults are healed and all jobs must
end; and the tail, in which ended jobs are archived and deleted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from zeke_queue.core.leases import reconnect_time
from zeke_queue.model import FINAL
from zeke_sim.errors import Livelock, Stalled
from zeke_sim.history.events import Change, Phase, Rules, ScheduleRow, Violation
from zeke_sim.world import lines, programs
from zeke_sim.world.client import NodeCalls
from zeke_sim.world.context import WorldContext
from zeke_sim.world.faults import DATABASE, NODE, OF_CLIENTS, faults_over_time
from zeke_sim.world.handlers import observed
from zeke_sim.world.module_locks import ModuleLocks
from zeke_sim.world.node import DUTIES, Node
from zeke_sim.world.sandbox import whence
from zeke_sim.world.setup import LONG, default_settings
from zeke_sim.world.task_order import Order, Skips
from zeke_sim.world.time_skipping import TimeSkipper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zeke_queue.core.options import OptionLayer
    from zeke_queue.task.catalog import Catalog
    from zeke_sim.history.events import Event
    from zeke_sim.loop.decisions import Decisions
    from zeke_sim.world.faults import Knobs
    from zeke_sim.world.node import Main
    from zeke_sim.world.setup import Setup


class World(WorldContext):
    """The world of one run, which composes its parts.

    Args:
        see: checks each event; raises ``Violation``.

    Attributes:
        nodes: the nodes by name.
    """

    def __init__(
        self, setup: Setup, decisions: Decisions, knobs: Knobs, see: Callable[[Event], None]
    ) -> None:
        setup.check_names()
        settings = (setup.settings or default_settings()).model_copy(
            update={"jobs_archive_after": setup.archive_after, "jobs_delete_after": setup.delete_after}
        )
        super().__init__(decisions, knobs, see, epoch=setup.epoch, settings=settings, entropy=Skips)
        self.setup = setup
        self.nodes: dict[str, Node] = {}
        self.time_skipper = TimeSkipper(self, self.nodes, setup)
        loop = self.loop
        loop.refused, loop.whence = self.reached_outside, whence
        if knobs.order != "turns":
            loop.choose = Order(self).choose
        if knobs.skip_time or setup.phase > LONG:
            loop.jump = self.time_skipper.jump
        modules = lines.modules_of((*setup.code, *self._handler_modules()))
        self.locks = ModuleLocks(loop, modules)
        if knobs.kinds:
            self.points = lines.insert(modules)
            loop.breakable = bool(knobs.handler) and "kill_line" in knobs.kinds
        self._populate()

    # The run.

    def run(self) -> None:
        """Run the world to its end or to the first violation."""
        with self.locks.apart():
            self._run()

    def _run(self) -> None:
        try:
            self.loop.call_soon(self._begin, context=self.context)
            self.loop.run_forever()
        except Livelock as error:
            there = sorted({one.task for one in self.running.values() if one.node.name == error.node})
            self.fail("time passes", error.said(there))
        except Stalled as error:
            self.fail("some task can continue", str(error))
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
            self.fail("the simulator works", repr(error), error)
        self.loop.stop()

    async def _phases(self) -> None:
        setup, clock = self.setup, self.database_clock
        self.recorder.add(Phase(self.time(), "faults"))
        for node in self.nodes.values():
            node.start()
        self.faulty = True
        self._plan_faults()
        if self.knobs.until_drained:
            await self._wait_until_drained(self.time() + setup.quiet)
        else:
            await clock.sleep(setup.phase)
        self.faulty = False
        self._heal()
        self.recorder.compare()
        self.recorder.add(Phase(self.time(), "quiet"))
        await self._wait_until_drained(self.time() + setup.quiet)
        self._see_that_clients_ended()
        tail = setup.tail
        if tail is None:
            kept = setup.archive_after + setup.delete_after
            tail = kept + 4 * setup.slowest_sweep if setup.maintained else 1.0
        await clock.sleep(tail)
        self.recorder.compare()
        self.recorder.add(Phase(self.time(), "end"))

    def _see_that_clients_ended(self) -> None:
        for node in self.nodes.values():
            if node.role == "client" and not node.done:
                told = f"{node.name} still runs {self.setup.quiet:g} s after all faults ended"
                raise Violation("a client's program ends", told, at=self.time())

    async def _wait_until_drained(self, deadline: float) -> None:
        while self.time() < deadline and not self._drained():
            self.progress.clear()
            await self._progressed(deadline - self.time())

    async def _progressed(self, seconds: float) -> None:
        waiting = self.loop.create_task(self.progress.wait())
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
                self.progress.set()
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
        options_of: dict[str, list[OptionLayer]] = {}
        for catalog in (setup.catalog, *setup.others.values()):
            for task in catalog.tasks.values():
                options_of.setdefault(task.name, []).append(task.layer)
                if task.aliases:
                    shared.setdefault((task.name, *task.aliases), []).append(task.concurrency_limit)
        return Rules(
            archive_after=setup.archive_after if setup.maintained else None,
            delete_after=setup.delete_after if setup.maintained else None,
            sweep=setup.slowest_sweep,
            poll=options.get("poll_interval", 2.0),
            lease=setup.validity,
            reconnect=reconnect_time(setup.heartbeat_interval),
            slack=1.0,
            limits=limits,
            strict_order=not self.knobs.skip,
            shutdown_timeout=options.get("shutdown_timeout", 30.0),
            shared=shared,
            options=options_of,
            duties={node.name: self._duties_of(node) for node in self.nodes.values() if node.role in DUTIES},
        )

    def _duties_of(self, node: Node) -> tuple[str, ...]:
        roles = [node.role]
        if node.role == "worker":
            options = self.setup.worker
            roles += ["maintenance"] * bool(options.get("maintenance"))
            roles += ["scheduler"] * bool(options.get("schedules"))
        return tuple(verb for role in roles for verb in DUTIES[role])

    def _handler_modules(self) -> list[str]:
        catalogs = (self.setup.catalog, *self.setup.others.values())
        return [task.handler.__module__ for catalog in catalogs for task in catalog.tasks.values()]

    def _populate(self) -> None:
        setup = self.setup
        catalog = observed(setup.catalog, self.nodes)
        for number in range(1, setup.workers + 1):
            self._add(f"w{number}", "worker", programs.worker(**setup.worker), catalog)
        for name, other in setup.others.items():
            self._add(name, "worker", programs.worker(**setup.worker), observed(other, self.nodes))
        for number in range(1, setup.schedulers + 1):
            self._add(f"s{number}", "scheduler", programs.scheduler(), catalog)
        for number in range(1, setup.maintenance + 1):
            self._add(f"v{number}", "maintenance", programs.maintenance(setup.sweep, setup.batch), catalog)
        for name, main in setup.clients.items():
            self._add(name, "client", main, catalog)
        if setup.before is not None:
            setup.before(self)

    def _add(self, name: str, role: str, main: Main, catalog: Catalog) -> None:
        self.nodes[name] = Node(self, name, role, main, catalog, nodes=self.nodes, connect=NodeCalls)

    # Faults over time.

    def _plan_faults(self) -> None:
        knobs, setup = self.knobs, self.setup
        lease = setup.validity
        for node in self.nodes.values():
            applicable = OF_CLIENTS if node.role == "client" else NODE
            kinds = [kind for kind in knobs.kinds if kind in applicable]
            self._plan(f"node/{node.name}", node, kinds, knobs.node, lease)
        self._plan("db", None, [kind for kind in knobs.kinds if kind in DATABASE], knobs.database, lease)

    def _plan(self, address: str, node: Node | None, kinds: list[str], rate: float, lease: float) -> None:
        """Schedule the faults of a node, each as a separate decision that a plan can omit."""
        if self.decisions.given is None:
            phase = self.setup.phase
            rate *= min(1.0, LONG / phase)
            role = "" if node is None else node.role
            drawn = faults_over_time(self.decisions.stream(address), kinds, rate, phase, lease, role=role)
            planned = {f"{address}/{number}": fault for number, fault in enumerate(drawn)}
        else:
            planned = {
                key: fault for key, fault in self.decisions.given.items() if key.rpartition("/")[0] == address
            }
        inject = self._inject_into_database if node is None else node.schedule
        for key, fault in planned.items():
            self.decisions.made[key] = fault
            self.later(fault["at"], inject, key, fault)

    def _inject_into_database(self, address: str, fault: Mapping[str, Any]) -> None:
        """Inject a fault into the database, unless the quiet phase has begun."""
        if not self.faulty:
            return
        kind = fault["fault"]
        if kind == "foreign_lock":
            row = self.server.lock(fault["which"], fault["for"], shared=bool(fault["shared"]))
            if row is not None:
                self.record_fault(None, address, kind, fault["for"], row, affected=())
            return
        affected = None if kind == "restart" else ()
        self.record_fault(None, address, kind, fault.get("for"), affected=affected)
        if kind == "db_clock":
            self.database_clock.offset += fault["by"]
        elif kind == "notify_full":
            self.server.fill_notifications(fault["for"])
        else:
            self.server.go_down(fault["for"])

    def go_away(self, seconds: float) -> None:
        """Stop the database for ``seconds``, as part of the workload."""
        if self.faulty:
            self.record_fault(None, "workload/db", "restart", seconds)
            self.server.go_down(seconds)

    def _heal(self) -> None:
        self.server.heal()
        for node in self.nodes.values():
            node.heal()
