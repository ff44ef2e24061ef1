"""Mutants of waiting for children: sending children, suspending, resuming, cancelling together."""

from __future__ import annotations

from tests.mutants.patching import Mutant

ROWS = "zeke_queue.storage.memory.rows"
TRANSITIONS = "zeke_queue.storage.memory.transitions"
STORE = "zeke_queue.storage.memory.store"
TABLES = "zeke_queue.storage.memory.tables"
VERBS = "zeke_queue.storage.memory.verbs"
CONTEXT = "zeke_queue.task.context"

HERE = ("waiting",)

MUTANTS = (
    Mutant(
        "wakes-only-one",
        TRANSITIONS,
        "        for parent in scope.waiting_for(job_id):\n",
        "        for parent in scope.waiting_for(job_id)[:1]:\n",
        "Of several jobs that wait for one only the first continues at its end.",
        where=HERE,
    ),
    Mutant(
        "wakes-at-a-retry",
        TRANSITIONS,
        "        if child is None or not child.awaited or child.state not in FINAL:\n",
        "        if child is None or not child.awaited:\n",
        "A parent continues when its child has failed for the first time and will be retried.",
        where=HERE,
    ),
    Mutant(
        "cancel-wakes-nobody",
        VERBS,
        "        await self._wake(cancelled)\n",
        "",
        "A parent is not resumed when its child is cancelled.",
        where=HERE,
    ),
    Mutant(
        "cancel-leaves-children",
        TRANSITIONS,
        "            asked += (child.id for child in scope.awaited_children(job_id)",
        "            _left = (child.id for child in scope.awaited_children(job_id)",
        "The children of a cancelled job continue, although no job waits for them.",
        where=HERE,
    ),
    Mutant(
        "cancel-leaves-grandchildren",
        TRANSITIONS,
        "for child in scope.awaited_children(job_id) if child.state not in FINAL)\n",
        "for child in scope.awaited_children(job_id) if child.state not in FINAL and job_id in ids)\n",
        "The children of a cancelled job are cancelled, but their children continue.",
        where=HERE,
    ),
    Mutant(
        "cancel-takes-all-children",
        TABLES,
        "        if row.awaited and row.parent is not None:\n            self.children",
        "        if row.parent is not None:\n            self.children",
        "Jobs sent by a cancelled job are cancelled even if no job waits for them.",
        where=HERE,
    ),
    Mutant(
        "resume-leaves-children",
        TRANSITIONS,
        "if one.completed_on and one.completed_on >= since]\n",
        "if one.completed_on and one.completed_on > since]\n",
        "The children cancelled with a job stay cancelled when it is resumed.",
        where=HERE,
    ),
    Mutant(
        "resume-leaves-grandchildren",
        TRANSITIONS,
        "if one.completed_on and one.completed_on >= since]\n",
        "if one.completed_on and one.completed_on >= since and parent is None]\n",
        "The children of a resumed job are resumed, but their children stay cancelled.",
        where=HERE,
    ),
    Mutant(
        "resume-takes-all-children",
        TRANSITIONS,
        "if one.completed_on and one.completed_on >= since]\n",
        "if one.completed_on and since]\n",
        "Children that were cancelled on their own are resumed with their parent.",
        where=HERE,
    ),
    Mutant(
        "resume-brings-children-alone",
        TRANSITIONS,
        "due = {job_id for job_id, parent in family if parent in back}",
        "due = {job_id for job_id, parent in family if parent is not None} - changed",
        "The children of a job are resumed although that stays cancelled, since another job has its key.",
        where=HERE,
    ),
    Mutant(
        "cancelled-still-waits",
        TRANSITIONS,
        "            if row.waits_for is not None:\n                row.wake(now)",
        "            if row.waits_for is not None:\n                row.start_after = now",
        "A job that was cancelled while it waited keeps waiting.",
        where=HERE,
    ),
    Mutant(
        "wait-without-fence",
        TRANSITIONS,
        "        if row is None or row.attempt != attempt:\n"
        "            continue\n"
        "        if row.state is not RowState.ACTIVE:\n"
        "            released",
        "        if row is None:\n"
        "            continue\n"
        "        if row.state is not RowState.ACTIVE:\n"
        "            released",
        "A worker that lost a job suspends it, although another worker runs it.",
        where=HERE,
    ),
    Mutant(
        "waits-for-what-has-ended",
        TRANSITIONS,
        "        if child is not None and child.id != job_id and child.state not in FINAL:\n",
        "        if child is not None and child.id != job_id:\n",
        "A job waits for one that ended just before.",
        where=HERE,
    ),
    Mutant(
        "late-for-nothing",
        TRANSITIONS,
        "            _release(scope, row, Released(job_id, attempt), now)\n",
        "            _release(scope, row, Released(job_id, attempt, 5.0), now)\n",
        "A job that starts to wait for one that has just ended is delayed.",
        where=HERE,
    ),
    Mutant(
        "wait-unmarked",
        TRANSITIONS,
        "        if not child.awaited:\n            await_end(scope, child)\n",
        "        if not child.awaited and child.parent == row.id:\n            await_end(scope, child)\n",
        "The end of a job without a parent does not resume the jobs that wait for it.",
        where=HERE,
    ),
    Mutant(
        "wait-counts-as-retry",
        TRANSITIONS,
        "        row.wait_for(child.id, state, now)\n",
        "        row.wait_for(child.id, RowState.RETRY, now)\n",
        "A job that waited for another one loses a retry.",
        where=HERE,
    ),
    Mutant(
        "wait-without-rest",
        ROWS,
        "        self.start_after, self.waits_for = now + A_CENTURY, child\n",
        "        self.waits_for = child\n",
        "A job that waits for another one is claimed at once, again and again.",
        where=HERE,
    ),
    Mutant(
        "woken-still-waits",
        ROWS,
        "        self.start_after, self.waits_for = now, None\n",
        "        self.start_after = now\n",
        "A resumed job is still stored as waiting for another.",
        where=HERE,
    ),
    Mutant(
        "woken-in-a-century",
        ROWS,
        "        self.start_after, self.waits_for = now, None\n",
        "        self.waits_for = None\n",
        "A resumed job stays as late as if it waited.",
        where=HERE,
    ),
    Mutant(
        "child-of-a-lost-job",
        STORE,
        "        if held is None or held.attempt != attempt:\n            raise LeaseLostError.of(parent)\n",
        "",
        "A handler whose job was cancelled, or is another worker's, sends children.",
        where=HERE,
    ),
    Mutant(
        "child-past-a-lock",
        STORE,
        "        if self._locks.any and parent is not None:\n"
        "            await self._locks.clear(lambda: [parent, *self._locks_of_new([row])])\n",
        "",
        "A child is sent while its parent is being cancelled, and continues without it.",
        where=HERE,
    ),
    Mutant(
        "child-unmarked",
        STORE,
        "            transitions.await_end(self._direct, inserted)\n",
        "            pass\n",
        "A job that is cancelled before it waits for its children leaves them behind.",
        where=HERE,
    ),
    Mutant(
        "sweep-wakes-nobody",
        STORE,
        "        for row in found:\n"
        "            parent = self._direct.change(row)\n"
        "            parent.wake(now)\n"
        "            self._direct.store(parent)\n",
        "",
        "A parent that was skipped when its child ended waits forever.",
        where=HERE,
    ),
    Mutant(
        "sweep-wakes-everybody",
        TABLES,
        "            if child is None or child.state in FINAL:\n                yield from",
        "            if child is not None:\n                yield from",
        "A sweep resumes jobs whose children have not ended.",
        where=HERE,
    ),
    Mutant(
        "no-sweep-for-who-waits",
        "zeke_queue.maintenance.runner",
        "                    rows = await self._storage.resume_waiting(self._batch)\n",
        "                    rows = 0\n",
        "No supervisor resumes parents that were skipped.",
        where=HERE,
    ),
    Mutant(
        "child-sent-anew",
        CONTEXT,
        "        return uuid5(self.id, key)\n",
        '        return uuid5(self.id, f"{key}/{self.attempt}")\n',
        "Each attempt sends children of its own.",
        where=HERE,
    ),
    Mutant(
        "goes-on-without-an-outcome",
        CONTEXT,
        "        if found.row_state not in FINAL:\n            self.interrupted",
        "        if found.row_state not in FINAL and not found.attempt:\n            self.interrupted",
        "A handler gets the outcome of a child that has not ended.",
        where=HERE,
    ),
    Mutant(
        "wait-is-a-failure",
        "zeke_queue.worker.outcomes",
        "                return Waiting(claimed.id, claimed.attempt, child)\n",
        "                return None\n",
        "A handler that waits for a child fails.",
        where=HERE,
    ),
    Mutant(
        "wait-is-a-snooze",
        "zeke_queue.worker.outcomes",
        "                return Waiting(claimed.id, claimed.attempt, child)\n",
        "                return Released(claimed.id, claimed.attempt, 1.0)\n",
        "A handler that waits for a child runs once a second until that has ended.",
        where=HERE,
    ),
    Mutant(
        "waits-dropped",
        "zeke_queue.worker.loops",
        "            changed |= await self._storage.suspend(waiting, repeated=repeated)\n",
        "            changed |= {outcome.id for outcome in waiting}\n",
        "The wait of a job is not stored, and it counts as running.",
        where=HERE,
    ),
    Mutant(
        "fence-of-the-first-attempt",
        "zeke_queue.client.insert",
        "        return [await storage.insert_child(job, self._attempt) for job in jobs]\n",
        "        return [await storage.insert_child(job, 1) for job in jobs]\n",
        "Only a job's first attempt can send children.",
        where=HERE,
    ),
)
