"""YouTube for tests: every video has captions, and the query ``bees`` finds some."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from zeke_tasks.testing.youtube import ScriptedCaptions, ScriptedSearch, videos
from zeke_tasks.youtube import YouTube

FOUND: Final = tuple(videos(3, newest=datetime(2020, 1, 1, tzinfo=UTC), every=timedelta(days=1)))
"""What the query ``bees`` finds; the last one has no captions."""


def scripted_youtube() -> YouTube:
    """Return captions and a search that answer alike each time."""
    captions, search = ScriptedCaptions(), ScriptedSearch()
    captions.put(FOUND[-1].id, None)
    search.put("bees", *FOUND)
    return YouTube(captions, search)
