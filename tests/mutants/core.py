"""Mutants of the decisions: ``zeke_queue.core``, and of the options of catalogs and sends."""

from __future__ import annotations

from tests.mutants.patching import Mutant

RETRY = "zeke_queue.core.retry"
STATES = "zeke_queue.core.states"
SLOTS = "zeke_queue.core.slots"
CRON = "zeke_queue.core.cron"

MUTANTS = (
    Mutant(
        "retry-limit-off-by-one",
        RETRY,
        "    if retry_count >= policy.limit:\n",
        "    if retry_count > policy.limit:\n",
        "A job has a retry more than its limit.",
    ),
    Mutant(
        "linear-backoff",
        RETRY,
        "    half = policy.delay * 2 ** min(MAX_DOUBLINGS, retry_count + 1) / 2\n",
        "    half = policy.delay * (retry_count + 1)\n",
        "The wait before a retry grows by the same amount each time, and does not double.",
    ),
    Mutant(
        "unbounded-jitter",
        RETRY,
        "    return min(float(cap), half + draw * half)\n",
        "    return min(float(cap), half / (1 - draw))\n",
        "The wait before a retry is drawn from an unbounded distribution instead of a window.",
    ),
    Mutant(
        "backoff-cap-ignored",
        RETRY,
        "    return min(float(cap), half + draw * half)\n",
        "    return half + draw * half\n",
        "The wait before a retry exceeds retry_delay_max.",
    ),
    Mutant(
        "backoff-though-refused",
        RETRY,
        "    if not policy.backoff:\n        return float(policy.delay)\n",
        "",
        "The wait before a retry doubles though the job asked for a fixed one.",
    ),
    Mutant(
        "resume-uses-a-retry",
        STATES,
        "(RowState.CANCELLED, Event.RESUME): RowState.CREATED,",
        "(RowState.CANCELLED, Event.RESUME): RowState.RETRY,",
        "A cancelled job that is resumed waits as if an attempt had failed, and loses a retry.",
    ),
    Mutant(
        "release-uses-a-retry",
        STATES,
        "(RowState.ACTIVE, Event.RELEASE): RowState.CREATED,",
        "(RowState.ACTIVE, Event.RELEASE): RowState.RETRY,",
        "A job that is snoozed, or released at a shutdown, loses a retry.",
    ),
    Mutant(
        "cancel-takes-completed",
        STATES,
        "(RowState.ACTIVE, Event.CANCEL): RowState.CANCELLED,",
        "(RowState.ACTIVE, Event.CANCEL): RowState.CANCELLED,\n"
        "        (RowState.COMPLETED, Event.CANCEL): RowState.CANCELLED,",
        "A completed job can be cancelled.",
    ),
    Mutant(
        "retry-takes-completed",
        STATES,
        "(RowState.FAILED, Event.REVIVE): RowState.RETRY,",
        "(RowState.FAILED, Event.REVIVE): RowState.RETRY,\n"
        "        (RowState.COMPLETED, Event.REVIVE): RowState.RETRY,",
        "A completed job can be retried by hand, and runs again.",
    ),
    Mutant(
        "debounce-stays-in-its-slot",
        SLOTS,
        "timedelta(seconds=offset)",
        "timedelta(seconds=0)",
        "The second try of a debounced send goes into the slot that refused it.",
        where=("unique",),
    ),
    Mutant(
        "explicit-zero-unsaid",
        "zeke_queue.core.options",
        "zip(_FIELDS, _values(self), strict=True) if value is not None}",
        "zip(_FIELDS, _values(self), strict=True) if value or (value == 0 and self.expire_in)}",
        "A send that says 0 or False is overruled by its task, as in pg-boss 9.",
    ),
    Mutant(
        "poll-hardly-ever",
        "zeke_queue.core.poll_backoff",
        "if n < len(IDLE_LADDER) else poll",
        "if n < len(IDLE_LADDER) else poll * 50",
        "An idle worker that misses a wake-up rarely polls.",
    ),
    Mutant(
        "once-catches-up-on-nothing",
        CRON,
        "if catch_up is CatchUp.ONCE or now - latest <= GRACE else ()",
        "if now - latest <= GRACE else ()",
        "The last tick of a downtime is not caught up on.",
    ),
    Mutant(
        "skip-serves-stale-ticks",
        CRON,
        "if catch_up is CatchUp.ONCE or now - latest <= GRACE else ()",
        "if catch_up is CatchUp.ONCE or now - latest <= GRACE * 60 else ()",
        "A schedule that skips ticks over a minute late serves ticks up to an hour late.",
    ),
    Mutant(
        "all-catches-up-once",
        CRON,
        "    if catch_up is CatchUp.ALL:\n",
        "    if catch_up is CatchUp.ALL and now - last <= GRACE:\n",
        "A schedule that catches up on each tick serves only the last one after a long downtime.",
        where=("cron",),
    ),
    Mutant(
        "catch-up-off-by-one",
        CRON,
        "        upcoming = cron.next_after(last)\n",
        "        upcoming = cron.next_after(last)\n"
        "        following = cron.next_after(upcoming) if upcoming else None\n"
        "        upcoming = following if following and following <= now else upcoming\n",
        "The first tick of a downtime is left out where more than one passed.",
        where=("cron",),
    ),
    Mutant(
        "appointment-twice-in-autumn",
        CRON,
        "self._next_interval(instant) if self._crontab.every_hour else self._next_appointment(instant)",
        "self._next_interval(instant)",
        "A schedule at a certain hour fires twice where clocks show it twice, and not where they skip it.",
        where=("cron",),
    ),
    Mutant(
        "appointment-lost-in-spring",
        CRON,
        "            if tick > instant:\n",
        "            if tick > instant and not missing:\n",
        "A schedule at an hour that clocks skip does not fire on that day.",
        where=("cron",),
    ),
    Mutant(
        "appointment-late-in-autumn",
        CRON,
        "if missing else _utc(wall - before)\n",
        "if missing else _utc(wall - after)\n",
        "A schedule at an hour that clocks show twice fires the second time.",
        where=("cron",),
    ),
    Mutant(
        "aliases-add-to-the-limit",
        "zeke_queue.task.catalog",
        "    return [QueueSettings(name, limit, limited_with=shared) for",
        "    return [QueueSettings(name, limit) for",
        "A task with aliases runs more concurrent jobs than its limit.",
    ),
    Mutant(
        "debounce-tries-once",
        "zeke_queue.client.insert",
        "    if retried:\n",
        "    if len(retried) > 1:\n",
        "A debounced send that its slot refuses is not tried in the next one.",
        where=("unique",),
    ),
    Mutant(
        "tick-without-task-options",
        "zeke_queue.task.prepare",
        "        options = merge(stored_options.read(schedule.options), base)\n",
        "        options = merge(stored_options.read(schedule.options), self._external)\n",
        "The jobs of a schedule don't have their task's options.",
    ),
    Mutant(
        "resent-as-another-job",
        "zeke_queue.client.insert",
        "jobs = [replace(job, fresh=False) for job in jobs]",
        "jobs = [replace(job, id=type(job.id)(int=job.id.int + 1), fresh=False) for job in jobs]",
        "A send whose answer was lost is repeated under another id, and there are two jobs.",
    ),
)
