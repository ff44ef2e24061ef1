"""The jobs that a worker holds, and what to do about them, without an event loop, a clock or a storage.

Events are method calls, with the time if it matters; the results are actions, which
``loops`` carries out. So each decision can be tested by a plain call. ``claims`` decides what to claim.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_queue.model import Failed, Released
from zeke_queue.worker.claims import ClaimState, Load
from zeke_queue.worker.leased_job import RUNNING, SETTLING, WAITING, LeasedJob, count_slow
from zeke_queue.worker.unknown_jobs import Sent, UnknownJobs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from zeke_queue.model import Claimed
    from zeke_queue.worker.claims import ServedQueue
    from zeke_queue.worker.leased_job import Deferral, Outcome, Reason, Slot

STALE: Final = 2.0
"""Seconds after which a job that was claimed ahead and has not begun is released for other workers."""

RECANCEL_INTERVAL: Final = 10.0
"""Seconds after which a handler that ignores its cancellation is reported and cancelled again."""

CLOSE_ENOUGH: Final = 1e-6
"""Seconds by which a sleep may end early because of rounding."""

CANCEL_TIMEOUT: Final = 2.0
"""Seconds for cancelled handlers to end when the worker shuts down."""

FINAL_SETTLE_TIMEOUT: Final = 5.0
"""Seconds for a claim under way, and then for the last settlements, when the worker shuts down."""

ABORT_TIMEOUT: Final = 1.0
"""Seconds for each step of the shutdown when the worker aborts, counted from that request."""


class Start(NamedTuple):
    """Give the jobs that are ready to free pool tasks, and watch the earliest of their deadlines."""

    deadline: float


class Interrupt(NamedTuple):
    """Cancel a running handler."""

    job: LeasedJob


class Report(NamedTuple):
    """Log that a handler has ignored its cancellation for this many seconds."""

    job: LeasedJob
    seconds: float


class Settle(NamedTuple):
    """Store the outcomes that wait."""


class WakeClaims(NamedTuple):
    """Wake the claim loop, since its next decision may differ."""


class Finish(NamedTuple):
    """Store the remaining outcomes, and deregister the worker."""


class StopParts(NamedTuple):
    """Cancel all parts of the worker."""


Action = Start | Interrupt | Report | Settle | WakeClaims


class WorkerState:
    """The jobs that a worker holds, from claim to settlement, and what to do about them.

    Two transitions happen once a job: ``take`` and ``ended`` (with ``drop``). They return flags, not actions,
    since each microsecond of them costs a few percent of the throughput of small jobs.

    Args:
        queues: the queues to serve, by name.
        poll: seconds between claims without a notification.
        payload_budget: bytes of payloads that may be held; None for any number.
        alive_until: the end of the lease, on the monotonic clock.

    Attributes:
        claims: when to claim what.
        jobs: all jobs that are held, in the order of their claims.
        ready: those that wait for a pool task, in order.
        running: those that run, and in which slot; handlers of lost jobs count until they end.
        outcomes: jobs whose outcome waits to be stored.
        storing: how many outcomes are being stored, or deferred.
        deferred: jobs whose outcome can't be stored with others, and why; they need no payload and no place.
        payload_bytes: the size of the payloads of jobs that are held or whose handlers still run.
        alive_until: the end of the lease, unless another heartbeat is answered before.
        claims_begun, claims_ended: how many claims were sent, and how many of them were answered or failed.
        unknown: the jobs that only the storage holds for this worker.
    """

    def __init__(
        self,
        queues: Mapping[str, ServedQueue],
        size: int,
        poll: float,
        payload_budget: int | None = None,
        alive_until: float = math.inf,
    ) -> None:
        self.claims = ClaimState([*queues.values()], size, poll, payload_budget)
        self.jobs: dict[LeasedJob, None] = {}
        self.ready: deque[LeasedJob] = deque()
        self.running: dict[LeasedJob, Slot] = {}
        self.outcomes: list[LeasedJob] = []
        self.storing = 0
        self.deferred: dict[LeasedJob, Deferral] = {}
        self.payload_bytes = 0
        self.alive_until = alive_until
        self.claims_begun = self.claims_ended = 0
        self._renewing = threading.Lock()
        self.unknown = UnknownJobs()
        self._queues, self._size = queues, size
        self._closed = False

    def load(self, now: float) -> Load:
        """Return how much is held."""
        backlog = len(self.outcomes) + self.storing
        slow = count_slow(self.running, islice(self.ready, self._size), now) if self.claims.has_both else 0
        return Load(len(self.running), len(self.ready), backlog, self.payload_bytes, slow)

    def claimed(self, claimed: Sequence[Claimed], asked: float, now: float) -> list[Action]:
        """Take in the answer of a claim that was sent at ``asked``.

        Returns:
            What to do; nothing if the lease has ended since, so that the jobs may be others' already.
        """
        if self.is_lease_over(now):
            # Start none of these jobs before a heartbeat has confirmed which are still leased.
            self.claims.unsure = True
            return []
        queues, number = self._queues, self.claims_begun
        jobs = [LeasedJob(job, queues[job.name], asked + job.expire_in, number) for job in claimed]
        self.unknown.learn(claimed)
        self.jobs.update(dict.fromkeys(jobs))
        for job in jobs:
            job.payload_bytes = job.claimed.payload_bytes
            self.payload_bytes += job.payload_bytes
        self.claims.brought_quick = any(job.queue.is_quick for job in jobs)
        limited = [job for job in jobs if job.queue.limit is not None]
        for job in limited:
            job.queue.busy += 1
            job.queue.ask_at = -math.inf
        if self._closed:
            return self._release(jobs)
        earliest = min([job.deadline for job in jobs])
        if earliest <= now:
            for job in jobs:
                if job.deadline <= now:
                    job.reason = "expired"
        # Jobs of tasks with a limit use it up while they wait, so they go before those claimed ahead.
        self.ready.extendleft(reversed(limited))
        if len(limited) < len(jobs):
            self.ready.extend([job for job in jobs if job.queue.limit is None] if limited else jobs)
        return [Start(earliest)]

    def take(self, slot: Slot) -> LeasedJob:
        """Take the next job that is ready, for a slot that runs it now."""
        job = self.ready.popleft()
        job.stage = RUNNING
        self.running[job] = slot
        return job

    def ended(self, job: LeasedJob, outcome: Outcome | None) -> bool:
        """Record that a job's handler ended; return whether to store its outcome, else ``drop`` it."""
        del self.running[job]
        job.stage = SETTLING
        if outcome is None or job not in self.jobs:
            return False
        job.outcome = outcome
        self.outcomes.append(job)
        return True

    def drop(self, job: LeasedJob) -> bool:
        """Forget a job that is lost; return whether to wake the claim loop.

        While its handler still runs, it counts for its task's limit: call this again once it has ``ended``.
        """
        self.jobs.pop(job, None)
        runs = job in self.running
        if not runs:
            self.payload_bytes -= job.payload_bytes
        if job.queue.limit is None or runs:
            return not self.jobs and self.claims.drains > 0 and self.claims.freed()
        job.queue.busy -= 1
        return self.claims.freed()

    def batch(self, most: int) -> list[LeasedJob]:
        """Return the next jobs whose outcomes to store, at most ``most``."""
        batch, self.outcomes = self.outcomes[:most], self.outcomes[most:]
        self.storing += len(batch)
        return batch

    def defer(self, jobs: Iterable[LeasedJob], why: Deferral) -> bool:
        """Mark outcomes to be stored later than others; return whether to wake the claim loop.

        Storing them may take long; meanwhile other jobs can use their places and their payloads' memory.
        """
        freed = False
        for job in jobs:
            if job not in self.deferred and job in self.jobs and job not in self.running:
                self.payload_bytes -= job.payload_bytes
                job.claimed, job.context = job.claimed._replace(data=None, meta=None), None
                if job.queue.limit is not None:
                    job.queue.busy -= 1
                    freed = True
            self.deferred[job] = why
        wake = freed and self.claims.freed()
        return wake or self.claims.has_room(len(self.ready), self.payload_bytes)

    def settled(self, batch: Sequence[LeasedJob], now: float) -> bool:
        """Forget jobs whose outcomes are stored; return whether to wake the claim loop."""
        self.storing -= len(batch)
        freed = wake = False
        for job in batch:
            held = self.jobs.pop(job, 0) is None
            # An abandoned handler still runs; `drop` follows when it ends. `defer` has freed a deferred job.
            if held and job not in self.running and job not in self.deferred:
                self.payload_bytes -= job.payload_bytes
                if job.queue.limit is not None:
                    job.queue.busy -= 1
                    freed = True
            outcome = job.outcome
            delay: float | None = None
            if isinstance(outcome, Failed):
                delay = outcome.retry_in
            elif isinstance(outcome, Released):
                delay = outcome.delay
            if delay is not None:
                self.claims.due(now + delay, now)
                wake = True
        if self.deferred:
            for job in batch:
                self.deferred.pop(job, None)
        if freed or not self.jobs:
            wake |= self.claims.freed()
        return wake or self.claims.has_room(len(self.ready), self.payload_bytes)

    def unsettled(self) -> list[LeasedJob]:
        """Return the jobs whose outcome is not under way, so that the storage must know them as held."""
        return [job for job in self.jobs if job.stage != SETTLING]

    def is_lease_over(self, at: float) -> bool:
        """Return whether the lease has ended by this time, so that other workers may hold the jobs."""
        return at >= self.alive_until

    def renew(self, until: float, now: float) -> None:
        """Move the end of a lease that has not ended, unless a later heartbeat has; from any thread.

        One that has ended is restored once ``compare`` has found the jobs that others may hold since then.
        """
        with self._renewing:
            if not self.is_lease_over(now):
                self.alive_until = max(self.alive_until, until)

    def restore(self, until: float) -> None:
        """Move the end of the lease, also of one that has ended, unless a later heartbeat has."""
        with self._renewing:
            self.alive_until = max(self.alive_until, until)

    def sent(self, now: float) -> Sent:
        """Return what ``compare`` needs to know of a heartbeat that is sent now; from any thread."""
        return Sent(now, self.claims_ended, self.unknown.answers)

    def compare(
        self, answer: Mapping[UUID, int], sent: Sent
    ) -> tuple[list[LeasedJob], list[Released] | None]:
        """Compare the held jobs with a heartbeat's answer: the attempt of each job that the storage has.

        Args:
            sent: what had happened when the heartbeat was sent; jobs of later claims may be missing.

        Returns:
            The jobs that are lost: cancelled, or given to others; and those to release, which only the
            storage knows, or None if the heartbeat was sent too early to tell.
        """
        lost = [
            job
            for job in self.jobs
            if job.stage != SETTLING
            and job.claim <= sent.claims_ended
            and answer.get(job.claimed.id) != job.claimed.attempt
        ]
        known = {job.claimed.id: job.claimed.attempt for job in self.jobs}
        return lost, self.unknown.find(known, answer, sent, begun=self.claims_begun)

    def lose(self, jobs: Sequence[LeasedJob], now: float) -> list[Action]:
        """Give up jobs that this worker no longer holds: interrupt their handlers, and settle nothing."""
        actions: list[Action] = []
        freed = False
        for job in jobs:
            if job.stage == WAITING:
                self.ready.remove(job)
            else:
                actions += self.interrupt(job, "lost", now)
            freed |= self.drop(job)
        freed |= self.claims.has_room(len(self.ready), self.payload_bytes)
        return [*actions, WakeClaims()] if freed else actions

    def lease_ended(self, now: float) -> list[Action]:
        """Give up all jobs, which other workers may run now, and claim none before a heartbeat."""
        actions = self.lose(self.unsettled(), now)
        self.claims.doubt()
        return [*actions, WakeClaims()]

    def interrupt(self, job: LeasedJob, reason: Reason, now: float) -> list[Action]:
        """Ask a running job's handler to stop; the first reason is kept, except that "lost" overrides it."""
        if job.stage != RUNNING:
            return []
        first = job.reason is None
        if first or reason == "lost":
            job.reason = reason
        if job.context is not None:
            job.context.cancelled = True
        if not first and now - job.interrupted < RECANCEL_INTERVAL:
            return []
        job.interrupted = now
        # A thread can't be cancelled: it keeps its pool task until the handler checks `job.cancelled`.
        return [] if job.queue.kind == "thread" else [Interrupt(job)]

    def interrupt_all(self, now: float) -> list[Action]:
        """Interrupt every handler, because the worker shuts down."""
        return [action for job in self.running for action in self.interrupt(job, "shutdown", now)]

    def expire(self, now: float) -> tuple[list[Action], float | None]:
        """Interrupt handlers whose deadline has passed; also return the next deadline, or None."""
        actions: list[Action] = []
        upcoming: list[float] = []
        for job in self.jobs:
            if job.stage == SETTLING or job.reason is not None:
                continue
            if job.deadline > now + CLOSE_ENOUGH:
                upcoming.append(job.deadline)
            elif job.stage == RUNNING:
                actions += self.interrupt(job, "expired", now)
            else:
                # It does not begin in the moment that is left, since nothing would end its handler.
                job.deadline = min(job.deadline, now)
        return actions, min(upcoming, default=None)

    def tend(self, now: float) -> list[Action]:
        """Handle what lasts too long: jobs that wait for a pool task, handlers that ignore a cancellation."""
        actions = self._release_waiting(STALE, now)
        for job in self.running:
            ignored = now - job.interrupted
            if job.reason is not None and job.interrupted and ignored >= RECANCEL_INTERVAL:
                actions.append(Report(job, ignored))
                actions += self.interrupt(job, job.reason, now)
        return actions

    def close(self, now: float) -> list[Action]:
        """Begin no further jobs: release those that wait, and those that a claim under way brings."""
        self._closed = True
        return self._release_waiting(-math.inf, now)

    def abandon(self, classify: Callable[[LeasedJob], Outcome]) -> list[Action]:
        """Settle the jobs whose handlers do not end, as ``classify`` says, and cancel these once more."""
        actions: list[Action] = []
        for job in self.running:
            wanted = job.reason != "lost" and job in self.jobs
            outcome = classify(job)
            job.reason = "lost"
            actions.append(Interrupt(job))
            if wanted:
                actions += self._settle([(job, outcome)])
        return actions

    def _release_waiting(self, older_than: float, now: float) -> list[Action]:
        """Release jobs that have not begun and were claimed ``older_than`` seconds ago or earlier."""
        before = now - older_than
        stale = [job for job in self.ready if job.deadline - job.claimed.expire_in <= before]
        if not stale:
            return []
        going = set(stale)
        kept = [job for job in self.ready if job not in going]
        self.ready.clear()
        self.ready.extend(kept)
        for job in stale:
            # Jobs are slower than measured before, so do not claim the same ones ahead again.
            job.queue.seconds = max(job.queue.seconds or 0.0, older_than)
        return self._release(stale)

    def _release(self, jobs: Iterable[LeasedJob]) -> list[Action]:
        return self._settle((job, Released(job.claimed.id, job.claimed.attempt)) for job in jobs)

    def _settle(self, ended: Iterable[tuple[LeasedJob, Outcome]]) -> list[Action]:
        for job, outcome in ended:
            job.stage, job.outcome = SETTLING, outcome
            self.outcomes.append(job)
        return [Settle()]


class Shutdown:
    """How a worker ends, step by step; each step ends when it is done, or at its time limit.

    No further jobs begin, and those that run get ``timeout`` seconds. Handlers that are still running are
    cancelled. A claim under way is waited for, since its jobs are released. Then jobs whose handlers do not
    end are settled anyway, outcomes are stored, and the worker is deregistered. Finally its parts are
    stopped.

    Args:
        timeout: seconds for running jobs.
        classify: returns the outcome of a job whose handler does not end.

    Attributes:
        stuck: how many handlers did not end even when cancelled.
    """

    def __init__(self, state: WorkerState, timeout: float, classify: Callable[[LeasedJob], Outcome]) -> None:
        self.timeout = timeout
        self.stuck = 0
        self._state = state
        self._classify = classify
        self._steps = deque(
            (
                ("run", timeout),
                ("cancel", CANCEL_TIMEOUT),
                ("claim", FINAL_SETTLE_TIMEOUT),
                ("finish", FINAL_SETTLE_TIMEOUT),
                ("stop", FINAL_SETTLE_TIMEOUT),
            )
        )
        self._step = ""
        self._began = self._until = -math.inf
        self._aborted: float | None = None

    def abort(self, now: float) -> None:
        """Give running jobs no further time, and each further step at most a second from now on."""
        if self._aborted is None:
            self._aborted = now
            self._until = self._shorten(self._until)

    def next(
        self, alive: Collection[str], now: float
    ) -> tuple[Sequence[Action | Finish | StopParts], float] | None:
        """Return what to do now, and until when to wait for a change; None at the end of the shutdown.

        Args:
            alive: the names of the worker's parts that have not ended.
        """
        while now + CLOSE_ENOUGH >= self._until or not self._is_awaited(alive):
            if not self._steps:
                return None
            self._step, seconds = self._steps.popleft()
            self._began = now
            self._until = self._shorten(now + seconds)
            if actions := self._begin(now):
                return actions, now  # these actions may provide the awaited event
        return (), self._until

    def _shorten(self, until: float) -> float:
        if self._aborted is None:
            return until
        if self._step == "run":
            return -math.inf
        return min(until, max(self._began, self._aborted) + ABORT_TIMEOUT)

    def _begin(self, now: float) -> Sequence[Action | Finish | StopParts]:
        match self._step:
            case "run":
                return self._state.close(now)
            case "cancel":
                return self._state.interrupt_all(now)
            case "finish":
                self.stuck = len(self._state.running)
                return [*self._state.abandon(self._classify), Finish()]
            case "stop":
                return [StopParts()]
            case _:
                return ()

    def _is_awaited(self, alive: Collection[str]) -> bool:
        match self._step:
            case "run" | "cancel":
                return bool(self._state.running)
            case "stop":
                return bool(alive)
            case part:
                return part in alive
