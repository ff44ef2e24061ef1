"""Bugs for single properties and kinds of faults, so small that only these find them."""

from __future__ import annotations

from typing import Final

from tests.mutants.patching import Mutant

MEMORY_CLAIMS = "zeke_queue.storage.memory.claims"
ROWS = "zeke_queue.storage.memory.rows"
TRANSITIONS = "zeke_queue.storage.memory.transitions"
TRANSACTION = "zeke_queue.storage.memory.transaction"
CLAIMS = "zeke_queue.worker.claims"
HEARTBEAT = "zeke_queue.worker.heartbeat"
SETTLE_LOOP = "zeke_queue.worker.settle_loop"
NODE = "zeke_sim.world.node"
NETWORK = "zeke_sim.world.network"
PAYMENTS = "tests.scenarios.payments"

PLANTED: Final = (
    Mutant(
        "completed-and-cancelled",
        TRANSITIONS,
        "(state := TRANSITIONS.get((row.state, Event.CANCEL))) is not None:\n",
        "(\n"
        "            state := RowState.CANCELLED\n"
        "            if row.state is RowState.COMPLETED and not scope.owner\n"
        "            else TRANSITIONS.get((row.state, Event.CANCEL))\n"
        "        ) is not None:\n",
        "A completed job can be cancelled, unless in a transaction.",
    ),
    Mutant(
        "retries-lower-the-priority",
        ROWS,
        "        self.state = state\n        self.start_after = now",
        "        self.priority -= state is RowState.RETRY\n        self.state = state\n"
        "        self.start_after = now",
        "A retried job is claimed after others of its priority.",
    ),
    Mutant(
        "claimed-a-second-early",
        MEMORY_CLAIMS,
        "        while self._later and self._later[0][0] <= now:\n",
        "        while self._later and (self._later[0][0] - now).total_seconds() <= 1:\n",
        "A job is claimed up to a second before it may start.",
    ),
    Mutant(
        "the-end-precedes-its-last-lines",
        "zeke_queue.watch.subscription",
        "        if not self._unread or self._error is not None:\n",
        "        ended = self._job is not None and self._job.row_state in FINAL\n"
        "        if not self._unread or self._error is not None or (ended and self._status):\n",
        "A watcher that is told of the end of a job misses the lines that it has not read yet.",
        where=("watch",),
    ),
    Mutant(
        "rolled-back-ticks-stay",
        TRANSACTION,
        "        for undo in reversed(self._undone):\n",
        "        committed = self._pending._committed\n"
        "        for row in self._pending._rows.values():\n"
        "            if '\"tick\"' in (row.meta or '') and not committed.known(row.id):\n"
        "                committed.store(row, row.created_on)\n"
        "        for undo in reversed(self._undone):\n",
        "The job of a tick exists although its transaction was rolled back.",
        where=("cron",),
    ),
    Mutant(
        "given-up-before-the-deadline",
        HEARTBEAT,
        "        lost, unknown = self._state.compare(answer, sent)\n",
        "        now = self._clock.monotonic()\n"
        "        late = {j.claimed.id for j in self._state.unsettled() if 0 < j.deadline - now < 1}\n"
        "        answer = {k: v for k, v in answer.items() if k not in late}\n"
        "        lost, unknown = self._state.compare(answer, sent)\n"
        "        gone = {(job.claimed.id, job.claimed.attempt) for job in lost}\n"
        "        self._gone = gone = gone | getattr(self, '_gone', set())\n"
        "        unknown = unknown and [one for one in unknown if (one.id, one.attempt) not in gone]\n",
        "A heartbeat in the last second before a deadline interrupts the handler.",
    ),
    Mutant(
        "unknown-jobs-kept-for-long",
        HEARTBEAT,
        "        if lost or self._unknown:\n",
        "        now = self._clock.monotonic()\n"
        "        since = self._since = getattr(self, '_since', now) if self._unknown else now\n"
        "        if lost or now > since + self._info.lease + 8:\n",
        "A job of a claim whose answer was lost is given back only after more than the time of a lease.",
    ),
    Mutant(
        "polls-without-a-pause",
        CLAIMS,
        "        self._empty_claims = 0 if count else self._empty_claims + 1\n",
        "        self._empty = getattr(self, '_empty', 0) + (not count)\n"
        "        self._empty_claims = 0 if count or 5 < self._empty <= 505 else self._empty_claims + 1\n",
        "A worker that finds nothing claims again at once, five hundred times.",
    ),
    Mutant(
        "releases-repeated-as-completed",
        SETTLE_LOOP,
        "        outcomes = [job.outcome for job in batch]\n",
        "        outcomes = [\n"
        "            Completed(job.claimed.id, job.claimed.attempt, None)\n"
        "            if repeated and job.context is None and type(job.outcome) is Released\n"
        "            else job.outcome\n"
        "            for job in batch\n"
        "        ]\n",
        "A job that was released before it began is completed if the storage did not answer.",
        where=("shutdown",),
    ),
    Mutant(
        "full-notification-queue-fails-writes",
        NETWORK,
        "        world.statement = self.address\n",
        "        if not world.server.notifies and self.verb in {'insert', 'settle', 'settle_unlocked'}:\n"
        "            full = StorageUnavailableError('the notification queue is full')\n"
        "            self._finish((full, None), issued)\n"
        "            return\n"
        "        world.statement = self.address\n",
        "A send or a settlement fails because its notifications are refused.",
    ),
    Mutant(
        "paused-process-goes-on",
        NODE,
        "        self.world.loop.pause(self.run_queue)\n",
        "",
        "The simulator pauses a process, but its tasks continue.",
    ),
    Mutant(
        "refused-charge-taken-for-paid",
        PAYMENTS,
        "        raise Snooze(1.0) from error\n",
        "        if payment is not None:\n            raise Snooze(1.0) from error\n",
        "A charge that fails counts as one whose answer was lost.",
        where=("payments",),
    ),
    Mutant(
        "charged-again-under-another-key",
        PAYMENTS,
        "        raise Snooze(1.0) from error\n",
        "        if payment is not None:\n            raise Snooze(1.0) from error\n"
        "        payment = await bank.charge(order.number, order.cents, key=f'again-{order.number}')\n",
        "A charge whose answer is lost counts as one that failed, and is repeated with another key.",
        where=("payments",),
    ),
    Mutant(
        "key-of-the-attempt",
        PAYMENTS,
        'key=f"order-{order.number}")',
        'key=f"order-{order.number}-{job.attempt}")',
        "The next attempt repeats a charge that is still on its way, since its idempotency key is another.",
        where=("payments",),
    ),
)
