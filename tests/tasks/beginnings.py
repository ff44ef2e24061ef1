"""Where each task begins: the rows and the web that it finds, and a payload that leaves something to do."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from tests.clocks import START
from tests.tasks.domain import Domain
from tests.tasks.ingest.videos import CHANNEL
from tests.tasks.ingest.videos import FEED as CHANNELS_FEED
from tests.tasks.jobs import Jobs
from tests.tasks.scripted import FOUND
from tests.tasks.youtube.pages import watch_page
from zeke_tasks.store.analysis import Analysis, AnalysisState, Brief, Spending
from zeke_tasks.store.budgets import Reservation
from zeke_tasks.store.highlights import HighlightKind, NewHighlight, ReadingState, TeamHighlight
from zeke_tasks.store.model import ItemStatus, SourceType, Story
from zeke_tasks.store.playbooks import NewRun, Playbook, RunStatus, Step, TriggerSource
from zeke_tasks.testing.web import ScriptedWeb, feed, page
from zeke_tasks.testing.youtube import channel_feed, videos

Start = tuple[str, dict[str, Any]]

TEAM, OTHER_TEAM, USER = (UUID(int=number) for number in (1, 2, 3))

TEXT: Final = (
    "We rewrote the parser in Rust. It is 3 times faster. The old API is deprecated.\n"
    "def parse(text):\n    return list(text)\n" + "Nothing in particular is said after that. " * 8
)


async def _analysed(domain: Domain) -> Story:
    story = await domain.told_story(TEXT, url="https://a.example/parser")
    async with domain.rows() as rows:
        thought = Analysis("It is faster.", 2, 0.5, AnalysisState.COMPLETED, "gpt-5-nano", "0")
        assert await rows.put_analysis(story.id, thought)
        await rows.connect(TEAM, story.primary_source_id)
        await rows.connect(OTHER_TEAM, story.primary_source_id)
    return story


async def _highlighted(domain: Domain) -> Story:
    story = await _analysed(domain)
    known = [
        NewHighlight(story.id, None, HighlightKind.METRIC, "Everybody has it.", 0.85, tags=("python",)),
        NewHighlight(story.id, TEAM, HighlightKind.INSIGHT, "The team has it.", 1.0),
    ]
    await domain.verbs.put_highlights(known)
    return story


async def begin_link(domain: Domain) -> Start:
    story = await _analysed(domain)
    other = await domain.source("https://b.example/feed")
    return "link-source-to-story", {"storyId": story.id, "sourceId": other.id}


async def begin_analysis(domain: Domain) -> Start:
    story = await domain.told_story(TEXT)
    return "analyze-story", {"storyId": story.id, "trigger": "auto"}


async def begin_analysis_anew(domain: Domain) -> Start:
    """A person wants it, of a story that was analysed with another prompt."""
    story = await _analysed(domain)
    return "analyze-story", {"storyId": story.id, "trigger": "manual"}


async def begin_summary(domain: Domain) -> Start:
    story = await _analysed(domain)
    return "summarize-story", {"storyId": story.id, "mode": "auto"}


async def begin_status(domain: Domain) -> Start:
    story = await _analysed(domain)
    return "update-story-status", {"storyId": story.id, "state": "read"}


async def begin_extraction(domain: Domain) -> Start:
    story = await _highlighted(domain)
    return "extract-highlights", {"storyId": story.id, "teamId": TEAM}


async def begin_scoring(domain: Domain) -> Start:
    story = await _highlighted(domain)
    return "score-relevance", {"storyId": story.id}


async def begin_dedupe(domain: Domain) -> Start:
    story = await _highlighted(domain)
    said = ["The team has it.", "everybody has it. ", "One is new.", "So is this.", "One is NEW."]
    return "dedupe-insights", {
        "storyId": story.id,
        "teamId": TEAM,
        "createdBy": USER,
        "insights": [{"summary": summary, "origin": "assistant"} for summary in said],
    }


async def begin_attaching(domain: Domain) -> Start:
    story = await _highlighted(domain)
    return "attach-insight-to-story", {
        "storyId": story.id,
        "teamId": TEAM,
        "createdBy": USER,
        "insight": {"summary": "One is new.", "quote": "new", "tags": ["a", "b"], "origin": "assistant"},
    }


async def begin_brief(domain: Domain) -> Start:
    story = await _analysed(domain)
    return "generate-brief", {"storyId": story.id, "reason": "new_story"}


async def begin_brief_anew(domain: Domain) -> Start:
    """A story that has a brief was analysed once more."""
    story = await _analysed(domain)
    assert await domain.verbs.put_brief(story.id, Brief("Old.", "Old. Older.", "Old. Older. Oldest.", 1))
    return "generate-brief", {"storyId": story.id, "reason": "regenerate"}


async def begin_brief_wanted(domain: Domain) -> Start:
    """A user wants another brief."""
    task, payload = await begin_brief_anew(domain)
    return task, {**payload, "reason": "manual"}


PLAYBOOK = UUID(int=0xB00)

RUST: Final = "The parser was rewritten in Rust, and is 3 times faster than before. " * 5


async def begin_playbook(domain: Domain) -> Start:
    """A team has a story summarised, and read."""
    story = await domain.told_story(RUST)
    summarise = Step("summarise", "summarize-story", {"storyId": str(story.id), "mode": "auto"})
    read = Step(
        "read",
        "update-story-status",
        {"storyId": {"$from": "steps.summarise.output.storyId"}, "teamId": str(TEAM), "state": "read"},
    )
    await domain.verbs.put_playbook(Playbook(PLAYBOOK, TEAM, "Sum up and read", [summarise, read]))
    return "playbook-run", {"playbookId": PLAYBOOK, "teamId": TEAM, "triggerSource": "system"}


FEED = "https://a.example/feed"
PAGES = {f"https://a.example/{topic}": page(topic, topic) for topic in ("bees", "birds", "trees")}
SAME = "https://a.example/bees-again"


def web() -> ScriptedWeb:
    """A feed of six pages: three texts, one twice, one missing, one empty; a video's page; and a channel."""
    scripted = ScriptedWeb()
    entries = [(url, url) for url in (*PAGES, SAME, "https://a.example/missing", "https://a.example/empty")]
    scripted.put(FEED, feed(*entries))
    for url, body in PAGES.items():
        scripted.put(url, body)
    scripted.put(SAME, PAGES["https://a.example/bees"])
    scripted.put("https://a.example/empty", "<html></html>")
    scripted.put(FOUND[0].url, watch_page(FOUND[0]))
    day = timedelta(days=1)
    listed = videos(2, newest=START - day, every=day, channel="The Wasps")
    scripted.put(CHANNELS_FEED, channel_feed("The Wasps", listed).decode())
    return scripted


async def begin_pull(domain: Domain) -> Start:
    await domain.source(FEED)
    await domain.source("https://b.example/feed")
    return "ingest-pull", {}


async def begin_source(domain: Domain) -> Start:
    source = await domain.source(FEED)
    return "ingest-source", {"sourceId": source.id, "reason": "schedule"}


async def begin_content(domain: Domain) -> Start:
    jobs = Jobs(domain, web())
    task, payload = await begin_source(domain)
    await jobs.run(task, payload)
    items = await domain.verbs.items_of(payload["sourceId"])
    return "fetch-content", {"rawItemIds": [item.id for item in items]}


PAGE: Final = "https://a.example/bees"


async def begin_youtube_pull(domain: Domain) -> Start:
    await domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    await domain.source(None, type=SourceType.YOUTUBE_SEARCH, metadata={"query": "bees"})
    return "ingest-pull-youtube", {}


async def begin_youtube(domain: Domain) -> Start:
    """A search that finds three videos, two of them with captions."""
    about = {"type": SourceType.YOUTUBE_SEARCH, "metadata": {"query": "bees", "order": "date"}}
    source = await domain.source(None, **about)
    return "ingest-from-youtube", {"sourceId": source.id, "reason": "schedule"}


async def begin_channel(domain: Domain) -> Start:
    source = await domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    return "ingest-from-youtube", {"sourceId": source.id, "reason": "schedule"}


async def begin_oneoff(domain: Domain) -> Start:
    return "ingest-oneoff", {"url": f"{PAGE}?utm_source=mail", "priority": "high"}


async def begin_oneoff_again(domain: Domain) -> Start:
    """The page was named before, and is still to be read."""
    task, payload = await begin_oneoff(domain)
    await Jobs(domain).run(task, payload)
    return task, payload


async def begin_oneoff_video(domain: Domain) -> Start:
    return "ingest-oneoff", {"url": f"https://youtu.be/{FOUND[0].id}"}


async def begin_named_video(domain: Domain) -> Start:
    """A video that a user named, and that a search has brought besides."""
    _, payload = await begin_oneoff_video(domain)
    jobs = Jobs(domain)
    named = await jobs.run("ingest-oneoff", payload)
    await jobs.run(*await begin_youtube(domain))
    return "fetch-content", {"rawItemIds": [str(named["rawItemId"])]}


async def begin_video_alone(domain: Domain) -> Start:
    """A video that a user named, whose title is not known yet."""
    task, payload = await begin_oneoff_video(domain)
    named = await Jobs(domain).run(task, payload)
    return "fetch-content", {"rawItemIds": [str(named["rawItemId"])]}


async def begin_upload(domain: Domain) -> Start:
    """Two texts, one of them twice, pages for two chunks, and items with neither."""
    source = await domain.source(None, type=SourceType.MANUAL)
    texts = [("1", "Bees make honey."), ("2", "Birds sing."), ("3", "Bees  make honey.")]
    items: list[dict[str, Any]] = [{"externalId": name, "text": text} for name, text in texts]
    items += [{"externalId": f"page {number}", "url": f"{PAGE}/{number}"} for number in range(21)]
    items += [{"externalId": "nothing"}, {"externalId": "a file", "url": "file:///bees"}]
    return "ingest-from-upload", {"sourceId": source.id, "items": items}


async def begin_retention(domain: Domain) -> Start:
    """A story of two items, one with a highlight of a team, a failed item, an ended run, and two AI calls."""
    story, other = await _highlighted(domain), await domain.told_story("other")
    await domain.told_story(TEXT, await domain.source("https://b.example/feed"))
    (highlight,) = await domain.verbs.put_highlights(
        [NewHighlight(other.id, TEAM, HighlightKind.INSIGHT, "The team has it.", 1.0)]
    )
    failed = await domain.item(await domain.source(), "failed")
    async with domain.rows() as rows:
        await rows.set_reading_state(story.id, [TEAM], ReadingState.READ)
        await rows.put_team_highlight(TeamHighlight(TEAM, highlight))
        await rows.finish_item(failed, ItemStatus.FAILED, "boom")
        await rows.put_playbook(Playbook(USER, TEAM, "Daily", ()))
        await rows.ensure_run(NewRun(USER, USER, TEAM, TriggerSource.API))
        await rows.end_run(USER, RunStatus.SUCCEEDED)
        await rows.note_spending(Spending(USER, 1, "analysis", "analyze-story", "m", 1, 2, 0.1, TEAM))
        day = (START - timedelta(days=2)).date()  # so that its sum is old too
        await rows.reserve(
            Reservation(USER, 1, "brief", "generate-brief", "m", TEAM, day, Decimal("0.1")), None
        )
    return "apply-retention", {}
