"""When to claim, how much of which queue, and when to sleep: decisions that the claim loop carries out.

Like ``state``, this knows no event loop, clock or storage.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_queue.core.poll_backoff import idle_wait
from zeke_queue.model import QueueCapacity

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

CLAIM_MAX: Final = 500
"""Jobs per claim at most."""

AHEAD_SECONDS: Final = 1.0
"""Seconds of work that are claimed ahead at most."""

AHEAD_MAX: Final = 1000
"""Jobs that are claimed ahead at most."""

AHEAD_SLOWEST: Final = 0.1
"""Longest time in seconds of jobs that are claimed ahead; for slower ones a round trip does not matter."""

FAIR_INTERVAL: Final = 0.25
"""Seconds after which a worker with tasks of both kinds claims for free pool tasks only.

A limited queue is not asked for that long, beside jobs claimed ahead, once it had none.
"""

OVERTAKEN_INTERVAL: Final = 0.02
"""Seconds for which a limited queue is not asked once more urgent jobs took all places of its claim."""

BACKLOG_MAX: Final = 3000
"""Number of unstored outcomes at which claiming stops."""

EMPTY_CLAIMS: Final = 2
"""Empty claims in a row before a sleep, since one is no proof: rows that others have locked are skipped."""

FULL_CLAIMS: Final = 2
"""Full claims in a row after which senders need not wake the worker."""

EWMA_WEIGHT: Final = 0.05
"""Weight of the latest job in a task's measured time, if it was faster; a slower one replaces it."""


class Recover(NamedTuple):
    """Ask the storage which jobs it holds for this worker, and release those that are unknown here."""


class Claim(NamedTuple):
    """Claim jobs: at most ``limit`` together, of each queue at most its ``capacity``.

    Their payloads have at most ``bytes_max`` bytes together, unless the first one is larger.
    """

    capacity: list[QueueCapacity]
    limit: int
    bytes_max: int | None = None


class WaitForRoom(NamedTuple):
    """Wait until jobs end or outcomes are stored, at most ``timeout`` seconds: nothing can be taken now."""

    timeout: float | None = None


class Sleep(NamedTuple):
    """Wait for a notification of the storage, at most ``timeout`` seconds, and claim once more first."""

    timeout: float


ClaimAction = Recover | Claim | WaitForRoom | Sleep


class Load(NamedTuple):
    """How many jobs run and wait for a pool task, and how many outcomes are not known to be stored.

    ``payload_bytes`` is the size of the payloads of all these jobs. ``slow`` is how many of them, without a
    limit, hold a pool task for long, or will.
    """

    running: int
    ready: int
    backlog: int
    payload_bytes: int = 0
    slow: int = 0


@dataclass(slots=True, eq=False)
class ServedQueue:
    """A queue that a worker serves, with its measurements.

    Attributes:
        task: the name of the task whose jobs it has.
        kind: where the task's handler runs.
        limit: how many of its task's jobs the worker may hold, over all queues of the task: the lower of its
            own limit for the task and the task's concurrency limit; None for no limit.
        is_own_limit: whether the worker has a limit of its own for the task, which claims do not enforce.
        busy: how many of its jobs the worker holds or, though they are lost, still runs; tracked only for
            tasks with a limit.
        seconds: how long its jobs take, weighted towards slow ones; None until one has ended.
        ask_at: when it may be asked again while all pool tasks have jobs; used for tasks with a limit.
    """

    name: str
    task: str
    kind: str = "async"
    limit: int | None = None
    is_own_limit: bool = False
    busy: int = 0
    seconds: float | None = None
    ask_at: float = -math.inf

    @property
    def is_quick(self) -> bool:
        """Whether its jobs may be claimed ahead: they have no limit, and were measured to be quick."""
        return self.limit is None and self.seconds is not None and self.seconds <= AHEAD_SLOWEST

    def measure(self, seconds: float) -> None:
        """Take in how long a job took."""
        mean = self.seconds
        if mean is None or seconds > mean:
            self.seconds = seconds
        else:
            self.seconds = mean + (seconds - mean) * EWMA_WEIGHT

    def ahead(self, size: int) -> int:
        """Return how many jobs may be claimed ahead of free pool tasks; none before jobs have been measured.

        None either if the task has a limit, which jobs that wait here would use up.
        """
        if not self.is_quick or self.seconds is None:
            return 0
        if self.seconds * AHEAD_MAX <= size * AHEAD_SECONDS:
            return AHEAD_MAX
        return int(size * AHEAD_SECONDS / self.seconds)


class ClaimState:
    """When to claim, how much of which queue, and when to sleep.

    Claims are for free pool tasks. Quick jobs of tasks without a limit are also claimed ahead, at most about
    a second of work as measured, so that pool tasks never wait for a round trip. Pool tasks that slow jobs
    have, or that jobs with limits may take, do not count for it, since the others run the store alone then. A
    worker that serves both kinds runs out of jobs claimed ahead four times a second, and then claims for free
    pool tasks only, so that the order of priorities holds and no queue starves.

    Jobs of a task with a limit start before those claimed ahead, so pool tasks that have only quick jobs
    count as free for them. A claim for these asks for quick jobs too, and so takes the first in claim order.

    Before a sleep there are three claims: one finds nothing, a second confirms it, and a third follows once
    the storage has recorded that the worker sleeps, since earlier sends do not wake it.

    Payloads have a budget. Once the held ones have used it up, nothing is claimed until they use less than
    half of it, or until no job waits for a pool task, so that a claim brings more than one job.

    Args:
        poll: seconds between claims without a notification.
        payload_budget: bytes of payloads that may be held, exceeded by one job at most; None for any number.

    Attributes:
        idle: the stored idle flag; None if it is unknown.
        unsure: whether the storage may hold jobs for this worker that the worker does not know.
        stopping: whether claiming ends.
        drains: how many callers wait until nothing is due and nothing is held.
        has_both: whether some queues have limits and others none, so that slow jobs must be counted.
        brought_quick: whether the latest jobs that were claimed include quick ones.
    """

    def __init__(
        self, queues: Sequence[ServedQueue], size: int, poll: float, payload_budget: int | None = None
    ) -> None:
        self._queues = tuple(queues)
        self._by_task: dict[str, deque[ServedQueue]] = {}
        for queue in queues:
            self._by_task.setdefault(queue.task, deque()).append(queue)
        self._has_limits = any(queue.limit is not None for queue in queues)
        self._limits = sum(self._limit_of(task) for task in self._by_task)
        self.has_both = self._has_limits and any(queue.limit is None for queue in queues)
        self._size = size
        self._poll = poll
        self._budget = payload_budget
        self._over_budget = False
        self.idle: bool | None = False
        self.unsure = False
        self.stopping = False
        self.drains = 0
        self.brought_quick = True
        self._full = False
        self._low = 0
        self._woken = False
        self._empty_claims = 0
        self._full_claims = 0
        self._polls = 0
        self._fair_at = math.inf
        self._was_ahead = False
        self._asked: list[ServedQueue] = []
        self._wait: float | None = None
        self._due_at = math.inf

    def next(self, load: Load, now: float) -> ClaimAction | None:
        """Return what to do now; None once claiming has ended."""
        if self.unsure:
            return Recover()
        if self.stopping:
            return None
        if self._empty_claims >= EMPTY_CLAIMS:
            self._woken = False
            return Sleep(min(idle_wait(self._polls, self._poll), max(0.0, self._due_at - now)))
        # After an empty claim too, so that several in a row say something of each queue.
        claim = self.claim(load, now, last=self._empty_claims > 0)
        if claim is None:
            # Set this before any wait: room that appears meanwhile is not signalled again.
            self._full = True
            return WaitForRoom(self._wait)
        return claim

    def claim(self, load: Load, now: float, *, last: bool = False) -> Claim | None:
        """Return the claim to make now, or None.

        Args:
            last: whether a sleep may follow if there are no jobs, so that every queue must be asked.
        """
        self._low, self._wait = 0, None
        self._asked = []
        budget = self._budget
        bytes_max = None if budget is None else budget - load.payload_bytes
        self._over_budget = bytes_max is not None and bytes_max <= 0
        if self._over_budget or load.backlog >= BACKLOG_MAX:
            return None
        free = self._size - load.running - load.ready
        places = max(1, self._size - load.slow - self._limits)
        ahead = {queue: queue.ahead(places) for queue in self._queues}
        is_fair_due = False
        if not all(ahead.values()):
            # Counted from the answer, since a slow storage would leave no time to claim ahead.
            self._fair_at = min(self._fair_at, now)
            is_fair_due = now - self._fair_at > FAIR_INTERVAL
            # Otherwise a worker whose jobs take less time than a claim would never claim ahead.
            claims_ahead = (
                self._full_claims > 0 and self.brought_quick and any(ahead.values()) and free < self._size
            )
            if free > 0 and (is_fair_due or not claims_ahead):
                self._fair_at = math.inf
                capacity, limit = self._for_free(min(free, CLAIM_MAX), ahead, now, last=last)
                return Claim(capacity, limit, bytes_max) if capacity else None
        quick = [] if is_fair_due else self._ahead(load, ahead, free)
        # In turns: jobs may be so quick that a claim ahead is always due.
        if not all(ahead.values()) and (self._was_ahead or not quick):
            self._was_ahead = False
            capacity, limit = self._beside_quick(load, ahead, now, last=last)
            if capacity:
                return Claim(capacity, limit, bytes_max)
        if not quick:
            return None
        self._was_ahead = True
        return Claim(quick, max(want.limit for want in quick), bytes_max)

    def claimed(self, count: int, limit: int) -> bool:
        """Record the answer of a claim; return whether senders no longer need to wake the worker."""
        self._empty_claims = 0 if count else self._empty_claims + 1
        self._full_claims = self._full_claims + 1 if count == limit else 0
        if count == limit:
            # Jobs of these queues may be next: only a claim with places left shows that there are none.
            for queue in self._asked:
                queue.ask_at -= FAIR_INTERVAL - OVERTAKEN_INTERVAL
        return self._full_claims >= FULL_CLAIMS

    def found(self) -> None:
        """Record that the claim at the beginning of a sleep had jobs, or that nothing could be taken."""
        self._empty_claims = self._polls = 0

    def was_woken(self) -> bool:
        """Return whether ``wake`` was called since the sleep began."""
        woken, self._woken = self._woken, False
        return woken

    def slept(self, now: float, *, woken: bool) -> None:
        """Record the end of a sleep, and whether a notification ended it."""
        if woken:
            self._empty_claims = self._polls = 0
        elif now >= self._due_at:
            self._due_at, self._empty_claims = math.inf, 0
        else:
            self._polls += 1

    def roomy(self) -> None:
        """Record the end of a wait for room."""
        self._full = False

    def wake(self) -> None:
        """Claim at once, since there may be something to claim."""
        self._empty_claims = self._polls = 0
        self._woken = True

    def doubt(self) -> None:
        """Record that the storage may hold jobs for this worker that the worker does not know."""
        self.unsure = True
        self.idle = None
        self.wake()

    def due(self, at: float, now: float) -> None:
        """Record that a job will be due at this time, without a notification."""
        self._due_at = min(self._due_at, at)
        if at <= now:
            self.wake()

    def has_room(self, ready: int, payload_bytes: int) -> bool:
        """Return whether the loop waits for capacity and ``ready`` waiting jobs leave some."""
        if not self._full:
            return False
        if self._over_budget and self._budget is not None:
            return payload_bytes <= (self._budget // 2 if ready else self._budget - 1)
        return ready <= self._low

    def freed(self) -> bool:
        """Record that a limit has room again, or that nothing is held; return whether to claim for that."""
        if self._has_limits or self.drains:
            self.wake()
            return True
        return False

    def _ahead(self, load: Load, ahead: Mapping[ServedQueue, int], free: int) -> list[QueueCapacity]:
        """Return how many quick jobs to claim ahead of each queue."""
        capacity: list[QueueCapacity] = []
        for queue, store in ahead.items():
            self._low = max(self._low, store // 2)
            if store and (free > 0 or load.ready <= store // 2):
                n = min(CLAIM_MAX, max(free, 0) + max(store - load.ready, 0))
                if n > 0:
                    capacity.append(QueueCapacity(queue.name, n))
        return capacity

    def _beside_quick(
        self, load: Load, ahead: Mapping[ServedQueue, int], now: float, *, last: bool
    ) -> tuple[list[QueueCapacity], int]:
        """Return what to claim for pool tasks that have only quick jobs, if limited queues have room."""
        places = self._size - load.slow - sum(queue.busy for queue in ahead)
        store = max(ahead.values())
        is_full = load.ready > store
        if is_full:
            self._low = store
        if is_full or places <= 0:
            return [], 0
        asked = {queue for queue in ahead if queue.limit is not None and (last or queue.ask_at <= now)}
        limited, limit = self._for_free(min(places, CLAIM_MAX), asked, now, last=False)
        if not limited:
            paused = [queue.ask_at - now for queue in ahead if queue.ask_at > now]
            self._wait = max(OVERTAKEN_INTERVAL, min(paused)) if paused else None
            return [], 0
        # Quick jobs are asked for too, so that those come that are first in claim order.
        limit = min(limit, sum(want.limit for want in limited))
        return [*(QueueCapacity(queue.name, limit) for queue in ahead if queue.is_quick), *limited], limit

    def _for_free(
        self, free: int, asked: Container[ServedQueue], now: float, *, last: bool
    ) -> tuple[list[QueueCapacity], int]:
        """Return how many jobs to claim of each queue asked, within the tasks' limits, and how many together.

        Queues of a task share its limit. They get the room of a worker's own limit in turn: if a claim asked
        several for all of it, they could exceed it together. The last claim before a sleep asks all, and for
        no more jobs than the room.
        """
        capacity: list[QueueCapacity] = []
        limit = free
        for queues in self._by_task.values():
            room, most, in_turn = free, queues[0].limit, queues[0].is_own_limit
            if most is not None:
                room = min(free, most - sum(queue.busy for queue in queues))
            if in_turn and room > 0:
                limit = min(limit, room) if last else limit
                queues.rotate()
            for queue in queues:
                if room > 0 and queue in asked:
                    self._asked.append(queue)
                    capacity.append(QueueCapacity(queue.name, room))
                    room = room if last or not in_turn else 0
                    queue.ask_at = now + FAIR_INTERVAL
        return capacity, limit

    def _limit_of(self, task: str) -> int:
        """Return how many pool tasks the jobs of a task may take by its limit; 0 without a limit."""
        return self._by_task[task][0].limit or 0
