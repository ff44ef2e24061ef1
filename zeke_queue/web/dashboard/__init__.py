"""The dashboard: pages drawn on the server, which move by themselves and need no build step.

``create_app`` mounts it; further pages come as ``Page``.
"""

from __future__ import annotations

from zeke_queue.web.dashboard.dashboard import Dashboard
from zeke_queue.web.dashboard.page import Page, View, installed_pages
from zeke_queue.web.dashboard.page_request import Desk

__all__ = ["Dashboard", "Desk", "Page", "View", "installed_pages"]
