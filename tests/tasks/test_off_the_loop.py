"""What keeps a processor busy runs outside the event loop, where other jobs and the heart would wait."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb, feed, page
from zeke_tasks.context import Context
from zeke_tasks.stories import read
from zeke_tasks.web import articles, feeds

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tasks.domain import Domain

FEED, PAGE = "https://a.example/feed", "https://a.example/1"


class Watched:
    """Functions that are watched: where each was called."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.on_the_loop: dict[str, bool] = {}

    def watch(self, module: Any, name: str) -> None:
        """Note where a module's function is called."""
        real: Callable[..., Any] = getattr(module, name)

        def noted(*args: Any, **options: Any) -> Any:
            self.on_the_loop[name] = threading.current_thread() is threading.main_thread()
            return real(*args, **options)

        self._patch.setattr(module, name, noted)


async def test_parsing_extracting_and_hashing_leave_the_loop_alone(
    in_memory: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = ScriptedWeb()
    web.put(FEED, feed(("One", PAGE), ("Two", "")))
    web.put(PAGE, page("One", "bees"))
    jobs = Jobs(in_memory, web)
    jobs.resources = Context(in_memory.repository, web, in_memory.clock)
    watched = Watched(monkeypatch)
    watched.watch(feeds, "parse_xml_feed")
    watched.watch(articles, "extract_text")
    watched.watch(articles, "sha256")
    watched.watch(read, "lined_text")
    source = await in_memory.source(FEED)
    await jobs.run("ingest-source", {"sourceId": source.id, "reason": "manual"})
    async with in_memory.rows() as rows:
        items = [item.id for item in await rows.items_of(source.id)]
    await jobs.run("fetch-content", {"rawItemIds": items})
    assert watched.on_the_loop == {
        "parse_xml_feed": False,
        "extract_text": False,
        "sha256": False,
        "lined_text": False,
    }
