"""The newsroom in the dashboard: sources with their health, stories with their briefs, runs of playbooks."""

from __future__ import annotations

from zeke_tasks.pages.newsroom import newsroom_page, page

__all__ = ["newsroom_page", "page"]
