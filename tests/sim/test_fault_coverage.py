"""Which attempts and lines a fault counts for: those that it affected, and no others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.cases import check_each
from tests.sim.test_faults import outcome_of
from zeke_queue import Catalog, JobContext
from zeke_sim.experiment.fault_coverage import FaultCoverage
from zeke_sim.history.events import Line
from zeke_sim.report.source import section

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_sim.world.node import Node

OPTIONS: dict[str, Any] = {"retry_limit": 3, "retry_delay": 1, "retry_backoff": False}

near, far = Catalog(), Catalog()


@near.task("near", **OPTIONS)
async def stays_near(job: JobContext) -> None:
    await asyncio.sleep(5)  # noqa: TID251 - as an application does
    await job.extend(60)
    await asyncio.sleep(5)  # noqa: TID251


@far.task("far", **OPTIONS)
async def stays_far() -> None:
    await asyncio.sleep(20)  # noqa: TID251


async def both(node: Node) -> None:
    await node.queue.send("near")
    await node.queue.send("far", external=True)


async def cancelling(node: Node) -> None:
    job: UUID = (await node.queue.send("near")).id
    await node.queue.send("far", external=True)
    await node.clock.sleep(3)
    await node.queue.cancel(job)


def at(kind: str, second: float, *, long: float = 1.0) -> dict[str, Any]:
    return {"fault": kind, "at": second, "for": long}


def test_fault_counts_for_the_attempts_and_lines_that_it_affects() -> None:
    def check(
        decisions: dict[str, Any], tasks: dict[str, int], lines: set[str] | None = None, program: Any = both
    ) -> None:
        coverage = FaultCoverage()
        coverage.take(outcome_of(decisions, program, catalog=near, others={"x1": far}))
        assert {f"{task}: {group}": number for (task, group), number in coverage.tasks.items()} == tasks
        assert {f"{task}: {line.text.partition('  #')[0]}" for task, line, _ in coverage.lines} == (
            lines or set()
        )
        assert coverage.never() == sorted({"near", "far"} - {one.partition(":")[0] for one in tasks})
        assert set(coverage.ran) == {"near", "far"}

    first, second = "near: await asyncio.sleep(5)", "far: await asyncio.sleep(20)"
    killed = {"near: kills": 1, "near: expiries": 1}
    check_each(
        {
            "none": ({}, {}),
            "of one node": ({"node/w1/0": at("kill", 2.0)}, killed, {first}),
            "of another node": ({"node/x1/0": at("partition", 2.0)}, {"far: partitions": 1}, {second}),
            "of the database": (
                {"db/0": at("restart", 2.0)},
                {"near: outages": 1, "far: outages": 1},
                {first, second},
            ),
            "of a node that runs nothing": ({"node/w1/0": at("freeze", 14.0)}, {}),
            "of a call of a handler": (
                {"w1/extend/1": {"fault": "refused"}},
                {"near: outages": 1},
                {"near: await job.extend(60)"},
            ),
            "of a settlement": ({"w1/settle/1": {"fault": "lost"}}, {"near: late answers": 1}),
            "of a heartbeat": ({"w1/heartbeat/2": {"fault": "refused"}}, {}),
            "after a handler": ({"line/near/0/1": {"fault": "kill_line", "point": 4}}, killed),
            "before a line": (
                {"line/near/0/1": {"fault": "kill_line", "point": 2}},
                killed,
                {"near: await job.extend(60)"},
            ),
            "of a suspended process": (
                {"node/w1/0": at("freeze", 2.0, long=3.0), "node/w1/1": at("freeze", 3.0)},
                {"near: pauses": 1},
                {first},
            ),
            "of a dead process": (
                {"node/w1/0": at("kill", 2.0), "node/w1/1": at("kill", 2.5)},
                killed,
                {first},
            ),
            "none, and a job is cancelled": ({}, {}, None, cancelling),
        },
        check,
    )


def test_function_that_only_another_process_ran_is_shown_by_its_lines() -> None:
    coverage = FaultCoverage()
    coverage.passed["send"] = {Line("elsewhere.py", "send", 7, "await post()", after=False)}
    assert "await post()" in section(coverage)
