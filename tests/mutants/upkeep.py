"""Mutants of the memory storage's upkeep: transactions, locks, retention, wake-ups, schedules, workers."""

from __future__ import annotations

from tests.mutants.patching import Mutant

STORE = "zeke_queue.storage.memory.store"
TABLES = "zeke_queue.storage.memory.tables"
VERBS = "zeke_queue.storage.memory.verbs"
LOCKS = "zeke_queue.storage.memory.locks"
TRANSACTION = "zeke_queue.storage.memory.transaction"
SCHEDULES = "zeke_queue.storage.memory.schedules"
UNIT_OF_WORK = "zeke_queue.storage.memory.unit_of_work"
NOTIFIER = "zeke_queue.storage.notifier"
READER = "zeke_queue.storage.memory.reader"

MUTANTS = (
    Mutant(
        "rollback-commits",
        TRANSACTION,
        "        opened.rollback()\n",
        "        opened.commit()\n",
        "Jobs of a transaction that was rolled back are there.",
        where=("transactions",),
    ),
    Mutant(
        "rollback-keeps-locks",
        TRANSACTION,
        "        self._locks.release(self._owner)\n        for undo in",
        "        for undo in",
        "The locks of a transaction remain after its rollback.",
    ),
    Mutant(
        "waiters-left-waiting",
        LOCKS,
        "            waiter.notify()\n",
        "            pass\n",
        "Waiters for a transaction's end are not notified.",
    ),
    Mutant(
        "settle-past-a-lock",
        VERBS,
        "        if self._locks.any:\n"
        "            await self._locks.clear(\n"
        "                lambda: self._locks_of_settled([*completed, *failed, *released]),"
        " self._scope.owner\n"
        "            )\n",
        "",
        "A settlement does not wait for a transaction that has changed its job, and is overwritten by it.",
        where=("expiry",),
    ),
    Mutant(
        "insert-past-a-lock",
        VERBS,
        "        if self._locks.any:\n"
        "            await self._locks.clear(lambda: self._locks_of_new(rows), self._scope.owner)\n",
        "",
        "A send does not wait for a transaction that has taken its singleton key, and both have it.",
        where=("transactions",),
    ),
    Mutant(
        "cancel-past-a-lock",
        VERBS,
        "        if self._locks.any:\n"
        "            await self._locks.clear(lambda: self._locks_of_unended(ids), self._scope.owner)\n",
        "",
        "A cancellation does not wait for a transaction that has changed its job, and is overwritten by it.",
    ),
    Mutant(
        "sent-before-the-commit",
        UNIT_OF_WORK,
        "        self._rows[row.id] = row\n",
        "        if row.id not in self._tables.jobs:\n"
        "            self._tables.put_in(row)\n"
        "        self._rows[row.id] = row\n",
        "A job sent in a transaction exists before the commit, and stays after a rollback.",
    ),
    Mutant(
        "answers-in-another-order",
        VERBS,
        "        return [row.id if self._scope.known(row.id) else None for row in rows]\n",
        "        stored = [self._scope.known(row.id) for row in rows]\n"
        "        rows = ordered if all(stored) else rows\n"
        "        return [row.id if self._scope.known(row.id) else None for row in rows]\n",
        "A send of several jobs, none of which is refused, returns their ids in another order.",
    ),
    Mutant(
        "refused-by-itself",
        VERBS,
        "        ordered = sorted(rows, key=_insert_order)\n"
        "        transitions.insert(self._scope, ordered)\n"
        "        return [row.id if self._scope.known(row.id) else None for row in rows]\n",
        "        own = {row.id for row in rows if row.hold is not None and self._scope.known(row.id)}\n"
        "        transitions.insert(self._scope, sorted(rows, key=_insert_order))\n"
        "        known = [row.id if self._scope.known(row.id) else None for row in rows]\n"
        "        return [None if one in own else one for one in known]\n",
        "A send that is repeated after a lost answer is refused, since its own job has its key.",
    ),
    Mutant(
        "archive-takes-revived",
        TABLES,
        "            if row is not None and row.state in FINAL and row.completed_on == ended:\n",
        "            if row is not None:\n",
        "A job that failed, and was retried by hand, is archived while it waits or runs.",
    ),
    Mutant(
        "archive-early",
        STORE,
        "self._tables.ended_before(now - timedelta(seconds=after))",
        "self._tables.ended_before(now - timedelta(seconds=after / 2))",
        "Jobs are archived in half of the time.",
    ),
    Mutant(
        "archive-late",
        STORE,
        "self._tables.ended_before(now - timedelta(seconds=after))",
        "self._tables.ended_before(now - timedelta(minutes=after))",
        "Jobs are archived after as many minutes as it should be seconds.",
    ),
    Mutant(
        "children-purged-before-their-parents",
        STORE,
        "            if row.awaited and row.parent in self._tables.jobs:\n",
        "            if row.awaited and row.parent is None:\n",
        "A parent that runs again does not find the outcome of its child, and runs it again.",
        where=("waiting",),
    ),
    Mutant(
        "purge-drops-kept-outputs",
        STORE,
        "            row.archived_on = self._clock.now()\n",
        "            row.archived_on, row.output = self._clock.now(), None\n",
        "A job that the archive keeps for its parent loses its output.",
        where=("waiting",),
    ),
    Mutant(
        "archive-loses-rows",
        TABLES,
        "        self.put_in_archive(row)\n",
        "        if row.state is not RowState.CANCELLED:\n            self.put_in_archive(row)\n",
        "A cancelled job vanishes when it should be archived.",
    ),
    Mutant(
        "purge-early",
        STORE,
        "        before, deleted = self._clock.now() - timedelta(seconds=after), 0\n",
        "        before, deleted = self._clock.now() - timedelta(seconds=after / 2), 0\n",
        "Archived jobs are deleted in half of the time.",
    ),
    Mutant(
        "purge-clears-all-events",
        TABLES,
        "        self.forget_events(row.id)\n",
        "        self.events.clear()\n",
        "The progress and log lines of all jobs go when one job is purged.",
        where=("cancel",),
    ),
    Mutant(
        "archived-not-found",
        READER,
        "self._tables.jobs.get(job_id) or self._tables.archive.get(job_id) for",
        "self._tables.jobs.get(job_id) for",
        "An archived job can't be looked up.",
    ),
    Mutant(
        "workers-forgotten-at-each-beat",
        STORE,
        "transitions.is_dead(other, now - DEAD_KEPT)",
        "transitions.is_dead(other, now + DEAD_KEPT)",
        "A worker's heartbeat deletes all other workers, whose jobs are then released.",
    ),
    Mutant(
        "dead-workers-forgotten-at-once",
        STORE,
        "transitions.is_dead(other, now - DEAD_KEPT)",
        "transitions.is_dead(other, now)",
        "A worker is deleted when its lease ends, although it may only be paused.",
    ),
    Mutant(
        "resumed-queue-wakes-no-worker",
        SCHEDULES,
        "        if not paused:\n            self._notifier.queue(name)\n",
        "",
        "The due jobs of a queue that is resumed wait for the next poll.",
        where=("limits",),
    ),
    Mutant(
        "raised-limit-wakes-no-worker",
        SCHEDULES,
        "queues[name] = declared(name)\n                self._notifier.queue(name)\n",
        "queues[name] = declared(name)\n",
        "The due jobs of a queue whose limit is raised wait for the next poll.",
        where=("limits", "deploy"),
    ),
    Mutant(
        "no-wake-up",
        UNIT_OF_WORK,
        "        is_work = row.waits and row.start_after <= now\n",
        "        is_work = False\n",
        "A job that is sent, and due at once, wakes no worker.",
    ),
    Mutant(
        "only-one-sleeper-wakes",
        NOTIFIER,
        "        for waiter, names in self._sleepers.pop(name, {}).items():\n",
        "        for waiter, names in list(self._sleepers.get(name, {}).items())[:1]:\n",
        "A job wakes the worker that fell asleep first, even if it has ended.",
    ),
    Mutant(
        "paused-schedule-fires",
        SCHEDULES,
        "        if not plan.schedule.paused and _is_due(",
        "        if _is_due(",
        "A paused schedule serves its ticks.",
        where=("cron",),
    ),
    Mutant(
        "paused-schedule-catches-up",
        SCHEDULES,
        "    if before.paused and not schedule.paused:\n        return definition\n",
        "",
        "A schedule catches up on ticks during its pause.",
        where=("cron",),
    ),
    Mutant(
        "other-zone-same-ticks",
        SCHEDULES,
        "(before.cron, before.zone) != (schedule.cron, schedule.zone)",
        "before.cron != schedule.cron",
        "A schedule whose zone is edited serves the next tick by the old one.",
        where=("cron",),
    ),
    Mutant(
        "any-edit-starts-anew",
        SCHEDULES,
        "    if before is None or (before.cron, before.zone) != (schedule.cron, schedule.zone):\n",
        "    if before is None or _definition(before) != definition:\n",
        "Any edit restarts a schedule, which then skips missed ticks.",
    ),
    Mutant(
        "new-schedules-unseen",
        SCHEDULES,
        "        return schedule.last_tick is None\n",
        "        return False\n",
        "A new or restarted schedule never fires.",
    ),
    Mutant(
        "stale-ticks-never-due",
        SCHEDULES,
        "    return schedule.next_tick <= now\n",
        "    return schedule.next_tick <= now and (now - schedule.next_tick).total_seconds() < 60\n",
        "A schedule whose tick was not served within a minute is never due again.",
        where=("cron",),
    ),
    Mutant(
        "redeploy-undoes-edits",
        SCHEDULES,
        "plan.declared != definition\n",
        "plan.schedule != definition\n",
        "An edit of a schedule at run time is gone when the next worker starts.",
        where=("cron",),
    ),
    Mutant(
        "redeploy-ends-pauses",
        SCHEDULES,
        "replace(limits[name], paused_on=self._tables.queue(name).paused_on)\n",
        "limits[name]\n",
        "A paused queue is resumed when the next worker starts.",
        where=("storm",),
    ),
    Mutant(
        "ticks-not-noted",
        SCHEDULES,
        "replace(plan.schedule, last_tick=last_tick, next_tick=next_tick)",
        "replace(plan.schedule, last_tick=plan.schedule.last_tick or last_tick, next_tick=next_tick)",
        "Each round decides on a schedule's ticks from the first one again.",
    ),
    Mutant(
        "no-wake-up-for-room",
        UNIT_OF_WORK,
        "makes_room = was_active if row.waits else",
        "makes_room = False if row.waits else",
        "A worker sleeps on although a job of a limited queue makes room by waiting again.",
    ),
)
