"""The analyses in the domain's store, in memory and on Postgres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.domain import Domain
from tests.tasks.store.samples import BRIEF, DRAFT, MODELS
from zeke_tasks.store.analysis import AnalysisState, BriefDraft, Embedding, Spending
from zeke_tasks.store.model import StoryStatus

NOBODY = UUID(int=7)
STUBS = replace(MODELS, why_it_matters="It is.", state=AnalysisState.STUB, model="stub")


# Overlays


async def test_analysis_is_stored_and_marks_the_story_as_analyzed(domain: Domain) -> None:
    story = await domain.told_story()
    now = domain.clock.now()
    async with domain.rows() as rows:
        assert await rows.overlay(story.id) is None
        assert await rows.put_analysis(story.id, MODELS)
        assert await rows.story(story.id) == replace(story, status=StoryStatus.ANALYZED)
    overlay = await domain.overlay(story)
    assert (overlay.story_id, overlay.why_it_matters) == (story.id, "It is faster.\nIt is smaller.")
    assert (overlay.chili, overlay.confidence, overlay.citations) == (3, 0.86, tuple(MODELS.citations))
    assert overlay.analysis_state is AnalysisState.COMPLETED
    assert (overlay.model, overlay.prompt_version) == ("gpt-5-nano", "2")
    assert (overlay.analysed_at, overlay.briefed_at, overlay.brief_elevator) == (now, None, None)


async def test_changed_analysis_replaces_earlier_one(fresh: Callable[[], Domain]) -> None:
    async def check(about: dict[str, Any]) -> None:
        domain = fresh()
        story = await domain.told_story()
        other = replace(MODELS, **about)
        async with domain.rows() as rows:
            await rows.put_analysis(story.id, MODELS)
            await rows.put_brief(story.id, BRIEF)
        domain.clock.advance(60)
        assert await domain.verbs.put_analysis(story.id, other)
        overlay = await domain.overlay(story)
        assert {name: getattr(overlay, name) for name in about} == {
            name: getattr(other, name) for name in about
        }
        assert overlay.analysed_at == domain.clock.now()
        assert (overlay.brief_one_liner, overlay.time_saved_seconds) == ("One.", 170)

    cases = [
        {"why_it_matters": "Otherwise."},
        {"chili": 4},
        {"confidence": 0.85},
        {"citations": [{"url": "https://a.example/", "n": True}]},
        {"model": "gpt-5"},
        {"prompt_version": "3"},
        {"analysed_by": NOBODY},
    ]
    await check_each_async(cases, check)


async def test_analysis_of_a_model_replaces_one_of_the_stub_only(domain: Domain) -> None:
    story = await domain.told_story()
    async with domain.rows() as rows:
        assert await rows.put_analysis(story.id, STUBS)
        assert await rows.put_analysis(story.id, replace(STUBS, chili=1))
        assert await rows.put_analysis(story.id, MODELS)
        assert not await rows.put_analysis(story.id, STUBS)
    overlay = await domain.overlay(story)
    assert overlay.analysis_state is AnalysisState.COMPLETED
    assert (overlay.model, overlay.chili) == ("gpt-5-nano", 3)


async def test_brief_of_a_model_replaces_one_of_the_stub_only(domain: Domain) -> None:
    story = await domain.told_story()
    stubs = replace(BRIEF, one_liner="1.", state=AnalysisState.STUB)
    await domain.verbs.put_analysis(story.id, MODELS)
    assert (await domain.overlay(story)).brief_state is None
    assert await domain.verbs.put_brief(story.id, stubs)
    assert (await domain.overlay(story)).brief_state is AnalysisState.STUB
    async with domain.rows() as rows:
        assert await rows.put_brief(story.id, BRIEF)
        assert not await rows.put_brief(story.id, stubs)
    overlay = await domain.overlay(story)
    assert (overlay.brief_state, overlay.brief_one_liner) == (AnalysisState.COMPLETED, "One.")


async def test_story_names_the_jobs_of_its_analysis_and_brief(domain: Domain) -> None:
    story, first, second = await domain.told_story(), UUID(int=51), UUID(int=52)
    async with domain.rows() as rows:
        await rows.put_analysis(story.id, replace(MODELS, analysed_by=first))
        await rows.put_brief(story.id, replace(BRIEF, briefed_by=first))
    overlay = await domain.overlay(story)
    assert (overlay.analysed_by, overlay.briefed_by) == (first, first)
    await domain.verbs.put_brief(story.id, replace(BRIEF, briefed_by=second))
    overlay = await domain.overlay(story)
    assert (overlay.analysed_by, overlay.briefed_by) == (first, second)


async def test_brief_keeps_the_version_of_its_prompt(domain: Domain) -> None:
    story = await domain.told_story()
    async with domain.rows() as rows:
        await rows.put_analysis(story.id, MODELS)
        await rows.put_brief(story.id, replace(BRIEF, prompt_version="7\0"))
    overlay = await domain.overlay(story)
    assert (overlay.prompt_version, overlay.brief_prompt_version) == (MODELS.prompt_version, "7")
    domain.clock.advance(60)
    await domain.verbs.put_brief(story.id, replace(BRIEF, prompt_version="8"))
    overlay = await domain.overlay(story)
    assert (overlay.brief_prompt_version, overlay.briefed_at) == ("8", domain.clock.now())
    await domain.verbs.put_analysis(story.id, replace(MODELS, prompt_version="9"))
    overlay = await domain.overlay(story)
    assert (overlay.prompt_version, overlay.brief_prompt_version) == ("9", "8")


async def test_missing_story_gets_no_analysis_or_brief(domain: Domain) -> None:
    async with domain.rows() as rows:
        assert not await rows.put_analysis(NOBODY, MODELS)
        assert not await rows.put_brief(NOBODY, BRIEF)
        await rows.put_embedding(NOBODY, Embedding("m", (1.0,)))
        assert await rows.overlay(NOBODY) is None
        assert await rows.embeddings(NOBODY) == []


async def test_brief_is_stored_for_an_analysed_story_and_replaced_by_a_changed_one(domain: Domain) -> None:
    story = await domain.told_story()
    async with domain.rows() as rows:
        assert not await rows.put_brief(story.id, BRIEF)
        assert await rows.overlay(story.id) is None
        await rows.put_analysis(story.id, MODELS)
    domain.clock.advance(60)
    briefed_at = domain.clock.now()
    for _ in range(2):
        assert await domain.verbs.put_brief(story.id, BRIEF)
        domain.clock.advance(60)
    overlay = await domain.overlay(story)
    briefs = (overlay.brief_one_liner, overlay.brief_two_liner, overlay.brief_elevator)
    assert briefs == ("One.", "One. Two.", "One. Two. Three.")
    assert (overlay.time_saved_seconds, overlay.briefed_at) == (170, briefed_at)
    assert await domain.verbs.put_brief(story.id, replace(BRIEF, time_saved_seconds=-5))
    overlay = await domain.overlay(story)
    assert (overlay.time_saved_seconds, overlay.briefed_at) == (-5, domain.clock.now())


async def test_draft_of_brief_is_kept_beside_the_brief_until_it_is_removed(domain: Domain) -> None:
    story = await domain.told_story()
    assert not await domain.verbs.put_brief_draft(story.id, DRAFT)
    assert not await domain.verbs.put_brief_draft(NOBODY, DRAFT)
    await domain.verbs.put_analysis(story.id, MODELS)
    draft = BriefDraft("It is.\0", "2\0", {"two_liner": "One.\0 Two.", "one_liner": "One."})
    for one in (DRAFT, draft):
        assert await domain.verbs.put_brief_draft(story.id, one)
        assert (await domain.overlay(story)).brief_draft == one
    assert draft.variants["two_liner"] == "One. Two."
    assert (await domain.overlay(story)).brief is None
    await domain.verbs.put_brief(story.id, replace(BRIEF, two_liner=None))
    overlay = await domain.overlay(story)
    assert (overlay.brief, overlay.brief_draft) == (replace(BRIEF, two_liner=None), draft)
    assert replace(BRIEF, two_liner=None).missing == ("two_liner",)
    assert await domain.verbs.put_brief_draft(story.id, None)
    assert (await domain.overlay(story)).brief_draft is None


# Embeddings


async def test_embedding_is_stored_in_single_precision(domain: Domain) -> None:
    story = await domain.told_story()
    given = (0.1, -1 / 3, 1e-45, 3.4028234e38, 0.0, 16777217.0, 123456.79)
    embedding = Embedding("m", given)
    async with domain.rows() as rows:
        await rows.put_embedding(story.id, embedding)
        assert await rows.embeddings(story.id) == [embedding]
    assert embedding.vector != given
    assert embedding.vector == pytest.approx(given, rel=1e-7)


async def test_story_has_one_embedding_per_model_and_dimensions(domain: Domain) -> None:
    story = await domain.told_story()
    async with domain.rows() as rows:
        for model, vector in [("b", (1.0,)), ("a", (1.0, 2.0)), ("a", (3.0,)), ("B", (4.0,)), ("a", (5.0,))]:
            await rows.put_embedding(story.id, Embedding(model, vector))
        assert await rows.embeddings(story.id) == [
            Embedding("B", (4.0,)),
            Embedding("a", (5.0,)),
            Embedding("a", (1.0, 2.0)),
            Embedding("b", (1.0,)),
        ]


async def test_embedding_may_have_the_dimensions_of_openai_models(domain: Domain) -> None:
    story = await domain.told_story()
    embedding = Embedding("text-embedding-3-small", tuple(1 / (n + 1) for n in range(1536)))
    async with domain.rows() as rows:
        await rows.put_embedding(story.id, embedding)
        assert await rows.embeddings(story.id) == [embedding]
        assert await rows.nearest(embedding, 1) == [(story.id, 0.0)]


async def _embedded(domain: Domain, *vectors: tuple[float, ...]) -> list[UUID]:
    stories = [(await domain.told_story(str(n))).id for n in range(len(vectors))]
    async with domain.rows() as rows:
        for story_id, vector in zip(stories, vectors, strict=True):
            await rows.put_embedding(story_id, Embedding("m", vector))
    return stories


async def test_nearest_story_has_the_same_direction(domain: Domain) -> None:
    opposite, near, across, same = await _embedded(domain, (-2.0, 0.0), (1.0, 1.0), (0.0, 3.0), (5.0, 0.0))
    async with domain.rows() as rows:
        found = await rows.nearest(Embedding("m", (1.0, 0.0)), 10)
        assert found == [(same, 0.0), (near, 0.292893), (across, 1.0), (opposite, 2.0)]
        assert await rows.nearest(Embedding("m", (1.0, 0.0)), 2) == found[:2]


async def test_equally_near_stories_are_sorted_by_id(domain: Domain) -> None:
    # In single precision these are not quite in one direction.
    stories = await _embedded(domain, (0.3, 0.9), (0.1, 0.3), (3.0, 9.0), (1 / 3, 1.0))
    found = await domain.verbs.nearest(Embedding("m", (1.0, 3.0)), 10)
    assert found == [(story_id, 0.0) for story_id in sorted(stories)]


async def test_only_embeddings_of_the_same_model_and_dimensions_are_near(domain: Domain) -> None:
    story = await domain.told_story()
    async with domain.rows() as rows:
        await rows.put_embedding(story.id, Embedding("other", (1.0, 0.0)))
        await rows.put_embedding(story.id, Embedding("m", (1.0, 0.0, 0.0)))
        assert await rows.nearest(Embedding("m", (1.0, 0.0)), 10) == []


async def test_vector_without_direction_has_distance_1(domain: Domain) -> None:
    zero, back = await _embedded(domain, (0.0, 0.0), (-1.0, 0.0))
    async with domain.rows() as rows:
        assert await rows.nearest(Embedding("m", (1.0, 0.0)), 10) == [(zero, 1.0), (back, 2.0)]
        nowhere = await rows.nearest(Embedding("m", (0.0, 0.0)), 10)
    assert nowhere == [(story_id, 1.0) for story_id in sorted([zero, back])]


# Spending


def _spending(job: int = 1, attempt: int = 1, purpose: str = "analysis", **about: Any) -> Spending:
    given: dict[str, Any] = {
        "task": "analyze-story",
        "model": "gpt-5-nano",
        "input_tokens": 2_000,
        "output_tokens": 300,
        "cost_usd": 0.00022,
        **about,
    }
    return Spending(job_id=UUID(int=job), attempt=attempt, purpose=purpose, **given)


async def test_spending_is_stored_once_per_job_attempt_and_purpose(domain: Domain) -> None:
    first = _spending()
    others = [
        _spending(purpose="embedding", cost_usd=None),
        _spending(attempt=2),
        _spending(job=2, purpose="B"),
        _spending(job=2, purpose="a", input_tokens=0, output_tokens=0, cost_usd=1e-12),
    ]
    async with domain.rows() as rows:
        for spending in [*reversed(others), first, _spending(cost_usd=5.0)]:
            await rows.note_spending(spending)
        assert await rows.spending() == [first, *others]
        assert await rows.spending(UUID(int=1)) == [first, *others[:2]]
        assert await rows.spending(NOBODY) == []
