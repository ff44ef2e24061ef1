"""Where the tasks begin that read feeds and pages, and the web that they find."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from tests.clocks import START
from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb, feed, page
from tests.tasks.scripted_youtube import FOUND
from tests.tasks.youtube.pages import watch_page
from zeke_tasks.testing.youtube import channel_feed, videos

FEED = "https://a.example/feed"
PAGES = {f"https://a.example/{topic}": page(topic, topic) for topic in ("bees", "birds", "trees")}
SAME = "https://a.example/bees-again"
CHANNEL_FEED = "https://www.youtube.com/feeds/videos.xml?channel_id=UCabcdefghijklmnopqrstuv"

Start = tuple[str, dict[str, Any]]


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
    scripted.put(CHANNEL_FEED, channel_feed("The Wasps", listed).decode())
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


BEGINNINGS: Final = (begin_pull, begin_source, begin_content)
