"""Work for simulated worlds: tasks that do what their payload says, and clients that do things at random.

All that a client does is drawn before it begins, so that a fault that is left out changes nothing else of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel

from zeke_queue.errors import JobConflictError, JobNotFoundError, StorageError
from zeke_queue.task.prepare import SendOptions
from zeke_queue.task.signals import Fail, Retry, Snooze

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from zeke_queue.task.context import JobContext
    from zeke_sim.loop.decisions import Draws
    from zeke_sim.world.node import Main, Node

Deed: TypeAlias = "Callable[[Node], Awaitable[object]]"
"""One thing that a client does, by its node's queue; done again until the storage answers."""

Tending: TypeAlias = Literal["cancel", "resume", "retry"]

Known: TypeAlias = dict[int, UUID]
"""The jobs that clients tell each other of, by the numbers under which they were to be sent."""


UNSAID: Final = "-"
"""What a step's result is that is left to the attempt."""

RESULTS: Final[tuple[Any, ...]] = (UNSAID, UNSAID, 0, False, "", [], {}, None, 1.5, "text", [0], {"a": None})
"""What handlers return: also what counts as false, and None, which is no result."""


class Step(BaseModel):
    """What an attempt does: it takes so many seconds, and then ends in a way.

    Attributes:
        seconds: before the end.
        end: how it ends: it returns, raises, asks for a retry ``after`` seconds, fails for good, or snoozes
            for ``after`` seconds.
        extend: seconds by which it moves its deadline first; 0 to leave it.
        progress: whether it tells how far it is.
        swallow: seconds for which it goes on when it is cancelled, at most; then it ends in its way all the
            same. 0 heeds the cancellation.
        cleanup: seconds that it takes to heed one.
        result: what it returns; an object that has the attempt's number if it says nothing.
    """

    seconds: float = 0.0
    end: Literal["return", "raise", "retry", "fail", "snooze"] = "return"
    after: float = 0.0
    extend: float = 0.0
    progress: bool = False
    swallow: float = 0.0
    cleanup: float = 0.0
    result: Any = UNSAID


class Script(BaseModel):
    """What a job does, attempt by attempt; an attempt beyond its steps returns at once."""

    steps: list[Step] = [Step()]


async def act(script: Script, job: JobContext) -> Any:
    """Do what the script says of this attempt."""
    step = _step(script, job)
    if step.progress:
        job.progress(0.5, "half way")
    if step.extend:
        await job.extend(step.extend)
    if step.seconds:
        await _spend(step)
    return _ended(step, job)


def act_at_once(script: Script, job: JobContext) -> Any:
    """Do what the script says of this attempt, as far as it takes no time: in a thread or a process."""
    return _ended(_step(script, job), job)


def _step(script: Script, job: JobContext) -> Step:
    return script.steps[job.attempt - 1] if job.attempt <= len(script.steps) else Step()


def _ended(step: Step, job: JobContext) -> Any:
    """End as the step says."""
    if step.end == "raise":
        raise RuntimeError(f"attempt {job.attempt} fails, as its script says")
    if step.end == "retry":
        raise Retry(after=step.after)
    if step.end == "fail":
        raise Fail("its script says so")
    if step.end == "snooze":
        raise Snooze(step.after)
    return {"attempt": job.attempt} if step.result == UNSAID else step.result


async def _spend(step: Step) -> None:
    """Take the step's time, and meet a cancellation in its way; further ones are swallowed like the first."""
    loop = asyncio.get_running_loop()
    until = loop.time() + step.seconds
    try:
        await asyncio.sleep(step.seconds)
    except asyncio.CancelledError:
        if not step.swallow:
            await asyncio.sleep(step.cleanup)
            raise
        until = min(until, loop.time() + step.swallow)
    while (left := until - loop.time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue


def script(
    draws: Draws, *, longest: float = 5.0, steps: int = 3, stubborn: float = 0.0, hasty: int = 2
) -> Script:
    """Draw a script, which ends well more often than not.

    Args:
        draws: what from.
        longest: seconds that a step takes at most.
        steps: how many attempts it is for at most.
        stubborn: the chance that a step meets a cancellation badly: goes on, or takes long to heed it.
        hasty: how many steps take no time, to one that does.
    """
    ends: tuple[Any, ...] = ("return", "return", "return", "raise", "raise", "retry", "fail", "snooze")
    drawn = [
        Step(
            seconds=draws.pick((*(0.0,) * hasty, round(draws.uniform(0.0, longest), 2))),
            end=draws.pick(ends),
            after=round(draws.uniform(0.0, 5.0), 2),
            extend=draws.pick((0.0, 0.0, 0.0, 20.0)),
            progress=draws.chance(0.2),
            result=draws.pick(RESULTS),
            **(_stubbornness(draws) if stubborn and draws.chance(stubborn) else {}),
        )
        for _ in range(1 + draws.below(steps))
    ]
    return Script(steps=drawn)


def _stubbornness(draws: Draws) -> dict[str, Any]:
    """Draw how badly a cancellation is met: swallowed for a while, or to the end, or heeded late."""
    return {
        "swallow": draws.pick((0.0, round(draws.uniform(0.0, 4.0), 2), 60.0)),
        "cleanup": round(draws.uniform(0.0, 4.0), 2),
    }


async def through_faults(call: Callable[[], Awaitable[Any]], pause: float = 1.0, tries: int = 200) -> Any:
    """Do something as often as it takes the storage to answer; a client that goes on must do so."""
    for _ in range(tries):
        try:
            return await call()
        except StorageError:
            await asyncio.sleep(pause)
    return await call()


def doing(deeds: Sequence[tuple[float, Deed]]) -> Main:
    """Return a client's program: each deed at its time, in seconds since the run began, or later."""

    async def main(node: Node) -> None:
        loop = asyncio.get_running_loop()
        for number, (at, deed) in enumerate(sorted(deeds, key=lambda planned: planned[0])):
            if node.world.leaves_out(f"deed/{node.name}/{number}"):
                continue
            if (left := at - loop.time()) > 0:
                await asyncio.sleep(left)
            await through_faults(lambda deed=deed: deed(node))

    return main


def sending(
    known: Known, number: int, task: str, payload: object, options: SendOptions | None = None
) -> Deed:
    """Return the deed of sending a job, which has a number from then on unless it is refused.

    Args:
        known: where to note it.
        number: the job's.
        task: its name.
        payload: its payload.
        options: of ``Queue.send``.
    """

    async def send(node: Node) -> None:
        job = await node.queue.send(task, payload, **(options or SendOptions()))
        if job is not None:
            known[number] = job

    return send


def tending(known: Known, number: int, what: Tending) -> Deed:
    """Return the deed of cancelling, resuming or retrying the job of a number, if there is one by then."""

    async def tend(node: Node) -> None:
        job, queue = known.get(number), node.queue
        if job is None:
            return
        do = {"cancel": queue.cancel, "resume": queue.resume, "retry": queue.retry}[what]
        try:
            await do(job)
        except (JobNotFoundError, JobConflictError):
            return  # it was purged meanwhile, or another one has its place

    return tend


def own_id(draws: Draws) -> UUID:
    """Draw an id for a job, so that sending it again is sending it once."""
    return UUID(int=draws.seed() << 80 | draws.seed() << 20, version=4)
