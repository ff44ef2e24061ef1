"""Conversion of bytes to a text with metadata: plain functions, to be called outside the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_tasks.fetch import canonicalise_url, extract_article
from zeke_tasks.fetch.fragments import lined_text
from zeke_tasks.fetch.pdf import is_pdf, read_pdf
from zeke_tasks.store.model import Kind
from zeke_tasks.stories.keep import Reading
from zeke_tasks.text_rules import title_of
from zeke_tasks.youtube import video_text

if TYPE_CHECKING:
    from datetime import datetime

    from zeke_tasks.fetch import Fetched
    from zeke_tasks.youtube import Captions, Video

_NO_PAGE: Final = frozenset({"application", "audio", "font", "image", "model", "video"})
_YET_A_PAGE: Final = ("html", "xml", "octet-stream")


def read_page(fetched: Fetched, now: datetime) -> Reading | None:
    """Return the article of a page, or the text of a PDF; None for pages without text, such as pictures.

    Args:
        now: later dates of publication are ignored.

    Raises:
        PageError: the page can't be read, or the PDF is broken or needs a password.
    """
    media_type = fetched.content_type.partition(";")[0].strip().lower()
    if is_pdf(fetched.body, media_type):
        return _read_pdf(fetched, now)
    if media_type.partition("/")[0] in _NO_PAGE and not media_type.endswith(_YET_A_PAGE):
        return None
    article = extract_article(fetched.body, fetched.final_url, fetched.charset, now=now)
    if article is None:
        return None
    return Reading(
        text=article.text,
        url=canonicalise_url(fetched.final_url),
        title=article.title,
        published_at=article.published_at,
        language=article.language,
        is_partial=article.is_partial,
    )


def _read_pdf(fetched: Fetched, now: datetime) -> Reading | None:
    pdf = read_pdf(fetched.body, fetched.final_url, now=now)
    if pdf is None:
        return None
    return Reading(
        text=pdf.text,
        url=canonicalise_url(fetched.final_url),
        title=pdf.title,
        published_at=pdf.published_at,
        kind=Kind.PDF,
    )


def read_body(html: str) -> Reading | None:
    """Return the text of a feed's entry, one line per paragraph; None if it has no text."""
    text = lined_text(html)
    return Reading(text=text) if text else None


def read_text(text: str, url: str | None = None) -> Reading:
    """Return an uploaded text unchanged, with the URL of its page, if any."""
    return Reading(text=text, url=url, title=title_of(text))


def read_video(video: Video, captions: Captions | None) -> Reading:
    """Return the text of a video, with its captions as WebVTT if it has any."""
    return Reading(
        text=video_text(video, captions),
        url=video.url,
        title=video.title or None,
        published_at=video.published_at,
        language=captions.language.lower() if captions else None,
        kind=Kind.VIDEO,
        transcript_vtt=captions.vtt if captions else None,
        duration_seconds=video.duration_seconds,
        view_count=video.view_count,
    )
