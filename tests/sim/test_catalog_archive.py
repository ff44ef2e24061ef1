"""Values that jobs store in stories are recorded at the commit, even if the row does not change."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tests.newsroom.archive import Archive, Kept
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock
from zeke_tasks.store.analysis import Analysis, AnalysisState, Brief
from zeke_tasks.store.model import Kind, NewSource, NewStory, SourceType

SOURCE, ITEM, FIRST, SECOND = (UUID(int=number) for number in range(1, 5))
ANALYSIS = Analysis("It does.", 3, 0.5, AnalysisState.COMPLETED, "scripted", "1", analysed_by=FIRST)
BRIEF = Brief("One.", "One. Two.", "One. Two. Three.", 5, briefed_by=SECOND)


async def story_in(archive: Archive, storage: MemoryStorage) -> UUID:
    async with storage.transaction() as transaction:
        rows = archive.within(transaction)
        await rows.ensure_source(SOURCE, NewSource(SourceType.RSS, "a", "https://a.example/feed"))
        return (await rows.ensure_story(NewStory(ITEM, "text", Kind.ARTICLE, SOURCE, "Bees")))[0]


async def test_stored_changes_are_recorded_each_time_and_refused_ones_are_not() -> None:
    archive, storage = Archive(SystemClock()), MemoryStorage(SystemClock())
    story = await story_in(archive, storage)
    for _ in range(2):
        async with storage.transaction() as transaction:
            await archive.within(transaction).put_analysis(story, ANALYSIS)
            assert await archive.within(transaction).put_brief(story, BRIEF)
    async with storage.transaction() as transaction:
        stub = replace(ANALYSIS, state=AnalysisState.STUB)
        assert not await archive.within(transaction).put_analysis(story, stub)
    both = [Kept("analysis", story, FIRST), Kept("brief", story, SECOND)]
    assert archive.kept == both * 2


async def test_rolled_back_change_is_not_recorded() -> None:
    archive, storage = Archive(SystemClock()), MemoryStorage(SystemClock())
    story = await story_in(archive, storage)

    async def rolled_back() -> None:
        async with storage.transaction() as transaction:
            assert await archive.within(transaction).put_analysis(story, ANALYSIS)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await rolled_back()
    assert archive.kept == []
