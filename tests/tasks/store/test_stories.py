"""What the domain's store answers about stories, whichever it is."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from tests.tasks.domain import Domain, content_of
from zeke_tasks.store.model import Story

NOBODY = UUID(int=7)


async def _story(domain: Domain, story: Story) -> Story:
    found = await domain.verbs.story(story.id)
    assert found is not None
    return found


async def test_story_and_its_text_are_found_by_id(domain: Domain) -> None:
    story = await domain.told_story("The text.", title="The title")
    async with domain.rows() as rows:
        assert await rows.story(story.id) == story
        assert await rows.lock_story(story.id) == story
        assert await rows.text_of(story.id) == content_of(story.content_id, "The text.")
    assert story.title == "The title"


async def test_missing_story_is_none(domain: Domain) -> None:
    async with domain.rows() as rows:
        assert await rows.story(NOBODY) is None
        assert await rows.lock_story(NOBODY) is None
        assert await rows.text_of(NOBODY) is None
        assert not await rows.set_summary(NOBODY, "short", replace=True)
        assert not await rows.link_source(NOBODY, NOBODY)


async def test_latest_story_comes_first(domain: Domain) -> None:
    now = domain.clock.now()
    older = await domain.told_story("older", published_at=now - timedelta(days=1))
    newest = await domain.told_story("newest", published_at=now)
    twins = [await domain.told_story(text, published_at=now - timedelta(hours=1)) for text in "abc"]
    undated = [await domain.told_story(text) for text in "de"]
    in_order = [newest, *sorted(twins, key=_id), older, *sorted(undated, key=_id)]
    async with domain.rows() as rows:
        assert await rows.newest_stories(10) == in_order
        assert await rows.newest_stories(3) == in_order[:3]
        assert await rows.newest_stories(0) == []


def _id(story: Story) -> UUID:
    return story.id


async def test_summary_is_kept_unless_replaced_explicitly(domain: Domain) -> None:
    story = await domain.told_story()
    async with domain.rows() as rows:
        assert await rows.set_summary(story.id, "fir\x00st", replace=False)
        assert not await rows.set_summary(story.id, "second", replace=False)
    assert (await _story(domain, story)).summary == "first"
    async with domain.rows() as rows:
        assert await rows.set_summary(story.id, "third", replace=True)
        assert await rows.set_summary(story.id, "third", replace=True)
    assert (await _story(domain, story)).summary == "third"


async def test_empty_summary_counts_as_a_summary(domain: Domain) -> None:
    story = await domain.told_story()
    async with domain.rows() as rows:
        assert await rows.set_summary(story.id, "", replace=False)
        assert not await rows.set_summary(story.id, "more", replace=False)


async def test_story_is_linked_to_another_existing_source(domain: Domain) -> None:
    other = await domain.source("https://b.example/feed")
    story = await domain.told_story()
    async with domain.rows() as rows:
        assert not await rows.link_source(story.id, NOBODY)
        assert await rows.link_source(story.id, other.id)
        assert await rows.link_source(story.id, other.id)
    assert (await _story(domain, story)).primary_source_id == other.id
