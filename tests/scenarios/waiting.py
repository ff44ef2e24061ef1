"""Jobs that run others and continue with their results, while everything fails.

A plan is a tree: each job calls its children one after the other, or sends them all and then asks for each
outcome, two or three generations deep. Leaves fail, are retried, expire, or take their time; so do parents,
before they wait and when they continue. There may be only one slot for each task, or in total, so that a job
that kept its slot while it waits would prevent its children from running. Some jobs wait for others that are
not their children, some of these in a cycle, for a job that is never sent, or again for one that has ended.
Clients cancel, resume and retry parents and children, some within transactions that they keep open for a
while and then may not commit.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel

from tests.workloads import Action, Known, Script, Step, act, doing, leased, own_id, script, sending, tending
from zeke_queue.client.parts import parts_of
from zeke_queue.core.options import SendOptions
from zeke_queue.errors import JobNotFoundError
from zeke_queue.model import FINAL, RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Wait
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Change, Ended
from zeke_sim.history.state import Broken
from zeke_sim.properties import ALL, holds
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from zeke_queue.model import Job
    from zeke_queue.task.run import Run
    from zeke_sim.history.state import RunState
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node

PHASE: Final = 40.0
DEEP: Final = 3


class Part(BaseModel):
    """The script of a job, and the children that it calls before.

    Attributes:
        first: its actions before the first call, by attempt; None for none.
        then: its actions after its children have ended.
        key: its position among its parent's children, from 0; None for one sent by users.
        how: whether it calls its children one after the other, or sends all of them first.
        pause: seconds before each child, in which it may lose its job.
        parts: its children.
        aside: whether it also sends a job that it does not wait for.
        peer: a job that it waits for besides, though it is not its child.
        asks: whether it asks for its peer before it waits, as it should.
    """

    first: Script | None = None
    then: Script = Script()
    key: int | None = None
    how: Literal["calls", "sends"] = "calls"
    pause: float = 0.0
    parts: tuple[Part, ...] = ()
    peer: UUID | None = None
    asks: bool = True
    aside: bool = False


async def call(part: Part, job: JobContext) -> Any:
    """Call the children, check how they ended, and run the script of this attempt."""
    if part.first is not None:
        await act(part.first, job)
    if part.peer is not None and not part.asks:
        raise Wait(part.peer)
    if part.peer is not None:
        with suppress(JobNotFoundError):  # it may not have been sent yet
            await job.wait_for(part.peer)
    if part.aside:
        await job.send("leaf", Part(then=Script(steps=[Step(seconds=4.0)])), id=job.child_id("aside"))
    ended = await (_one_by_one(part, job) if part.how == "calls" else _side_by_side(part, job))
    seen = [(str(child.id), str(child.row_state)) for child in ended]
    return {"seen": seen, "result": await act(part.then, job)}


async def _one_by_one(part: Part, job: JobContext) -> list[Job]:
    ended: list[Job] = []
    for child in part.parts:
        await asyncio.sleep(part.pause)
        run = await job.start_child(_task(child), child, key=str(child.key))
        ended.append(await job.wait_for(run))
    return ended


async def _side_by_side(part: Part, job: JobContext) -> list[Job]:
    runs: list[Run[Any]] = []
    for child in part.parts:
        await asyncio.sleep(part.pause)
        runs.append(await job.start_child(_task(child), child, key=str(child.key)))
    return [await job.wait_for(run) for run in runs]


def _task(part: Part) -> str:
    return "branch" if part.parts else "leaf"


@holds("a child is sent once", Change)
def a_child_is_sent_once(event: Change, state: RunState) -> None:
    """Of each of its children a parent has one, however often it runs."""
    row = event.after
    if (
        row is None
        or event.before is not None
        or event.table != "job"
        or row.parent is None
        or row.data is None
    ):
        return
    child = row.parent, json.loads(row.data)["key"]
    first = state.of("children by their keys", dict[tuple[UUID, int], UUID]).setdefault(child, row.id)
    if first != row.id:
        raise Broken(f"child {child[1]} of {child[0]} is there already, as {first}", job=row.id)


@holds("who goes on sees that its children have ended", Ended)
def who_goes_on_sees_that_its_children_have_ended(event: Ended, state: RunState) -> None:
    """A handler learns how each of its children ended."""
    row = state.lives[event.job].row
    if event.how != "returned" or row is None or row.data is None:
        return
    seen: list[tuple[str, str]] = event.value["seen"]
    parts = len(json.loads(row.data)["parts"])
    if len(seen) != parts:
        raise Broken(f"it has {parts} children, and saw {len(seen)}", job=event.job)
    for child, status in seen:
        stood = [
            change.after.state for change in state.lives[UUID(child)].changes if change.after is not None
        ]
        if RowState(status) not in FINAL or RowState(status) not in stood:
            raise Broken(f"it was told that child {child} is {status}", job=event.job)


class Abandoned(Exception):
    """Rolls a transaction back."""


def build(draws: RandomStream) -> Setup:
    """A few trees of jobs, two workers with few slots, and users that cancel and resume."""
    catalog = Catalog()
    for name in ("branch", "leaf"):
        catalog.task(
            name,
            concurrency_limit=draws.pick((None, 1, 1, 2)),
            retry_limit=draws.below(3),
            retry_delay=1,
            expire_in=draws.pick((2.0, 4.0, 15.0) if name == "branch" else (6.0, 15.0)),
        )(call)
    known = Known()
    plans: dict[str, list[tuple[float, Action]]] = {"c1": [], "c2": [], "c3": []}
    slow, sent, peer = round(draws.uniform(2.0, 8.0), 2), draws.uniform(0.0, 0.5 * PHASE), own_id(draws)
    lonely = Part(then=Script(steps=[Step(seconds=slow), *script(draws).steps]))
    plans["c1"].append((sent, sending(known, -1, "leaf", lonely, SendOptions(id=peer))))
    for number in range(1 + draws.below(2)):
        near = draws.chance(0.6)
        at = sent + draws.uniform(0.0, 2.0) if near else draws.uniform(0.0, 0.5 * PHASE)
        tree = _part(draws, DEEP, peer, near=near)
        key = f"tree {number}" if draws.chance(0.5) else None
        plans["c1"].append((at, sending(known, number, _task(tree), tree, SendOptions(singleton_key=key))))
        if near and draws.chance(0.7):
            # So that the peer ends while the tree is locked, and the tree then continues.
            held = at + draws.uniform(0.0, 2.0)
            plans["c2"].append((held, _slowly(known, number, 8.0, commit=False)))
            plans["c3"].append((held + draws.uniform(0.5, 4.0), _slowly(known, -1, 0.1, commit=True)))
        elif draws.chance(0.3):
            # So that it sends children while it is being cancelled.
            plans["c3"].append((at + draws.uniform(0.0, 2.0), _slowly(known, number, 3.0, commit=True)))
        for _ in range(draws.below(4)):
            moment = at + draws.uniform(0.0, 12.0)
            plans[draws.pick(("c2", "c3"))] += _changes_of_mind(draws, known, number, moment, key)
    if draws.chance(0.3):
        plans["c3"] += _circle(draws, known)
    if draws.chance(0.2):
        lost = Part(peer=peer if draws.chance(0.5) else own_id(draws), asks=False)
        plans["c3"].append((draws.uniform(0.0, 0.5 * PHASE), sending(known, -3, "leaf", lost)))
    lease = draws.pick((3.0, 6.0))
    return Setup(
        catalog,
        clients={name: doing(plan) for name, plan in plans.items()},
        maintenance=1 + draws.below(2),
        worker=leased(1 + draws.below(3), lease, 2.0),
        sweep=draws.pick((1.0, 3.0)),
        phase=PHASE,
        archive_after=draws.pick((5.0, 20.0)),
        delete_after=draws.pick((5.0, 20.0)),
        batch=draws.pick((1, 2, 1000)),
    )


def _circle(draws: RandomStream, known: Known) -> list[tuple[float, Action]]:
    """Draw jobs that wait for each other, each for the next one."""
    ids = [own_id(draws) for _ in range(1 + draws.below(4))]
    at = draws.uniform(0.0, 0.5 * PHASE)
    plan: list[tuple[float, Action]] = []
    for job_id, peer in zip(ids, [*ids[1:], ids[0]], strict=True):
        # Its first action gives the others time to be sent.
        first = Script(steps=[Step(seconds=round(draws.uniform(1.0, 3.0), 2))])
        plan.append((at, sending(known, -4, "leaf", Part(first=first, peer=peer), SendOptions(id=job_id))))
        at += draws.uniform(0.0, 0.5)
    return plan


def _part(draws: RandomStream, deep: int, peer: UUID, key: int | None = None, *, near: bool = False) -> Part:
    """Draw a job with the generations below it; with ``near``, it waits for its peer first."""
    parts = 0 if deep == 1 else draws.pick((1, 2, 2, 3) if key is None else (0, 1, 1, 2))
    early = draws.chance(0.4) and not near
    return Part(
        first=script(draws, longest=8.0, steps=2, stubborn=0.3) if early else None,
        then=script(draws, longest=6.0, steps=3),
        key=key,
        how=draws.pick(("calls", "sends")),
        pause=draws.pick((0.0, round(draws.uniform(0.0, 3.0), 2))),
        parts=tuple(_part(draws, deep - 1, peer, number) for number in range(parts)),
        peer=peer if near or draws.chance(0.15) else None,
        aside=draws.chance(0.15),
    )


def _changes_of_mind(
    draws: RandomStream, known: Known, number: int, at: float, key: str | None
) -> list[tuple[float, Action]]:
    """Draw the actions on a tree, or on one of its children: cancelled and resumed later, or retried.

    If it had a key, another job may hold it.
    """
    what = draws.pick(("root", "root", "child", "slowly", "slowly", "retry"))
    if what == "slowly":
        seconds, commit = round(draws.uniform(0.5, 8.0), 2), draws.chance(0.6)
        return [(at, _slowly(known, number, seconds, commit=commit))]
    if what == "child":
        return [(at, _cancel_child(known, number, str(draws.below(2))))]
    if what == "retry":
        return [(at, tending(known, number, "retry"))]
    actions: list[tuple[float, Action]] = []
    if draws.chance(0.7):
        # So that one child was cancelled for itself, and others with their parent.
        actions.append((at, _cancel_child(known, number, str(draws.below(2)))))
        at += draws.pick((0.0, 1.0))
    actions.append((at, tending(known, number, "cancel")))
    if draws.chance(0.8):
        again = at + draws.uniform(0.0, 4.0)
        if key is not None and draws.chance(0.4):
            rival = Part(then=Script(steps=[Step(seconds=4.0)]))
            actions.append((again, sending(known, -2, "branch", rival, SendOptions(singleton_key=key))))
        actions.append((again, tending(known, number, "resume")))
    return actions


def _slowly(known: Known, number: int, seconds: float, *, commit: bool) -> Action:
    """Return the action of cancelling a tree in a transaction that is open for a number of seconds."""

    async def cancel(node: Node) -> None:
        if number not in known:
            return
        with suppress(Abandoned):
            async with parts_of(node.queue).storage.transaction() as transaction:
                await transaction.cancel([known[number]])
                await asyncio.sleep(seconds)
                if not commit:
                    raise Abandoned

    return cancel


def _cancel_child(known: Known, number: int, key: str) -> Action:
    """Return the action of cancelling a child of a tree's, if it is there."""

    async def cancel(node: Node) -> None:
        if number in known:
            with suppress(JobNotFoundError):
                await node.queue.cancel(uuid5(known[number], key))

    return cancel


SCENARIO = Scenario(
    __name__,
    "jobs that run others and go on with what came of them, cancelled and lost on the way",
    build,
    properties=(*ALL, a_child_is_sent_once, who_goes_on_sees_that_its_children_have_ended),
)
