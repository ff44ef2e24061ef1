"""A video becomes a story of its kind, with its captions; found in two ways, it is one story all the same."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from tests.tasks.domain import Domain
from zeke_tasks.store.model import Kind, SourceType
from zeke_tasks.stories.keep import Kept, Reading, keep
from zeke_tasks.stories.read import read_video
from zeke_tasks.testing.youtube import ScriptedCaptions, video


async def _keep(domain: Domain, channel: str, reading: Reading) -> tuple[UUID, Kept]:
    source = await domain.source(channel, type=SourceType.YOUTUBE_CHANNEL)
    item_id = await domain.item(source, str(reading.url), kind=Kind.VIDEO, url=reading.url)
    async with domain.rows() as rows:
        return item_id, await keep(rows, await domain.look(item_id), reading)


async def test_video_is_kept_with_its_captions(in_memory: Domain) -> None:
    watched = video(1, published_at=in_memory.clock.now())
    captions = await ScriptedCaptions().captions(watched.id)
    assert captions
    item_id, _ = await _keep(in_memory, "https://a.example/", read_video(watched, captions))
    async with in_memory.rows() as rows:
        content = await rows.content(item_id)
    story = (await in_memory.stories(item_id))[item_id]
    assert content
    assert content.text.endswith(captions.text)
    assert (content.transcript_vtt, content.language) == (captions.vtt, "en")
    assert (content.html_url, content.pdf_url) == (watched.url, None)
    assert (content.duration_seconds, content.view_count) == (watched.duration_seconds, watched.view_count)
    assert (story.kind, story.title, story.url) == (Kind.VIDEO, watched.title, watched.url)
    assert story.published_at == watched.published_at


async def test_video_is_kept_without_captions(in_memory: Domain) -> None:
    watched = video(1, published_at=in_memory.clock.now())
    item_id, _ = await _keep(in_memory, "https://a.example/", read_video(watched, None))
    async with in_memory.rows() as rows:
        content = await rows.content(item_id)
    assert content
    assert (content.transcript_vtt, content.language) == (None, None)
    assert "TRANSCRIPT" not in content.text


async def test_video_found_in_two_ways_is_one_story(in_memory: Domain) -> None:
    watched = video(1, published_at=in_memory.clock.now())
    captions = await ScriptedCaptions().captions(watched.id)
    found = replace(watched, duration_seconds=None, view_count=None)
    _, first = await _keep(in_memory, "https://a.example/", read_video(watched, captions))
    _, second = await _keep(in_memory, "https://b.example/", read_video(found, captions))
    assert (first.new, second.new) == (True, False)
    assert first.story_id == second.story_id
