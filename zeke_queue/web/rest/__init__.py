"""The REST routes: one module for what there is of each kind."""

from __future__ import annotations

from zeke_queue.web.rest import health, queues, runs, schedules, trigger

ROUTERS = (trigger.router, runs.router, queues.router, schedules.router, health.router)

__all__ = ["ROUTERS"]
