"""Everything at once: retries, limits, unique keys, cron, children, transactions, and users that interfere.

A few workers, schedulers and maintenance processes share a database that is stormy; two clients send, and an
operator watches its jobs. The properties are the same as without faults.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.workloads import Script, act, script
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import JobConflictError, JobNotFoundError, StorageError
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.testing.client import through_faults
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node


def _catalog(draws: RandomStream) -> Catalog:
    catalog = Catalog()
    catalog.task("quick", retry_limit=draws.below(3), retry_delay=1, expire_in=20.0)(act)
    catalog.task(
        "limited", concurrency_limit=1 + draws.below(2), retry_limit=2, retry_delay=1, expire_in=10.0
    )(act)
    catalog.task("brief", retry_limit=1, retry_delay=2, expire_in=draws.pick((1.0, 3.0)))(act)

    @catalog.task("parent", retry_limit=1, retry_delay=1)
    async def parent(payload: Script, job: JobContext) -> str:
        if job.attempt % 2:
            async with job.transaction() as transaction:
                await transaction.send("quick", payload)
        else:
            await job.send("quick", payload)
        return "sent"

    @catalog.task("tick", retry_limit=1)
    async def tick() -> None:
        return

    del parent, tick
    catalog.schedule(
        "every-twenty", "* * * * * */20", task="tick", catch_up=draws.pick(("skip", "once", "all"))
    )
    return catalog


def build(draws: RandomStream) -> Setup:
    """Draw the traffic: the jobs with their times, and the operator's actions."""
    sent: list[UUID] = []
    programs: dict[str, Any] = {
        name: _sender([_parcel(draws) for _ in range(3 + draws.below(4))], sent) for name in ("c1", "c2")
    }
    programs["operator"] = _operator([_order(draws) for _ in range(4 + draws.below(4))], sent)
    return Setup(
        _catalog(draws),
        clients=programs,
        workers=2 + draws.chance(0.3),
        schedulers=1 + draws.chance(0.3),
        maintenance=1 + draws.chance(0.3),
        worker={
            "concurrency": 1 + draws.below(3),
            "lease": draws.pick((4.0, 6.0)),
            "heartbeat_interval": 2.0,
            "poll_interval": draws.pick((2.0, 4.0)),
            "shutdown_timeout": draws.pick((0.5, 5.0)),
        },
        sweep=draws.pick((2.0, 3.0)),
        archive_after=draws.pick((2.0, 6.0)),
        delete_after=draws.pick((1.0, 3.0)),
        phase=draws.pick((15.0, 20.0)),
    )


def _parcel(draws: RandomStream) -> tuple[float, str, Script, dict[str, Any]]:
    """Draw one send: how long before it, the task, what the job does, and options."""
    options: dict[str, Any] = {}
    if draws.chance(0.3):
        options["singleton_key"] = draws.pick(("a", "b"))
    elif draws.chance(0.15):
        options[draws.pick(("throttle", "debounce"))] = 5
    if draws.chance(0.3):
        options["delay"] = round(draws.uniform(0.0, 8.0), 2)
    if draws.chance(0.3):
        options["priority"] = draws.below(3)
    task = draws.pick(("quick", "quick", "limited", "limited", "brief", "parent"))
    return round(draws.uniform(0.0, 4.0), 2), task, script(draws, longest=4.0), options


def _order(draws: RandomStream) -> tuple[float, str, int]:
    """Draw what the operator does: how long before it, what, and to which of the jobs."""
    what = draws.pick(("cancel", "cancel", "retry", "resume", "pause", "unpause"))
    return round(draws.uniform(0.5, 4.0), 2), what, draws.below(1000)


def _sender(
    parcels: list[tuple[float, str, Script, dict[str, Any]]], sent: list[UUID]
) -> Callable[[Node], Awaitable[None]]:
    async def send(node: Node) -> None:
        for number, (before, task, payload, options) in enumerate(parcels):
            await asyncio.sleep(before)
            if node.world.leaves_out(f"action/{node.name}/{number}"):
                continue
            try:
                run = await through_faults(
                    lambda task=task, payload=payload, options=options: node.queue.send(
                        task, payload, **options
                    )
                )
            except JobConflictError:
                continue  # refused by a job that is not known
            if run.created:
                sent.append(run.id)

    return send


def _operator(orders: list[tuple[float, str, int]], sent: list[UUID]) -> Callable[[Node], Awaitable[None]]:
    async def operate(node: Node) -> None:
        for number, (before, what, which) in enumerate(orders):
            await asyncio.sleep(before)
            if node.world.leaves_out(f"action/{node.name}/{number}"):
                continue
            if what in {"pause", "unpause"}:
                await _pause(node, paused=what == "pause")
            elif sent:
                verb = getattr(node.queue, what)
                try:
                    await verb(sent[which % len(sent)])
                except (JobNotFoundError, JobConflictError, StorageError):
                    continue  # another has its slot, it is gone, or the outcome is unknown
        await _pause(node, paused=False)

    return operate


async def _pause(node: Node, *, paused: bool) -> None:
    await through_faults(lambda: parts_of(node.queue).storage.pause_queue("limited", paused=paused))


SCENARIO = Scenario(__name__, "everything at once, while everything fails", build)
