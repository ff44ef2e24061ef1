"""Timers of processes that are dead: virtual time does not stop for them."""

from __future__ import annotations

import asyncio

from zeke_sim.loop import Lane, VirtualLoop


def test_time_does_not_stop_for_the_timers_of_a_dead_process() -> None:
    """What looks for a chance to jump is asked once an instant, and a dead process makes no instants."""
    loop, lane = VirtualLoop(), Lane("dead")
    instants: list[float] = []
    loop.call_at(1.0, instants.append, 0.0, context=loop.context(lane))
    loop.kill(lane)
    loop.jump = lambda: instants.append(loop.time())
    asyncio.set_event_loop(loop)
    try:
        loop.call_at(3.0, loop.stop)
        loop.run_forever()
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert instants == [0.0]
    assert loop.time() == 3.0
