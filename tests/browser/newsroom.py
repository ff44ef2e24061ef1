"""A newsroom for a picture: healthy and failing feeds, and stories with their analyses."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tests.tasks.domain import Domain
from tests.tasks.store.samples import BRIEF, MODELS
from zeke_queue.client.queue import Queue
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.settings import Settings
from zeke_tasks.catalog import catalog
from zeke_tasks.pages import newsroom_page
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.store.model import HealthStatus

if TYPE_CHECKING:
    from tests.clocks import FrozenClock
    from zeke_queue.web.dashboard import Page

_STORIES: Final = (
    ("Postgres 19 reads indexes ahead", "Index scans ask for pages before they need them.", 4),
    ("A year of small language models", "What runs on a phone now ran in a data centre then.", 3),
    ("Rust in the kernel, counted", "How many drivers are written in it, and by whom.", 2),
    ("Why queues fall over", "Dead rows at the head of a table, and what helps.", 5),
)


async def newsroom(clock: FrozenClock) -> tuple[Queue, Page]:
    """Return a queue of Zeke's tasks, and the page over a newsroom with something of everything."""
    storage, repository = MemoryStorage(clock), MemoryRepository(clock)
    domain = Domain(storage, repository, clock)
    well = await domain.source("https://databases.example/feed", name="Databases weekly")
    fails = await domain.source("https://kernel.example/feed", name="Kernel notes")
    rests = await domain.source("https://slow.example/feed", name="The slow review")
    async with domain.rows() as rows:
        for one in (well, rests):
            await rows.record_success(
                one.id, next_check_in=3_600, etag=None, last_modified=None, status=HealthStatus.OK
            )
        await rows.record_failure(fails.id, next_check_in=600, message="the server answered with 503")
        clock.advance(900)
        await rows.set_active(rests.id, active=False)
    for number, (title, line, chili) in enumerate(_STORIES):
        story = await domain.told_story(
            line,
            well if number % 2 == 0 else rests,
            title=title,
            url=f"https://databases.example/{number}",
            published_at=clock.now() - timedelta(hours=number + 1),
        )
        async with domain.rows() as rows:
            await rows.put_analysis(story.id, replace(MODELS, chili=chili))
            await rows.put_brief(story.id, replace(BRIEF, one_liner=line))
    queue = Queue(catalog, storage, clock=clock, settings=Settings.load())
    return queue, newsroom_page(repository)
