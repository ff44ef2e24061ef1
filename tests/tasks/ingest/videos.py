"""Channels and videos for tests of ingesting."""

from __future__ import annotations

from datetime import timedelta

from tests.tasks.jobs import Jobs
from tests.tasks.youtube.pages import watch_page
from zeke_tasks.testing.youtube import video
from zeke_tasks.youtube import Video

CHANNEL = "https://www.youtube.com/channel/UCabcdefghijklmnopqrstuv"
FEED = "https://www.youtube.com/feeds/videos.xml?channel_id=UCabcdefghijklmnopqrstuv"


def video_of_yesterday(jobs: Jobs) -> Video:
    """Return a video of yesterday and serve its page."""
    made = video(1, published_at=jobs.domain.clock.now() - timedelta(days=1))
    jobs.web.put(made.url, watch_page(made))
    return made


async def read_pages(jobs: Jobs) -> None:
    """Run every ``fetch-content`` job that was sent."""
    for job in await jobs.sent("fetch-content"):
        await jobs.run("fetch-content", job.data)
