"""The faults: what each of them does once, to which kind of database, and what it excuses."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psycopg

from tests.chaos.judge import ALL, Disturbance
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
_NOTIFICATIONS: Final = 1000


@dataclass
class Harm:
    """What a fault can reach.

    Attributes:
        database: the run's.
        workers, api: the processes.
        silence: seconds of silence after which a worker has lost its jobs.
        seconds: how long an outage lasts, which is shorter than a worker may be without a database.
        draw: chooses targets.
        done: what the faults did, for the judge.
    """

    database: Database
    workers: Sequence[Node]
    api: Node
    silence: float
    seconds: float
    clock: Clock
    draw: random.Random
    done: list[Disturbance] = field(default_factory=list[Disturbance])

    async def during(self, what: str, work: Awaitable[object]) -> None:
        """Do something that every process meets, and that may delay outcomes but not take jobs away."""
        since = self.clock.monotonic()
        try:
            await work
        except psycopg.OperationalError:
            # Another fault met the connection that inflicts this one.
            pass
        finally:
            self.done.append(Disturbance(what, ALL, since, self.clock.monotonic(), loses=False))


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        text: what it does.
        inflict: does it once.
        database: the kind of database that it needs.
        times: how often it is inflicted.
        forgetful: whether the database itself loses commits by it.
    """

    text: str
    inflict: Callable[[Harm], Awaitable[None]]
    database: type[Database] = Database
    times: int = 3
    forgetful: bool = False


async def kill(harm: Harm) -> None:
    node = harm.draw.choice([*harm.workers, harm.api])
    await node.kill()
    at = harm.clock.monotonic()
    harm.done.append(Disturbance("worker killed", node.name, at, at, loses=True))
    await harm.clock.sleep(1.0)
    await node.start()


async def pause(harm: Harm) -> None:
    node = harm.draw.choice(harm.workers)
    since = harm.clock.monotonic()
    if await node.pause():
        await harm.clock.sleep(harm.silence + 3.0)
        node.resume()
        until = harm.clock.monotonic()
        harm.done.append(Disturbance("worker stopped beyond its lease", node.name, since, until, loses=True))


async def restart_fast(harm: Harm) -> None:
    await harm.during("server restarted", harm.database.restart("fast"))


async def restart_immediate(harm: Harm) -> None:
    await harm.during("server crashed", harm.database.restart("immediate"))


async def terminate(harm: Harm) -> None:
    await harm.during("connections ended", harm.database.terminate())


async def read_only(harm: Harm) -> None:
    await harm.during("read-only standby", harm.database.become_standby(harm.seconds))


async def default_read_only(harm: Harm) -> None:
    async def work() -> None:
        setting = "alter database zeke set default_transaction_read_only = {}"
        await harm.database.execute(setting.format("on"))
        await harm.database.terminate()
        await harm.clock.sleep(harm.seconds)
        await harm.database.execute("set default_transaction_read_only = off", setting.format("off"))
        await harm.database.terminate()

    await harm.during("read-only by default", work())


async def no_connections(harm: Harm) -> None:
    """Take every connection, as another application might, and keep them for a while."""

    async def work() -> None:
        held: list[psycopg.AsyncConnection] = []
        until = harm.clock.monotonic() + harm.seconds
        await harm.database.terminate()
        try:
            while harm.clock.monotonic() < until:
                with suppress(psycopg.OperationalError):
                    while len(held) < CONNECTIONS:
                        held.append(await psycopg.AsyncConnection.connect(harm.database.direct))
                await harm.clock.sleep(0.05)
        finally:
            for connection in held:
                await connection.close()

    await harm.during("no connection left", work())


async def disk_full(harm: Harm) -> None:
    database = harm.database
    assert isinstance(database, SmallDisk)
    await harm.during("disk full", database.fill(harm.seconds))


async def pooler_restart(harm: Harm) -> None:
    database = harm.database
    assert isinstance(database, Pooled)
    await harm.during("PgBouncer restarted", asyncio.to_thread(database.pooler.restart))


async def fail_over(harm: Harm) -> None:
    database = harm.database
    assert isinstance(database, Pair)
    await harm.during("failover", database.fail_over(harm.seconds / 2))


async def lossy_fail_over(harm: Harm) -> None:
    database = harm.database
    assert isinstance(database, AsynchronousPair)
    since = harm.clock.monotonic()
    await database.fail_over(harm.seconds / 2)
    until = harm.clock.monotonic()
    harm.done.append(Disturbance("lost with the old primary", ALL, since, until, loses=True))


async def foreign_locks(harm: Harm) -> None:
    async def work() -> None:
        async with await harm.database.admin() as connection:
            for text in _LOCKS:
                async with connection.transaction():
                    await connection.execute(text.encode())
                    await harm.clock.sleep(harm.seconds)

    await harm.during("rows locked", work())


async def notify_queue_full(harm: Harm) -> None:
    """Keep a listener in an open transaction, which holds the queue's end back, and fill the queue."""

    async def work() -> None:
        async with await harm.database.admin() as listener, await harm.database.admin() as sender:
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
                await harm.clock.sleep(harm.seconds)

    await harm.during("NOTIFY queue full", work())


async def mixed(harm: Harm) -> None:
    one, other = harm.draw.sample((kill, pause, restart_fast, restart_immediate, terminate, foreign_locks), 2)
    await asyncio.gather(one(harm), other(harm))


FAULTS: Final[Mapping[str, Fault]] = {
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
        "the same with an asynchronous standby", lossy_fail_over, AsynchronousPair, times=1, forgetful=True
    ),
    "locks": Fault("an application locks jobs, a queue, a schedule", foreign_locks, times=1),
    "notify-full": Fault("the server's NOTIFY queue is full", notify_queue_full, SmallQueue, times=2),
    "mixed": Fault("two of these at once, and again", mixed, times=4),
}
