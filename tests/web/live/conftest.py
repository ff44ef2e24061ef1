"""Tabs that read streams, and ways to advance the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI

from tests.clocks import FrozenClock
from tests.conformance.driver import soon
from tests.web.live.tab import Tab
from zeke_queue.system.clock import SystemClock


@pytest.fixture
def tab(app: FastAPI, clock: FrozenClock) -> Callable[..., Tab]:
    def tab(job_id: UUID | str, **how: Any) -> Tab:
        return Tab(app, f"/jobs/stream/{job_id}", clock=clock, **how)

    return tab


def written(clock: FrozenClock) -> str:
    """Return the time as clients read it; a tab that hears nothing for long advances it."""
    return f"{clock.now():%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


async def passes(clock: FrozenClock, seconds: float, step: float = 1.0) -> None:
    """Advance the clock, and run due jobs."""
    while seconds > 0:
        clock.advance(min(step, seconds))
        seconds -= step
        await settled()


async def settled() -> None:
    for _ in range(20):
        await SystemClock().sleep(0)


async def lasts_until(clock: FrozenClock, condition: Callable[[], bool]) -> None:
    """Advance the clock until a condition holds, not so fast that a real server could not keep up."""

    async def wait() -> None:
        while not condition():
            clock.advance(0.02)
            await SystemClock().sleep(0.005)

    await soon(wait())
