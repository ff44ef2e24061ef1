"""``zeke ingest`` and the other commands beside workers with other settings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tests.tasks.cli.conftest import Zeke
from tests.tasks.test_ingest_command import Site
from zeke_queue.client.queue import Queue
from zeke_queue.core.names import PRIVATE_PREFIX
from zeke_queue.errors import JobFailedError
from zeke_queue.model import JobStatus
from zeke_queue.system.settings import Settings
from zeke_queue.worker import Worker
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.briefs.generate import generate_brief
from zeke_tasks.catalog import build_catalog
from zeke_tasks.cli.run_ingest import ingest
from zeke_tasks.demo.site import Answer
from zeke_tasks.payloads import ExtractHighlights
from zeke_tasks.testing.web import feed


@pytest.fixture
def settings(domain_dsn: str) -> Settings:
    return Settings.load(database_primary_url=domain_dsn, jobs_heartbeat_interval=0.4, jobs_lease=1)


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


async def test_exit_code_and_json_report_a_failed_brief(zeke: Zeke, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = StubClient.ask

    async def fails(self: StubClient, prompt: Any, *args: Any) -> Any:
        if "brief" in prompt.name:
            raise RuntimeError("no brief today")
        return await ask(self, prompt, *args)

    monkeypatch.setattr(StubClient, "ask", fails)
    monkeypatch.setattr(generate_brief, "layer", replace(generate_brief.layer, retry_limit=0))
    async with Site() as site:
        result = await zeke("ingest", "--allow-private", site.url("/trees"), "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["urls"][0]["error"] is None
    assert [(job["task"], job["error"]) for job in told["failedJobs"]] == [
        ("generate-brief", "RuntimeError: no brief today")
    ]
