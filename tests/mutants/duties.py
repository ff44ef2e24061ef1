"""Mutants of maintenance, the scheduler, and the watchers of jobs."""

from __future__ import annotations

from tests.mutants.patching import Mutant

RESCUER = "zeke_queue.maintenance.rescuer"
MAINTENANCE = "zeke_queue.maintenance.runner"
SCHEDULER = "zeke_queue.maintenance.scheduler"
JOB_WATCHER = "zeke_queue.watch.job_watcher"
SUBSCRIPTION = "zeke_queue.watch.subscription"

DUTIES = "zeke_queue.worker.duties"

MUTANTS = (
    Mutant(
        "workers-leave-maintenance-to-others",
        DUTIES,
        "        if MAINTENANCE in names:\n",
        '        if names == ("maintenance",):\n',
        "A worker that serves schedules runs no maintenance.",
        where=("plain",),
    ),
    Mutant(
        "workers-leave-schedules-to-others",
        DUTIES,
        "        if SCHEDULES in names:\n",
        '        if names == ("schedules",):\n',
        "A worker that runs maintenance serves no schedules.",
        where=("plain",),
    ),
    Mutant(
        "expiry-straight-to-failed",
        RESCUER,
        "None if wait is None else max(0.0, wait), error, final)",
        "None if wait is None or final is RowState.EXPIRED else max(0.0, wait), error, final)",
        "A job past its deadline is not retried.",
    ),
    Mutant(
        "lost-jobs-retried-for-ever",
        RESCUER,
        "        wait = retry.verdict(policy, job.retry_count, self._draws.random())\n",
        "        wait = retry.verdict(policy, 0, self._draws.random())\n",
        "A job past its deadline, or whose worker died, is retried beyond its limit.",
    ),
    Mutant(
        "lost-jobs-retried-at-once",
        RESCUER,
        "None if wait is None else max(0.0, wait), error, final)",
        "None if wait is None else 0.0, error, final)",
        "A job past its deadline, or whose worker died, is retried without its backoff.",
    ),
    Mutant(
        "lost-called-expired",
        RESCUER,
        '        if job.reason == "deadline":\n',
        "        if job.reason:\n",
        "A job whose worker died ends as expired.",
    ),
    Mutant(
        "housekeeping-an-hour-late",
        MAINTENANCE,
        "        due = dict.fromkeys(DUTIES, self._clock.monotonic())\n",
        "        began = self._clock.monotonic()\n"
        '        due = {name: began if name == "rescue" else began + 3600 for name in DUTIES}\n',
        "A maintenance process archives and purges for the first time an hour after it has begun.",
        where=("cancel",),
    ),
    Mutant(
        "sweeps-by-the-wall-clock",
        MAINTENANCE,
        "        due = dict.fromkeys(DUTIES, self._clock.monotonic())\n"
        "        while not self._timer.stopped:\n"
        "            now = self._clock.monotonic()\n"
        "            duties: list[MaintenanceJob] = [name for name in DUTIES if due[name] <= now]\n"
        "            swept = await self.sweep(duties)\n"
        "            ended = self._clock.monotonic()\n",
        "        due = dict.fromkeys(DUTIES, self._clock.now().timestamp())\n"
        "        while not self._timer.stopped:\n"
        "            now = self._clock.now().timestamp()\n"
        "            duties: list[MaintenanceJob] = [name for name in DUTIES if due[name] <= now]\n"
        "            swept = await self.sweep(duties)\n"
        "            ended = self._clock.now().timestamp()\n",
        "A maintenance process plans its sweeps by the wall clock, and waits where that is set back.",
        where=("cron",),
    ),
    Mutant(
        "sweeps-stay-slow",
        MAINTENANCE,
        "                failures[name] = failures[name] + 1 if name in swept.failed else 0\n"
        "                longest = OUTAGE_PAUSE_MAX if name in self._unavailable else BACKOFF_MAX\n",
        "                failures[name] += name in swept.failed\n                longest = BACKOFF_MAX\n",
        "After a few storage errors maintenance sweeps rarely forever.",
    ),
    Mutant(
        "sweeps-end-in-an-outage",
        MAINTENANCE,
        '            self._log.warning("maintenance_retrying", duty=duty, error=str(error))\n'
        "            return False\n",
        '            self._log.warning("maintenance_retrying", duty=duty, error=str(error))\n'
        "            raise\n",
        "A maintenance process ends after a short outage of the storage.",
    ),
    Mutant(
        "scheduler-ends-in-an-outage",
        SCHEDULER,
        "                failures, longest = failures + 1, OUTAGE_PAUSE_MAX\n"
        '                self._log.warning("scheduler_retrying", error=str(error))\n',
        '                self._log.warning("scheduler_retrying", error=str(error))\n'
        "                if not self._declared and is_outage(error):\n                    return\n",
        "A scheduler that has stored no schedules yet ends after a short outage of the storage.",
        where=("deploy",),
    ),
    Mutant(
        "declared-scheduler-ends-in-an-outage",
        SCHEDULER,
        "                failures, longest = failures + 1, OUTAGE_PAUSE_MAX\n"
        '                self._log.warning("scheduler_retrying", error=str(error))\n',
        '                self._log.warning("scheduler_retrying", error=str(error))\n'
        "                if self._declared:\n                    return\n",
        "A scheduler that has stored its schedules ends after a short outage of the storage.",
        where=("cron",),
    ),
    Mutant(
        "scheduler-goes-on",
        SCHEDULER,
        "        self._timer.stop()\n",
        '        self._log.info("scheduler_stops")\n',
        "A scheduler that is stopped continues.",
    ),
    Mutant(
        "scheduler-oversleeps",
        SCHEDULER,
        "        return min(self._every, max(self._upcoming, SHORTEST_PAUSE))\n",
        "        return min(self._every * 3600, max(self._upcoming, SHORTEST_PAUSE))\n",
        "A schedule that is edited is seen when the next tick of another one is due.",
        where=("cron",),
    ),
    Mutant(
        "ticks-sent-after-the-commit",
        SCHEDULER,
        "            ids = await _insert(transaction, jobs) if jobs else []\n",
        "        ids = await _insert(self._storage, jobs) if jobs else []\n",
        "A tick is lost if its scheduler dies after it was noted and before its job was sent.",
    ),
    Mutant(
        "ticks-have-any-id",
        SCHEDULER,
        '    digest = uuid5(TICK_NAMESPACE, f"{schedule}|{tick.isoformat()}").int\n',
        "    tick_id.drawn = getattr(tick_id, 'drawn', 0) + 1\n"
        '    digest = uuid5(TICK_NAMESPACE, f"{schedule}|{tick.isoformat()}|{tick_id.drawn}").int\n',
        "Nothing keeps a tick from being served twice where a clock went back and the schedule was edited.",
        where=("cron",),
    ),
    Mutant(
        "last-tick-of-a-batch-lost",
        SCHEDULER,
        "        return _Plan(jobs, due.last_tick, due.next_tick)\n",
        "        return _Plan(jobs[:-1] or jobs, due.last_tick, due.next_tick)\n",
        "Of several ticks that are due at once the last one is lost.",
        where=("cron",),
    ),
    Mutant(
        "only-the-first-watcher-is-told",
        SUBSCRIPTION,
        "            for subscription in list(self.subscriptions):\n",
        "            for subscription in list(self.subscriptions)[:1]:\n",
        "Of two waiters for a job in one process the second waits forever.",
        where=("watch",),
    ),
    Mutant(
        "watch-ends-in-an-outage",
        JOB_WATCHER,
        "if now - one.away_since >= OUTAGE_TIMEOUT]",
        "if now - one.away_since >= 0]",
        "Waiters for a job fail after a short outage of the storage.",
        where=("watch",),
    ),
    Mutant(
        "told-again-after-an-outage",
        JOB_WATCHER,
        "            watched.away_since = min(now, watched.away_since)\n",
        "            watched.latest, watched.away_since = None, min(now, watched.away_since)\n"
        "            [setattr(one, '_status', None) for one in watched.subscriptions]\n",
        "Watchers of a job get the same status again after a short outage of the storage.",
        where=("watch",),
    ),
    Mutant(
        "watch-reads-once",
        SUBSCRIPTION,
        "        pause = POLL_INTERVALS[min(self.unchanged, len(POLL_INTERVALS) - 1)]\n",
        "        pause = dict(enumerate(POLL_INTERVALS)).get(self.unchanged, 86_400.0)\n",
        "A waiter for a job that misses the notification of its end waits for a day.",
        where=("watch",),
    ),
    Mutant(
        "watch-not-looked-at-when-told",
        JOB_WATCHER,
        "[*fresh, *notified, *self._due(along=bool(fresh or notified))]",
        "[*fresh, *self._due(along=bool(fresh or notified))]",
        "A notification of a job takes effect only with the next regular read.",
        where=("watch",),
    ),
    Mutant(
        "watch-of-newcomers-forgotten",
        JOB_WATCHER,
        "                await watch.add(list(fresh))\n",
        "                await watch.add(list(fresh) if len(fresh) == len(self._watched) else [])\n",
        "A new waiter for a job gets no notifications while others wait for other jobs.",
        where=("watch",),
    ),
    Mutant(
        "watch-ends-with-the-first-who-leaves",
        JOB_WATCHER,
        "        if not watched.subscriptions:\n",
        "        if watched.subscriptions or not watched.subscriptions:\n",
        "Of two waiters for a job in one process the second waits forever after the first has left.",
        where=("watch",),
    ),
)
