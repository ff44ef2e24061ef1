"""Retention in simulated newsrooms whose workers are killed: it deletes all old rows and no others."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pytest

from tests.cases import check_each
from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from zeke_queue.errors import SettingsError
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Began, Fault
from zeke_sim.loop.decisions import RandomStream
from zeke_sim.world.node import Node
from zeke_sim.world.setup import Setup
from zeke_sim.world.world import World
from zeke_tasks.context import Context, inline
from zeke_tasks.fetch.libraries import load_parsers
from zeke_tasks.payloads import ApplyRetention
from zeke_tasks.store.analysis import Spending
from zeke_tasks.store.budgets import Reservation
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.store.playbooks import NewRun, Playbook, RunStatus, TriggerSource
from zeke_tasks.store.retention import Retention
from zeke_tasks.stories import retention
from zeke_tasks.testing.ai import ScriptedAI
from zeke_tasks.testing.web import ScriptedWeb

KEPT: Final = {
    "stories": timedelta(minutes=30),
    "runs": timedelta(minutes=7),
    "spending": timedelta(minutes=50),
}
LATE: Final = timedelta(minutes=11)
"""Longer than between two ticks."""

TEAM: Final = UUID(int=21)
PLAYBOOK: Final = Playbook(UUID(int=31), TEAM, "Daily", ())
PAUSE: Final = 300.0
PHASE: Final = 3600.0

# Before a simulation begins, which allows no import that uses the network.
load_parsers()


class Newsroom:
    """A newsroom that makes a story, a playbook run and an AI call every five minutes.

    Every other run waits for a job that is gone, and every other call was not settled.
    """

    def __init__(self) -> None:
        self.scenario = Scenario(__name__, "old rows are deleted, and workers are killed", self._build)

    def _build(self, _draws: RandomStream) -> Setup:
        catalog = Catalog(resources=self._resources)
        catalog.include(retention.tasks)
        catalog.schedule("apply-retention", "*/10 * * * *", payload=ApplyRetention())
        return Setup(
            catalog,
            clients={"c1": self._publish},
            schedulers=1,
            phase=PHASE,
            quiet=3600.0,
            tail=0.0,
            before=self._open,
        )

    def _open(self, world: World) -> None:
        clock = world.database_clock
        # The newsroom's rows in a storage of their own, so that writing them meets no faults.
        self._domain = Domain(MemoryStorage(clock), MemoryRepository(clock), clock)  # type: ignore[arg-type]

    @asynccontextmanager
    async def _resources(self) -> AsyncGenerator[Context]:
        ages: dict[str, Any] = {
            f"zeke_delete_{kind}_after": age.total_seconds() for kind, age in KEPT.items()
        }
        kept = Retention.model_construct(**ages)
        yield Context(
            self._domain.repository, ScriptedWeb(), self._domain.clock, inline, ScriptedAI(), retention=kept
        )

    async def _publish(self, node: Node) -> None:
        """Make rows, and compare what is left with what must be."""
        domain, clock = self._domain, node.world.database_clock
        made: dict[str, dict[UUID, datetime]] = {kind: {} for kind in KEPT}
        source = await domain.source()
        await domain.verbs.put_playbook(PLAYBOOK)
        while node.world.time() < PHASE:
            number = len(made["stories"])
            story = await domain.told_story(f"story {number}", source)
            keys = (
                story.id,
                await self._run(ends=number % 2 == 0),
                await self._spend(settled=number % 2 == 0),
            )
            for births, key in zip(made.values(), keys, strict=True):
                births[key] = clock.now()
            left = await self._left()
            for kind, births in made.items():
                # By the database's clock, which drifts.
                assert {key for key, born in births.items() if clock.now() - born <= KEPT[kind]} <= left[kind]
            await clock.sleep(PAUSE)
        # Without faults, the next tick deletes the rest.
        await clock.sleep(LATE.total_seconds())
        now, left = clock.now(), await self._left()
        for kind, births in made.items():
            assert left[kind] <= {key for key, born in births.items() if now - born <= KEPT[kind] + LATE}
            assert len(left[kind]) < len(births)
        assert len(await domain.verbs.items_of(source.id)) == len(made["stories"])

    async def _run(self, *, ends: bool) -> UUID:
        key = self._domain.new_id()
        async with self._domain.rows() as rows:
            await rows.ensure_run(NewRun(key, PLAYBOOK.id, TEAM, TriggerSource.API))
            await rows.begin_run(key)
            if ends:
                await rows.end_run(key, RunStatus.SUCCEEDED)
        return key

    async def _spend(self, *, settled: bool) -> UUID:
        key, today = self._domain.new_id(), self._domain.clock.now().date()
        async with self._domain.rows() as rows:
            if settled:
                await rows.note_spending(Spending(key, 1, "analysis", "analyze-story", "m", 1, 2, 0.1, TEAM))
            else:
                call = Reservation(key, 1, "analysis", "analyze-story", "m", TEAM, today, Decimal("0.1"))
                assert await rows.reserve(call, None)
        return key

    async def _left(self) -> dict[str, set[UUID]]:
        async with self._domain.rows() as rows:
            calls = [*await rows.spending(), *await rows.reservations()]
            return {
                "stories": {one.id for one in await rows.newest_stories(1000)},
                "runs": {one.id for one in await rows.runs_of(PLAYBOOK.id)},
                "spending": {one.job_id for one in calls},
            }


def test_old_rows_are_deleted_and_no_others() -> None:
    room, kills, runs = Newsroom(), 0, 0
    for seed in range(4):
        outcome = run(room.scenario, room.scenario.plan(seed))
        assert outcome.violation is None, (seed, outcome.violation)
        kills += sum(isinstance(event, Fault) and event.kind.startswith("kill") for event in outcome.events)
        runs += sum(isinstance(event, Began) and event.attempt > 1 for event in outcome.events)
    assert kills > 4
    assert runs > 1


async def test_run_that_cant_end_is_deleted_once_its_job_is_gone(jobs: Jobs) -> None:
    domain = jobs.domain
    await domain.verbs.put_playbook(PLAYBOOK)
    payload = {"playbookId": PLAYBOOK.id, "teamId": TEAM, "triggerSource": "api"}
    waiting = (await jobs.queue.send("playbook-run", payload)).id
    for key in (waiting, UUID(int=41)):
        await domain.verbs.ensure_run(NewRun(key, PLAYBOOK.id, TEAM, TriggerSource.API))
        await domain.verbs.begin_run(key)
    assert (await jobs.run("apply-retention"))["runs"] == 1
    assert [run.id for run in await domain.verbs.runs_of(PLAYBOOK.id)] == [waiting]


def test_age_that_may_be_meant_in_days_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(value: str) -> None:
        monkeypatch.setenv("ZEKE_DELETE_STORIES_AFTER", value)
        with pytest.raises(SettingsError, match=r"ZEKE_DELETE_STORIES_AFTER: .*86400"):
            Retention.load()

    check_each(["30", "86399"], check)
    monkeypatch.setenv("ZEKE_DELETE_STORIES_AFTER", "86400")
    assert Retention.load().zeke_delete_stories_after == 86400
