"""Deletions of the domain's store: what remains, and what concurrent transactions do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import START
from tests.tasks.domain import Domain, content_of, story_of, there
from tests.tasks.store.samples import EVENT, MODELS, SPENDING, TEAM
from zeke_queue.errors import UsageError
from zeke_queue.task.signals import Fail
from zeke_tasks.store.budgets import Reservation
from zeke_tasks.store.deletion import Deleted
from zeke_tasks.store.highlights import HighlightKind, NewHighlight, ReadingState, TeamHighlight
from zeke_tasks.store.model import HealthStatus, ItemStatus, NewItem
from zeke_tasks.store.playbooks import NewRun, Playbook, RunStatus, TriggerSource
from zeke_tasks.store.repository import Rows

pytestmark = pytest.mark.nightly

T = TypeVar("T")

DAY = 86400.0
OTHERS = UUID(int=22)
PLAYBOOK = Playbook(UUID(int=31), TEAM, "Daily", ())
RESERVATION = Reservation(TEAM, 1, "analysis", "analyze-story", "m", TEAM, START.date(), Decimal(1))
RUN = NewRun(EVENT.run_id, PLAYBOOK.id, TEAM, TriggerSource.API)


def _highlight(story_id: UUID, team: UUID | None = None) -> NewHighlight:
    return NewHighlight(story_id, team, HighlightKind.METRIC, "Faster", 0.85, tags=("a",))


async def test_deleted_source_leaves_only_what_others_have(domain: Domain) -> None:
    gone, other = [await domain.source(f"https://{name}.example/feed") for name in "ab"]
    shared, own = await domain.told_story("shared", gone), await domain.told_story("own", gone)
    assert (await domain.told_story("shared", other)).id == shared.id
    linked = await domain.told_story("linked", other)
    await domain.verbs.link_source(linked.id, gone.id)
    await domain.verbs.connect(TEAM, gone.id)

    assert await domain.verbs.count_source(gone.id) == Deleted(items=2, stories=1, moved=2)
    assert await domain.verbs.delete_source(gone.id) == Deleted(items=2, stories=1, moved=2)

    assert await domain.verbs.count_source(gone.id) is None
    assert await domain.verbs.delete_source(gone.id) is None
    assert await domain.verbs.every_source() == [other]
    assert await domain.verbs.story(own.id) is None
    assert await domain.verbs.teams_of(gone.id) == []
    for story in (shared, linked):
        assert there(await domain.verbs.story(story.id)).primary_source_id == other.id
        assert there(await domain.verbs.text_of(story.id)).content_hash == story.content_hash
    # Its place is free.
    assert (await domain.source(gone.url)).id != gone.id


async def test_items_of_deleted_story_are_known_and_empty(domain: Domain) -> None:
    one, other = [await domain.source(f"https://{name}.example/feed") for name in "ab"]
    story = await domain.told_story("text", one)
    await domain.told_story("text", other)
    await domain.verbs.put_highlights([_highlight(story.id), _highlight(story.id, TEAM)])
    await domain.verbs.set_reading_state(story.id, [TEAM], ReadingState.READ)

    assert await domain.verbs.count_story(story.id) == Deleted(items=2, stories=1)
    assert await domain.verbs.delete_story(story.id) == Deleted(items=2, stories=1)

    assert await domain.verbs.count_story(story.id) is None
    assert await domain.verbs.delete_story(story.id) is None
    (item,) = await domain.verbs.items_of(one.id)
    again = NewItem(external_id=item.external_id, title="Again", body="text")
    assert await domain.verbs.put_items(one.id, [again]) == []
    (item,) = await domain.verbs.items_of(one.id)
    assert (item.status, item.title, item.body) == (ItemStatus.DELETED, None, None)
    found = await domain.everything()
    left = {name for name, rows in found.items() if rows}
    assert left == {"sources", "raw_items"}
    # A user may have it read again.
    assert await domain.verbs.reopen_items([item.id]) == [item.id]
    assert await domain.verbs.put_items(one.id, [again]) == []
    assert (await domain.look(item.id)).title == "Again"


async def test_deleted_team_leaves_other_teams_rows(domain: Domain) -> None:
    source = await domain.source()
    story = await domain.told_story("text", source)
    for team, playbook, run in ((TEAM, 1, 2), (OTHERS, 3, 4)):
        async with domain.rows() as rows:
            await rows.connect(team, source.id)
            (highlight,) = await rows.put_highlights([_highlight(story.id, team)])
            await rows.put_team_highlight(TeamHighlight(team, highlight))
            await rows.set_reading_state(story.id, [team], ReadingState.READ)
            await rows.put_playbook(Playbook(UUID(int=playbook), team, "Daily", ()))
            await rows.ensure_run(NewRun(UUID(int=run), UUID(int=playbook), team, TriggerSource.API))
            await rows.set_budget(team, Decimal(5))
            await rows.reserve(replace(RESERVATION, job_id=team, team_id=team), None)
            await rows.note_spending(replace(SPENDING, job_id=team, team_id=team))
    before = await domain.everything()

    counts = await domain.verbs.count_team(TEAM)
    assert await domain.verbs.delete_team(TEAM) == counts

    assert set(counts.values()) == {1}
    after = await domain.everything()
    lost = {name: len(before[name]) - len(rows) for name, rows in after.items() if rows != before[name]}
    assert {**lost, "ai_budget_days": 1} == counts
    assert set(await domain.verbs.used_on(START.date())) == {OTHERS}
    assert str(TEAM) not in str(after)
    assert not any((await domain.verbs.count_team(TEAM)).values())
    assert not any((await domain.verbs.delete_team(TEAM)).values())


class Prepared(NamedTuple):
    """A feed with a story, which another team reads, and a story of another source."""

    domain: Domain
    source: UUID
    story: UUID
    highlight: UUID
    linked: UUID
    other: UUID
    pending: UUID
    failed: UUID


async def prepared(domain: Domain) -> Prepared:
    source = await domain.source()
    story = await domain.told_story("text", source)
    (highlight,) = await domain.verbs.put_highlights([_highlight(story.id)])
    await domain.verbs.connect(TEAM, source.id)
    await domain.verbs.put_playbook(PLAYBOOK)
    other = await domain.source("https://b.example/feed")
    linked = await domain.told_story("linked", other)
    pending, failed = [await domain.item(source, name) for name in ("pending", "failed")]
    await domain.verbs.finish_item(failed, ItemStatus.FAILED)
    return Prepared(domain, source.id, story.id, highlight, linked.id, other.id, pending, failed)


async def _succeed(rows: Rows, known: Prepared) -> Any:
    await rows.record_success(
        known.source, next_check_in=1, etag=None, last_modified=None, status=HealthStatus.OK
    )
    return await rows.health(known.source)


async def _read(rows: Rows, known: Prepared) -> Any:
    teams = await rows.teams_of(known.source, lock=True)
    return await rows.set_reading_state(known.story, teams, ReadingState.READ)


Act = Callable[[Rows, Prepared], Awaitable[Any]]


class Meeting(NamedTuple):
    """A write, the deletion that it meets, and a read of what the write leaves."""

    write: Act
    delete: Act
    left: Act


def _delete_source(rows: Rows, known: Prepared) -> Awaitable[Any]:
    return rows.delete_source(known.source)


def _delete_story(rows: Rows, known: Prepared) -> Awaitable[Any]:
    return rows.delete_story(known.story)


def _delete_team(rows: Rows, known: Prepared) -> Awaitable[Any]:
    return rows.delete_team(TEAM)


MEETINGS: dict[str, Meeting] = {
    "items": Meeting(
        lambda rows, known: rows.put_items(known.source, [NewItem(external_id="new")]),
        _delete_source,
        lambda rows, known: rows.items_of(known.source),
    ),
    "subscription": Meeting(
        lambda rows, known: rows.connect(OTHERS, known.source),
        _delete_source,
        lambda rows, known: rows.teams_of(known.source),
    ),
    "health": Meeting(_succeed, _delete_source, lambda rows, known: rows.health(known.source)),
    "state of a highlight": Meeting(
        lambda rows, known: rows.put_team_highlight(TeamHighlight(OTHERS, known.highlight)),
        _delete_story,
        lambda rows, known: rows.team_highlights(OTHERS),
    ),
    "reading state": Meeting(_read, _delete_team, lambda rows, known: rows.reading_states(known.story)),
    "analysis": Meeting(
        lambda rows, known: rows.put_analysis(known.story, MODELS),
        _delete_story,
        lambda rows, known: rows.overlay(known.story),
    ),
}


async def test_deletion_waits_for_rows_that_refer_to_it_and_deletes_them(
    fresh: Callable[[], Domain],
) -> None:
    async def check(meeting: Meeting) -> None:
        known = await prepared(fresh())
        async with known.domain.rows() as rows:
            assert await meeting.write(rows, known)
            late = await _waiting(meeting.delete(known.domain.verbs, known))
        assert await late
        assert not await meeting.left(known.domain.verbs, known)

    await check_each_async({name: (meeting,) for name, meeting in MEETINGS.items()}, check)


async def test_row_that_refers_to_what_is_deleted_is_not_written(fresh: Callable[[], Domain]) -> None:
    async def check(meeting: Meeting) -> None:
        known = await prepared(fresh())
        async with known.domain.rows() as rows:
            assert await meeting.delete(rows, known)
            late = await _waiting(meeting.write(known.domain.verbs, known))
        assert not await late
        assert not await meeting.left(known.domain.verbs, known)

    await check_each_async({name: (meeting,) for name, meeting in MEETINGS.items()}, check)


async def test_linked_source_that_is_deleted_meanwhile_is_not_linked(fresh: Callable[[], Domain]) -> None:
    async def check(first: str) -> None:
        known = await prepared(fresh())
        verbs = known.domain.verbs
        async with known.domain.rows() as rows:
            if first == "deletion":
                assert await rows.delete_source(known.source)
                late = await _waiting(verbs.link_source(known.linked, known.source))
            else:
                assert await rows.link_source(known.linked, known.source)
                late = await _waiting(verbs.delete_source(known.source))
        assert bool(await late) is (first == "link")
        assert there(await verbs.story(known.linked)).primary_source_id != known.source

    await check_each_async(["deletion", "link"], check)


async def _archive(rows: Rows, known: Prepared) -> Any:
    await rows.keep_team(TEAM)
    return await rows.set_reading_state(known.story, [TEAM], ReadingState.ARCHIVED)


WRITES_FOR_TEAM: dict[str, Act] = {
    "subscription": lambda rows, known: rows.connect(TEAM, known.other),
    "reading state": _archive,
    "highlight": lambda rows, known: rows.put_highlights([_highlight(known.linked, TEAM)]),
    "state of a highlight": lambda rows, known: rows.put_team_highlight(TeamHighlight(TEAM, known.highlight)),
    "playbook": lambda rows, known: rows.put_playbook(replace(PLAYBOOK, id=UUID(int=32))),
    "run": lambda rows, known: rows.ensure_run(RUN),
    "budget": lambda rows, known: rows.set_budget(TEAM, Decimal(1)),
    "reservation": lambda rows, known: rows.reserve(RESERVATION, None),
}


async def test_late_job_of_a_deleted_team_fails_without_writing(fresh: Callable[[], Domain]) -> None:
    async def check(write: Act) -> None:
        known = await prepared(fresh())
        async with known.domain.rows() as rows:
            assert await rows.delete_team(TEAM)
            late = await _waiting(write(known.domain.verbs, known))
        # As a signal it ends a job; over HTTP and on the command line it is a usage error.
        with pytest.raises(Fail, match="was deleted"):
            await late
        with pytest.raises(UsageError, match="was deleted"):
            await write(known.domain.verbs, known)
        assert str(TEAM) not in str(await known.domain.everything())

    await check_each_async({name: (write,) for name, write in WRITES_FOR_TEAM.items()}, check)


async def test_deletion_of_a_team_waits_for_its_jobs(fresh: Callable[[], Domain]) -> None:
    async def check(write: Act) -> None:
        known = await prepared(fresh())
        async with known.domain.rows() as rows:
            await write(rows, known)
            late = await _waiting(known.domain.verbs.delete_team(TEAM))
        assert await late
        assert str(TEAM) not in str(await known.domain.everything())

    await check_each_async({name: (write,) for name, write in WRITES_FOR_TEAM.items()}, check)


async def test_usage_for_a_deleted_team_is_dropped_without_waiting(domain: Domain) -> None:
    spent = replace(SPENDING, team_id=TEAM)
    async with domain.rows() as rows:
        await rows.delete_team(TEAM)
        await domain.verbs.note_spending(spent)
    await domain.verbs.note_spending(spent)
    assert await domain.verbs.spending() == []


async def test_usage_is_recorded_if_the_deletion_of_its_team_fails(domain: Domain) -> None:
    spent = replace(SPENDING, team_id=TEAM)
    async with domain.rows() as rows:
        await rows.keep_team(TEAM)
        deletion = await _waiting(domain.verbs.delete_team(TEAM))
        noted = asyncio.ensure_future(domain.verbs.note_spending(spent))
        await asyncio.wait([noted], timeout=0.05)
        deletion.cancel()
        await asyncio.wait([deletion])
        await noted
    assert await domain.verbs.spending() == [spent]


async def test_usage_noted_while_the_deletion_of_its_team_waits_is_deleted(domain: Domain) -> None:
    async with domain.rows() as rows:
        await rows.keep_team(TEAM)
        deletion = await _waiting(domain.verbs.delete_team(TEAM))
        noted = asyncio.ensure_future(domain.verbs.note_spending(replace(SPENDING, team_id=TEAM)))
        await asyncio.wait([noted], timeout=0.05)
    await asyncio.gather(deletion, noted)
    assert await domain.verbs.spending() == []


class Halves(NamedTuple):
    """A transaction of a job in two parts, between which its source is deleted."""

    first: Act
    second: Act


async def _keep_text(rows: Rows, known: Prepared) -> Any:
    (item,) = await rows.items([known.pending])
    content = content_of(item.id, "new text")
    await rows.put_content(content)
    return await rows.ensure_story(story_of(content, item.source_id, item.kind))


HALVES: dict[str, Halves] = {
    "text": Halves(
        lambda rows, known: rows.finish_item(known.pending, ItemStatus.PROCESSED),
        _keep_text,
    ),
    "check without news": Halves(
        lambda rows, known: rows.take_up_forgotten_items(known.source, 0.0),
        _succeed,
    ),
    "upload": Halves(
        lambda rows, known: rows.reopen_items([known.failed]),
        lambda rows, known: rows.put_items(known.source, [NewItem(external_id="other")]),
    ),
    "reading states": Halves(
        lambda rows, known: rows.teams_of(known.source, lock=True),
        lambda rows, known: rows.set_reading_state(known.story, [TEAM], ReadingState.READ),
    ),
}


async def test_source_is_deleted_between_the_statements_of_a_job(fresh: Callable[[], Domain]) -> None:
    async def check(halves: Halves) -> None:
        known = await prepared(fresh())
        known.domain.clock.advance(1)
        async with known.domain.rows() as rows:
            assert await halves.first(rows, known)
            late = await _waiting(known.domain.verbs.delete_source(known.source))
            await halves.second(rows, known)
        assert await late
        left = await known.domain.everything()
        assert known.source not in [row["primary_source_id"] for row in left["stories"]]
        assert [row["source_id"] for row in left["raw_items"]] == [known.other]

    await check_each_async({name: (halves,) for name, halves in HALVES.items()}, check)


async def test_story_is_linked_while_its_source_is_deleted(domain: Domain) -> None:
    known = await prepared(domain)
    source = there(await domain.verbs.source(known.source))
    first, last = sorted([known.story, (await domain.told_story("another", source)).id])
    async with domain.rows() as rows:
        await rows.lock_story(first)
        late = await _waiting(domain.verbs.delete_source(known.source))
        linked = await _waiting(domain.verbs.link_source(last, known.source))
    assert await late == Deleted(items=4, stories=2)
    assert not await linked


async def test_two_sources_with_each_others_texts_are_deleted_together(domain: Domain) -> None:
    one, other = [await domain.source(f"https://{name}.example/feed") for name in "ab"]
    for text, sources in {"first": (one, other), "second": (other, one)}.items():
        for source in sources:
            await domain.told_story(text, source)
    keeper = await domain.told_story("third", one)
    async with domain.rows() as rows:
        await rows.lock_story(keeper.id)
        deletions = [await _waiting(domain.verbs.delete_source(source.id)) for source in (one, other)]
    done = [await deletion for deletion in deletions]
    assert done == [Deleted(items=3, stories=1, moved=1), Deleted(items=2, stories=2)]
    assert not any((await domain.everything()).values())


async def test_preview_waits_for_no_lock(domain: Domain) -> None:
    known = await prepared(domain)
    async with domain.rows() as rows:
        for delete in (_delete_source, _delete_story, _delete_team):
            await delete(rows, known)
        counts = await domain.verbs.count_source(known.source), await domain.verbs.count_story(known.story)
        assert counts == (Deleted(3, 1), Deleted(1, 1))
        assert any((await domain.verbs.count_team(TEAM)).values())


async def test_text_read_again_while_its_story_is_deleted_is_a_new_story(domain: Domain) -> None:
    known = await prepared(domain)
    source = there(await domain.verbs.source(known.source))
    item = await domain.look(await domain.item(source, "again"))
    async with domain.rows() as rows:
        assert await rows.delete_story(known.story)
        late = await _waiting(domain.story(item, "text"))
    assert await late == (known.story, True)
    assert await domain.verbs.text_of(known.story) == content_of(item.id, "text")


async def test_story_found_for_a_text_is_deleted_with_it(domain: Domain) -> None:
    known = await prepared(domain)
    source = there(await domain.verbs.source(known.source))
    item = await domain.look(await domain.item(source, "again"))
    async with domain.rows() as rows:
        await rows.put_content(content_of(item.id, "text"))
        story = story_of(content_of(item.id, "text"), known.source, item.kind)
        assert await rows.ensure_story(story) == (known.story, False)
        late = await _waiting(domain.verbs.delete_story(known.story))
    assert await late == Deleted(items=2, stories=1)
    assert await domain.verbs.content(item.id) is None


async def test_old_stories_expire_oldest_first(domain: Domain) -> None:
    source = await domain.source()
    older = await domain.told_story("older", source)
    domain.clock.advance(1)
    old = [await domain.told_story(text, source) for text in ("a", "b")]
    failed = await domain.item(source, "failed", body="long")
    await domain.verbs.finish_item(failed, ItemStatus.FAILED, "boom")
    domain.clock.advance(DAY)
    young = await domain.told_story("young", source)

    assert await domain.verbs.expire_stories(DAY, 1) == Deleted(1, 1)
    assert await domain.verbs.story(older.id) is None
    assert await domain.verbs.expire_stories(DAY, 9) == Deleted(0, 0)
    assert await domain.verbs.expire_items(DAY, 9) == 0
    domain.clock.advance(1)
    async with domain.rows() as rows:
        await rows.lock_story(old[0].id)
        assert await domain.verbs.expire_stories(DAY, 9) == Deleted(1, 1)
    assert await domain.verbs.expire_items(DAY, 9) == 1
    assert (await domain.look(failed)).body is None
    assert {story.id for story in await domain.verbs.newest_stories(9)} == {old[0].id, young.id}


async def test_ended_runs_expire(domain: Domain) -> None:
    await domain.verbs.put_playbook(PLAYBOOK)
    for number in (1, 2):
        await domain.verbs.ensure_run(NewRun(UUID(int=number), PLAYBOOK.id, TEAM, TriggerSource.API))
    await domain.verbs.end_run(UUID(int=1), RunStatus.SUCCEEDED)
    domain.clock.advance(DAY)
    assert await domain.verbs.expire_runs(DAY, 9) == 0
    domain.clock.advance(1)
    assert await domain.verbs.expire_runs(DAY, 9) == 1
    assert [run.id for run in await domain.verbs.runs_of(PLAYBOOK.id)] == [UUID(int=2)]


async def _waiting(act: Awaitable[T]) -> asyncio.Future[T]:
    """Start what must wait for another transaction."""
    task = asyncio.ensure_future(act)
    await asyncio.wait([task], timeout=0.05)
    assert not task.done()
    return task
