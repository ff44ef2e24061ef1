"""Programs that wait for jobs: for their results, up to a timeout, or for each change of their status.

Jobs fail and are retried, snooze, report progress, and are cancelled, resumed and retried by others
while they are watched, from two programs at once, several times in each. The storage goes away for moments,
and for longer than a watcher is patient; notifications get lost where a program is cut off. One that gives up
waiting because of that starts over. A result is the handler's value, a timeout is not
early, each line of progress is yielded once and before its job's end, no status of a stream precedes
the last one, and without faults a notification takes effect at once.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.workloads import Known, Script, act, doing, leased, own_id, script, sending, tending
from zeke_queue.client.parts import parts_of
from zeke_queue.core.options import SendOptions
from zeke_queue.errors import JobFailedError, JobNotFoundError, ResultTimeoutError, StorageError
from zeke_queue.model import Job, JobEvent
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.watch.job_watcher import OUTAGE_TIMEOUT, READS_PER_SECOND
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import (
    Answered,
    Change,
    Ended,
    Fault,
    Invoked,
    Lived,
    Notified,
    Received,
    Violation,
)
from zeke_sim.testing.client import through_faults
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from uuid import UUID

    from tests.workloads import Action
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Main, Node

PHASE: Final = 45.0

PROMPT: Final = 0.1
"""Seconds after which an answer is late."""

AT_ONCE: Final = 4 * PROMPT + 1 / READS_PER_SECOND
"""Seconds within which a change is notified. A watcher that begins during a read waits for that one, a
watch and a query, then for its own, and there is a pause between reads."""

LOOKED_BACK: Final = 15.0
"""Seconds for which a trouble may hold up a watcher."""

TRIES: Final = 200
"""Maximum number of restarts of a watcher."""

GIVES_UP: Final = 3
"""How many time-outs a program takes before it waits no longer."""


@dataclass(frozen=True, slots=True)
class Wait:
    """One watcher.

    Attributes:
        number: that no other of the world has.
        at: when it begins, in seconds.
        job: of which job.
        how: for each change, for the result, or the reads of a progress bar.
        timeout: seconds, of waits for the result; None for as long as it takes.
        leaves: seconds after which it loses interest; None for one that stays to the end.
    """

    number: int
    at: float
    job: UUID
    how: Literal["stream", "result", "events"]
    timeout: float | None
    leaves: float | None


def _watching(waits: list[Wait]) -> Main:
    """Return a program in which several wait at the same time."""

    async def main(node: Node) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for wait in waits:
                    group.create_task(_wait(node, wait))
        except* Violation as broken:
            raise broken.exceptions[0] from None

    return main


async def _wait(node: Node, wait: Wait) -> None:
    await asyncio.sleep(wait.at)
    do = _HOW[wait.how]
    # A killed program starts over as well, and each of its streams is a new one.
    tries = itertools.count((1000 * wait.number + node.incarnation) * TRIES)
    try:
        await asyncio.wait_for(through_faults(lambda: do(node, wait, next(tries)), tries=TRIES), wait.leaves)
    except (TimeoutError, JobNotFoundError):
        return  # it lost interest, or the job is not there yet, or was purged


async def _stream(node: Node, wait: Wait, stream: int) -> None:
    """Record each status and line that a watcher gets; a reopened stream is another one."""
    world, began = node.world, node.world.time()
    try:
        async with aclosing(parts_of(node.queue).runs.watch(wait.job)) as changes:
            async for news in changes:
                if isinstance(news, JobEvent):
                    received = Received(world.time(), node.name, stream, news.job_id, news.attempt, news.seq)
                    world.recorder.add(received)
                    continue
                _see_promptness(node, news, began)
                world.recorder.add(
                    Notified(world.time(), node.name, stream, news.id, news.status, news.attempt)
                )
    except StorageError:
        _see_patience(node, wait)
        raise


def _see_promptness(node: Node, job: Job, began: float) -> None:
    """Check that a notified change is seen at once, if no fault delays it."""
    now = node.world.time()
    changed: float | None = None
    for event in reversed(node.world.recorder.events):
        if isinstance(event, Change) and event.after is not None and event.after.id == job.id:
            if (event.after.state, event.after.attempt) != (job.row_state, job.attempt):
                break
            changed = event.at
    if changed is None or now <= max(changed, began) + AT_ONCE:
        return
    if not any(_troubles(node, now - LOOKED_BACK)):
        raise Violation(
            "who watches is told at once", f"{now - changed:.3f} s late", job=job.id, since=changed, at=now
        )


def _troubles(node: Node, since: float) -> Iterator[bool]:
    """Yield whether an event may have held up a program since a time."""
    answered: dict[int, float] = {}
    life = math.inf  # when the program ended that made the calls
    for event in reversed(node.world.recorder.events):
        if isinstance(event, Fault):
            yield event.node in {node.name, "db"} and max(event.at, event.until or 0.0) > since
        elif isinstance(event, Lived):
            if event.node == node.name:
                life = event.at if event.what in {"killed", "stopped"} else life
                yield event.what != "started" and event.at > since
        elif isinstance(event, Answered):
            answered[event.call] = event.at
            # What a watcher called off itself, as it left, delays no other.
            failed = event.outcome != "ok" and event.result != "cancelled"
            yield event.node == node.name and failed and event.at > since
        elif isinstance(event, Invoked) and event.node == node.name:
            over = answered.get(event.call, life)
            yield over > max(event.at + PROMPT, since)


def _see_patience(node: Node, wait: Wait) -> None:
    """Check that a stream failed only after the timeout of watchers."""
    events, now = node.world.recorder.events, node.world.time()
    asked = {event.call: event for event in events if isinstance(event, Invoked) and event.node == node.name}
    over = {event.call: event.at for event in events if isinstance(event, Answered)}
    looks = [call for call in asked.values() if call.verb == "get" and wait.job in call.args["ids"]]
    watched, away = math.inf, now
    for event in events:
        if not isinstance(event, Answered) or event.call not in asked:
            continue
        call = asked[event.call]
        if call.verb == "watch" and wait.job in call.args["ids"]:
            watched = event.at if event.outcome == "ok" else math.inf
        elif call.verb != "get" or wait.job not in call.args["ids"]:
            continue
        elif event.outcome == "ok":
            # Other callers read the storage too: before the stream watches, or between its own reads.
            another = any(one.call < event.call and over.get(one.call, now) > event.at for one in looks)
            away = now if watched <= call.at and not another else away
            continue
        if event.outcome != "ok":
            # After a failed read the stream watches again.
            away, watched = min(away, event.at), math.inf
    if now - min(away, _silent_since(node, wait)) < OUTAGE_TIMEOUT:
        raise Violation(
            "who waits is patient", f"after {now - away:.3f} s", job=wait.job, since=away, at=now
        ) from None


def _silent_since(node: Node, wait: Wait) -> float:
    """Return since when no read of a job's events was answered; now if the last one was."""
    reads: dict[int, float] = {}
    since = node.world.time()
    for event in node.world.recorder.events:
        if isinstance(event, Invoked) and event.node == node.name and event.verb == "events":
            if wait.job in event.args["after"]:
                reads[event.call] = event.at
        elif isinstance(event, Lived) and event.node == node.name and event.what == "killed":
            reads.clear()
        elif isinstance(event, Answered) and event.call in reads:
            del reads[event.call]
            if event.outcome != "ok":
                since = min(since, event.at)
            elif not reads:  # else the stream's own read may be the one without an answer
                since = node.world.time()
    return since


async def _result(node: Node, wait: Wait, _: int) -> None:
    """Wait for the result a few times, and check the result and the duration."""
    run = await node.queue.get_run(wait.job)
    for _round in range(GIVES_UP):
        began = asyncio.get_running_loop().time()
        try:
            result = await run.result(wait.timeout)
        except ResultTimeoutError:
            waited = asyncio.get_running_loop().time() - began
            if wait.timeout is None or waited < wait.timeout - 1e-3:
                raise Violation(
                    "a time-out is not early",
                    f"after {waited:.3f} s, and {wait.timeout} s were given",
                    job=wait.job,
                    at=node.world.time(),
                ) from None
            continue
        except JobFailedError as failed:
            _see(node, wait, failed.job)
            return
        _see_result(node, wait, result)
        return


def _see_result(node: Node, wait: Wait, result: object) -> None:
    """Check that a result is one that the handler returned."""
    ends = [event for event in node.world.recorder.events if isinstance(event, Ended)]
    returned = [end.value for end in ends if end.job == wait.job and end.how == "returned"]
    if result not in returned:
        raise Violation(
            "a result is what the handler returned",
            f"{result!r}, and not of {returned}",
            job=wait.job,
            at=node.world.time(),
        )


def _see(node: Node, wait: Wait, job: Job) -> None:
    """Check that a job whose result raised has failed."""
    if job.completed_on is None or job.id != wait.job:
        raise Violation(
            "who is told of a failure is told of its job",
            f"{job.id} is {job.row_state}",
            at=node.world.time(),
        )


async def _events(node: Node, wait: Wait, _: int) -> None:
    """Look at progress and log lines again and again, each line once and in order."""
    seen = 0
    while True:
        events = await parts_of(node.queue).storage.events({wait.job: seen})
        if events:
            seen = events[-1].seq
        job = await node.queue.get(wait.job)
        if job is None or job.completed_on is not None:
            return
        await asyncio.sleep(2.0)


_HOW: Final[dict[str, Callable[[Node, Wait, int], Awaitable[None]]]] = {
    "stream": _stream,
    "result": _result,
    "events": _events,
}


def _drawn(draws: RandomStream, number: int, jobs: list[UUID]) -> Wait:
    return Wait(
        number,
        at=round(draws.uniform(0.0, 0.4 * PHASE), 2),
        job=draws.pick(jobs),
        how=draws.pick(("stream", "stream", "result", "result", "events")),
        timeout=draws.pick((0.0, 0.5, 5.0, 20.0, None)),
        leaves=draws.pick((None, None, round(draws.uniform(0.5, 20.0), 2))),
    )


def _cut_off(name: str, seconds: float) -> Action:
    """Return the action of cutting a program off from the database for a time."""

    async def do(node: Node) -> None:
        other = node.nodes[name]
        other.partition("partition")
        node.world.later(seconds, other.partition, None)

    return do


async def _talk(script: Script, job: JobContext) -> Any:
    """Run the script, with log lines and progress in each attempt."""
    steps = [step.model_copy(update={"progress": True}) for step in script.steps]
    job.logger.info("begins")
    try:
        return await act(Script(steps=steps), job)
    finally:
        job.logger.info("ends")


def build(draws: RandomStream) -> Setup:
    """A few jobs, one program that sends and changes its mind, two that watch."""
    catalog = Catalog()
    catalog.task("work", retry_limit=draws.below(3), retry_delay=1, expire_in=15.0)(_talk)
    jobs = [own_id(draws) for _ in range(2 + draws.below(3))]
    known = Known(enumerate(jobs))
    actions: list[tuple[float, Action]] = [
        (
            draws.uniform(0.0, draws.pick((0.1, 0.1, 0.4)) * PHASE),
            sending(known, number, "work", script(draws, longest=12.0, hasty=1), SendOptions(id=job)),
        )
        for number, job in enumerate(jobs)
    ]
    for _ in range(draws.below(6)):
        what = draws.pick(("cancel", "resume", "retry", "retry"))
        actions.append((draws.uniform(0.1, 0.8) * PHASE, tending(known, draws.below(len(jobs)), what)))
    phase, kept = PHASE, draws.pick((5.0, 20.0))
    if draws.chance(0.15):
        # A program that can't reach the database for longer than those that wait in it are patient.
        phase, kept = PHASE + 2 * OUTAGE_TIMEOUT, 4 * OUTAGE_TIMEOUT
        actions.append((draws.uniform(0.1, 0.3) * PHASE, _cut_off("c2", 2 * OUTAGE_TIMEOUT)))
    waits = [_drawn(draws, number, jobs) for number in range(6 + draws.below(5))]
    return Setup(
        catalog,
        clients={
            "c1": doing(actions),
            "c2": _watching([wait for wait in waits if wait.number % 2]),
            "c3": _watching([wait for wait in waits if not wait.number % 2]),
        },
        worker=leased(1 + draws.below(3)),
        phase=phase,
        archive_after=kept,
        delete_after=20.0,
    )


SCENARIO = Scenario(__name__, "programs wait for results and follow jobs, whatever becomes of these", build)
