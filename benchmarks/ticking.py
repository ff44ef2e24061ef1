"""What loops of simulations cost: one workload on one of them, in a process of its own.

``python -m benchmarks.ticking zeke_sim|simloom|trio WAITS`` prints JSON: the processor seconds that a
hundred tasks needed to wait so often each. Nothing is imported but the standard library, the loop, and
what it needs, so that any interpreter will do that has the peer.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TASKS: Final = 100
NODES: Final = 4
"""Over which zeke_sim's tasks are dealt out, so that it has an order to choose, as simloom has."""


def seconds(number: int) -> float:
    """Return how long a task waits: every other time it only yields, else for one of ten lengths."""
    return 0.0 if number % 2 else (1 + number // 2 % 10) / 1000


async def task(first: int, waits: int, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Wait again and again."""
    for number in range(first, first + waits):
        await sleep(seconds(number))


def on_zeke_sim(waits: int) -> None:
    """Run the workload on nodes that go in another order each time, each choice kept for the replay."""
    from zeke_sim.loop.decisions import Decisions  # noqa: PLC0415
    from zeke_sim.loop.event_loop import RunQueue, VirtualLoop  # noqa: PLC0415
    from zeke_sim.world.faults import NONE  # noqa: PLC0415
    from zeke_sim.world.task_order import Order  # noqa: PLC0415 - not where a peer is measured

    loop = VirtualLoop()
    world: Any = SimpleNamespace(knobs=NONE.but(order="permuted"), decisions=Decisions(1), faulty=True)
    loop.choose = Order(world).choose
    contexts = [loop.context(RunQueue(f"node-{number}")) for number in range(NODES)]

    async def main() -> None:
        tasks = [
            loop.create_task(task(number, waits, asyncio.sleep), context=contexts[number % NODES])
            for number in range(TASKS)
        ]
        await asyncio.wait(tasks)

    asyncio.set_event_loop(loop)
    loop.run_until_complete(main())
    asyncio.set_event_loop(None)
    loop.close()


def on_simloom(waits: int) -> None:
    """Run the workload as simloom does by default, only without the world that it would also make."""
    simloom: Any = import_module("simloom")

    async def main() -> None:
        await asyncio.wait([asyncio.ensure_future(task(n, waits, asyncio.sleep)) for n in range(TASKS)])

    simloom.run(main, seed=1, world=False)


def on_trio(waits: int) -> None:
    """Run the workload on trio, whose mock clock jumps when all wait."""
    trio: Any = import_module("trio")
    testing: Any = import_module("trio.testing")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(TASKS):
                nursery.start_soon(task, number, waits, trio.sleep)

    trio.run(main, clock=testing.MockClock(autojump_threshold=0))


LOOPS: Final = {"zeke_sim": on_zeke_sim, "simloom": on_simloom, "trio": on_trio}


def main(name: str, waits: int) -> None:
    """Measure one loop, after a small run that imports and warms up."""
    LOOPS[name](10)
    begun = time.process_time()
    LOOPS[name](waits)
    print(json.dumps(time.process_time() - begun))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
