"""CPU-bound work runs outside the event loop, where other jobs and the heartbeat would wait."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

import pytest

from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb, feed, page
from zeke_tasks.fetch import articles, feeds
from zeke_tasks.stories import read

P = ParamSpec("P")
T = TypeVar("T")

FEED, PAGE = "https://a.example/feed", "https://a.example/1"


def _crossed(value: Any) -> Any:
    """Return a value as another process would get it."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - it is the test's own


class Watched:
    """A process for heavy computation, and functions that may only be called there."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._here = False
        self.called_here: dict[str, bool] = {}

    async def compute(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Call a function with arguments and result pickled, as for another process."""
        function, args, options = _crossed((function, args, options))
        self._here = True
        try:
            result = function(*args, **options)
        finally:
            self._here = False
        return _crossed(result)

    def watch(self, module: Any, name: str) -> None:
        """Note where a module's function is called."""
        real: Callable[..., Any] = getattr(module, name)

        def noted(*args: Any, **options: Any) -> Any:
            self.called_here[name] = self.called_here.get(name, True) and self._here
            return real(*args, **options)

        self._patch.setattr(module, name, noted)


async def test_parsing_extracting_and_hashing_run_outside_the_event_loop(
    in_memory: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = ScriptedWeb()
    web.put(FEED, feed(("One", PAGE), ("Two", "")))
    web.put(PAGE, page("One", "bees"))
    jobs = Jobs(in_memory, web)
    watched = Watched(monkeypatch)
    jobs.resources = replace(jobs.resources, compute=watched.compute)
    watched.watch(feeds, "parse_xml_feed")
    watched.watch(articles, "extract_text")
    watched.watch(articles, "sha256")
    watched.watch(read, "lined_text")
    source = await in_memory.source(FEED)
    await jobs.run("ingest-source", {"sourceId": source.id, "reason": "manual"})
    items = [item.id for item in await in_memory.verbs.items_of(source.id)]
    await jobs.run("fetch-content", {"rawItemIds": items})
    assert watched.called_here == {
        "parse_xml_feed": True,
        "extract_text": True,
        "sha256": True,
        "lined_text": True,
    }
