"""The REST routes: one module for what there is of each kind."""

from __future__ import annotations

from zeke_queue.web.rest import queues, runs, schedules, trigger, wellness

ROUTERS = (trigger.router, runs.router, queues.router, schedules.router, wellness.router)

__all__ = ["ROUTERS"]
