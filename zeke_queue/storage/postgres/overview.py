"""Looks at many jobs at once, for charts and streams: what ended lately, who waits, what jobs told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.core import event_limits, time_buckets
from zeke_queue.model import Pace
from zeke_queue.storage.postgres import rows
from zeke_queue.storage.postgres.session import Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any
    from uuid import UUID

    from zeke_queue.model import JobEvent
    from zeke_queue.storage.postgres.session import Session


class PostgresOverview:
    """The looks of ``storage.store.Reader`` that take in many jobs; the protocol says what each returns."""

    _session: Session

    async def events_of(self, after: Mapping[UUID, int]) -> list[JobEvent]:
        """Return progress and log lines of several jobs, by ``seq``, of each at most its share."""
        if not after:
            return []
        parameters = {
            "ids": list(after),
            "afters": list(after.values()),
            "share": event_limits.of_each(len(after)),
        }
        return [rows.event(row) for row in await self._session.run("events_of", parameters)]

    async def pace(self, names: Sequence[str], span: float, step: float) -> list[Pace]:
        """Return what ended lately, in spans of equal length, oldest first."""
        asked = Step("pace", pace_parameters(names, span, step))
        return [Pace._make(row) for row in (await self._session.run_all(asked, plain=True))[0]]

    async def lag(self) -> dict[str, float]:
        """Return for each queue with due jobs how many seconds ago the one that waits longest became due."""
        return dict(await self._session.run("lag"))

    async def holding(self) -> dict[UUID, int]:
        """Return for each worker that holds jobs how many are active in its name."""
        return dict(await self._session.run("holding"))


def pace_parameters(names: Sequence[str], span: float, step: float) -> dict[str, Any]:
    """Return the parameters of ``pace.sql``."""
    number, length = time_buckets.how_many(span, step), int(step)
    return {"names": list(names) or None, "step": length, "back": (number - 1) * length}
