"""``zeke ingest`` of a video, on a real database, with YouTube as a test says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.tasks.scripted_web import ScriptedWeb
from tests.tasks.youtube.pages import watch_page
from zeke_queue.clock import SystemClock
from zeke_queue.config import Settings
from zeke_sim.doubles.youtube import ScriptedCaptions, video
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.context import Context, inline
from zeke_tasks.ingest.command import ingest
from zeke_tasks.store.postgres import PostgresRepository, migrate
from zeke_tasks.youtube import YouTube

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


async def test_a_video_is_read_by_its_captions_and_is_one_item_however_it_is_named(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.migrate(dsn)
    settings = Settings.load(database_primary_url=dsn)
    watched = video(1, published_at=datetime(2020, 1, 1, tzinfo=UTC))
    web, captions = ScriptedWeb(), ScriptedCaptions()
    web.put(watched.url, watch_page(watched))

    @asynccontextmanager
    async def opened() -> AsyncIterator[Context]:
        yield Context(
            PostgresRepository(), web, SystemClock(), inline, StubClient(), youtube=YouTube(captions)
        )

    monkeypatch.setattr("zeke_tasks.errand.open_context", opened)
    first = await ingest([f"https://youtu.be/{watched.id}"], settings)
    again = await ingest([watched.url], settings)
    for came in (first, again):
        assert [(one.what, one.items, one.stories, one.error) for one in came.outcomes] == [
            ("video", 1, 1, None)
        ]
        assert [finding.item.external_id for finding in came.found] == [watched.id]
        assert [seen.story.title for seen in came.stories] == [watched.title]
    assert captions.asked == [watched.id]
    assert [asked.url for asked in web.asked] == [watched.url]
