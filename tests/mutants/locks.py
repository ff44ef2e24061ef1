"""Mutants of waits for rows that another transaction has locked: what they delay, and for how long."""

from __future__ import annotations

from tests.mutants.patching import Mutant

SETTLE_LOOP = "zeke_queue.worker.settle_loop"
STORE = "zeke_queue.storage.memory.store"
LOCKS = "zeke_queue.storage.memory.locks"
TRANSACTION = "zeke_queue.storage.memory.transaction"
SCHEDULER = "zeke_queue.maintenance.scheduler"

MUTANTS = (
    Mutant(
        "locked-outcomes-wait-with-the-others",
        SETTLE_LOOP,
        "                waits, repeated = False, True\n",
        "                return await self._settle(batch, repeated=True, waits=waits)\n",
        "A job whose row is locked holds up the outcomes of all others.",
        where=("locks",),
    ),
    Mutant(
        "locked-queue-stops-all-claims",
        STORE,
        "        now = self._clock.now()\n"
        "        claimed = ClaimedJobs(left_out=self._locks.any and any(self._left_out(one.name)"
        " for one in capacity))\n",
        "        await self._locks.clear(lambda: [queue_lock(one.name) for one in capacity])\n"
        "        now, claimed = self._clock.now(), ClaimedJobs()\n",
        "A claim waits for the locked row of a queue, and takes no jobs of others meanwhile.",
        where=("limits", "deploy"),
    ),
    Mutant(
        "one-locked-job-locks-its-batch",
        STORE,
        "        changed = self._settle(now, outcomes.without(locked), repeated=repeated)\n",
        "        locked = {one.id for one in (*completed, *failed, *released)} if locked else locked\n"
        "        changed = self._settle(now, outcomes.without(locked), repeated=repeated)\n",
        "If one job of a settlement is locked, the others are reported as locked too, and not stored.",
        where=("locks",),
    ),
    Mutant(
        "job-passed-over-after-its-lock",
        STORE,
        "        return self._locks.taken(job_id) or (\n",
        "        met, now = self.__dict__.setdefault('_met', {}), self._clock.monotonic()\n"
        "        if self._locks.taken(job_id):\n"
        "            met[job_id] = now\n"
        "        return now < met.get(job_id, -9.0) + 4.0 or (\n",
        "Claims pass over a job that they met locked until 4 seconds later, though the lock has ended.",
        where=("locks",),
    ),
    Mutant(
        "claims-wait-for-a-locked-queue",
        STORE,
        "        now = self._clock.now()\n"
        "        claimed = ClaimedJobs(left_out=self._locks.any and any(self._left_out(one.name)"
        " for one in capacity))\n",
        "        from zeke_queue.storage.memory.locks import Owner\n"
        "        await self._locks.clear(lambda: [queue_lock(one.name) for one in capacity], Owner())\n"
        "        now, claimed = self._clock.now(), ClaimedJobs()\n",
        "A claim waits for the locked row of a queue for as long as the lock is kept, and then takes jobs.",
        where=("limits", "deploy"),
    ),
    Mutant(
        "locks-awaited-without-a-limit",
        LOCKS,
        "            limit = LOCK_SECONDS if owner is None else owner.lock_seconds\n",
        "            limit = None if owner is None else owner.lock_seconds\n",
        "A statement outside of transactions waits for a locked row for as long as the lock is kept.",
        where=("locks",),
    ),
    Mutant(
        "blocked-schedule-stops-the-others",
        SCHEDULER,
        "if not batch or is_outage(error):",
        "if not batch or isinstance(error, StorageUnavailableError):",
        "No schedule is served while another transaction holds the key of one.",
        where=("locks",),
    ),
    Mutant(
        "ticks-wait-for-a-locked-key",
        TRANSACTION,
        "        self._owner.lock_seconds = TICK_LOCK_SECONDS\n",
        "        self._owner.lock_seconds = None\n",
        "No schedule is served for as long as another transaction keeps the key of one.",
        where=("locks",),
    ),
    Mutant(
        "ticks-of-a-blocked-schedule-skipped",
        SCHEDULER,
        "        if blocked is None or last is None or blocked.last_tick != last:\n",
        "        if True:\n",
        "Of the ticks for which a schedule was blocked only the latest is served.",
        where=("locks",),
    ),
)
