"""What a transaction of the domain's store leaves, and who waits for whom, whichever store it is."""

from __future__ import annotations

import asyncio

import pytest

from tests.tasks.domain import Domain, content_of, story_of
from zeke_queue.model import NewJob
from zeke_tasks.store.model import ItemStatus, Kind, NewItem, NewSource, SourceType, item_id

HOUR = 3600.0


async def test_rows_and_jobs_are_written_together(domain: Domain) -> None:
    source = await domain.source()
    job = NewJob(domain.new_id(), "fetch-content")
    async with domain.transaction() as (transaction, rows):
        (item_id,) = await rows.put_items(source.id, [NewItem(external_id="1")])
        await transaction.insert([job])
        async with domain.rows() as others:
            assert await others.items([item_id]) == []
    assert (await domain.look(item_id)).id == item_id
    assert job.id in await domain.storage.get([job.id])


async def test_a_rollback_leaves_neither_rows_nor_jobs(domain: Domain) -> None:
    source = await domain.source()
    item_id = await domain.item(source, "known", title="old")
    job = NewJob(domain.new_id(), "fetch-content")
    async with domain.undone() as (transaction, rows):
        items = [NewItem(external_id="1"), NewItem(external_id="known", title="new")]
        (added,) = await rows.put_items(source.id, items)
        await rows.finish_item(item_id, ItemStatus.PROCESSED)
        await rows.put_content(content_of(item_id, "text"))
        await rows.ensure_story(story_of(content_of(item_id, "text"), source.id, Kind.ARTICLE))
        await rows.record_failure(source.id, next_check_in=1, message="boom")
        await rows.move_source(source.id, "https://a.example/new")
        await rows.ensure_source(domain.new_id(), NewSource(SourceType.RSS, "b", "https://b.example"))
        await transaction.insert([job])
    async with domain.rows() as rows:
        assert await rows.items([added]) == []
        assert (await rows.items([item_id]))[0].title == "old"
        assert (await rows.items([item_id]))[0].status is ItemStatus.PENDING
        assert await rows.content(item_id) is None
        assert await rows.stories_of([item_id]) == {}
        assert await rows.health(source.id) is None
        assert await rows.sources([SourceType.RSS]) == [source]
    assert await domain.storage.get([job.id]) == {}


async def test_who_wants_the_same_story_waits_for_the_first_to_end(domain: Domain) -> None:
    source = await domain.source()
    one, two = [await domain.look(await domain.item(source, key)) for key in "ab"]
    async with domain.rows() as rows:
        await rows.put_content(content_of(one.id, "text"))
        first = await rows.ensure_story(story_of(content_of(one.id, "text"), source.id, Kind.ARTICLE))
        second = asyncio.create_task(domain.story(two, "text"))
        await _a_moment(second)
        assert not second.done()
    assert await second == (first[0], False)


async def test_whoever_waited_for_a_rollback_writes_the_story(domain: Domain) -> None:
    source = await domain.source()
    one, two = [await domain.look(await domain.item(source, key)) for key in "ab"]
    async with domain.undone() as (_, rows):
        await rows.put_content(content_of(one.id, "text"))
        await rows.ensure_story(story_of(content_of(one.id, "text"), source.id, Kind.ARTICLE))
        second = asyncio.create_task(domain.story(two, "text"))
        await _a_moment(second)
    assert (await second)[1]


async def test_of_two_that_finish_an_item_at_once_one_does(domain: Domain) -> None:
    item_id = await domain.item(await domain.source())
    async with domain.rows() as rows:
        assert await rows.finish_item(item_id, ItemStatus.PROCESSED)

        async def late() -> bool:
            async with domain.rows() as others:
                return await others.finish_item(item_id, ItemStatus.FAILED, "late")

        second = asyncio.create_task(late())
        await _a_moment(second)
    assert not await second


async def test_items_that_somebody_works_on_are_not_forgotten(domain: Domain) -> None:
    source = await domain.source()
    item_id = await domain.item(source)
    domain.clock.advance(HOUR)
    async with domain.rows() as rows:
        await rows.finish_item(item_id, ItemStatus.PENDING, "busy")
        async with domain.rows() as others:
            assert await others.take_up_forgotten_items(source.id, 1) == []


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
async def test_two_writers_of_the_same_items_do_not_wait_for_each_other(
    domain: Domain, *, known: bool
) -> None:
    source = await domain.source()
    names = [str(number) for number in range(3)]
    # In the order in which they are locked: new ones by name, known ones by id.
    if known:
        names.sort(key=lambda name: item_id(source.id, name))
        for name in names:
            await domain.item(source, name)
    first, middle, last = (NewItem(external_id=name, title="later") for name in names)

    async def put(*items: NewItem) -> None:
        async with domain.rows() as rows:
            await rows.put_items(source.id, items)

    async with domain.rows() as rows:
        await rows.put_items(source.id, [middle])
        # The one has the first and waits for the middle one; would the other take the last before the first,
        # each would wait for the other once the middle one is free.
        one = asyncio.create_task(put(first, middle, last))
        await _a_moment(one)
        other = asyncio.create_task(put(last, first))
        await _a_moment(other)
    await asyncio.gather(one, other)
    async with domain.rows() as rows:
        assert [item.title for item in await rows.items_of(source.id)] == ["later"] * 3


async def _a_moment(task: asyncio.Task[object]) -> None:
    """Let a task get as far as it can; how long that takes does not matter, for it waits."""
    await asyncio.wait([task], timeout=0.05)
