"""Workloads for simulated worlds: tasks scripted by their payload, and clients with random actions.

All actions of a client are drawn before it starts, so that removing a fault does not change them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel

from zeke_queue.core.options import SendOptions
from zeke_queue.errors import JobConflictError, JobNotFoundError
from zeke_queue.task.signals import Fail, Retry, Snooze
from zeke_sim.testing.client import through_faults

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from zeke_queue.task.context import JobContext
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Main, Node

Action: TypeAlias = "Callable[[Node], Awaitable[object]]"
"""An action of a client on its node's queue, repeated until the storage answers."""

Tending: TypeAlias = Literal["cancel", "resume", "retry"]

Known: TypeAlias = dict[int, UUID]
"""Job ids that clients share, by the number of the send action."""


UNSAID: Final = "-"
"""A step's result that means: return an object with the attempt's number."""

RESULTS: Final[tuple[Any, ...]] = (UNSAID, UNSAID, 0, False, "", [], {}, None, 1.5, "text", [0], {"a": None})
"""Results of handlers, including falsy values and None, which means no result."""


class Step(BaseModel):
    """The script of one attempt: a duration and an outcome.

    Attributes:
        seconds: duration before the end.
        end: the outcome: it returns, raises, requests a retry ``after`` seconds, fails permanently, or
            snoozes for ``after`` seconds.
        extend: seconds by which it first extends its deadline; 0 for no extension.
        progress: whether it reports progress, before and after these seconds.
        swallow: maximum seconds for which it ignores a cancellation before it ends as scripted; 0 to obey it.
        cleanup: seconds until it obeys a cancellation.
        result: the return value; ``UNSAID`` for an object with the attempt's number.
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
    """The steps of a job, one per attempt; further attempts return at once."""

    steps: list[Step] = [Step()]


async def act(script: Script, job: JobContext) -> Any:
    """Run the script's step for this attempt."""
    step = _step(script, job)
    if step.progress:
        job.progress(0.5, f"attempt {job.attempt} begins")
    if step.extend:
        await job.extend(step.extend)
    if step.seconds:
        await _spend(step)
        if step.progress:
            job.progress(1.0, f"attempt {job.attempt} ends")  # late, if it has lost its job meanwhile
    return _ended(step, job)


def act_at_once(script: Script, job: JobContext) -> Any:
    """Run the part of the script's step that takes no time; for handlers in a thread or a process."""
    return _ended(_step(script, job), job)


def _step(script: Script, job: JobContext) -> Step:
    return script.steps[job.attempt - 1] if job.attempt <= len(script.steps) else Step()


def _ended(step: Step, job: JobContext) -> Any:
    """Return or raise the step's outcome."""
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
    """Sleep for the step's duration and handle cancellations as scripted, each like the first."""
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
    draws: RandomStream, *, longest: float = 5.0, steps: int = 3, stubborn: float = 0.0, hasty: int = 2
) -> Script:
    """Draw a script, which is more likely to succeed than to fail.

    Args:
        draws: the source of random decisions.
        longest: maximum duration of a step in seconds.
        steps: maximum number of steps.
        stubborn: the probability that a step ignores a cancellation or is slow to obey it.
        hasty: the number of steps without duration for each step with one.
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


def _stubbornness(draws: RandomStream) -> dict[str, Any]:
    """Draw the reaction to a cancellation: ignored for a while, ignored to the end, or obeyed late."""
    return {
        "swallow": draws.pick((0.0, round(draws.uniform(0.0, 4.0), 2), 60.0)),
        "cleanup": round(draws.uniform(0.0, 4.0), 2),
    }


def leased(concurrency: int, lease: float = 6.0, shutdown_timeout: float = 3.0) -> dict[str, Any]:
    """Return the settings of workers that send three heartbeats a lease."""
    settings = {"concurrency": concurrency, "lease": lease, "heartbeat_interval": lease / 3}
    return {**settings, "shutdown_timeout": shutdown_timeout}


def doing(actions: Sequence[tuple[float, Action]]) -> Main:
    """Return a client program that does each action at its time, in seconds since the start, or later."""

    async def main(node: Node) -> None:
        loop = asyncio.get_running_loop()
        for number, (at, action) in enumerate(sorted(actions, key=lambda planned: planned[0])):
            if node.world.leaves_out(f"action/{node.name}/{number}"):
                continue
            if (left := at - loop.time()) > 0:
                await asyncio.sleep(left)
            await through_faults(lambda action=action: action(node))

    return main


def sending(
    known: Known, number: int, task: str, payload: object, options: SendOptions | None = None
) -> Action:
    """Return the action that sends a job and records its id under a number unless the send is refused.

    Args:
        known: the ids by number.
        number: the job's number.
        task: the task's name.
        payload: the job's payload.
        options: options of ``Queue.send``.
    """

    async def send(node: Node) -> None:
        try:
            run = await node.queue.send(task, payload, **(options or SendOptions()))
        except JobConflictError:
            return  # it was refused, and the holder is unknown: it has ended, or the database went away
        if run.created:
            known[number] = run.id

    return send


def tending(known: Known, number: int, what: Tending) -> Action:
    """Return the action that cancels, resumes or retries the job of a number, if it exists by then."""

    async def tend(node: Node) -> None:
        job, queue = known.get(number), node.queue
        if job is None:
            return
        do = {"cancel": queue.cancel, "resume": queue.resume, "retry": queue.retry}[what]
        try:
            await do(job)
        except (JobNotFoundError, JobConflictError):
            return  # the job was purged, or another job holds its key

    return tend


def own_id(draws: RandomStream) -> UUID:
    """Draw an id for a job, which makes repeated sends idempotent."""
    return UUID(int=draws.seed() << 80 | draws.seed() << 20, version=4)
