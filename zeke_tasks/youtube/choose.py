"""Choice of the YouTube clients by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_tasks.youtube.model import YouTube

if TYPE_CHECKING:
    from zeke_queue.system.clock import Clock
    from zeke_tasks.fetch import Fetcher
    from zeke_tasks.youtube.settings import YouTubeSettings


def open_youtube(settings: YouTubeSettings, web: Fetcher, clock: Clock) -> YouTube:
    """Return the clients for captions and, if there is a key, for searches; they send no request yet.

    Args:
        settings: languages, and the key.
        web: sends the searches.
        clock: gives the time and sleeps.

    Raises:
        ImportError: the library for captions is not installed; a worker without it should not claim jobs.
    """
    from zeke_tasks.youtube.captions import YouTubeCaptions  # noqa: PLC0415 - its library takes a while
    from zeke_tasks.youtube.search import YouTubeSearch  # noqa: PLC0415 - most have no key

    key = settings.youtube_api_key
    return YouTube(
        captions=YouTubeCaptions(settings.caption_languages, clock=clock),
        search=YouTubeSearch(web, key) if key is not None else None,
    )
