"""A world in which the process of one task is killed at a statement, and the rows that it leaves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.tasks import beginnings
from tests.tasks.beginnings import web
from tests.tasks.domain import Domain, memory_domain
from tests.tasks.jobs import EVERYTHING_IS_OLD
from tests.tasks.scripted import ScriptedAI, scripted_youtube
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.testing.client import Client
from zeke_sim.world.node import Node
from zeke_sim.world.setup import Setup
from zeke_sim.world.world import World
from zeke_tasks.catalog import MODULES
from zeke_tasks.context import Context, inline
from zeke_tasks.store.memory import MemoryRepository

Begin = Callable[[Domain], Coroutine[Any, Any, tuple[str, dict[str, Any]]]]

BEGINNINGS: Final[dict[str, Begin]] = {
    name.removeprefix("begin_"): begin
    for name, begin in vars(beginnings).items()
    if name.startswith("begin_")
}
"""Where each task begins, by the name of the case."""

STEPS: Final = ("summarize-story", "update-story-status")
"""The tasks of the playbook's steps, for which it waits."""

MADE_OF: Final = ("content_id", "title", "url")
"""Columns of a story that depend on chance, if two items have the same text."""


def run_by(task: str) -> list[str]:
    """Return the tasks that are run when a task is tested; jobs of others are only sent."""
    return [task, *STEPS] if task == "playbook-run" else [task]


async def everything(domain: Domain) -> dict[str, list[Any]]:
    """Return every row of the domain, every job by name and payload, and the purposes of the AI's costs."""
    found = await domain.everything(times=False)
    jobs = (await domain.storage.find(JobQuery(limit=1000))).jobs
    return {
        **found,
        "ai_spending": sorted(one["purpose"] for one in found["ai_spending"]),
        "stories": [{name: row[name] for name in row if name not in MADE_OF} for row in found["stories"]],
        "jobs": sorted((job.name, str(job.data)) for job in jobs),
    }


class CrashWorld:
    """One task's job in a simulated world, which must leave the same rows in every run.

    Args:
        begin: where the task begins.

    Attributes:
        task: the task.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self.task, _ = asyncio.run(begin(memory_domain()))
        self._whole: dict[str, Any] | None = None
        self.scenario = Scenario(__name__, "a task is killed, and run again", self._build)

    def _build(self, _draws: object) -> Setup:
        return Setup(
            self._catalog(),
            clients={"c1": self._send},
            before=self._open,
            phase=600.0,
            tail=0.0,
        )

    def _open(self, world: World) -> None:
        self._ai, self._web = ScriptedAI(), web()
        clock = world.database_clock
        self._domain = Domain(world.store, MemoryRepository(clock), clock)  # type: ignore[arg-type]

    def _catalog(self) -> Catalog:
        """Return a catalog in which only the tested tasks do anything."""

        @asynccontextmanager
        async def resources() -> AsyncGenerator[Context]:
            domain = self._domain
            youtube = scripted_youtube()
            yield Context(
                domain.repository,
                self._web,
                domain.clock,
                inline,
                self._ai,
                youtube=youtube,
                retention=EVERYTHING_IS_OLD,
            )

        made = Catalog(resources=resources)
        for module in MODULES:
            for name in module.tasks.tasks:
                if name in run_by(self.task):
                    made.include(module.tasks)
                else:
                    made.task(name)(_do_nothing)
        return made

    async def _send(self, node: Node) -> None:
        """Send the job, wait for its end, and compare what it left with what the first run left."""
        domain = self._domain
        # What a beginning sends stays in a storage of its own.
        before = Domain(MemoryStorage(domain.clock), domain.repository, domain.clock)
        task, payload = await self._begin(before)
        client = Client(node)
        job = await client.wait(await client.trigger(task, payload))
        assert job.status is JobStatus.COMPLETED, f"{job.status}: {job.output}"
        left = await everything(domain)
        calls = Counter(one.what for one in self._ai.asked)
        if self._whole is None:
            self._whole, self._calls = left, calls
        assert left == self._whole
        spent = [one for one in (await domain.everything())["ai_spending"] if one["attempt"] == 1]
        # The AI is asked again only if the attempt that was killed has not stored its answer.
        assert calls.total() - self._calls.total() <= len(self._whole["ai_spending"]) - len(spent)


async def _do_nothing(payload: Any) -> None:
    """Replace the handlers of tasks that are not tested."""
