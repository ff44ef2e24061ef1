"""The web of these tests: the double of the simulator."""

from __future__ import annotations

from zeke_tasks.testing.web import Asked, ScriptedWeb, feed, fetched, page

__all__ = ["Asked", "ScriptedWeb", "feed", "fetched", "page"]
