"""What a newsroom's rows have to be like in the end: right ones break no rule, each slip its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.cases import check_each_async
from tests.newsroom.archive import Archive, Kept
from tests.newsroom.clients import Said, alike
from tests.newsroom.fake_ai import Call, too_often
from tests.newsroom.rules import RULES, Expected
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock
from zeke_tasks.store.analysis import Analysis, AnalysisState, Brief, Embedding
from zeke_tasks.store.highlights import HighlightKind, NewHighlight, ReadingState, Score
from zeke_tasks.store.memory import MemoryRows
from zeke_tasks.store.model import Content, HealthStatus, ItemStatus, NewItem, NewSource, NewStory, SourceType
from zeke_tasks.store.playbooks import NewRun, Playbook, RunEvent, RunStatus, Step, TriggerSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SOURCE, TEAM, PLAYBOOK, RUN, OTHER = (UUID(int=number) for number in range(1, 6))
FEED = "https://a.example/feed"
WELL: dict[str, Any] = {"next_check_in": 60.0, "etag": None, "last_modified": None, "status": HealthStatus.OK}
ANALYSIS = Analysis("It does.", 3, 0.5, AnalysisState.COMPLETED, "scripted", "1")
SCORE = Score(0.47, (), {})
"""What each highlight here may have: of a feed of which nothing is known, and without any keywords."""


@dataclass
class Room:
    """A newsroom's rows as one transaction sees them, and the expectations."""

    rows: MemoryRows
    expected: Expected
    items: list[UUID]
    story: UUID
    insight: NewHighlight

    def expect(self, **changes: Any) -> None:
        self.expected = replace(self.expected, **changes)

    async def broken(self) -> list[str]:
        return [rule.name for rule in RULES if await rule.check(self.rows, self.expected) is not None]


@asynccontextmanager
async def make_room() -> AsyncIterator[Room]:
    """Make right rows of a newsroom in a transaction."""
    async with MemoryStorage(SystemClock()).transaction() as transaction:
        rows = Archive(SystemClock()).within(transaction)
        await rows.ensure_source(SOURCE, NewSource(SourceType.RSS, "a", FEED))
        await rows.record_failure(SOURCE, next_check_in=60.0, message="busy")
        await rows.record_success(SOURCE, **WELL)
        items = await rows.put_items(SOURCE, [NewItem("one"), NewItem("same"), NewItem("lost")])
        story = await told(rows, items[0], "text")
        await told(rows, items[1], "text")
        await rows.finish_item(items[2], ItemStatus.FAILED, "404")
        await rows.put_analysis(story, ANALYSIS)
        await rows.put_embedding(story, Embedding("scripted", (1.0,)))
        await rows.put_brief(story, Brief("One.", "One. Two.", "One. Two. Three.", 5))
        insight = NewHighlight(story, TEAM, HighlightKind.INSIGHT, "It is faster.", 1.0)
        found = [
            NewHighlight(story, None, kind, f"{kind}", 0.8)
            for kind in (HighlightKind.METRIC, HighlightKind.API_CHANGE)
        ]
        for key in await rows.put_highlights([insight, *found]):
            await rows.put_score(key, SCORE)
        await rows.set_reading_state(story, [TEAM], ReadingState.READ)
        await rows.put_playbook(Playbook(PLAYBOOK, TEAM, "p", (Step("tell", "summarize-story"),)))
        await rows.ensure_run(NewRun(RUN, PLAYBOOK, TEAM, TriggerSource.API))
        await rows.begin_run(RUN)
        await rows.put_output(RUN, "tell", {})
        await rows.put_run_event(RunEvent(RUN, 0, "step.completed", "tell"))
        await rows.end_run(RUN, RunStatus.SUCCEEDED)
        await rows.put_run_event(RunEvent(RUN, 0, "run.completed"))
        expected = Expected(
            told={SOURCE: {"one": "page bees", "same": "page bees", "lost": None}},
            places={SOURCE: FEED},
            insights=[Said(story, TEAM, alike(insight.summary))],
            runs={RUN: {RunStatus.SUCCEEDED}},
            children={(RUN, "summarize-story"): 1},
            attached={insight.id: 1},
            model={story},
            kept=[
                Kept("analysis", story, RUN),
                Kept("analysis", story, OTHER),
                Kept("brief", story, OTHER),
                Kept("analysis", story, RUN),
            ],
            calls=[Call("w1", 1, 0.0), Call("w1", 1, 60.0), Call("w2", 1, 60.0), Call("w1", 2, 61.0)],
        )
        yield Room(rows, expected, items, story, insight)


async def told(rows: MemoryRows, item: UUID, text: str) -> UUID:
    """Finish an item with a text; return its story."""
    await rows.finish_item(item, ItemStatus.PROCESSED)
    await rows.put_content(Content(item, text, text))
    return (
        await rows.ensure_story(NewStory(item, text, (await rows.items([item]))[0].kind, SOURCE, "Bees"))
    )[0]


async def an_item_is_lacking(room: Room) -> None:
    told = {**room.expected.told[SOURCE], "two": "page wasps"}
    room.expect(told={SOURCE: told})


async def an_item_is_too_many(room: Room) -> None:
    await room.rows.put_items(SOURCE, [NewItem("more")])


async def an_item_is_that_of_a_source_that_nobody_named(room: Room) -> None:
    await room.rows.ensure_source(OTHER, NewSource(SourceType.MANUAL, "b", "https://b.example/"))
    await room.rows.put_items(OTHER, [NewItem("one")])


async def a_named_video_is_no_item(room: Room) -> None:
    room.expect(told={**room.expected.told, OTHER: {"video": "video"}})


async def an_item_waits(room: Room) -> None:
    await room.rows.reopen_items([room.items[2]])


async def an_item_failed_though_its_page_is_there(room: Room) -> None:
    told = {**room.expected.told[SOURCE], "lost": "page wasps"}
    room.expect(told={SOURCE: told})


async def a_text_is_two_stories(room: Room) -> None:
    (item,) = await room.rows.put_items(SOURCE, [NewItem("third")])
    await told(room.rows, item, "another text")
    texts = {**room.expected.told[SOURCE], "third": "page bees"}
    room.expect(told={SOURCE: texts})


async def two_texts_are_one_story(room: Room) -> None:
    texts = {**room.expected.told[SOURCE], "same": "page wasps"}
    room.expect(told={SOURCE: texts})


async def a_story_is_that_of_no_item(room: Room) -> None:
    story = await room.rows.story(room.story)
    assert story is not None
    room.rows._stories.put(OTHER, replace(story, id=OTHER))


async def a_source_is_ill(room: Room) -> None:
    await room.rows.record_failure(SOURCE, next_check_in=60.0, message="busy")


async def a_source_was_never_checked(room: Room) -> None:
    await room.rows.ensure_source(OTHER, NewSource(SourceType.RSS, "b", "https://b.example/"))
    room.expect(places={OTHER: "https://b.example/"})


async def a_source_is_elsewhere(room: Room) -> None:
    await room.rows.move_source(SOURCE, "https://b.example/")


async def a_story_has_no_overlay(room: Room) -> None:
    room.rows._overlays.put(room.story, None)


async def a_story_has_no_brief(room: Room) -> None:
    overlay = await room.rows.overlay(room.story)
    assert overlay is not None
    room.rows._overlays.put(room.story, replace(overlay, brief_elevator=None))


async def a_story_has_no_embedding(room: Room) -> None:
    room.rows._embeddings.put((room.story, "scripted", 1), None)


async def a_stub_took_the_place_of_a_model(room: Room) -> None:
    overlay = await room.rows.overlay(room.story)
    assert overlay is not None
    room.rows._overlays.put(room.story, replace(overlay, analysis_state=AnalysisState.STUB))


async def a_job_kept_its_analysis_twice(room: Room) -> None:
    kept = [*room.expected.kept, Kept("brief", room.story, PLAYBOOK), Kept("analysis", room.story, RUN)]
    room.expect(kept=kept)


async def a_job_kept_its_brief_twice(room: Room) -> None:
    kept = [*room.expected.kept, Kept("brief", room.story, OTHER)]
    room.expect(kept=kept)


async def a_highlight_is_lacking(room: Room) -> None:
    found = next(one for one in await room.rows.highlights(room.story) if one.kind is HighlightKind.METRIC)
    room.rows._highlights.put(found.id, None)


async def a_highlight_is_there_twice(room: Room) -> None:
    twice = NewHighlight(room.story, None, HighlightKind.METRIC, "said otherwise", 0.8)
    for key in await room.rows.put_highlights([twice]):
        await room.rows.put_score(key, SCORE)


async def a_highlight_has_no_score(room: Room) -> None:
    (found, *_) = await room.rows.highlights(room.story)
    room.rows._highlights.put(found.id, replace(found, score=None, scored_at=None))


async def a_highlight_has_another_s_score(room: Room) -> None:
    (found, *_) = await room.rows.highlights(room.story)
    assert found.score is not None
    wrong = replace(found.score, value=1.0 if found.score.value < 0.9 else 0.1)
    room.rows._highlights.put(found.id, replace(found, score=wrong))


async def an_insight_is_lacking(room: Room) -> None:
    room.rows._highlights.put(room.insight.id, None)


async def an_insight_is_there_twice(room: Room) -> None:
    known = next(one for one in await room.rows.highlights(room.story) if one.id == room.insight.id)
    room.rows._highlights.put(OTHER, replace(known, id=OTHER))


async def an_insight_is_there_in_two_spellings(room: Room) -> None:
    known = next(one for one in await room.rows.highlights(room.story) if one.id == room.insight.id)
    spelt = replace(known, id=OTHER, summary=f" {known.summary.upper()}", key="another")
    room.rows._highlights.put(OTHER, spelt)


async def two_have_attached_an_insight(room: Room) -> None:
    room.expect(attached={room.insight.id: 2})


async def a_story_is_read_and_was_not_viewed(room: Room) -> None:
    (state,) = await room.rows.reading_states(room.story)
    room.rows._team_stories.put((TEAM, room.story), replace(state, last_viewed_at=None))


async def a_run_goes_on(room: Room) -> None:
    run = await room.rows.run(RUN)
    assert run is not None
    room.rows._runs.put(RUN, replace(run, status=RunStatus.RUNNING))


async def a_run_was_never_begun(room: Room) -> None:
    room.rows._runs.put(RUN, None)


async def a_run_failed_after_it_had_ended(room: Room) -> None:
    await room.rows.put_run_event(RunEvent(RUN, 0, "run.failed"))


async def a_run_lost_an_output(room: Room) -> None:
    run = await room.rows.run(RUN)
    assert run is not None
    room.rows._runs.put(RUN, replace(run, outputs={}))


async def a_step_was_sent_twice(room: Room) -> None:
    room.expect(children={(RUN, "summarize-story"): 2})


async def the_ai_was_asked_too_often(room: Room) -> None:
    room.expect(calls=[*room.expected.calls, Call("w2", 1, 119.9)])


SLIPS: list[tuple[Callable[[Room], Awaitable[None]], str]] = [
    (an_item_is_lacking, "each item is one raw item"),
    (an_item_is_too_many, "each item is one raw item"),
    (an_item_is_that_of_a_source_that_nobody_named, "each item is one raw item"),
    (a_named_video_is_no_item, "each item is one raw item"),
    (an_item_waits, "each raw item comes to an end"),
    (an_item_failed_though_its_page_is_there, "each raw item comes to an end"),
    (a_text_is_two_stories, "each text is one story"),
    (two_texts_are_one_story, "each text is one story"),
    (a_story_is_that_of_no_item, "each text is one story"),
    (a_source_is_ill, "a source that heals is healthy again"),
    (a_source_was_never_checked, "a source that heals is healthy again"),
    (a_source_is_elsewhere, "a source that heals is healthy again"),
    (a_story_has_no_overlay, "each story is told"),
    (a_story_has_no_brief, "each story is told"),
    (a_story_has_no_embedding, "each story is told"),
    (a_stub_took_the_place_of_a_model, "each story is told"),
    (a_job_kept_its_analysis_twice, "no job keeps an analysis or a brief twice"),
    (a_job_kept_its_brief_twice, "no job keeps an analysis or a brief twice"),
    (a_highlight_is_lacking, "each story is highlighted once"),
    (a_highlight_is_there_twice, "each story is highlighted once"),
    (a_highlight_has_no_score, "each highlight is scored"),
    (a_highlight_has_another_s_score, "each highlight is scored"),
    (an_insight_is_lacking, "each insight is there once"),
    (an_insight_is_there_twice, "each insight is there once"),
    (an_insight_is_there_in_two_spellings, "each insight is there once"),
    (two_have_attached_an_insight, "an insight is attached once"),
    (a_story_is_read_and_was_not_viewed, "what is read was viewed"),
    (a_run_goes_on, "a run ends as its row says"),
    (a_run_was_never_begun, "a run ends as its row says"),
    (a_run_failed_after_it_had_ended, "a run ends as its row says"),
    (a_run_lost_an_output, "a run ends as its row says"),
    (a_step_was_sent_twice, "a step is one job a round"),
    (the_ai_was_asked_too_often, "the AI is asked within its limit"),
]


async def test_planted_row_breaks_its_rule() -> None:
    async def check(slip: Callable[[Room], Awaitable[None]], rule: str) -> None:
        async with make_room() as room:
            await slip(room)
            assert rule in await room.broken()

    await check_each_async({slip.__name__: (slip, rule) for slip, rule in SLIPS}, check)


def test_every_rule_has_planted_rows() -> None:
    assert {rule for _, rule in SLIPS} == {rule.name for rule in RULES}


async def test_correct_rows_break_no_rule() -> None:
    async with make_room() as room:
        assert await room.broken() == []
        room.expect(runs={OTHER: {RunStatus.SUCCEEDED, RunStatus.CANCELLED}})
        assert await room.broken() == [], "a cancelled run need not have begun"
        room.expect(gone={SOURCE})
        assert "a source that heals is healthy again" in await room.broken()


async def test_item_of_a_shared_source_is_not_expected() -> None:
    async with make_room() as room:
        await a_named_video_is_no_item(room)
        room.expect(shared={OTHER})
        assert await room.broken() == []


def test_limit_is_one_of_each_process_in_any_minute() -> None:
    times = [0.0, 10.0, 60.0, 70.0, 118.0]
    calls = [Call("w1", 1, at) for at in times]
    assert too_often(calls[:4], 2) is None
    said = too_often(calls, 2)
    assert said is not None
    assert said.startswith("w1 began 3 calls within 58.000 s")
    assert too_often([call._replace(incarnation=number) for number, call in enumerate(calls)], 1) is None
