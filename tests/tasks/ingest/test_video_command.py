"""``zeke ingest`` of a video, on a real database, with a scripted YouTube."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.tasks.youtube.pages import watch_page
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.settings import Settings
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.cli.run_ingest import ingest
from zeke_tasks.context import Context, inline
from zeke_tasks.store.model import ItemStatus, NewSource, SourceType
from zeke_tasks.store.postgres import PostgresRepository, migrate
from zeke_tasks.testing.web import ScriptedWeb
from zeke_tasks.testing.youtube import ScriptedCaptions, video
from zeke_tasks.youtube import Video, YouTube
from zeke_tasks.youtube.items import item_of

OLD = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Place:
    """A database, and a scripted web and YouTube."""

    dsn: str
    settings: Settings
    web: ScriptedWeb
    captions: ScriptedCaptions

    def video(self, number: int, published_at: datetime) -> Video:
        """Return a video whose page is there."""
        made = video(number, published_at=published_at)
        self.web.put(made.url, watch_page(made))
        return made


@pytest.fixture
def place(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    migrate.migrate(dsn)
    web, captions = ScriptedWeb(), ScriptedCaptions()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Context]:
        yield Context(
            PostgresRepository(), web, SystemClock(), inline, StubClient(), youtube=YouTube(captions)
        )

    monkeypatch.setattr("zeke_tasks.cli.run_jobs.open_context", opened)
    return Place(dsn, Settings.load(database_primary_url=dsn), web, captions)


async def test_video_is_read_by_its_captions_and_is_one_item_under_any_url(place: Place) -> None:
    watched = place.video(1, OLD)
    first = await ingest([f"https://youtu.be/{watched.id}"], place.settings)
    again = await ingest([watched.url], place.settings)
    for came in (first, again):
        assert [(one.what, one.items, one.stories, one.error) for one in came.outcomes] == [
            ("video", 1, 1, None)
        ]
        assert [finding.item.external_id for finding in came.found] == [watched.id]
        assert [seen.story.title for seen in came.stories] == [watched.title]
    assert place.captions.asked == [watched.id]
    assert [asked.url for asked in place.web.asked] == [watched.url]


async def test_each_named_video_of_a_channel_is_reported(place: Place) -> None:
    one, other = place.video(1, OLD), place.video(2, OLD)
    place.captions.put(other.id, None)
    silent = item_of(other)
    async with PostgresStorage.open(place.dsn) as storage, storage.transaction() as transaction:
        rows = PostgresRepository().within(transaction)
        channel = NewSource(SourceType.YOUTUBE_CHANNEL, "The Bees", "https://www.youtube.com/@bees")
        source = await rows.ensure_source(UUID(int=1), channel)
        (_, quiet) = await rows.put_items(source.id, [item_of(one), silent])
        await rows.finish_item(quiet, ItemStatus.FAILED, "there is no such video")
    came = await ingest([one.url], place.settings)
    assert [(each.items, each.stories, each.error) for each in came.outcomes] == [(1, 1, None)]
    both = await ingest([one.url, f"https://youtu.be/{other.id}"], place.settings)
    assert [(each.url, each.items) for each in both.outcomes] == [
        (one.url, 1),
        (f"https://youtu.be/{other.id}", 1),
    ]


async def test_video_without_captions_yet_shows_when_they_are_checked(place: Place) -> None:
    late = place.video(1, SystemClock().now() - timedelta(minutes=5))
    place.captions.put(late.id, None)
    for _ in range(2):
        came = await ingest([late.url], place.settings, timeout=60)
        (outcome,) = came.outcomes
        assert (outcome.items, outcome.stories) == (1, 0)
        assert outcome.error is not None
        assert outcome.error.startswith("not yet: the video or its captions are not available; retried")
        (finding,) = came.found
        assert (finding.item.status, finding.item.attempts) == (ItemStatus.PENDING, 0)
