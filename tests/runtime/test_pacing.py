"""Ending a task: it has ended when the call returns, and its exception is not reported."""

from __future__ import annotations

import asyncio
import gc

import pytest

from zeke_queue.system.waiting import end, first


async def _fail() -> None:
    raise ValueError("its own business")


async def test_ended_task_has_run_its_cleanup() -> None:
    left: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.append("cleaned up")

    task, began = asyncio.ensure_future(work()), asyncio.Event()
    asyncio.get_running_loop().call_soon(began.set)
    await began.wait()
    await end(task)
    assert task.cancelled()
    assert left == ["cleaned up"]


async def test_ending_a_finished_task_does_not_yield() -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    steps: list[str] = []
    asyncio.get_running_loop().call_soon(steps.append, "a step")
    await end(done)
    assert steps == []


async def test_exception_of_an_ended_task_is_not_reported_as_lost() -> None:
    reports: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reports.append(context))
    task = asyncio.ensure_future(_fail())
    await asyncio.wait([task])
    await end(task)
    del task
    gc.collect()
    assert reports == []


async def test_first_returns_the_result_of_the_first_to_end() -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        return "never"

    async def now() -> str:
        return "now"

    assert await first(now(), never()) == "now"


async def test_first_raises_the_exception_of_the_first_to_end() -> None:
    with pytest.raises(ValueError, match="its own business"):
        await first(_fail(), asyncio.Event().wait())
