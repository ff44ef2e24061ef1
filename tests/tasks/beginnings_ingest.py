"""The initial states for tasks that ingest users' URLs, uploads, and videos."""

from __future__ import annotations

from typing import Any, Final

from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb
from tests.tasks.scripted_youtube import FOUND
from zeke_tasks.store.model import SourceType

Start = tuple[str, dict[str, Any]]

CHANNEL: Final = "https://www.youtube.com/channel/UCabcdefghijklmnopqrstuv"
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
    """A channel whose feed lists two videos of the last days."""
    source = await domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    return "ingest-from-youtube", {"sourceId": source.id, "reason": "schedule"}


async def begin_oneoff(domain: Domain) -> Start:
    return "ingest-oneoff", {"url": f"{PAGE}?utm_source=mail", "priority": "high"}


async def begin_oneoff_again(domain: Domain) -> Start:
    """The page was named before, and is still to be read."""
    task, payload = await begin_oneoff(domain)
    await Jobs(domain, ScriptedWeb()).run(task, payload)
    return task, payload


async def begin_oneoff_video(domain: Domain) -> Start:
    return "ingest-oneoff", {"url": f"https://youtu.be/{FOUND[0].id}"}


async def begin_named_video(domain: Domain) -> Start:
    """A video that a user named, and that a search has brought besides."""
    _, payload = await begin_oneoff_video(domain)
    jobs = Jobs(domain, ScriptedWeb())
    named = await jobs.run("ingest-oneoff", payload)
    await jobs.run(*await begin_youtube(domain))
    return "fetch-content", {"rawItemIds": [str(named["rawItemId"])]}


async def begin_video_alone(domain: Domain) -> Start:
    """A video that a user named, whose title is not known yet."""
    task, payload = await begin_oneoff_video(domain)
    named = await Jobs(domain, ScriptedWeb()).run(task, payload)
    return "fetch-content", {"rawItemIds": [str(named["rawItemId"])]}


async def begin_upload(domain: Domain) -> Start:
    """Two texts, one of them twice, pages for two chunks, and items with neither."""
    source = await domain.source(None, type=SourceType.MANUAL)
    texts = [("1", "Bees make honey."), ("2", "Birds sing."), ("3", "Bees  make honey.")]
    items: list[dict[str, Any]] = [{"externalId": name, "text": text} for name, text in texts]
    items += [{"externalId": f"page {number}", "url": f"{PAGE}/{number}"} for number in range(21)]
    items += [{"externalId": "nothing"}, {"externalId": "a file", "url": "file:///bees"}]
    return "ingest-from-upload", {"sourceId": source.id, "items": items}


BEGINNINGS: Final = (
    begin_youtube_pull,
    begin_youtube,
    begin_channel,
    begin_oneoff,
    begin_oneoff_again,
    begin_oneoff_video,
    begin_named_video,
    begin_video_alone,
    begin_upload,
)
