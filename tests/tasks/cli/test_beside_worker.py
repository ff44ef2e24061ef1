"""``zeke ingest`` and the other commands beside workers with other settings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.tasks.cli.conftest import Zeke
from tests.tasks.test_ingest_command import Site
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core.names import PRIVATE_PREFIX
from zeke_queue.errors import JobFailedError
from zeke_queue.model import JobStatus, QueueCapacity, WorkerInfo
from zeke_queue.system.settings import Settings
from zeke_queue.worker import Worker
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.briefs.generate import generate_brief
from zeke_tasks.catalog import build_catalog
from zeke_tasks.cli.run_ingest import ingest
from zeke_tasks.demo.site import Answer
from zeke_tasks.payloads import ExtractHighlights
from zeke_tasks.testing.web import feed

pytestmark = pytest.mark.nightly


@pytest.fixture
def settings(domain_dsn: str) -> Settings:
    return Settings.load(database_primary_url=domain_dsn, jobs_heartbeat_interval=0.4, jobs_lease=600)


@asynccontextmanager
async def _no_resources() -> AsyncIterator[Any]:
    """Yield what no handler can work with, so that each job that this worker runs fails."""
    yield None


@asynccontextmanager
async def _other_worker(settings: Settings) -> AsyncIterator[Queue]:
    """Run a worker of the same catalog with other resources."""
    async with (
        Queue.connect(build_catalog(_no_resources, scheduled=False), settings=settings) as queue,
        Worker(queue, poll_interval=0.05),
    ):
        yield queue


def _rows(settings: Settings) -> Mapping[str, set[str]]:
    """Return the states of all jobs by queue."""
    with psycopg.connect(settings.require_database()) as connection:
        found = connection.execute(
            "select name, array_agg(distinct state::text) from pgboss.job group by name"
        )
        return {name: set(states) for name, states in found}


async def test_jobs_of_a_command_run_in_it_beside_a_worker_with_other_settings(settings: Settings) -> None:
    async with Site() as site, _other_worker(settings) as others:
        came = await ingest([site.url("/feed"), site.url("/trees")], settings, allow_private=True)
        hits = dict(site.server.hits)
        # The worker works, and with its own resources.
        theirs = await others.send(
            "extract-highlights", ExtractHighlights(story_id=came.stories[0].story.id), retry_limit=0
        )
        with pytest.raises(JobFailedError, match="Context"):
            await theirs.result(60)
    assert came.is_complete
    assert hits == {"/feed": 1, "/bees": 1, "/birds": 1, "/trees": 1}
    rows = _rows(settings)
    assert [name for name in rows if name.startswith(PRIVATE_PREFIX)] == []
    assert rows["generate-brief"] == {"completed"}


async def test_jobs_that_a_command_leaves_go_to_the_queues_of_workers(settings: Settings) -> None:
    async with Site() as site:
        site.answers["/feed"] = Answer(body=feed(("Late", site.url("/late"))).encode())
        site.answers["/late"] = Answer(status=503, headers=(("Retry-After", "600"),))
        came = await ingest([site.url("/feed")], settings, allow_private=True, timeout=300)
    assert not came.is_complete
    assert _rows(settings) == {"ingest-source": {"completed"}, "fetch-content": {"retry"}}


async def test_command_runs_no_jobs_of_others(settings: Settings) -> None:
    async with Queue.connect(build_catalog(), settings=settings) as queue, Site() as site:
        theirs = await queue.send("extract-highlights", {"storyId": "00000000-0000-4000-8000-000000000001"})
        assert (await ingest([site.url("/trees")], settings, allow_private=True)).is_complete
        assert await theirs.status() is JobStatus.QUEUED


async def test_job_that_a_worker_runs_already_is_announced(zeke: Zeke, settings: Settings) -> None:
    async with Site() as site:
        came = await ingest([site.url("/trees")], settings, allow_private=True)
        with psycopg.connect(settings.require_database()) as connection:
            connection.execute("delete from zeke.story_overlays")
        async with Queue.connect(build_catalog(), settings=settings) as queue:
            await queue.send("analyze-story", {"storyId": came.stories[0].story.id, "trigger": "manual"})
            storage, worker = parts_of(queue).storage, UUID(int=1)
            await storage.heartbeat(WorkerInfo(worker, "host", 1, ("analyze-story",), 600.0))
            assert len(await storage.claim(worker, [QueueCapacity("analyze-story", 1)], 1)) == 1
        result = await zeke("ingest", "--allow-private", site.url("/trees"), "--timeout", "5")
    assert result.exit_code == 1
    assert "1 of these jobs runs in a worker already, with its settings" in result.stderr


async def test_exit_code_and_json_report_a_failed_brief(
    zeke: Zeke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ask = StubClient.ask

    async def fails(self: StubClient, prompt: Any, *args: Any) -> Any:
        if "brief" in prompt.name:
            raise RuntimeError("no brief today")
        return await ask(self, prompt, *args)

    monkeypatch.setattr(StubClient, "ask", fails)
    monkeypatch.setattr(generate_brief, "layer", replace(generate_brief.layer, retry_limit=0))
    async with Site() as site:
        result = await zeke("ingest", "--allow-private", site.url("/trees"), "--json")
    (tmp_path / "bees.txt").write_text("Bees dance.", encoding="utf-8")
    uploaded = await zeke("upload", str(tmp_path / "bees.txt"), "--json")
    for one in (result, uploaded):
        assert one.exit_code == 1
        told = json.loads(one.stdout)
        assert [(job["task"], job["error"]) for job in told["failedJobs"]] == [
            ("generate-brief", "RuntimeError: no brief today")
        ]
    assert json.loads(result.stdout)["urls"][0]["error"] is None
