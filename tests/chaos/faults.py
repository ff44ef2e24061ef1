"""The faults: what each of them does once, to which kind of database, and what it excuses."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import psycopg

from tests.chaos.checker import ALL, Disturbance, Forgot
from tests.chaos.servers import (
    CONNECTIONS,
    AsynchronousPair,
    Database,
    Pair,
    Pooled,
    SmallDisk,
    SmallQueue,
)
from zeke_queue.storage.postgres.verbs import work_channel

if TYPE_CHECKING:
    import random  # noqa: TID251 - its type
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tests.torture.nodes import Node
    from zeke_queue.system.clock import Clock

_LOCKS: Final = (
    "select id from pgboss.job where state = 'active' limit 20 for update",
    "select id from pgboss.job where state = 'created' limit 20 for update",
    "select name from pgboss.queue where name = 'limited' for update",
    "select name from pgboss.zeke_schedule for update",
)
_TAKE_SECONDS: Final = 30.0
"""Seconds in which all connections must have been taken."""

_PAUSE_TRIES: Final = 40
_HOLDS_JOBS: Final = (
    "select exists(select from pgboss.job join pgboss.worker on worker.id = job.worker"
    " where worker.pid = {} and job.state = 'active')"
)
_NOTIFICATIONS: Final = 1000
_FULL: Final = 0.9
"""Share of the NOTIFY queue from which it counts as full."""


class NoEffectError(Exception):
    """A fault changed nothing, so a run with it would show nothing."""


@dataclass
class FaultContext:
    """What a fault can reach.

    Attributes:
        database: the run's.
        workers, api: the processes.
        lease: seconds for which a worker may be without a database.
        silence: seconds of silence after which a worker has lost its jobs.
        seconds: how long an outage lasts, which is shorter than a worker may be without a database.
        draw: chooses targets.
        done: what the faults did, for the checker.
        forgot: what the database lost, if it did.
        beside_others: whether other faults run meanwhile, which may keep this one from its effect.
        effects: whether each fault so far had one.
    """

    database: Database
    workers: Sequence[Node]
    api: Node
    lease: float
    silence: float
    seconds: float
    clock: Clock
    draw: random.Random
    done: list[Disturbance] = field(default_factory=list[Disturbance])
    forgot: Forgot | None = None
    beside_others: bool = False
    effects: list[bool] = field(default_factory=list[bool])

    async def during(self, what: str, work: Awaitable[bool], *, cuts: bool = True) -> None:
        """Do something that every process meets, and that delays outcomes.

        Args:
            what: the reason it gives.
            work: does it, and returns whether it had an effect.
            cuts: whether no worker has a database meanwhile, so that jobs are lost if it lasts for longer
                than a lease.

        Raises:
            NoEffectError: it had none, with no other fault beside it.
        """
        since = self.clock.monotonic()
        try:
            self.expect(what, effect=await work)
        except psycopg.OperationalError:
            # Another fault met the connection that injects this one.
            if not self.beside_others:
                raise
        finally:
            until = self.clock.monotonic()
            loses = cuts and until - since > self.lease
            self.done.append(Disturbance(what, ALL, since, until, loses=loses))

    def expect(self, what: str, *, effect: bool) -> None:
        self.effects.append(effect)
        if not effect and not self.beside_others:
            raise NoEffectError(f"{what}: must have an effect on what it meets, got none")


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        text: what it does.
        work: does it once.
        database: the kind of database that it needs.
        times: how often it is injected.
    """

    text: str
    work: Callable[[FaultContext], Awaitable[None]]
    database: type[Database] = Database
    times: int = 3

    async def inject(self, context: FaultContext) -> None:
        """Do it once; one that did nothing raises ``NoEffectError``."""
        before = len(context.done)
        await self.work(context)
        if len(context.done) == before and self.work is not nothing:
            raise NoEffectError(f"{self.text}: must be recorded, got nothing")


async def nothing(context: FaultContext) -> None:
    await context.clock.sleep(context.seconds)


async def kill(context: FaultContext) -> None:
    """Kill one of the processes that were started least often, so four kills in a row meet each of four."""
    nodes = [*context.workers, context.api]
    least = min(node.starts for node in nodes)
    node = context.draw.choice([node for node in nodes if node.starts == least])
    # One that has ended by itself is a failure, which a kill would hide.
    node.look()
    killed = await node.kill()
    context.expect("worker killed", effect=killed)
    if killed:
        at = context.clock.monotonic()
        context.done.append(Disturbance("worker killed", node.name, at, at, loses=True))
    await context.clock.sleep(1.0)
    await node.start()


async def pause(context: FaultContext) -> None:
    node = context.draw.choice(context.workers)
    since, lives = context.clock.monotonic(), node.starts
    what = "worker stopped beyond its lease"
    stopped = await node.pause()
    for _ in range(_PAUSE_TRIES):
        if not stopped or await _holds_jobs(context, node):
            break
        # Jobs that share a call of fsync end together, and then it may hold none.
        node.resume()
        await context.clock.sleep(0.05)
        since, lives = context.clock.monotonic(), node.starts
        stopped = await node.pause()
    else:
        stopped = False
    context.expect(what, effect=stopped)
    if stopped:
        await context.clock.sleep(context.silence + 3.0)
        node.resume()
        if node.starts > lives:
            return  # another fault killed it, and its next life ran meanwhile
        until = context.clock.monotonic()
        context.done.append(Disturbance(what, node.name, since, until, loses=True))


async def _holds_jobs(context: FaultContext, node: Node) -> bool:
    """Return whether a suspended process holds jobs, once its last statements have ended."""
    await context.clock.sleep(0.2)
    try:
        ((holds,),) = await context.database.fetch(_HOLDS_JOBS.format(node.pid or 0))
    except psycopg.OperationalError:
        # Another fault ended the connection.
        return True
    return bool(holds)


async def restart_fast(context: FaultContext) -> None:
    await context.during("server restarted", context.database.restart("fast"))


async def restart_immediate(context: FaultContext) -> None:
    await context.during("server crashed", context.database.restart("immediate"))


async def terminate(context: FaultContext) -> None:
    await context.during("connections ended", context.database.terminate(), cuts=False)


async def read_only(context: FaultContext) -> None:
    await context.during("read-only standby", context.database.become_standby(context.seconds))


async def default_read_only(context: FaultContext) -> None:
    async def work() -> bool:
        setting = "alter database zeke set default_transaction_read_only = {}"
        await context.database.execute(setting.format("on"))
        await context.database.terminate()
        ((value,),) = await context.database.fetch("show default_transaction_read_only")
        await context.clock.sleep(context.seconds)
        await context.database.execute("set default_transaction_read_only = off", setting.format("off"))
        await context.database.terminate()
        return value == "on"

    await context.during("read-only by default", work())


async def no_connections(context: FaultContext) -> None:
    """Take every connection, as another application might, and keep them for a while.

    A program that has lost a connection gets a new one at once, so this ends them until it has all. On a busy
    machine that takes longer than the outage, which begins when it has.
    """

    async def work() -> bool:
        held: list[psycopg.AsyncConnection] = []
        until = context.clock.monotonic() + _TAKE_SECONDS
        try:
            while len(held) < CONNECTIONS and context.clock.monotonic() < until:
                with suppress(psycopg.OperationalError):
                    while len(held) < CONNECTIONS:
                        held.append(await context.database.hold())
                if len(held) < CONNECTIONS:
                    await context.database.terminate(held[0] if held else None)
                    await context.clock.sleep(0.01)
            await context.clock.sleep(context.seconds)
            # Whether another program is refused.
            with suppress(psycopg.OperationalError):
                held.append(await context.database.hold())
        finally:
            for connection in held:
                await connection.close()
        return len(held) == CONNECTIONS

    await context.during("no connection left", work())


async def disk_full(context: FaultContext) -> None:
    database = context.database
    assert isinstance(database, SmallDisk)
    # An outage that took jobs from workers lasts for longer than a lease, without the time to fill the disk.
    await asyncio.to_thread(database.nearly_fill)
    await context.during("disk full", database.fill(context.seconds))


async def pooler_restart(context: FaultContext) -> None:
    database = context.database
    assert isinstance(database, Pooled)
    await context.during("PgBouncer restarted", asyncio.to_thread(database.restart_pooler))


async def fail_over(context: FaultContext) -> None:
    database = context.database
    assert isinstance(database, Pair)
    await context.during("failover", database.fail_over(context.seconds / 2))


async def lossy_fail_over(context: FaultContext) -> None:
    database = context.database
    assert isinstance(database, AsynchronousPair)

    since = context.clock.monotonic()
    await database.fall_behind()
    database.kill_primary()
    killed = context.clock.monotonic()

    async def work() -> bool:
        await context.clock.sleep(context.seconds / 2)
        context.forgot = Forgot(since, killed, context.clock.monotonic())
        return await database.promote()

    await context.during("failover", work())


async def foreign_locks(context: FaultContext) -> None:
    async def work() -> bool:
        async with await context.database.admin() as connection:
            return all([await lock(connection, text) for text in _LOCKS])

    async def lock(connection: psycopg.AsyncConnection, text: str) -> bool:
        until = context.clock.monotonic() + context.seconds
        while True:
            async with connection.transaction():
                locked = (await connection.execute(text.encode())).rowcount
                if locked > 0:
                    await context.clock.sleep(context.seconds)
            if locked > 0 or context.clock.monotonic() >= until:
                return locked > 0
            await context.clock.sleep(0.01)

    await context.during("rows locked", work(), cuts=False)


async def notify_queue_full(context: FaultContext) -> None:
    """Keep a listener in an open transaction, which holds the queue's end back, and fill the queue."""

    async def work() -> bool:
        async with await context.database.admin() as listener, await context.database.admin() as sender:
            channel = work_channel("pgboss")
            await listener.execute(f'listen "{channel}"'.encode())
            async with listener.transaction():
                await listener.execute("select 1")
                with suppress(psycopg.Error):
                    for _ in range(_NOTIFICATIONS):
                        await sender.execute(
                            "select pg_notify(%s, 'nothing-' || n) from generate_series(1, %s::int) n",
                            [channel, _NOTIFICATIONS],
                        )
                usage = await (await sender.execute("select pg_notification_queue_usage()")).fetchone()
                await context.clock.sleep(context.seconds)
                return usage is not None and usage[0] > _FULL

    await context.during("NOTIFY queue full", work(), cuts=False)


async def mixed(context: FaultContext) -> None:
    one, other = context.draw.sample(
        (kill, pause, restart_fast, restart_immediate, terminate, foreign_locks), 2
    )
    both = replace(context, beside_others=True, effects=[])
    await asyncio.gather(one(both), other(both))
    context.expect("two faults at once", effect=any(both.effects))


FAULTS: Final[Mapping[str, Fault]] = {
    "none": Fault("nothing, for comparison", nothing, times=1),
    "kill": Fault("kill -9 of a worker or the API, which is started again", kill, times=4),
    "restart": Fault("the server is restarted in good order", restart_fast),
    "crash": Fault("the server is restarted at once, and recovers", restart_immediate),
    "terminate": Fault("all connections are ended", terminate, times=5),
    "pause": Fault("SIGSTOP of a worker beyond its lease", pause, times=1),
    "read-only": Fault("the server becomes a read-only standby, and is promoted", read_only, times=2),
    "default-read-only": Fault("the database is read-only by default", default_read_only, times=2),
    "no-connections": Fault("other programs take all connections", no_connections, times=2),
    "disk-full": Fault("no room on the disk of the jobs", disk_full, SmallDisk, times=2),
    "pooler": Fault("PgBouncer is killed, and started again", pooler_restart, Pooled),
    "failover": Fault("the primary is killed, its synchronous standby promoted", fail_over, Pair, times=1),
    "lossy-failover": Fault(
        "the same with an asynchronous standby", lossy_fail_over, AsynchronousPair, times=1
    ),
    "locks": Fault("an application locks jobs, a queue, a schedule", foreign_locks, times=1),
    "notify-full": Fault("the server's NOTIFY queue is full", notify_queue_full, SmallQueue, times=2),
    "mixed": Fault("two of these at once, and again", mixed, times=4),
}
