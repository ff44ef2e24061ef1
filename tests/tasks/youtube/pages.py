"""The page of a video as from YouTube, without unused parts."""

from __future__ import annotations

import json

from zeke_tasks.youtube import Video


def watch_page(video: Video) -> str:
    told = {
        "playabilityStatus": {"status": "OK"},
        "videoDetails": {
            "videoId": video.id,
            "title": video.title,
            "lengthSeconds": str(video.duration_seconds),
            "shortDescription": video.description,
            "viewCount": str(video.view_count),
            "author": video.channel,
        },
        "microformat": {
            "playerMicroformatRenderer": {
                "publishDate": video.published_at.isoformat() if video.published_at else None
            }
        },
    }
    return (
        f"<!DOCTYPE html><html><head><title>{video.title} - YouTube</title>"
        f"<script>var ytInitialPlayerResponse = {json.dumps(told)};var meta = {{}};</script>"
        "</head><body><script>var ytInitialData = {};</script></body></html>"
    )
