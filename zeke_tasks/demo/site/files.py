"""Server of a directory of saved pages and feeds."""

from __future__ import annotations

import asyncio
from pathlib import Path

from zeke_tasks.demo.site.server import Answer, LoopbackServer, Request, with_validator

# The server doesn't know the encoding of a saved file, so it sends no charset.
_CONTENT_TYPES = {
    ".atom": "application/atom+xml",
    ".htm": "text/html",
    ".html": "text/html",
    ".json": "application/feed+json",
    ".rss": "application/rss+xml",
    ".xml": "application/xml",
}


def serve_directory(path: Path) -> LoopbackServer:
    """Return a server of a directory's files, an async context manager.

    Each file's URL is ``server.base_url`` and its path in the directory; other URLs are 404. ETags are
    honoured.

    Raises:
        NotADirectoryError: the directory does not exist.
    """
    root = path.resolve()
    if not root.is_dir():
        raise NotADirectoryError(f"Directory {path} does not exist")

    async def answer(request: Request) -> Answer:
        file = (root / request.path.lstrip("/")).resolve()
        if not file.is_relative_to(root) or not await asyncio.to_thread(file.is_file):
            return Answer(status=404, body=b"<h1>Not found</h1>")
        body = await asyncio.to_thread(file.read_bytes)
        kind = _CONTENT_TYPES.get(file.suffix.lower(), "application/octet-stream")
        return with_validator(request, Answer(body=body, content_type=kind))

    return LoopbackServer(answer)
