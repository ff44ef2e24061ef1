"""The storage calls of a simulated run, in the order in which the memory storage applied them.

A call is recorded where it takes effect: one that waited for a lock follows the call that released it, and a
``probe`` marks where it began to wait. Other entries are ``begin``, ``commit`` and ``rollback``, which jobs
are watched (``watch``, ``unwatch``), a ``lock`` of another program, the ``beats`` of workers while the
simulator skipped time, and, at intervals, every row.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from zeke_queue.model import Settled, Suspensions
from zeke_queue.storage import Storage
from zeke_queue.storage.access import Access
from zeke_queue.storage.jobs import Transaction
from zeke_queue.system.waiting import ChangeBuffer
from zeke_sim.experiment.run import run
from zeke_sim.history.events import Change

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Generator
    from datetime import datetime

    from zeke_queue.model import Schedule
    from zeke_queue.storage.memory import Snapshot
    from zeke_sim.experiment.scenario import Scenario
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.setup import Setup
    from zeke_sim.world.world import World

UNRECORDED: Final = frozenset({"close", "wait_for_jobs"})
"""Methods that neither read nor change a row."""


@dataclass(slots=True, eq=False)
class Entry:
    """One call, or something else that happened to the database.

    Attributes:
        verb: the method, or one of the words of the module's docstring.
        arguments: by name; of a probe, the ``call`` that began to wait.
        at: the storage's time when the call began.
        transaction: the number of its transaction, or None.
        answer: what it returned; an error's type if it raised.
        answered: whether it returned or raised; not if the server ended it, or before its parents resumed.
        again: whether it had taken effect before, and has now resumed the parents of what it ended.
        skipped: the rows that a claim skipped, as locked or by chance.
        queues, jobs: what it notified.
        changed: the jobs of which watchers must hear: they have another state or attempt, or new lines.
        asleep: the queues on which a living worker sleeps.
    """

    verb: str
    arguments: dict[str, Any]
    at: datetime
    transaction: int | None = None
    answer: Any = None
    answered: bool = False
    again: bool = False
    skipped: tuple[UUID, ...] = ()
    queues: frozenset[str] = frozenset()
    jobs: frozenset[UUID] = frozenset()
    changed: frozenset[UUID] = frozenset()
    asleep: frozenset[str] = frozenset()

    def __str__(self) -> str:
        named = [f"{name}={one!r}" for name, one in self.arguments.items()]
        within = "" if self.transaction is None else f" in transaction {self.transaction}"
        return f"{self.verb}({', '.join(named)}){within} at {self.at:%H:%M:%S.%f}"


class Trace:
    """The entries of one run, and the state before it.

    Args:
        every: how many entries lie between two records of every row.

    Attributes:
        schedules: those that the scenario put there.
        entries: in order.
        rows: every row after the entry with this number.
        epoch: the time at which it began.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._numbers = itertools.count(1)
        self._watches: dict[Any, int] = {}
        self._skipped: list[UUID] = []
        self._queues: set[str] = set()
        self._jobs: set[UUID] = set()
        self._seen = 0
        self._beats: dict[UUID, datetime | None] = {}
        self.schedules: list[Schedule] = []
        self.entries: list[Entry] = []
        self.rows: dict[int, Snapshot] = {}

    def attach(self, world: World) -> None:
        """Record what happens in a world from now on."""
        self._world, self._store = world, world.store
        self.epoch = world.epoch
        self.schedules = [plan.schedule for plan in self._store.tables.plans.values()]
        self._tap(self._store, Storage, None)
        self._tap(self._store.access, Access, None)
        opening = self._store.transaction
        self._put(self._store, "transaction", lambda **options: self._block(opening(**options), options))
        passed: Callable[[Any, UUID], bool] = vars(type(self._store))["_passed"]
        self._put(self._store, "_passed", lambda job: self._passes(job, taken=passed(self._store, job)))
        self._notified(self._store.notifier)

    def finish(self) -> None:
        """Record every row at the end."""
        self._see_beats()
        self.rows[len(self.entries) - 1] = self._store.dump()

    def _see_beats(self) -> None:
        """Record heartbeats that the simulator has moved with the time."""
        beats = {one.id: one.beat_on for one in self._store.tables.workers.values()}
        if beats != self._beats:
            self.entries.append(Entry("beats", {"beats": beats}, self._store_time()))
            self._beats = beats

    def _notified(self, notifier: Any) -> None:
        """Record notifications, and which jobs are watched."""
        queue, job, register, unregister = (
            notifier.queue,
            notifier.job,
            notifier.register,
            notifier.unregister,
        )

        def watch(changes: Any, ids: Collection[UUID]) -> None:
            self._add("watch", {"watch": self._watch(changes), "ids": tuple(ids)})
            register(changes, ids)

        def unwatch(changes: Any, ids: Collection[UUID]) -> None:
            self._add("unwatch", {"watch": self._watch(changes), "ids": tuple(ids)})
            unregister(changes, ids)

        # Without a waiter, the storage does not call the notifier.
        register(ChangeBuffer(self._world.database_clock), [UUID(int=0)])
        self._put(notifier, "queue", lambda name: (self._queues.add(name), queue(name)))
        self._put(notifier, "job", lambda job_id: (self._jobs.add(job_id), job(job_id)))
        self._put(notifier, "register", watch)
        self._put(notifier, "unregister", unwatch)

    def _watch(self, changes: Any) -> int:
        """Return the number of a watch."""
        return self._watches.setdefault(changes, len(self._watches))

    def _tap(self, target: Any, protocol: type, transaction: int | None) -> None:
        """Record the calls of an object's methods."""
        for name, _ in inspect.getmembers(protocol, inspect.iscoroutinefunction):
            if name not in UNRECORDED:
                self._put(target, name, self._method(name, getattr(target, name), transaction))

    @staticmethod
    def _put(target: Any, name: str, value: object) -> None:
        """Replace a method of one object."""
        vars(target)[name] = value

    def _method(self, name: str, method: Callable[..., Any], transaction: int | None) -> Callable[..., Any]:
        signature = inspect.signature(method)

        async def recorded(*arguments: Any, **options: Any) -> Any:
            self._see_beats()
            given = dict(signature.bind(*arguments, **options).arguments)
            entry = Entry(name, given, self._store_time(), transaction)
            return await _Steps(self, entry, method(*arguments, **options))

        return recorded

    @asynccontextmanager
    async def _block(self, opening: Any, options: dict[str, Any]) -> AsyncGenerator[Any]:
        number = next(self._numbers)
        end = "rollback"
        try:
            async with opening as opened:
                self._tap(opened, Transaction, number)
                lock = opened.lock

                def locked(key: Any) -> bool:
                    taken: bool = lock(key)
                    self._add("lock", {"key": key}, number, answer=taken)
                    return taken

                self._put(opened, "lock", locked)
                self._add("begin", options, number)
                yield opened
            end = "commit"
        finally:
            self._add(end, {}, number)

    def _passes(self, job: UUID, *, taken: bool) -> bool:
        if taken:
            self._skipped.append(job)
        return taken

    def _store_time(self) -> datetime:
        return self._world.database_clock.now()

    def _add(
        self, verb: str, arguments: dict[str, Any], number: int | None = None, answer: Any = None
    ) -> None:
        self._see_beats()
        self.add(Entry(verb, arguments, self._store_time(), number, answer=answer))

    def changes(self) -> int:
        """Return a number that grows when a job changes."""
        return len(self._world.recorder.events)

    def _changes(self) -> list[Change]:
        """Return how jobs have changed since the last entry."""
        events = self._world.recorder.events[self._seen :]
        self._seen += len(events)
        return [one for one in events if isinstance(one, Change) and one.table == "job"]

    def add(self, entry: Entry) -> None:
        """Append an entry, with the notifications since the last one."""
        if self._world.over:
            return
        entry.skipped, entry.queues = tuple(self._skipped), frozenset(self._queues)
        entry.jobs, changed = frozenset(self._jobs), _moved(self._changes())
        entry.changed = entry.jobs if entry.verb == "append_events" else changed
        self._skipped.clear()
        self._queues.clear()
        self._jobs.clear()
        now = self._store_time()
        workers = self._store.tables.workers.values()
        entry.asleep = frozenset(
            name for one in workers if one.asleep and one.is_alive(now) for name in one.queues
        )
        self._beats = {one.id: one.beat_on for one in workers}
        self.entries.append(entry)
        if len(self.entries) % self._every == 0:
            self.rows[len(self.entries) - 1] = self._store.dump()


class _Steps:
    """Runs a call step by step, and records it in the step in which it takes effect."""

    def __init__(self, trace: Trace, entry: Entry, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._trace = trace
        self._entry = entry
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        trace, entry = self._trace, self._entry
        thrown: BaseException | None = None
        while True:
            before = trace.changes()
            try:
                waits = self._coroutine.throw(thrown) if thrown is not None else self._coroutine.send(None)
            except StopIteration as done:
                entry.answer, entry.answered = _copy(done.value), True
                trace.add(entry)
                return done.value
            except Exception as error:
                entry.answer, entry.answered = type(error), True
                trace.add(entry)
                raise
            if trace.changes() == before:
                trace.add(Entry("probe", {"call": entry}, entry.at, entry.transaction))
            else:
                # It has taken effect, and waits for the parents of what it ended.
                trace.add(entry)
                entry = replace(entry, again=True, arguments={**entry.arguments, "repeated": True})
            thrown = None
            try:
                yield waits
            except BaseException as error:  # noqa: BLE001 - passed on to the call
                thrown = error


def _moved(changes: list[Change]) -> frozenset[UUID]:
    """Return the jobs that have another state or attempt."""
    pairs = [(one.before, one.after) for one in changes if one.before and one.after]
    return frozenset(
        after.id for old, after in pairs if (old.state, old.attempt) != (after.state, after.attempt)
    )


def _copy(answer: Any) -> Any:
    """Return an answer that its caller cannot change."""
    if isinstance(answer, Settled):
        return Settled(*map(set[UUID], answer))
    if isinstance(answer, Suspensions):
        return Suspensions(set(answer.changed), dict(answer.refused), answer.locked)
    return copy.copy(answer)


def record(scenario: Scenario, seed: int, every: int) -> Trace:
    """Run a scenario and record its storage calls, and every row after each ``every`` of them."""
    trace = Trace(every)

    def build(draws: RandomStream) -> Setup:
        setup = scenario.build(draws)
        before = setup.before

        def attach(world: World) -> None:
            if before is not None:
                before(world)
            trace.attach(world)

        setup.before = attach
        return setup

    run(replace(scenario, build=build), scenario.plan(seed)).check()
    trace.finish()
    return trace
