"""The jobs that a worker holds, from claim to settlement, and the transitions between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.model import Failed, Released
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import DeadlineTimer, Waiter
from zeke_queue.worker.coroutine_pool import INSISTENCE, Lanes
from zeke_queue.worker.held import RUNNING, SETTLING, WAITING
from zeke_queue.worker.settling import Settler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zeke_queue.storage.store import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.worker.held import Held, Outcome
    from zeke_queue.worker.link import Link
    from zeke_queue.worker.progress import Notes
    from zeke_queue.worker.state import ClaimState

STALE: Final = 2.0
"""Seconds after which a job that was claimed ahead and has not begun is released for other workers."""

CLOSE_ENOUGH: Final = 1e-6
"""Seconds by which a sleep may end early because of rounding."""


class Holdings:
    """The jobs that a worker holds.

    Args:
        size: how many jobs run at once.
        storage: stores outcomes.
        clock: the clock of deadlines.
        link: records failures.
        notes: progress and log lines, which must be stored before their job ends.
        claims: decides what to claim, and is told when there is room or a job is due again.
        wake_claims: notified then.

    Attributes:
        jobs: all of them, in the order of their claims.
        quiet: notified when no job runs.
    """

    def __init__(
        self,
        size: int,
        storage: Storage,
        clock: Clock,
        *,
        link: Link,
        notes: Notes,
        claims: ClaimState,
        wake_claims: Waiter,
    ) -> None:
        self.jobs: dict[Held, None] = {}
        self.lanes = Lanes(size, clock, self._ended)
        self.settler = Settler(storage, clock, link, notes, self._settled)
        self.deadlines = DeadlineTimer(clock, self._expire)
        self.quiet = Waiter()
        self._claims = claims
        self._wake_claims = wake_claims
        self._closed = False
        self._clock = clock

    def take(self, jobs: Sequence[Held]) -> None:
        """Add claimed jobs; those of tasks with a limit are queued before those claimed ahead."""
        self.jobs.update(dict.fromkeys(jobs))
        limited = [held for held in jobs if held.served.limit is not None]
        for held in limited:
            held.served.busy += 1
        if self._closed:
            for held in jobs:
                self._release(held)
            return
        earliest = min([held.deadline for held in jobs])
        if earliest <= (now := self._clock.monotonic()):
            for held in jobs:
                if held.deadline <= now:
                    held.reason = "expired"
        if limited:
            self.lanes.put(limited, first=True)
        if len(limited) < len(jobs):
            self.lanes.put([held for held in jobs if held.served.limit is None] if limited else jobs)
        self.deadlines.set(earliest)

    def close(self) -> None:
        """Begin no further jobs: release those that wait, and those that a claim under way brings."""
        self._closed = True
        self.release_waiting()

    def lose(self, jobs: Sequence[Held]) -> None:
        """Give up jobs that this worker no longer holds: interrupt their handlers, and settle nothing."""
        for held in jobs:
            if held.stage == WAITING:
                self.lanes.ready.remove(held)
            else:
                self.lanes.interrupt(held, "lost")
            self._drop(held)

    def release_waiting(self, older_than: float = 0.0) -> None:
        """Release jobs that have not begun, and were claimed at least so many seconds ago."""
        before = self._clock.monotonic() - older_than
        ready = self.lanes.ready
        stale = [held for held in ready if held.deadline - held.claimed.expire_in <= before]
        if not stale:
            return
        going = set(stale)
        kept = [held for held in ready if held not in going]
        ready.clear()
        ready.extend(kept)
        for held in stale:
            # Jobs are slow now, whatever was measured before, so do not claim the same ones ahead again.
            held.served.seconds = max(held.served.seconds or 0.0, older_than)
            self._release(held)

    def tend(self) -> None:
        """Handle what lasts too long: jobs that wait for a slot, handlers that ignore a cancellation."""
        self.release_waiting(STALE)
        now = self._clock.monotonic()
        for held in list(self.lanes.in_lanes()):
            if held.reason is not None and held.interrupted and now - held.interrupted >= INSISTENCE:
                log.get_logger().error(
                    "cancellation_ignored",
                    taskId=held.served.task.name,
                    jobId=str(held.claimed.id),
                    kind=held.served.task.kind,
                    reason=held.reason,
                    seconds=round(now - held.interrupted, 1),
                )
                self.lanes.interrupt(held, held.reason)

    def interrupt_all(self) -> None:
        """Interrupt every handler, because the worker shuts down."""
        for held in list(self.lanes.in_lanes()):
            self.lanes.interrupt(held, "shutdown")

    def abandon(self, judge: Callable[[Held], Outcome]) -> int:
        """Settle the jobs whose handlers do not end, and return how many; they are cancelled once more.

        Args:
            judge: returns the outcome of such a job.
        """
        stuck = list(self.lanes.in_lanes())
        for held in stuck:
            wanted = held.reason != "lost" and held in self.jobs
            outcome = judge(held)
            self.lanes.abandon(held)
            if wanted:
                self._settle(held, outcome)
        return len(stuck)

    def _release(self, held: Held) -> None:
        self._settle(held, Released(held.claimed.id, held.claimed.attempt))

    def _settle(self, held: Held, outcome: Outcome) -> None:
        held.stage, held.outcome = SETTLING, outcome
        self.settler.add(held)

    def _ended(self, held: Held, outcome: Outcome | None) -> None:
        if outcome is None or held not in self.jobs:
            self._drop(held)
        else:
            self._settle(held, outcome)
        if not self.lanes.running:
            self.quiet.notify()
        if self._claims.has_room(len(self.lanes.ready)):
            self._wake_claims.notify()

    def _settled(self, batch: Sequence[Held]) -> None:
        freed = False
        for held in batch:
            if self.jobs.pop(held, 0) is None and held.served.limit is not None:
                held.served.busy -= 1
                freed = True
            outcome = held.outcome
            if isinstance(outcome, Failed):
                if outcome.retry_in is not None:
                    self._due_in(outcome.retry_in)
            elif isinstance(outcome, Released):
                self._due_in(outcome.delay)
        if freed or not self.jobs:
            self._freed()
        if self._claims.has_room(len(self.lanes.ready)):
            self._wake_claims.notify()

    def _drop(self, held: Held) -> None:
        if held in self.jobs:
            del self.jobs[held]
            if held.served.limit is not None:
                held.served.busy -= 1
                self._freed()

    def _freed(self) -> None:
        if self._claims.freed():
            self._wake_claims.notify()

    def _due_in(self, seconds: float) -> None:
        now = self._clock.monotonic()
        self._claims.due(now + seconds, now)
        self._wake_claims.notify()

    def _expire(self, now: float) -> float | None:
        """Interrupt handlers whose time is up; return the next deadline."""
        upcoming: list[float] = []
        for held in list(self.jobs):
            if held.stage == SETTLING or held.reason is not None:
                continue
            if held.deadline > now + CLOSE_ENOUGH:
                upcoming.append(held.deadline)
            elif held.stage == RUNNING:
                self.lanes.interrupt(held, "expired")
        return min(upcoming, default=None)
