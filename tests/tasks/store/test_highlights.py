"""What the domain's store answers about highlights and what teams make of them, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.cases import check_each_async
from tests.tasks.domain import Domain
from tests.tasks.store.samples import SCORE
from zeke_tasks.store.highlights import (
    HighlightKind,
    NewHighlight,
    Origin,
    ReadingState,
    TeamHighlight,
    TeamStory,
)
from zeke_tasks.store.model import Story

NOBODY = UUID(int=7)
TEAM, OTHERS = UUID(int=21), UUID(int=22)


def _new(story: Story, team: UUID | None = TEAM, summary: str = "Faster", **about: Any) -> NewHighlight:
    given: dict[str, Any] = {"kind": HighlightKind.METRIC, "confidence": 0.85, **about}
    return NewHighlight(story_id=story.id, team_id=team, summary=summary, **given)


async def _put(domain: Domain, *highlights: NewHighlight) -> list[UUID]:
    return await domain.verbs.put_highlights(highlights)


# Highlights


async def test_highlight_is_stored_unchanged(domain: Domain) -> None:
    story = await domain.told_story()
    new = _new(
        story,
        kind=HighlightKind.INSIGHT,
        summary="Löwen sind\x00 schnell",
        title="Lions",
        quote="50 km/h",
        confidence=0.855,
        origin=Origin.ASSISTANT,
        created_by=NOBODY,
        tags=("b", "a", "b", "Z"),
        references=("https://b.example/", "https://a.example/" + "x" * 5000, "https://b.example/"),
        metadata={"line": 3, "ö": [True, None]},
    )
    assert await _put(domain, new) == [new.id]
    (kept,) = await domain.verbs.highlights(story.id)
    assert (kept.id, kept.story_id, kept.team_id, kept.key) == (new.id, story.id, TEAM, new.key)
    assert (kept.kind, kept.title, kept.quote) == (HighlightKind.INSIGHT, "Lions", "50 km/h")
    assert (kept.summary, kept.confidence) == ("Löwen sind schnell", 0.86)
    assert (kept.origin, kept.created_by) == (Origin.ASSISTANT, NOBODY)
    assert kept.tags == ("Z", "a", "b")
    assert kept.references == ("https://a.example/" + "x" * 5000, "https://b.example/")
    assert kept.metadata == {"line": 3, "ö": [True, None]}
    assert (kept.score, kept.scored_at) == (None, None)


async def test_new_highlights_are_returned_in_order_and_listed_by_id(domain: Domain) -> None:
    story, other = await domain.told_story("one"), await domain.told_story("other")
    news = [_new(story, summary=str(n)) for n in range(6)]
    elsewhere = _new(other)
    added = await _put(domain, *news[:3], elsewhere, *news[3:])
    assert added == [*(new.id for new in news[:3]), elsewhere.id, *(new.id for new in news[3:])]
    async with domain.rows() as rows:
        assert [one.id for one in await rows.highlights(story.id)] == sorted(new.id for new in news)
        assert [one.id for one in await rows.highlights(other.id)] == [elsewhere.id]
        assert await rows.highlights(NOBODY) == []


async def test_highlight_with_a_key_of_the_team_is_not_added(domain: Domain) -> None:
    story, other = await domain.told_story("one"), await domain.told_story("other")
    first = _new(story, tags=("first",))
    again = _new(
        story, summary=" FASTER ", title="again", tags=("again",), references=("https://a.example/",)
    )
    news = [_new(story, OTHERS), _new(other)]
    await _put(domain, first)
    assert await _put(domain, again, *news) == [new.id for new in news]
    kept = {one.id: one for one in await domain.verbs.highlights(story.id)}
    assert set(kept) == {first.id, news[0].id}
    assert (kept[first.id].title, kept[first.id].tags, kept[first.id].references) == (None, ("first",), ())


async def test_highlight_of_all_teams_is_not_added_for_one(domain: Domain) -> None:
    story = await domain.told_story()
    shared = _new(story, None)
    assert await _put(domain, shared) == [shared.id]
    assert await _put(domain, _new(story, TEAM), shared) == []


async def test_highlight_of_one_team_is_added_for_all(domain: Domain) -> None:
    story = await domain.told_story()
    teams, shared = _new(story, TEAM), _new(story, None)
    assert await _put(domain, teams) == [teams.id]
    assert await _put(domain, shared) == [shared.id]
    assert await _put(domain, _new(story, OTHERS)) == []


async def test_first_of_two_equal_highlights_in_a_call_counts(domain: Domain) -> None:
    story = await domain.told_story()
    teams, shared, late = _new(story), _new(story, None), _new(story, OTHERS)
    twin = _new(story, title="twin", tags=("twin",))
    assert await _put(domain, teams, twin, shared, late) == [teams.id, shared.id]
    kept = {one.id: one for one in await domain.verbs.highlights(story.id)}
    assert (kept[teams.id].title, kept[teams.id].tags) == (None, ())


async def test_highlight_for_all_teams_precludes_one_for_a_team_in_a_call(domain: Domain) -> None:
    story = await domain.told_story()
    shared = _new(story, None)
    assert await _put(domain, shared, _new(story)) == [shared.id]


async def test_missing_story_gets_no_highlights_scores_or_reading_states(domain: Domain) -> None:
    story = await domain.told_story()
    new = _new(story)
    assert await _put(domain, replace(new, story_id=NOBODY), new) == [new.id]
    assert await _put(domain) == []
    async with domain.rows() as rows:
        assert not await rows.put_score(NOBODY, SCORE)
        assert await rows.set_reading_state(NOBODY, [TEAM], ReadingState.READ) == []
        assert await rows.reading_states(NOBODY) == []


async def test_keys_of_a_team_are_its_own_and_those_of_all_teams(domain: Domain) -> None:
    story = await domain.told_story()
    shared, teams = _new(story, None, "everybody's"), _new(story, TEAM, "the team's")
    await _put(domain, shared, teams)
    keys = [shared.key, teams.key, "0" * 64]
    async with domain.rows() as rows:
        assert await rows.known_keys(story.id, TEAM, keys) == {shared.key, teams.key}
        assert await rows.known_keys(story.id, OTHERS, keys) == {shared.key}
        assert await rows.known_keys(story.id, None, keys) == {shared.key}
        assert await rows.known_keys(story.id, TEAM, [teams.key]) == {teams.key}
        assert await rows.known_keys(story.id, TEAM, []) == set()
        assert await rows.known_keys(NOBODY, TEAM, keys) == set()


# Scores


async def test_score_is_stored_with_its_reasons(domain: Domain) -> None:
    story = await domain.told_story()
    (key,) = await _put(domain, _new(story))
    async with domain.rows() as rows:
        assert await rows.put_score(key, SCORE)
        (scored,) = await rows.highlights(story.id)
    assert scored.score == SCORE
    assert SCORE.value == 0.74
    assert scored.scored_at == domain.clock.now()


async def test_changed_score_replaces_earlier_one(fresh: Callable[[], Domain]) -> None:
    async def check(about: dict[str, Any]) -> None:
        domain = fresh()
        story = await domain.told_story()
        (key,) = await _put(domain, _new(story))
        await domain.verbs.put_score(key, SCORE)
        domain.clock.advance(60)
        async with domain.rows() as rows:
            assert not await rows.put_score(key, SCORE)
            assert await rows.put_score(key, replace(SCORE, **about))
            (scored,) = await rows.highlights(story.id)
        assert scored.score == replace(SCORE, **about)
        assert scored.scored_at == domain.clock.now()

    cases = [{"value": 0.73}, {"matches": ("cache", "latency")}, {"breakdown": {"keywords": 0.16}}]
    await check_each_async(cases, check)


# Teams


async def test_team_subscribes_to_a_source_once(domain: Domain) -> None:
    source, other = await domain.source(), await domain.source("https://b.example/feed")
    async with domain.rows() as rows:
        assert await rows.connect(OTHERS, source.id)
        assert await rows.connect(TEAM, source.id)
        assert not await rows.connect(TEAM, source.id)
        assert await rows.connect(TEAM, other.id)
        assert not await rows.connect(TEAM, NOBODY)
        assert await rows.teams_of(source.id) == [TEAM, OTHERS]
        assert await rows.teams_of(other.id) == [TEAM]
        assert await rows.teams_of(NOBODY) == []


async def test_ended_subscription_is_gone_for_its_team_alone(domain: Domain) -> None:
    later, source = await domain.source("https://b.example/feed", name="B"), await domain.source(name="A")
    async with domain.rows() as rows:
        for team in (TEAM, OTHERS):
            assert await rows.connect(team, source.id)
        assert await rows.connect(TEAM, later.id)
        assert await rows.subscribed_sources(TEAM) == [source, later]
    async with domain.rows() as rows:
        assert await rows.disconnect(TEAM, source.id)
        assert not await rows.disconnect(TEAM, source.id)
        assert not await rows.disconnect(TEAM, NOBODY)
        assert await rows.subscribed_sources(TEAM) == [later]
        assert await rows.subscribed_sources(OTHERS) == [source]
        assert await rows.teams_of(source.id) == [OTHERS]
        assert await rows.connect(TEAM, source.id)


async def test_reading_a_story_stores_the_time_per_team(domain: Domain) -> None:
    story = await domain.told_story()
    viewed = domain.clock.now()
    assert await domain.verbs.set_reading_state(story.id, [OTHERS, TEAM, TEAM], ReadingState.READ) == [
        TEAM,
        OTHERS,
    ]
    domain.clock.advance(60)
    async with domain.rows() as rows:
        assert await rows.set_reading_state(story.id, [TEAM, OTHERS], ReadingState.READ) == []
        assert await rows.set_reading_state(story.id, [TEAM], ReadingState.ARCHIVED) == [TEAM]
        assert await rows.reading_states(story.id) == [
            TeamStory(TEAM, story.id, ReadingState.ARCHIVED, viewed),
            TeamStory(OTHERS, story.id, ReadingState.READ, viewed),
        ]
        assert await rows.set_reading_state(story.id, [TEAM, OTHERS], ReadingState.READ) == [TEAM]
        assert (await rows.reading_states(story.id))[0].last_viewed_at == domain.clock.now()


async def test_unread_story_has_no_time_of_view(domain: Domain) -> None:
    story, other = await domain.told_story("one"), await domain.told_story("other")
    async with domain.rows() as rows:
        assert await rows.set_reading_state(story.id, [TEAM], ReadingState.UNREAD) == [TEAM]
        assert await rows.set_reading_state(story.id, [], ReadingState.READ) == []
        assert await rows.reading_states(story.id) == [TeamStory(TEAM, story.id, ReadingState.UNREAD, None)]
        assert await rows.reading_states(other.id) == []


async def test_action_of_a_team_on_a_highlight_is_stored_once(domain: Domain) -> None:
    story = await domain.told_story()
    keys = sorted(await _put(domain, _new(story, summary="a"), _new(story, summary="b")))
    one, two = TeamHighlight(TEAM, keys[0], pinned=True), TeamHighlight(TEAM, keys[1], dismissed=True)
    async with domain.rows() as rows:
        assert await rows.put_team_highlight(two)
        assert await rows.put_team_highlight(one)
        assert not await rows.put_team_highlight(TeamHighlight(TEAM, keys[0]))
        assert await rows.put_team_highlight(TeamHighlight(OTHERS, keys[0]))
        assert not await rows.put_team_highlight(TeamHighlight(TEAM, NOBODY))
        assert await rows.team_highlights(TEAM) == [one, two]
        assert await rows.team_highlights(OTHERS) == [TeamHighlight(OTHERS, keys[0])]
        assert await rows.team_highlights(NOBODY) == []
