"""The domain's store, in memory and on Postgres: every verb, uniqueness, and rollbacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from tests.cases import check_each_async
from tests.tasks.domain import Domain, content_of, there
from zeke_tasks.store.model import (
    HealthStatus,
    ItemStatus,
    Kind,
    NewItem,
    NewSource,
    Source,
    SourceType,
    Story,
    StoryStatus,
)

HOUR = 3600.0
NOBODY = UUID(int=7)


# Sources


async def test_source_is_stored_unchanged(domain: Domain) -> None:
    source = await domain.source(
        "https://a.example/feed",
        name="Löwenzahn",
        authority_score=0.85,
        check_frequency_hours=6,
        metadata={"query": "ö", "n": [1, 2]},
    )
    assert await domain.verbs.source(source.id) == source
    assert (source.name, source.authority_score, source.check_frequency_hours) == ("Löwenzahn", 0.85, 6)
    assert source.metadata == {"query": "ö", "n": [1, 2]}
    assert source.is_active


async def test_url_and_type_identify_a_source(domain: Domain) -> None:
    first = await domain.source(name="first")
    again = await domain.source(name="again")
    manual = await domain.source(type=SourceType.MANUAL)
    assert again == first
    assert manual.id != first.id
    # Without a url, each addition is another source, unless it has the same id.
    search = NewSource(SourceType.YOUTUBE_SEARCH, "search", None)
    one, other = [await domain.source(None, type=SourceType.YOUTUBE_SEARCH) for _ in range(2)]
    assert one.id != other.id
    async with domain.rows() as rows:
        assert await rows.ensure_source(NOBODY, search) == await rows.ensure_source(NOBODY, search)


async def test_missing_source_or_story_is_not_written(domain: Domain) -> None:
    async with domain.rows() as rows:
        assert await rows.source(NOBODY) is None
        await rows.record_failure(NOBODY, next_check_in=1, message="boom")
        await rows.record_success(
            NOBODY, next_check_in=1, etag=None, last_modified=None, status=HealthStatus.OK
        )
        assert await rows.health(NOBODY) is None
        assert await rows.put_items(NOBODY, [NewItem(external_id="1")]) == []
        assert await rows.items_of(NOBODY) == []
        assert await rows.story(NOBODY) is None
        assert await rows.lock_story(NOBODY) is None
        assert await rows.text_of(NOBODY) is None
        assert not await rows.set_summary(NOBODY, "short", replace=True)
        assert not await rows.link_source(NOBODY, NOBODY)


async def test_active_sources_of_a_type_with_a_url_are_pulled(domain: Domain) -> None:
    wanted = await domain.source("https://a.example/1")
    await domain.source("https://a.example/2", is_active=False)
    await domain.source(None)
    await domain.source("https://a.example/3", type=SourceType.YOUTUBE_CHANNEL)
    async with domain.rows() as rows:
        assert await rows.sources([SourceType.RSS]) == [wanted]
        assert await rows.sources([]) == []


async def test_search_is_pulled_without_a_url(domain: Domain) -> None:
    search = await domain.source(None, type=SourceType.YOUTUBE_SEARCH, metadata={"query": "bees"})
    await domain.source(None, type=SourceType.YOUTUBE_CHANNEL)
    await domain.source(None, type=SourceType.YOUTUBE_SEARCH, is_active=False)
    assert await domain.verbs.sources([SourceType.YOUTUBE_CHANNEL, SourceType.YOUTUBE_SEARCH]) == [search]


async def test_longest_waiting_source_comes_first(domain: Domain) -> None:
    late, early, never = [await domain.source(f"https://a.example/{n}") for n in range(3)]
    await _checked(domain, late, next_check_in=2 * HOUR)
    await _checked(domain, early, next_check_in=HOUR)
    assert await domain.verbs.sources([SourceType.RSS]) == [never, early, late]


async def test_source_is_due_shortly_before_its_next_check(domain: Domain) -> None:
    source = await domain.source()
    await _checked(domain, source, next_check_in=HOUR)
    async with domain.rows() as rows:
        assert await rows.sources([SourceType.RSS], due_in=HOUR - 1) == []
        assert await rows.sources([SourceType.RSS], due_in=HOUR) == [source]
    domain.clock.advance(HOUR)
    assert await domain.verbs.sources([SourceType.RSS], due_in=0) == [source]


async def test_moved_source_keeps_its_id_and_frees_its_old_url(domain: Domain) -> None:
    source = await domain.source("https://a.example/old")
    assert await domain.verbs.move_source(source.id, "https://a.example/new")
    moved = there(await domain.verbs.source(source.id))
    assert moved.url == "https://a.example/new"
    assert (await domain.source("https://a.example/new")).id == source.id
    assert (await domain.source("https://a.example/old")).id != source.id


async def test_source_does_not_move_to_the_url_of_another_or_one_that_cannot_be_stored(
    domain: Domain,
) -> None:
    source = await domain.source("https://a.example/old")
    await domain.source("https://a.example/taken")
    async with domain.rows() as rows:
        assert not await rows.move_source(source.id, "https://a.example/taken")
        assert not await rows.move_source(source.id, "https://a.example/" + "x" * 2048)
        # The refusal leaves the transaction usable.
        assert await rows.source(source.id) == source
        assert not await rows.move_source(NOBODY, "https://a.example/nobody")


async def test_sources_are_listed_by_type_name_and_id(domain: Domain) -> None:
    b = await domain.source("https://a.example/1", name="b", is_active=False)
    upper = await domain.source("https://a.example/2", name="B")
    a, twin = [await domain.source(f"https://a.example/{n}", name="a") for n in (3, 4)]
    manual = await domain.source(None, name="z", type=SourceType.MANUAL)
    assert await domain.verbs.every_source() == [manual, upper, a, twin, b]


async def test_source_is_paused_and_resumed_once(domain: Domain) -> None:
    source = await domain.source()
    async with domain.rows() as rows:
        assert not await rows.set_active(source.id, active=True)
        assert await rows.set_active(source.id, active=False)
        assert not await rows.set_active(source.id, active=False)
        assert await rows.sources([SourceType.RSS]) == []
        assert await rows.set_active(source.id, active=True)
        assert await rows.sources([SourceType.RSS]) == [source]
        assert not await rows.set_active(NOBODY, active=True)


async def test_authority_is_rounded_half_up(fresh: Callable[[], Domain]) -> None:
    async def check(given: float, kept: float) -> None:
        domain = fresh()
        assert (await domain.source(authority_score=given)).authority_score == kept

    await check_each_async([(0.125, 0.13), (0.375, 0.38), (0.005, 0.01), (0.855, 0.86)], check)


async def test_metadata_is_stored_as_json_apart_from_the_object_of_the_caller(domain: Domain) -> None:
    given = {"order": ("date", "views"), "duration": 1.0, 3: "number"}
    source = await domain.source(metadata=given)
    given["order"] = ("changed",)
    kept = there(await domain.verbs.source(source.id))
    assert json.dumps(kept.metadata) == '{"3": "number", "order": ["date", "views"], "duration": 1.0}'


# Health


async def _checked(domain: Domain, source: Source, next_check_in: float = HOUR, **how: object) -> None:
    given = {"etag": None, "last_modified": None, "status": HealthStatus.OK, **how}
    await domain.verbs.record_success(source.id, next_check_in=next_check_in, **given)


async def _failed(domain: Domain, source: Source, message: str = "boom", next_check_in: float = HOUR) -> None:
    await domain.verbs.record_failure(source.id, next_check_in=next_check_in, message=message)


async def test_successful_check_is_stored(domain: Domain) -> None:
    source = await domain.source()
    now = domain.clock.now()
    await _checked(domain, source, etag='W/"1"', last_modified="Mon", status=HealthStatus.WARN, message="odd")
    health = await domain.health(source)
    assert (health.status, health.message) == (HealthStatus.WARN, "odd")
    assert (health.etag, health.last_modified) == ('W/"1"', "Mon")
    assert (health.last_success_at, health.last_error_at) == (now, None)
    assert health.next_check_at == now + timedelta(seconds=HOUR)
    assert health.failing_for is None


async def test_failures_are_counted_until_a_success(domain: Domain) -> None:
    source = await domain.source()
    await _checked(domain, source, etag="1")
    checked = domain.clock.now()
    domain.clock.advance(60)
    await _failed(domain, source)
    domain.clock.advance(60)
    await _failed(domain, source, "still")
    domain.clock.advance(30)
    failing = there(await domain.verbs.health(source.id))
    await _checked(domain, source)
    healed = there(await domain.verbs.health(source.id))
    assert (failing.status, failing.message) == (HealthStatus.ERROR, "still")
    assert failing.failing_for == 90
    assert (failing.last_success_at, failing.etag) == (checked, "1")
    assert failing.last_error_at == checked + timedelta(seconds=120)
    assert (healed.status, healed.message, healed.failing_for) == (HealthStatus.OK, None, None)
    assert healed.last_error_at == failing.last_error_at


async def test_error_is_cut_to_512_storable_characters(domain: Domain) -> None:
    source = await domain.source()
    await _failed(domain, source, "\x00\ud800" + "ä" * 600)
    health = await domain.health(source)
    assert health.message == "ä" * 512


# Items


async def test_items_are_new_once(domain: Domain) -> None:
    source = await domain.source()
    one, two, three = (NewItem(external_id=key) for key in "bac")
    first = await domain.verbs.put_items(source.id, [one, two])
    async with domain.rows() as rows:
        second = await rows.put_items(source.id, [two, three, one])
        stored = await rows.items_of(source.id)
    assert [item.external_id for item in stored if item.id in second] == ["c"]
    assert {item.id for item in stored} == {*first, *second}
    assert len(first) == 2
    by_id = {item.id: item.external_id for item in stored}
    assert [by_id[key] for key in first] == ["b", "a"]


async def test_first_of_two_items_with_one_identity_counts(domain: Domain) -> None:
    source = await domain.source()
    twice = [NewItem(external_id="1", title="first"), NewItem(external_id="1", title="second")]
    (only,) = await domain.verbs.put_items(source.id, twice)
    assert (await domain.look(only)).title == "first"
    assert await domain.item(await domain.source("https://b.example/feed"), "1") != only


async def test_known_item_is_updated_and_keeps_its_status(domain: Domain) -> None:
    source = await domain.source()
    item_id = await domain.item(source, "1", title="old", url="https://a.example/1")
    async with domain.rows() as rows:
        await rows.finish_item(item_id, ItemStatus.PROCESSED)
        published = domain.clock.now()
        item = NewItem(
            external_id="1",
            title="new",
            url="https://a.example/2",
            published_at=published,
            metadata={"by": "Ö", "n": [1.5, None]},
        )
        assert await rows.put_items(source.id, [item]) == []
    item = await domain.look(item_id)
    assert (item.title, item.url, item.published_at) == ("new", "https://a.example/2", published)
    assert item.metadata == {"by": "Ö", "n": [1.5, None]}
    assert (item.status, item.attempts) == (ItemStatus.PROCESSED, 1)


async def test_long_identity_is_stored_as_its_hash(domain: Domain) -> None:
    source = await domain.source()
    item_id = await domain.item(source, "x" * 100_000)
    again = NewItem(external_id="x" * 100_000)
    async with domain.rows() as rows:
        assert await rows.put_items(source.id, [again, NewItem(external_id="x" * 100_001)]) != [item_id]
        assert len(await rows.items_of(source.id)) == 2


async def test_text_that_postgres_cannot_hold_is_cleaned(domain: Domain) -> None:
    source = await domain.source(name="a\x00b")
    item = await domain.look(await domain.item(source, "a\x00b", title="t\x00\udfff", body="\x00"))
    assert (source.name, item.external_id, item.title, item.body) == ("ab", "ab", "t", "")


async def test_missing_items_are_left_out(domain: Domain) -> None:
    item_id = await domain.item(await domain.source())
    async with domain.rows() as rows:
        assert [item.id for item in await rows.items([NOBODY, item_id, item_id])] == [item_id]
        assert await rows.items([]) == []


async def test_attempt_that_leaves_an_item_pending_is_counted(domain: Domain) -> None:
    item_id = await domain.item(await domain.source())
    assert await domain.verbs.finish_item(item_id, ItemStatus.PENDING, "x" * 600)
    item = await domain.look(item_id)
    assert (item.status, item.attempts, item.error) == (ItemStatus.PENDING, 1, "x" * 512)


async def test_item_is_finished_once(fresh: Callable[[], Domain]) -> None:
    async def check(status: ItemStatus) -> None:
        domain = fresh()
        item_id = await domain.item(await domain.source())
        async with domain.rows() as rows:
            assert await rows.finish_item(item_id, status)
            assert not await rows.finish_item(item_id, ItemStatus.FAILED, "late")
            assert not await rows.finish_item(NOBODY, ItemStatus.FAILED, "nobody")
        item = await domain.look(item_id)
        assert (item.status, item.attempts, item.error) == (status, 1, None)

    await check_each_async([ItemStatus.PROCESSED, ItemStatus.NO_TEXT, ItemStatus.FAILED], check)


async def test_abandoned_item_can_be_reopened(domain: Domain) -> None:
    source = await domain.source()
    failed, empty, done, waiting = [await domain.item(source, key) for key in "abcd"]
    async with domain.rows() as rows:
        await rows.finish_item(failed, ItemStatus.FAILED, "gone")
        await rows.finish_item(empty, ItemStatus.NO_TEXT)
        await rows.finish_item(done, ItemStatus.PROCESSED)
        await rows.finish_item(waiting, ItemStatus.PENDING, "later")
        reopened = await rows.reopen_items([waiting, done, empty, failed, failed, NOBODY])
    assert reopened == sorted([failed, empty])
    item = await domain.look(failed)
    assert (item.status, item.attempts, item.error) == (ItemStatus.PENDING, 0, None)
    assert (await domain.look(waiting)).attempts == 1


async def test_untouched_pending_items_are_picked_up_once(domain: Domain) -> None:
    source, other = await domain.source("https://a.example/1"), await domain.source("https://a.example/2")
    older = await domain.item(source, "older")
    domain.clock.advance(1)
    newer, done = await domain.item(source, "newer"), await domain.item(source, "done")
    await domain.item(other)
    domain.clock.advance(HOUR)
    async with domain.rows() as rows:
        await rows.finish_item(done, ItemStatus.FAILED)
        assert await rows.take_up_forgotten_items(source.id, HOUR) == [older]
        assert await rows.take_up_forgotten_items(source.id, HOUR - 1) == [newer]
        assert await rows.take_up_forgotten_items(source.id, HOUR - 1) == []


# Contents and stories


async def test_later_text_replaces_the_text_of_an_item(domain: Domain) -> None:
    item_id = await domain.item(await domain.source())
    async with domain.rows() as rows:
        assert await rows.content(item_id) is None
        await rows.put_content(content_of(item_id, "one"))
        await rows.put_content(content_of(item_id, "two"))
        assert await rows.content(item_id) == content_of(item_id, "two")


async def test_equal_texts_are_one_story(domain: Domain) -> None:
    source = await domain.source()
    one, two, three = [await domain.look(await domain.item(source, key)) for key in "abc"]
    first, again, other = (
        await domain.story(one, "a b"),
        await domain.story(two, "a\n b"),
        await domain.story(three, "c"),
    )
    assert first[1]
    assert again == (first[0], False)
    assert other[0] != first[0]
    stories = await domain.stories(one.id, two.id, three.id, NOBODY)
    assert {key: story.id for key, story in stories.items()} == {
        one.id: first[0],
        two.id: first[0],
        three.id: other[0],
    }
    story = stories[two.id]
    assert (story.content_id, story.primary_source_id) == (one.id, source.id)
    assert (story.kind, story.status, story.summary) == (Kind.ARTICLE, StoryStatus.NEW, None)


async def test_content_with_a_changed_text_keeps_its_story(domain: Domain) -> None:
    item = await domain.look(await domain.item(await domain.source()))
    story_id, _ = await domain.story(item, "one")
    assert await domain.story(item, "two") == (story_id, False)
    assert (await domain.story_of(item.id)).id == story_id


# Stories


async def _story(domain: Domain, story: Story) -> Story:
    return there(await domain.verbs.story(story.id))


async def test_story_and_its_text_are_found_by_id(domain: Domain) -> None:
    story = await domain.told_story("The text.", title="The title", is_partial=True)
    async with domain.rows() as rows:
        assert await rows.story(story.id) == story
        assert await rows.stories_of([story.content_id]) == {story.content_id: story}
        assert await rows.newest_stories(1) == [story]
        assert await rows.lock_story(story.id) == story
        assert await rows.text_of(story.id) == content_of(story.content_id, "The text.")
    assert (story.title, story.is_partial) == ("The title", True)


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
