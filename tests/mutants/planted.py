"""Bugs for single properties and kinds of faults: what each breaks is so small that nothing else finds it."""

from __future__ import annotations

from typing import Final

from tests.mutants.patching import Mutant

CLAIMING = "zeke_queue.storage.memory.claiming"
ROWS = "zeke_queue.storage.memory.rows"
SETTLING = "zeke_queue.storage.memory.settling"
TRANSACTION = "zeke_queue.storage.memory.transaction"
HEART = "zeke_queue.worker.heartbeat"
INTAKE = "zeke_queue.worker.intake"
SETTLER = "zeke_queue.worker.settling"
WORLD = "zeke_sim.world.world"

PLANTED: Final = (
    Mutant(
        "completed-and-cancelled",
        SETTLING,
        "(state := TRANSITIONS.get((row.state, Event.CANCEL))) is not None:\n",
        "(\n"
        "            state := JobState.CANCELLED\n"
        "            if row.state is JobState.COMPLETED and not scope.owner\n"
        "            else TRANSITIONS.get((row.state, Event.CANCEL))\n"
        "        ) is not None:\n",
        "A completed job can be cancelled, unless in a transaction.",
    ),
    Mutant(
        "retries-lower-the-priority",
        ROWS,
        "        self.state = state\n        self.start_after = now",
        "        self.priority -= state is JobState.RETRY\n        self.state = state\n"
        "        self.start_after = now",
        "A job that is to be retried goes behind others of its priority.",
    ),
    Mutant(
        "claimed-a-second-early",
        CLAIMING,
        "        while self._later and self._later[0][0] <= now:\n",
        "        while self._later and (self._later[0][0] - now).total_seconds() <= 1:\n",
        "A job is claimed up to a second before it may start.",
    ),
    Mutant(
        "rolled-back-ticks-stay",
        TRANSACTION,
        "        self._locks.release(self._owner)\n        self._pending.discard(direct)\n",
        "        self._locks.release(self._owner)\n"
        "        for row in self._pending._rows.values():\n"
        "            if '\"tick\"' in (row.meta or '') and not direct.known(row.id):\n"
        "                direct.store(row)\n"
        "        self._pending.discard(direct)\n",
        "The job of a tick is there though its transaction was rolled back.",
        where=("cron",),
    ),
    Mutant(
        "given-up-before-the-deadline",
        HEART,
        "            and answer.get(held.claimed.id) != held.claimed.attempt\n        ]\n",
        "            and (\n"
        "                answer.get(held.claimed.id) != held.claimed.attempt\n"
        "                or 0 < held.deadline - self._clock.monotonic() < 1\n"
        "            )\n"
        "        ]\n"
        "        lost = {(held.claimed.id, held.claimed.attempt) for held in gone}\n"
        "        self._gone = lost = lost | getattr(self, '_gone', set())\n"
        "        answer = {job: attempt for job, attempt in answer.items() if (job, attempt) not in lost}\n",
        "A beat in the last second before a deadline interrupts the handler.",
    ),
    Mutant(
        "doubt-is-put-off",
        INTAKE,
        "        # A doubt that arises during this claim concerns something that the claim does not see.\n",
        "        stopping = asyncio.ensure_future(self._stopping.wait())\n"
        "        await asyncio.wait([stopping], timeout=self._heart._info.lease + 7)\n"
        "        stopping.cancel()\n",
        "A worker whose claim had no answer asks what it holds when its lease would be over.",
    ),
    Mutant(
        "polls-without-a-pause",
        INTAKE,
        "        self._looks = 0 if got else self._looks + 1\n",
        "        self._empty = getattr(self, '_empty', 0) + (not got)\n"
        "        self._looks = 0 if got or 5 < self._empty <= 505 else self._looks + 1\n",
        "A worker that finds nothing claims again at once, five hundred times.",
    ),
    Mutant(
        "releases-repeated-as-completed",
        SETTLER,
        "        outcomes = [held.outcome for held in batch]\n",
        "        outcomes = [\n"
        "            Completed(held.claimed.id, held.claimed.attempt, None)\n"
        "            if again and held.context is None and type(held.outcome) is Released\n"
        "            else held.outcome\n"
        "            for held in batch\n"
        "        ]\n",
        "A job that was given back before it began is completed if the storage did not answer.",
        where=("shutdown",),
    ),
    Mutant(
        "paused-process-goes-on",
        WORLD,
        "        self.loop.pause(node.lane)\n",
        "",
        "The simulator pauses a process, and what the process does goes on.",
    ),
)
