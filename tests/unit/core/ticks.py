"""The ticks of a cron expression, found by single steps."""

from __future__ import annotations

from datetime import datetime

from zeke_queue.core.cron import Cron


def ticks_between(cron: Cron, after: datetime, until: datetime) -> list[datetime]:
    """Return the ticks in (after, until], by single steps."""
    ticks: list[datetime] = []
    tick = cron.next_after(after)
    while tick is not None and tick <= until:
        assert tick > (ticks[-1] if ticks else after)
        ticks.append(tick)
        tick = cron.next_after(tick)
    return ticks
