"""Handlers of an application in a simulated world: they send jobs, and record their effects."""

from __future__ import annotations

import asyncio

from tests.sim.worlds import played, scenario_of, sending
from zeke_queue import Catalog, JobContext
from zeke_sim.experiment.run import Outcome
from zeke_sim.history.events import Effect
from zeke_sim.properties import ALL, unique_effects
from zeke_sim.world.handlers import effect
from zeke_sim.world.node import Node


def simulate(catalog: Catalog, task: str) -> Outcome:
    return played(scenario_of(catalog, sending(task), options={"properties": (*ALL, unique_effects())}))


def test_handler_sends_tasks() -> None:
    catalog = Catalog()
    ran: list[int] = []

    @catalog.task("child")
    def child() -> None:
        ran.append(1)

    @catalog.task("parent")
    async def parent(job: JobContext) -> None:
        await job.send(child)
        run = await job.trigger(child)
        await run.result(timeout=60)

    assert simulate(catalog, "parent").violation is None
    assert ran == [1, 1]


def test_effects_belong_to_their_attempt() -> None:
    catalog = Catalog()

    @catalog.task("pay", retry_limit=1, retry_delay=1, retry_backoff=False)
    async def pay(job: JobContext) -> None:
        effect(f"attempt {job.attempt}")
        await asyncio.to_thread(effect, f"in a thread {job.attempt}")
        if job.attempt == 1:
            raise RuntimeError("once more")

    outcome = simulate(catalog, "pay")
    effects = [event for event in outcome.events if isinstance(event, Effect)]
    assert [(one.key, one.attempt, one.node, one.alive) for one in effects] == [
        ("attempt 1", 1, "w1", True),
        ("in a thread 1", 1, "w1", True),
        ("attempt 2", 2, "w1", True),
        ("in a thread 2", 2, "w1", True),
    ]
    assert outcome.violation is None


def test_repeated_effect_is_found() -> None:
    catalog = Catalog()

    @catalog.task("pay", retry_limit=1, retry_delay=1)
    def pay(job: JobContext) -> None:
        effect("paid")
        if job.attempt == 1:
            raise RuntimeError("once more")

    violation = simulate(catalog, "pay").violation
    assert violation is not None
    assert violation.rule == "no effect twice"


def test_effect_of_a_killed_process_is_found() -> None:
    catalog = Catalog()
    nodes: list[Node] = []

    @catalog.task("pay")
    def pay() -> None:
        nodes[0].nodes["w1"].kill()
        effect("paid")

    async def send(node: Node) -> None:
        nodes.append(node)
        await node.queue.send("pay")

    outcome = played(scenario_of(catalog, send))
    assert outcome.violation is not None
    assert outcome.violation.rule == "a dead process does nothing"
    assert [event.alive for event in outcome.events if isinstance(event, Effect)] == [False]


def test_effect_does_nothing_outside_of_a_simulation() -> None:
    catalog = Catalog()

    @catalog.task("pay")
    def pay() -> None:
        effect("paid")

    outcome = simulate(catalog, "pay")
    pay()
    assert [event.key for event in outcome.events if isinstance(event, Effect)] == ["paid"]
