"""The REST routes: one module for what there is of each kind."""

from __future__ import annotations

from zeke_queue.web.rest.queues import router as queues
from zeke_queue.web.rest.runs import router as runs
from zeke_queue.web.rest.schedules import router as schedules
from zeke_queue.web.rest.trigger import router as trigger
from zeke_queue.web.rest.wellness import router as wellness

ROUTERS = (trigger, runs, queues, schedules, wellness)

__all__ = ["ROUTERS"]
