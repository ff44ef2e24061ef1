"""Who sleeps until there is work, and dies meanwhile, is woken once at most, and then forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.worlds import simulated
from zeke_queue.catalog import Catalog

if TYPE_CHECKING:
    from zeke_sim.node import Node


def test_a_killed_worker_sleeps_on_no_queue_once_one_of_its_queues_had_work() -> None:
    catalog = Catalog()

    @catalog.task("rare")
    async def rare() -> None:
        raise AssertionError("nobody sends it")

    @catalog.task("usual")
    async def usual() -> None:
        pass

    asleep: list[bool] = []

    async def program(node: Node) -> None:
        bells = node.world.store.bells
        await node.clock.sleep(5)
        asleep.append(bells.anyone)
        node.world.kill(node.world.nodes["w1"], back=5.0)
        await node.queue.send(usual)
        asleep.append(bells.anyone)
        await node.clock.sleep(20)
        asleep.append(bells.anyone)

    del rare
    simulated(catalog, program, supervisors=0, phase=60.0)
    assert asleep == [True, False, True]
