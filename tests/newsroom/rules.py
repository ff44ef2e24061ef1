"""What must hold of a newsroom's rows when all is well and quiet again: a sentence each.

A rule checks only rows, through the repository's verbs, and the expectations; how the rows came to be
so is none of its business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from tests.newsroom.archive import Kept
from tests.newsroom.clients import Said, alike
from tests.newsroom.fake_ai import Call, too_often
from zeke_tasks.keywords import DEFAULT_KEYWORDS
from zeke_tasks.store.analysis import AnalysisState
from zeke_tasks.store.highlights import Highlight, HighlightKind, ReadingState
from zeke_tasks.store.model import HealthStatus, ItemStatus, Story, StoryStatus
from zeke_tasks.store.playbooks import RunStatus
from zeke_tasks.store.repository import Rows

MANY: Final = 100_000
"""More stories than there can be."""

WORTH: Final = {
    HighlightKind.CODE_CHANGE: 1.0,
    HighlightKind.API_CHANGE: 0.95,
    HighlightKind.METRIC: 0.9,
    HighlightKind.CODE_EXAMPLE: 0.85,
    HighlightKind.INSIGHT: 0.8,
    HighlightKind.ACTION: 0.75,
    HighlightKind.QUOTE: 0.6,
    HighlightKind.QUESTION: 0.5,
}
"""What a kind of highlight counts for."""

UNKNOWN: Final = 0.7
"""The authority of a source of which nothing is known."""

HALF_A_STEP: Final = 0.0051
"""By how much rounding to two decimals may change a score."""

FOUND: Final = {HighlightKind.METRIC, HighlightKind.API_CHANGE}
"""A highlight expected for a text of the newsroom."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected results of a run.

    Attributes:
        told: the items of each source by identity, with the key that items of one story share; None for
            one that cannot be read.
        places: the URL of each checked source.
        gone: those of them that are gone permanently.
        waiting: identities of items that may still wait for more data.
        shared: sources of what a user named, which have no item if another source had brought it by then.
        insights: those that a user sent.
        runs: of playbooks, with how each may have ended.
        children: how many jobs of a name each run has made.
        attached: how many attempts reported that they attached an insight, by its id.
        model: stories that a job reported as analysed by a model.
        partial: stories whose brief lacks a variant, as a job reported.
        kept: the analyses and briefs that jobs have kept, in order.
        calls: those that reached the AI, and ``per_minute`` how many a process may begin.
    """

    told: Mapping[UUID, Mapping[str, str | None]] = field(default_factory=dict[Any, Any])
    places: Mapping[UUID, str | None] = field(default_factory=dict[Any, Any])
    gone: Collection[UUID] = ()
    waiting: Collection[str] = ()
    shared: Collection[UUID] = ()
    insights: Sequence[Said] = ()
    runs: Mapping[UUID, Collection[RunStatus]] = field(default_factory=dict[Any, Any])
    children: Mapping[tuple[UUID, str], int] = field(default_factory=dict[Any, Any])
    attached: Mapping[UUID, int] = field(default_factory=dict[Any, Any])
    model: Collection[UUID] = ()
    partial: Collection[UUID] = ()
    kept: Sequence[Kept] = ()
    calls: Sequence[Call] = ()
    per_minute: int = 1


class Rule(NamedTuple):
    """A rule's sentence, and a function that describes a violation; None if it holds."""

    name: str
    check: Callable[[Rows, Expected], Awaitable[str | None]]


async def each_item_is_one_raw_item(rows: Rows, expected: Expected) -> str | None:
    """What a source has listed, or a user has brought, is one raw item each, and nothing else is."""
    for source in dict.fromkeys([*expected.told, *(each.id for each in await rows.every_source())]):
        wanted = Counter(list(expected.told.get(source, ())))
        there = Counter(item.external_id for item in await rows.items_of(source))
        if wanted != there and (there or source not in expected.shared):
            lacking, more = sorted((wanted - there).elements()), sorted((there - wanted).elements())
            return (
                f"of source {source} {len(lacking)} lack {lacking[:3]}, {len(more)} are too many {more[:3]}"
            )
    return None


async def each_item_comes_to_an_end(rows: Rows, expected: Expected) -> str | None:
    """Each raw item that can be read has been processed, and each other one has failed."""
    for source, told in expected.told.items():
        for item in await rows.items_of(source):
            right = {ItemStatus.FAILED if told.get(item.external_id) is None else ItemStatus.PROCESSED}
            if item.external_id in expected.waiting:
                right.add(ItemStatus.PENDING)
            if item.status not in right:
                return f"{item.external_id} is {item.status} after {item.attempts} attempts: {item.error}"
    return None


async def each_text_is_one_story(rows: Rows, expected: Expected) -> str | None:
    """What was read is one story a text: items of one text share it, and it is no other's."""
    told: dict[UUID, str] = {}
    for source, texts in expected.told.items():
        for item in await rows.items_of(source):
            text = texts.get(item.external_id)
            if text is not None and item.status is ItemStatus.PROCESSED:
                told[item.id] = text
    stories = {item: story.id for item, story in (await rows.stories_of(told)).items()}
    if lacking := [told[item] for item in told if item not in stories]:
        return f"{len(lacking)} items have no story, such as that of {lacking[0]!r}"
    pairs = {(told[item], story) for item, story in stories.items()}
    for place, what in ((0, "text is several stories"), (1, "story is several texts")):
        often = [one for one, count in Counter(pair[place] for pair in pairs).items() if count > 1]
        if often:
            return f"one {what}: {often[0]}"
    if idle := {story.id for story in await rows.newest_stories(MANY)} - set(stories.values()):
        return f"{len(idle)} stories are those of no item, such as {min(idle)}"
    return None


async def a_source_that_heals_is_healthy(rows: Rows, expected: Expected) -> str | None:
    """A recovered source has a healthy status, and no recorded failures."""
    for key, place in expected.places.items():
        source, health, gone = await rows.source(key), await rows.health(key), key in expected.gone
        if source is None or health is None:
            return f"{place}: it was never checked"
        if source.url != place:
            return f"it is at {place}, and looked for at {source.url}"
        right = HealthStatus.ERROR if gone else HealthStatus.OK
        if health.status is not right:
            return f"{place}: it is {health.status}, and should be {right}: {health.message}"
        if (health.failing_for is not None) is not gone:
            return f"{place}: it is {health.status}, and has been failing for {health.failing_for} s"
    return None


async def each_story_is_told(rows: Rows, expected: Expected) -> str | None:
    """Each story has its overlay: its relevance, its briefs, and its neighbours."""
    for story in await rows.newest_stories(MANY):
        overlay = await rows.overlay(story.id)
        if overlay is None or overlay.analysis_state is AnalysisState.PENDING or not overlay.why_it_matters:
            return f"{_called(story)} has no analysis"
        if story.status is not StoryStatus.ANALYZED:
            return f"{_called(story)} has an analysis, and is {story.status}"
        if (brief := overlay.brief) is None or (brief.missing and story.id not in expected.partial):
            return f"{_called(story)} has no brief, or one without {brief and brief.missing}"
        if not await rows.embeddings(story.id):
            return f"{_called(story)} has no embedding"
        if story.id in expected.model and overlay.analysis_state is not AnalysisState.COMPLETED:
            return f"{_called(story)} was analysed by a model, and its analysis is a {overlay.analysis_state}"
    return None


async def no_job_keeps_twice(rows: Rows, expected: Expected) -> str | None:
    """A job stores an analysis or a brief only once, unless another job's replaced it."""
    del rows
    last: dict[tuple[str, UUID], UUID | None] = {}
    for one in expected.kept:
        if one.job is not None and last.get((one.what, one.story)) == one.job:
            return f"job {one.job} has kept its {one.what} of story {one.story} twice"
        last[one.what, one.story] = one.job
    return None


async def each_story_is_highlighted(rows: Rows, expected: Expected) -> str | None:
    """Each expected highlight of a story exists once."""
    for source, texts in expected.told.items():
        items = {item.id: texts.get(item.external_id) for item in await rows.items_of(source)}
        written = [key for key, text in items.items() if text is not None and not text.startswith("video")]
        for story in (await rows.stories_of(written)).values():
            found = [one.kind for one in await rows.highlights(story.id) if one.team_id is None]
            kinds = Counter(kind for kind in found if kind is not HighlightKind.INSIGHT)
            if kinds != Counter(FOUND):
                return f"{_called(story)} has as highlights {dict(kinds)}"
    return None


async def each_highlight_is_scored(rows: Rows, expected: Expected) -> str | None:
    """No highlight is without its score, which is what its keywords, kind, source and age make it."""
    del expected
    known = [source.authority_score for source in await rows.every_source()]
    authorities = [UNKNOWN, *(authority for authority in known if authority is not None)]
    for story in await rows.newest_stories(MANY):
        for one in await rows.highlights(story.id):
            if one.score is None or one.scored_at is None:
                return f"{one.kind} {one.summary!r} of {_called(story)} has no score"
            least, most = _score_of(one, authorities)
            if not least <= one.score.value <= most:
                return f"{one.kind} {one.summary!r} scores {one.score.value}, and should {least} to {most}"
    return None


def _score_of(one: Highlight, authorities: Sequence[float]) -> tuple[float, float]:
    """Return within which bounds a score is, whichever source it has and however old it is."""
    said = "\n".join(part for part in (one.title, one.summary, one.quote, *one.tags) if part)
    words = [word for word in DEFAULT_KEYWORDS if _has(said, word)]
    certain = 0.4 * min(1.0, len(words) / 5) + 0.3 * WORTH[one.kind]
    least = certain + 0.2 * min(authorities) + 0.1 * 0.5
    most = certain + 0.2 * max(authorities) + 0.1
    return round(least - HALF_A_STEP, 4), round(most + HALF_A_STEP, 4)


def _has(said: str, keyword: str) -> bool:
    """Return whether a keyword occurs in a text as a whole word."""
    text, word = " ".join(said.lower().split()), " ".join(keyword.lower().split())
    place = text.find(word)
    while place >= 0:
        around = text[place - 1 : place] + text[place + len(word) : place + len(word) + 1]
        if not any(sign.isalnum() or sign == "_" for sign in around):
            return True
        place = text.find(word, place + 1)
    return False


async def each_insight_is_there_once(rows: Rows, expected: Expected) -> str | None:
    """A sent insight is stored once for its team; not again if all teams have it."""
    for story, team, said in expected.insights:
        there = [
            one
            for one in await rows.highlights(story)
            if one.kind is HighlightKind.INSIGHT
            and alike(one.summary) == said
            and one.team_id in {None, team}
        ]
        often = Counter(one.team_id for one in there)
        if not there or max(often.values()) > 1:
            return f"the insight {said!r} of story {story}, team {team}, is there {len(there)} times"
    return None


async def an_insight_is_attached_once(rows: Rows, expected: Expected) -> str | None:
    """Of all jobs that attach an insight, one reports that it did."""
    del rows
    often = next((key for key, count in expected.attached.items() if count > 1), None)
    return None if often is None else f"{expected.attached[often]} attempts attached the insight {often}"


async def what_is_read_was_viewed(rows: Rows, expected: Expected) -> str | None:
    """A team that has read a story has viewed it at some time."""
    del expected
    for story in await rows.newest_stories(MANY):
        for one in await rows.reading_states(story.id):
            if one.state is ReadingState.READ and one.last_viewed_at is None:
                return f"team {one.team_id} has read {_called(story)}, and never viewed it"
    return None


async def a_run_ends_as_it_says(rows: Rows, expected: Expected) -> str | None:
    """A run of a playbook ended as its row says, with the results of its steps."""
    for key, ends in expected.runs.items():
        run = await rows.run(key)
        if run is None:
            if RunStatus.CANCELLED not in ends:
                return f"run {key} was never begun"
            continue
        if run.status not in ends:
            return f"run {key} is {run.status}, and should be {' or '.join(sorted(ends))}: {run.error}"
        last = [event.kind for event in await rows.run_events(key) if event.kind.startswith("run.")][-1]
        said = {RunStatus.SUCCEEDED: "run.completed"}.get(run.status, f"run.{run.status}")
        if last != said:
            return f"run {key} is {run.status}, and {last} was the last that happened in it"
        done = {event.step for event in await rows.run_events(key) if event.kind == "step.completed"}
        if done != set(run.outputs):
            return f"run {key} has outputs of {sorted(run.outputs)}, and {len(done)} of its steps are done"
    return None


async def a_step_is_one_job_a_round(rows: Rows, expected: Expected) -> str | None:
    """A run of a playbook makes one job of a step, and another one each time that it is taken up again."""
    for (key, task), count in expected.children.items():
        run = await rows.run(key)
        rounds = 1 if run is None else run.resumed + 1
        if key in expected.runs and count > rounds:
            return f"run {key} made {count} jobs of {task} in {rounds} rounds"
    return None


async def the_ai_is_asked_within_its_limit(rows: Rows, expected: Expected) -> str | None:
    """No process exceeds its own limit of AI calls per minute."""
    del rows
    return too_often(expected.calls, expected.per_minute)


def _called(story: Story) -> str:
    return f"story {story.id} ({story.title!r})"


RULES: Final = (
    Rule("each item is one raw item", each_item_is_one_raw_item),
    Rule("each raw item comes to an end", each_item_comes_to_an_end),
    Rule("each text is one story", each_text_is_one_story),
    Rule("a source that heals is healthy again", a_source_that_heals_is_healthy),
    Rule("each story is told", each_story_is_told),
    Rule("no job keeps an analysis or a brief twice", no_job_keeps_twice),
    Rule("each story is highlighted once", each_story_is_highlighted),
    Rule("each highlight is scored", each_highlight_is_scored),
    Rule("each insight is there once", each_insight_is_there_once),
    Rule("an insight is attached once", an_insight_is_attached_once),
    Rule("what is read was viewed", what_is_read_was_viewed),
    Rule("a run ends as its row says", a_run_ends_as_it_says),
    Rule("a step is one job a round", a_step_is_one_job_a_round),
    Rule("the AI is asked within its limit", the_ai_is_asked_within_its_limit),
)
