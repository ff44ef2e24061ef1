"""Every task, killed at any statement and run again by another worker, leaves what one run leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar
from uuid import UUID

import psycopg
import pytest

from tests.conformance import planting
from tests.tasks.beginnings import web
from tests.tasks.crashes import BEGINNINGS, Begin, CrashWorld, everything, run_by
from tests.tasks.domain import Domain, memory_domain
from tests.tasks.emptying import empty
from tests.tasks.jobs import Jobs
from tests.tasks.killed import LEASED, KilledProcesses, killed_processes
from tests.tasks.scripted import ScriptedAI
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.model import JobStatus
from zeke_queue.worker import Worker
from zeke_sim.experiment.crashes import crash_everywhere
from zeke_sim.world.context import Passed
from zeke_tasks.catalog import build_catalog

T = TypeVar("T")

JOB: Final = UUID(int=0xB)

HOUR: Final = 3600.0


class Points:
    """Chooses about as many points of a case as ``--crash-points`` says, evenly; 0 for all."""

    def __init__(self, config: pytest.Config) -> None:
        self._many = int(config.getoption("--crash-points") or 0)

    def of(self, points: Sequence[T]) -> Sequence[T]:
        return points[:: max(1, -(-len(points) // self._many)) if self._many else 1]


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> Points:
    return Points(request.config)


@pytest.fixture(scope="session")
def processes(shared_domain_dsn: str) -> Iterator[KilledProcesses]:
    with killed_processes(shared_domain_dsn) as started:
        yield started


async def test_every_task_is_among_the_beginnings() -> None:
    tasks = build_catalog().tasks
    assert {(await begin(memory_domain()))[0] for begin in BEGINNINGS.values()} == tasks.keys()
    assert len(tasks) == 18


@pytest.mark.parametrize("name", BEGINNINGS)
def test_task_killed_at_a_statement_in_memory_leaves_what_one_run_leaves(name: str, chosen: Points) -> None:
    world = CrashWorld(BEGINNINGS[name])

    def due(passed: Sequence[Passed]) -> Sequence[Passed]:
        points = [one for one in passed if one.affected.task == world.task]
        tested = build_catalog().get(world.task).handler.__module__.replace(".", "/")
        assert any(one.affected.line and one.affected.line.file == f"{tested}.py" for one in points)
        return chosen.of(points)

    for _, outcome in crash_everywhere(world.scenario, choose=due):
        outcome.check()


@pytest.mark.nightly
@pytest.mark.parametrize("name", BEGINNINGS)
async def test_task_killed_at_a_statement_on_postgres_leaves_what_one_run_leaves(
    name: str, chosen: Points, on_postgres: Domain, domain_dsn: str, processes: KilledProcesses
) -> None:
    clock = on_postgres.clock
    task, domain, queue = await _begin(on_postgres, domain_dsn, BEGINNINGS[name])
    passed = processes.run(task)
    assert passed
    once = await everything(domain)
    for point in chosen.of(range(1, passed + 1)):
        empty(domain_dsn)
        _, domain, queue = await _begin(on_postgres, domain_dsn, BEGINNINGS[name])
        assert processes.run(task, point) is None
        clock.advance(HOUR)
        # The server notices the end of a process's connection, and unlocks what it had locked.
        while not (await Maintenance(parts_of(queue)).sweep()).rescued:
            pass
        clock.advance(HOUR)
        await Worker(queue, tasks=run_by(task), **LEASED).drain()
        clock.advance(-2 * HOUR)
        job = await queue.get(JOB)
        assert job
        assert job.status is JobStatus.COMPLETED, f"point {point}: {job.output}"
        assert await everything(domain) == once, f"point {point}"


async def _begin(on_postgres: Domain, dsn: str, begin: Begin) -> tuple[str, Domain, Queue]:
    """Store what a task finds, and send its job; return the task, and a domain and a queue for this run."""
    domain = Domain(on_postgres.storage, on_postgres.repository, on_postgres.clock)
    task, payload = await begin(domain)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(planting.EMPTY)  # what the beginning has sent
    queue = Jobs(domain, web(), ScriptedAI()).worked()
    await queue.trigger(task, payload, id=JOB)
    return task, domain, queue
