"""The newsroom over HTTP: its page in the dashboard, and the routes of teams' subscriptions.

The page shows sources with their health, stories with their briefs, and runs of playbooks.
"""

from __future__ import annotations

from zeke_tasks.pages.newsroom import newsroom_page, page
from zeke_tasks.pages.subscriptions import extension, subscriptions_extension

__all__ = ["extension", "newsroom_page", "page", "subscriptions_extension"]
