"""Limited queues whose row another session has locked: when claims retry them, and when that is logged.

A claim locks the rows of its limited queues without waiting, so a locked row affects only its own queue. The
queue is tried again after a pause, which is doubled as long as the same transaction holds the lock. The row
of a queue that many workers share is locked by another claim each time, for a moment, so its pause stays
short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RETRY_FIRST: Final = 0.01
"""Seconds until a queue whose row was locked is tried again."""

RETRY_MAX: Final = 1.0
"""Maximum seconds until it is tried again, while one transaction holds the lock."""

REPORT_AFTER: Final = 5.0
"""Seconds for which one transaction must hold the row before that is logged."""

REPORT_INTERVAL: Final = 60.0
"""Minimum seconds between two log lines about the same queue."""


@dataclass(slots=True)
class _Contended:
    """A queue whose row was locked at the last try; ``holder`` is the transaction."""

    holder: str
    since: float
    pause: float
    retry_at: float
    report_at: float
    announced: bool = False


class Stuck(NamedTuple):
    """A queue, and for how many seconds this process has seen one transaction hold its row."""

    name: str
    seconds: float


class ContendedQueues:
    """Tracks the queues whose rows were locked by other sessions at this process's last try."""

    def __init__(self) -> None:
        self._contended: dict[str, _Contended] = {}

    def left_out(self, name: str, now: float) -> bool:
        """Return whether claims leave a queue out for now."""
        contended = self._contended.get(name)
        return contended is not None and now < contended.retry_at

    def record(self, tried: Iterable[str], contended: Mapping[str, str], now: float) -> list[Stuck]:
        """Record which of the tried queues other transactions had locked.

        Args:
            tried: the queues that a claim tried to lock.
            contended: those that were locked, each with the transaction.

        Returns:
            The queues to log; each again after ``REPORT_INTERVAL``.
        """
        stuck: list[Stuck] = []
        for name in tried:
            holder = contended.get(name)
            before = self._contended.pop(name, None)
            if holder is None:
                continue
            if before is None or before.holder != holder:
                before = _Contended(holder, now, RETRY_FIRST / 2, now, now + REPORT_AFTER)
            before.pause = min(RETRY_MAX, before.pause * 2)
            before.retry_at, before.announced = now + before.pause, False
            if before.report_at <= now:
                before.report_at = now + REPORT_INTERVAL
                stuck.append(Stuck(name, now - before.since))
            self._contended[name] = before
        return stuck

    def due(self, now: float) -> list[str]:
        """Return the queues whose pause is over, each once after a pause."""
        names = [
            name
            for name, contended in self._contended.items()
            if contended.retry_at <= now and not contended.announced
        ]
        for name in names:
            self._contended[name].announced = True
        return names

    def next_retry(self) -> float | None:
        """Return when the next pause ends, or None."""
        return min(
            (contended.retry_at for contended in self._contended.values() if not contended.announced),
            default=None,
        )
