"""Transactions of the domain's store: effects and waits, in memory and on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest

from tests.cases import check_each_async
from tests.clocks import START
from tests.tasks.domain import Domain, content_of, story_of
from tests.tasks.store.samples import DRAFT, EVENT, SPENDING, TEAM, VECTOR
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import NewJob
from zeke_tasks.store.analysis import Analysis, AnalysisState, Brief
from zeke_tasks.store.budgets import Reservation
from zeke_tasks.store.conflicts import repeated
from zeke_tasks.store.highlights import HighlightKind, NewHighlight, ReadingState, Score, TeamHighlight
from zeke_tasks.store.model import ItemStatus, Kind, NewItem, NewSource, SourceType, item_id
from zeke_tasks.store.playbooks import NewRun, Playbook, RunStatus, Step, TriggerSource
from zeke_tasks.store.postgres.statements import STATEMENTS
from zeke_tasks.store.repository import Rows

pytestmark = pytest.mark.nightly

T = TypeVar("T")

ENDS = ["committed", "undone"]
HOUR = 3600.0
OTHERS = UUID(int=22)
MODELS = Analysis("It is faster.", 3, 0.5, AnalysisState.COMPLETED, "gpt-5-nano", "1")
STUBS = replace(MODELS, state=AnalysisState.STUB, model="stub")
BRIEF = Brief("One.", "Two.", "Three.", 60)
SCORE = Score(0.5, ("a",), {"kind": 0.5})
PLAYBOOK = Playbook(UUID(int=31), TEAM, "Daily", [Step("a", "ingest-pull"), Step("b", "ingest-pull")])
RESERVATION = Reservation(UUID(int=51), 1, "a", "analyze-story", "m", TEAM, START.date(), Decimal("0.1"))
RUN = NewRun(EVENT.run_id, PLAYBOOK.id, TEAM, TriggerSource.API)


async def test_rows_and_jobs_are_written_together(domain: Domain) -> None:
    source = await domain.source()
    job = NewJob(domain.new_id(), "fetch-content")
    async with domain.transaction() as (transaction, rows):
        (item_id,) = await rows.put_items(source.id, [NewItem(external_id="1")])
        await transaction.insert([job])
        assert await domain.verbs.items([item_id]) == []
    assert (await domain.look(item_id)).id == item_id
    assert job.id in await domain.storage.get([job.id])


async def test_second_writer_of_story_waits_for_the_first(fresh: Callable[[], Domain]) -> None:
    async def check(end: str) -> None:
        domain = fresh()
        source = await domain.source()
        one, two = [await domain.look(await domain.item(source, key)) for key in "ab"]
        async with _ending(domain, end) as rows:
            await rows.put_content(content_of(one.id, "text"))
            story = story_of(content_of(one.id, "text"), source.id, Kind.ARTICLE)
            first, _ = await rows.ensure_story(story)
            second = await _waiting(domain.story(two, "text"))
        assert await second == (first, end == "undone")

    await check_each_async(ENDS, check)


async def test_item_is_finished_by_one_of_two_transactions(domain: Domain) -> None:
    item_id = await domain.item(await domain.source())
    async with domain.rows() as rows:
        assert await rows.finish_item(item_id, ItemStatus.PROCESSED)
        second = await _started(domain.verbs.finish_item(item_id, ItemStatus.FAILED, "late"))
    assert not await second


async def test_video_is_locked_by_one_transaction_at_a_time(domain: Domain) -> None:
    async with domain.rows() as rows:
        await rows.lock_video("bees")
        await domain.verbs.lock_video("birds")
        second = await _waiting(domain.verbs.lock_video("bees"))
    await second


async def test_items_being_processed_are_not_picked_up(domain: Domain) -> None:
    source = await domain.source()
    item_id = await domain.item(source)
    domain.clock.advance(HOUR)
    async with domain.rows() as rows:
        await rows.finish_item(item_id, ItemStatus.PENDING, "busy")
        assert await domain.verbs.take_up_forgotten_items(source.id, 1) == []


async def test_concurrent_writers_of_items_do_not_deadlock(fresh: Callable[[], Domain]) -> None:
    async def check(items: str) -> None:
        domain = fresh()
        source = await domain.source()
        names = [str(number) for number in range(3)]
        # In the order in which they are locked: new ones by name, known ones by id.
        if items == "known":
            names.sort(key=lambda name: item_id(source.id, name))
            for name in names:
                await domain.item(source, name)
        first, middle, last = (NewItem(external_id=name, title="later") for name in names)
        async with domain.rows() as rows:
            await rows.put_items(source.id, [middle])
            # One has the first and waits for the middle one. If the other took the last before the first,
            # each would wait for the other once the middle one is free.
            one = await _started(domain.verbs.put_items(source.id, [first, middle, last]))
            other = await _started(domain.verbs.put_items(source.id, [last, first]))
        await asyncio.gather(one, other)
        assert [item.title for item in await domain.verbs.items_of(source.id)] == ["later"] * 3

    await check_each_async(["new", "known"], check)


# What follows from a story


def _highlight(story_id: UUID, team: UUID | None = TEAM, summary: str = "Faster") -> NewHighlight:
    return NewHighlight(story_id, team, HighlightKind.METRIC, summary, 0.85, tags=("a",))


async def analysed_story(domain: Domain) -> UUID:
    story = await domain.told_story()
    await domain.verbs.put_analysis(story.id, STUBS)
    return story.id


@pytest.fixture
async def story_id(domain: Domain) -> UUID:
    return await analysed_story(domain)


async def test_rows_of_a_transaction_are_visible_only_after_its_commit(
    domain: Domain, story_id: UUID
) -> None:
    source, story = await domain.source(), await domain.told_story("another")
    item_id, job = await domain.item(source, "known", title="old"), NewJob(domain.new_id(), "fetch-content")
    async with domain.rows() as rows:
        await rows.put_highlights([_highlight(story_id)])
        await rows.put_playbook(PLAYBOOK)
    before = await domain.everything()
    async with domain.undone() as (transaction, rows):
        await transaction.insert([job])
        await rows.put_items(source.id, [NewItem("1"), NewItem("known", title="new")])
        await rows.finish_item(item_id, ItemStatus.PROCESSED)
        await rows.put_content(content_of(item_id, "text"))
        await rows.ensure_story(story_of(content_of(item_id, "text"), source.id, Kind.ARTICLE))
        await rows.record_failure(source.id, next_check_in=1, message="boom")
        await rows.move_source(source.id, "https://a.example/new")
        await rows.ensure_source(domain.new_id(), NewSource(SourceType.RSS, "b", "https://b.example"))
        await rows.set_active(source.id, active=False)
        await rows.set_summary(story_id, "short", replace=True)
        await rows.put_analysis(story_id, MODELS)
        await rows.put_analysis(story.id, MODELS)
        await rows.put_brief(story_id, BRIEF)
        await rows.put_embedding(story_id, VECTOR)
        await rows.note_spending(SPENDING)
        await rows.set_budget(TEAM, Decimal(1))
        await rows.reserve(RESERVATION, Decimal(1))
        (new,) = await rows.put_highlights([_highlight(story_id, OTHERS)])
        await rows.put_score(_highlight(story_id).id, SCORE)
        await rows.connect(TEAM, source.id)
        await rows.set_reading_state(story_id, [TEAM], ReadingState.READ)
        await rows.put_team_highlight(TeamHighlight(TEAM, new))
        await rows.put_playbook(replace(PLAYBOOK, steps=PLAYBOOK.steps[:1]))
        await rows.activate_playbook(PLAYBOOK.id)
        await rows.ensure_run(RUN)
        await rows.begin_run(RUN.id)
        await rows.put_output(RUN.id, "a", 1)
        await rows.put_run_event(EVENT)
        await rows.end_run(RUN.id, RunStatus.SUCCEEDED)
        assert await domain.everything() == before
    assert await domain.everything() == before
    assert await domain.storage.get([job.id]) == {}


async def _link(rows: Rows, story_id: UUID) -> Any:
    return await rows.link_source(story_id, (await rows.every_source())[0].id)


Verb = Callable[[Rows, UUID], Awaitable[Any]]
UNDER_THE_STORYS_LOCK: dict[str, Verb] = {
    "lock_story": lambda rows, story_id: rows.lock_story(story_id),
    "set_summary": lambda rows, story_id: rows.set_summary(story_id, "short", replace=False),
    "link_source": _link,
    "put_analysis": lambda rows, story_id: rows.put_analysis(story_id, MODELS),
    "put_brief": lambda rows, story_id: rows.put_brief(story_id, BRIEF),
    "put_brief_draft": lambda rows, story_id: rows.put_brief_draft(story_id, DRAFT),
    "put_embedding": lambda rows, story_id: rows.put_embedding(story_id, VECTOR),
    "put_highlights": lambda rows, story_id: rows.put_highlights([_highlight(story_id)]),
    "put_score": lambda rows, story_id: rows.put_score(_highlight(story_id, None).id, SCORE),
    "set_reading_state": lambda rows, story_id: rows.set_reading_state(story_id, [TEAM], ReadingState.READ),
}


async def test_writes_of_story_wait_for_its_lock(fresh: Callable[[], Domain]) -> None:
    async def check(verb: Verb) -> None:
        domain = fresh()
        story_id = await analysed_story(domain)
        await domain.verbs.put_highlights([_highlight(story_id, None)])
        async with domain.rows() as rows:
            assert await rows.lock_story(story_id)
            late = await _waiting(verb(domain.verbs, story_id))
            # Reading does not wait.
            await domain.everything()
        await late

    await check_each_async(UNDER_THE_STORYS_LOCK, check)


async def test_transactions_that_meet_in_a_deadlock_are_repeated(on_postgres: Domain) -> None:
    stories = [(await on_postgres.told_story(text)).id for text in "ab"]
    begun: list[UUID] = []
    both = asyncio.Event()

    async def lock(first: UUID, second: UUID) -> None:
        async with on_postgres.rows() as rows:
            await rows.lock_story(first)
            begun.append(first)
            if len(begun) >= 2:
                both.set()
            await both.wait()
            await rows.lock_story(second)

    await asyncio.gather(*(repeated(lambda pair=pair: lock(*pair)) for pair in (stories, stories[::-1])))
    assert len(begun) == 3


@pytest.mark.parametrize("times", [1, 9])
async def test_source_that_is_deleted_before_it_is_found_is_added(
    on_postgres: Domain, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    left = times

    class Interrupted(psycopg.AsyncCursor[Any]):
        """Adds the source before the tries to add it, and deletes it before it is found."""

        async def execute(self, query: Any, *args: Any, **options: Any) -> Any:
            nonlocal left
            if query == STATEMENTS["known_source"]:
                for source in await on_postgres.verbs.every_source():
                    await on_postgres.verbs.delete_source(source.id)
            elif query == STATEMENTS["ensure_source"] and left:
                left -= 1
                await on_postgres.source()
            return await super().execute(query, *args, **options)

    new = NewSource(type=SourceType.RSS, name="A feed", url="https://a.example/feed")
    async with on_postgres.transaction() as (transaction, rows):
        monkeypatch.setattr(transaction.connection, "cursor_factory", Interrupted)
        if times == 1:
            assert (await rows.ensure_source(UUID(int=9), new)).id == UUID(int=9)
        else:
            with pytest.raises(StorageUnavailableError, match="was deleted 3 times"):
                await rows.ensure_source(UUID(int=9), new)
        monkeypatch.undo()


async def test_uncommitted_story_is_not_found(domain: Domain) -> None:
    item = await domain.look(await domain.item(await domain.source()))
    content = content_of(item.id, "text")
    new = story_of(content, item.source_id, item.kind)
    async with domain.rows() as rows:
        await rows.put_content(content)
        await rows.ensure_story(new)
        assert await domain.verbs.lock_story(new.id) is None
        assert await domain.verbs.put_highlights([_highlight(new.id)]) == []


async def test_concurrent_highlight_of_all_teams_is_not_added_for_one(fresh: Callable[[], Domain]) -> None:
    async def check(end: str) -> None:
        domain = fresh()
        story_id = await analysed_story(domain)
        same, other = _highlight(story_id, TEAM), _highlight(story_id, TEAM, "b")
        async with _ending(domain, end) as rows:
            await rows.put_highlights([_highlight(story_id, None)])
            late = await _waiting(domain.verbs.put_highlights([same, other]))
        assert (same.id in await late) is (end == "undone")
        assert len(await domain.verbs.highlights(story_id)) == 2

    await check_each_async(ENDS, check)


async def test_concurrent_writers_of_highlights_do_not_deadlock(domain: Domain) -> None:
    stories = sorted([(await domain.told_story(text)).id for text in "abc"])
    first, middle, last = (_highlight(story_id) for story_id in stories)
    async with domain.rows() as rows:
        await rows.put_highlights([middle])
        # One has the first story and waits for the middle one. If the other took the last before the first,
        # each would wait for the other once the middle one is free.
        one = await _started(domain.verbs.put_highlights([last, middle, first]))
        other = await _started(domain.verbs.put_highlights([last, first]))
    assert await one == [last.id, first.id]
    assert await other == []


async def test_stub_that_waited_for_model_does_not_replace_it(fresh: Callable[[], Domain]) -> None:
    async def check(end: str) -> None:
        domain = fresh()
        story = await domain.told_story()
        await domain.verbs.put_analysis(story.id, STUBS)
        async with _ending(domain, end) as rows:
            await rows.put_analysis(story.id, MODELS)
            late = await _started(domain.verbs.put_analysis(story.id, replace(STUBS, chili=1)))
        assert await late is (end == "undone")
        assert (await domain.overlay(story)).chili == (3 if end == "committed" else 1)

    await check_each_async(ENDS, check)


async def test_brief_that_waited_for_analysis_is_kept(domain: Domain) -> None:
    story = await domain.told_story()
    async with domain.rows() as rows:
        await rows.put_analysis(story.id, MODELS)
        late = await _started(domain.verbs.put_brief(story.id, BRIEF))
    assert await late


async def _is_new(made: Awaitable[tuple[Any, bool]]) -> bool:
    return (await made)[1]


async def _connect(rows: Rows) -> bool:
    (source,) = await rows.every_source()
    return await rows.connect(TEAM, source.id)


async def _disconnect(rows: Rows) -> bool:
    (source,) = await rows.every_source()
    return await rows.disconnect(OTHERS, source.id)


async def _see(rows: Rows) -> bool:
    (story,) = await rows.newest_stories(1)
    (highlight,) = await rows.highlights(story.id)
    return await rows.put_team_highlight(TeamHighlight(TEAM, highlight.id))


async def _read(rows: Rows) -> list[UUID]:
    (story,) = await rows.newest_stories(1)
    return await rows.set_reading_state(story.id, [OTHERS, TEAM], ReadingState.READ)


async def test_write_is_done_by_one_of_two_transactions(fresh: Callable[[], Domain]) -> None:
    async def check(verb: Callable[[Rows], Awaitable[Any]], nothing: Any, end: str) -> None:
        domain = fresh()
        story_id = await analysed_story(domain)
        async with domain.rows() as rows:
            await rows.put_highlights([_highlight(story_id)])
            await rows.put_playbook(PLAYBOOK)
            await rows.ensure_run(replace(RUN, id=UUID(int=42)))
            await rows.connect(OTHERS, (await rows.every_source())[0].id)
        async with _ending(domain, end) as rows:
            first = await verb(rows)
            late = await _waiting(verb(domain.verbs))
        assert await late == (nothing if end == "committed" else first)
        once = await domain.everything()
        assert await verb(domain.verbs) == nothing
        assert await domain.everything() == once

    run_id = UUID(int=42)
    verbs: dict[str, tuple[Callable[[Rows], Awaitable[Any]], Any]] = {
        "run": (lambda rows: _is_new(rows.ensure_run(RUN)), False),
        "end": (lambda rows: rows.end_run(run_id, RunStatus.FAILED), False),
        "begin": (lambda rows: rows.begin_run(run_id), False),
        "event": (lambda rows: rows.put_run_event(replace(EVENT, run_id=run_id)), False),
        "activate": (lambda rows: rows.activate_playbook(PLAYBOOK.id), False),
        "connect": (_connect, False),
        "disconnect": (_disconnect, False),
        "spending": (lambda rows: rows.note_spending(SPENDING), None),
        "output": (lambda rows: rows.put_output(run_id, "a", 1), None),
        "team highlight": (_see, False),
        "reading": (_read, []),
    }
    cases = {f"{name}, {end}": (*verb, end) for name, verb in verbs.items() for end in ENDS}
    await check_each_async(cases, check)


async def test_concurrent_calls_cannot_exceed_a_budget_together(domain: Domain) -> None:
    async with domain.rows() as rows:
        # The first call of a day inserts its row, for which the others wait.
        assert await rows.reserve(RESERVATION, Decimal("0.2"))
        others = [
            await _waiting(domain.verbs.reserve(replace(RESERVATION, purpose=purpose), Decimal("0.2")))
            for purpose in "bc"
        ]
    assert sorted(await asyncio.gather(*others)) == [False, True]
    assert await domain.verbs.used_on(START.date()) == {TEAM: Decimal("0.2")}


async def test_later_of_two_playbooks_is_kept_whole(domain: Domain) -> None:
    other = replace(PLAYBOOK, name="Nightly", steps=[Step("b", "ingest-pull"), Step("c", "ingest-pull")])
    for _ in range(2):
        async with domain.rows() as rows:
            await rows.put_playbook(PLAYBOOK)
            late = await _waiting(domain.verbs.put_playbook(other))
        await late
    assert await domain.verbs.playbook(PLAYBOOK.id, TEAM) == other


async def test_lock_of_run_shows_its_latest_state(domain: Domain) -> None:
    async with domain.rows() as rows:
        await rows.put_playbook(PLAYBOOK)
        await rows.ensure_run(RUN)
    async with domain.rows() as rows:
        assert await rows.lock_run(RUN.id)
        late = await _waiting(domain.verbs.lock_run(RUN.id))
        # Writing an event does not wait for the run's lock.
        assert await domain.verbs.put_run_event(EVENT)
        await rows.begin_run(RUN.id)
    run = await late
    assert run
    assert run.status is RunStatus.RUNNING


@asynccontextmanager
async def _ending(domain: Domain, end: str) -> AsyncGenerator[Rows]:
    async with domain.transaction() if end == "committed" else domain.undone() as (_, rows):
        yield rows


async def _started(verb: Awaitable[T]) -> asyncio.Future[T]:
    """Start a verb and wait until it is blocked; the time that this takes does not matter."""
    task = asyncio.ensure_future(verb)
    await asyncio.wait([task], timeout=0.05)
    return task


async def _waiting(verb: Awaitable[T]) -> asyncio.Future[T]:
    """Start a verb that must wait for another transaction."""
    task = await _started(verb)
    assert not task.done()
    return task
