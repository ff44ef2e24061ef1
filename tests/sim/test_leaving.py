"""The end of a world leaves nothing behind that an application's tests would be told of."""

from __future__ import annotations

import gc
import warnings

from zeke_sim.loop import Lane, VirtualLoop


def test_a_task_that_died_before_it_began_is_no_warning() -> None:
    loop = VirtualLoop()
    lane = Lane("w1")

    async def work() -> None:
        raise AssertionError("it never begins")

    async def killed() -> None:
        loop.create_task(work(), context=loop.context(lane))
        loop.kill(lane)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loop.run_until_complete(killed())
        loop.leave()
        loop.close()
        gc.collect()
    assert [str(one.message) for one in told] == []
