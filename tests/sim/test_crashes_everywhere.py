"""Runs with kills try all points of handlers, all pairs, each line once, or as many as requested."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from tests.sim.worlds import catalog_of, played, scenario_of, sending
from zeke_queue import Catalog, JobContext
from zeke_sim.experiment.crashes import crash_everywhere
from zeke_sim.history.events import Fault
from zeke_sim.world import lines
from zeke_sim.world.faults import NONE

if TYPE_CHECKING:
    from pathlib import Path

    from zeke_sim.experiment.scenario import Scenario
    from zeke_sim.world.context import Passed

ROUNDS = 600
"""Rounds of a handler with far more points than others."""

kept: list[int] = []


async def goes_on(job: JobContext) -> int:
    for _ in range(2):
        await asyncio.sleep(0)  # noqa: TID251 - as an application does
    return job.attempt


def stays(job: JobContext) -> int:
    for _ in range(2):
        kept.clear()
    return job.attempt


def lasts(job: JobContext) -> int:
    for number in range(ROUNDS):
        kept.clear()
        kept.append(number)
    return job.attempt


def tried(scenario: Scenario, **options: Any) -> tuple[list[Passed], list[list[tuple[int, int]]]]:
    """Return the points, and the attempt and the point of each kill, by run."""
    outcomes = [outcome for _, outcome in crash_everywhere(scenario, **options)]
    for outcome in outcomes:
        assert outcome.violation is None, outcome.violation
    plans = [outcome.plan.decisions or {} for outcome in outcomes[1:]]
    kills = [
        sorted((int(address.rpartition("/")[2]), one["point"]) for address, one in plan.items())
        for plan in plans
    ]
    return list(outcomes[0].passed), kills


@pytest.mark.nightly
@pytest.mark.parametrize("handler", [goes_on, stays], ids=["async", "sync"])
def test_every_point_and_every_pair_is_tried(handler: Any) -> None:
    scenario = scenario_of(catalog_of(handler, retry_limit=2), sending("look"), workers=2, phase=200.0)
    points, kills = tried(scenario, pairs=True)
    numbers = [one.point for one in points]
    assert numbers == list(range(1, len(points) + 1))
    assert points[-1].affected.returned
    pairs = [[(1, one), (2, other)] for one, other in product(numbers, repeat=2)]
    assert kills == [*([(1, one)] for one in numbers), *pairs]
    apart = {(one.affected.line, one.affected.returned) for one in points}
    assert len(tried(scenario, once=True)[1]) == len(apart) < len(points)


def test_as_many_points_of_each_task_are_drawn() -> None:
    catalog = Catalog()
    catalog.task("long", retry_limit=2)(lasts)
    catalog.task("short", retry_limit=2)(stays)
    scenario = scenario_of(catalog, sending("long"), sending("short"), workers=2, phase=200.0)
    hit: Counter[str] = Counter()
    for results, outcome in crash_everywhere(scenario, points_max=6):
        assert results.points > 2 * ROUNDS
        hit.update(one.task for event in outcome.events if isinstance(event, Fault) for one in event.affected)
    assert hit == {"long": 3, "short": 3}


def test_nothing_is_killed_at_a_point_after_the_fault_phase() -> None:
    async def waits() -> None:
        await asyncio.sleep(50)  # noqa: TID251
        kept.clear()

    def faults(phase: float) -> int:
        kill = {"line/look/0/1": {"fault": "kill_line", "point": 2}}
        knobs = NONE.but(kinds=("kill_line",), handler=1.0)
        made = scenario_of(catalog_of(waits, retry_limit=2), sending("look"), workers=2, phase=phase)
        return sum(isinstance(event, Fault) for event in played(made, kill, knobs).events)

    assert (faults(100.0), faults(10.0)) == (1, 0)


def test_modules_have_points_however_they_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "depot"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "tasks": "from depot.orders import order\n",
        "orders": "from depot import bank\n\ndef order(): return bank.charge()\n",
        "bank": "def charge(): return 1\n",
        "other": "def unused(): return 1\n",
    }.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("depot.tasks")
    __import__("depot.other")
    assert sorted(lines.modules_of(("depot.tasks",))) == ["depot.bank", "depot.orders", "depot.tasks"]
