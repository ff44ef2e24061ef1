"""The dashboard: server-rendered pages with live updates and without a build step.

``create_app`` mounts it; applications add pages as ``Page``.
"""

from __future__ import annotations

from zeke_queue.web.dashboard.dashboard import Dashboard
from zeke_queue.web.dashboard.page import Page, View, installed_pages
from zeke_queue.web.dashboard.page_request import PageRequest

__all__ = ["Dashboard", "Page", "PageRequest", "View", "installed_pages"]
