"""The text of a video, from which its story is made."""

from __future__ import annotations

from zeke_tasks.fetch.text import one_line, printable
from zeke_tasks.youtube.model import Captions, Video


def video_text(video: Video, captions: Captions | None) -> str:
    """Return the text of a video in up to three sections, each under a line of capitals.

    ``VIDEO INFORMATION``
        one line each for the title, the channel, the day of publication (UTC) and the URL, as far as known.
        Views change and channels' feeds have no durations, so both are left out. So a video that was found in
        a channel and by a search has the same text, and becomes one story.
    ``CAPTION``
        the author's description, line by line.
    ``TRANSCRIPT``
        the captions, one paragraph per line.

    Empty sections are left out.
    """
    published = video.published_at
    about = {
        "Title": one_line(video.title),
        "Channel": one_line(video.channel or ""),
        "Published": published.date().isoformat() if published else "",
        "URL": video.url,
    }
    caption = [one_line(line) for line in video.description.splitlines()]
    sections = {
        "VIDEO INFORMATION": "\n".join(f"{name}: {value}" for name, value in about.items() if value),
        "CAPTION": "\n".join(line for line in caption if line),
        "TRANSCRIPT": captions.text if captions else "",
    }
    return printable("\n\n".join(f"{name}\n{body}" for name, body in sections.items() if body))
