"""Work for simulated worlds: tasks that do what their payload says, and clients that send at random."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from zeke_queue.errors import StorageError
from zeke_queue.signals import Fail, Retry, Snooze

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zeke_queue.context import JobContext
    from zeke_sim.draws import Draws


class Step(BaseModel):
    """What an attempt does: it takes so many seconds, and then ends in a way.

    Attributes:
        seconds: before the end.
        end: how it ends: it returns, raises, asks for a retry ``after`` seconds, fails for good, or snoozes
            for ``after`` seconds.
        extend: seconds by which it moves its deadline first; 0 to leave it.
        progress: whether it tells how far it is.
    """

    seconds: float = 0.0
    end: Literal["return", "raise", "retry", "fail", "snooze"] = "return"
    after: float = 0.0
    extend: float = 0.0
    progress: bool = False


class Script(BaseModel):
    """What a job does, attempt by attempt; an attempt beyond its steps returns at once."""

    steps: list[Step] = [Step()]


async def act(script: Script, job: JobContext) -> dict[str, Any]:
    """Do what the script says of this attempt."""
    step = script.steps[job.attempt - 1] if job.attempt <= len(script.steps) else Step()
    if step.progress:
        job.progress(0.5, "half way")
    if step.extend:
        await job.extend(step.extend)
    if step.seconds:
        await asyncio.sleep(step.seconds)
    if step.end == "raise":
        raise RuntimeError(f"attempt {job.attempt} fails, as its script says")
    if step.end == "retry":
        raise Retry(after=step.after)
    if step.end == "fail":
        raise Fail("its script says so")
    if step.end == "snooze":
        raise Snooze(step.after)
    return {"attempt": job.attempt}


def script(draws: Draws, *, longest: float = 5.0, steps: int = 3) -> Script:
    """Draw a script, which ends well more often than not."""
    ends: tuple[Any, ...] = ("return", "return", "return", "raise", "raise", "retry", "fail", "snooze")
    drawn = [
        Step(
            seconds=draws.pick((0.0, 0.0, round(draws.uniform(0.0, longest), 2))),
            end=draws.pick(ends),
            after=round(draws.uniform(0.0, 5.0), 2),
            extend=draws.pick((0.0, 0.0, 0.0, 20.0)),
            progress=draws.chance(0.2),
        )
        for _ in range(1 + draws.below(steps))
    ]
    return Script(steps=drawn)


async def through_faults(call: Callable[[], Awaitable[Any]], pause: float = 1.0, tries: int = 200) -> Any:
    """Do something as often as it takes the storage to answer; a client that goes on must do so."""
    for _ in range(tries):
        try:
            return await call()
        except StorageError:
            await asyncio.sleep(pause)
    return await call()
