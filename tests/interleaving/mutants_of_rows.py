"""Mutants of what the Postgres storage does with rows of other programs."""

from __future__ import annotations

from typing import Final

from tests.interleaving.mutant_runner import Mutant
from tests.interleaving.races import MODEL, ODD_ROWS, races

WAKEUPS: Final = "tests/conformance/test_wakeups.py"

ROWS: Final = (
    Mutant(
        "attempts counted past the integer maximum",
        "sql/claim.sql",
        "case when attempt < 2147483647 then attempt + 1 else 1 end",
        "attempt + 1",
        ODD_ROWS,
    ),
    Mutant(
        "retries counted past the integer maximum",
        "sql/claim.sql",
        " and retrycount < 2147483647",
        "",
        ODD_ROWS,
    ),
    Mutant(
        "jobs without an end are never archived",
        "sql/date.sql",
        "and completedon is null\n",
        "and completedon = '-infinity'\n",
        ("tests/conformance/test_retention.py -k plausible",),
    ),
    Mutant(
        "jobs that end in the far future are never archived",
        "sql/date.sql",
        " + interval '1 day'\n        order by",
        " + interval '290000 years'\n        order by",
        ("tests/conformance/test_retention.py -k plausible",),
    ),
    Mutant(
        "events of all attempts deleted",
        "sql/trim_events.sql",
        "where oldest.attempt <= late.attempt\n",
        "where late.attempt > 0\n",
        ("tests/conformance/test_events.py",),
    ),
    Mutant(
        "old events deleted without a limit",
        "sql/trim_events.sql",
        "limit %(limit)s::int\n",
        "limit %(limit)s::int + 1000000\n",
        ("tests/conformance/test_events.py",),
    ),
    Mutant(
        "row whose end can't be set keeps all others from it",
        "retention.py",
        '"date": "undated"',
        '"date": "ended"',
        ("tests/postgres/test_retention.py -k whose_end_",),
    ),
    Mutant(
        "row whose end can't be set stops archiving",
        "retention.py",
        'get_logger().error("date_failed", error=str(error).strip())',
        "raise",
        ("tests/postgres/test_retention.py -k whose_ends_",),
    ),
    Mutant(
        "second wait for one end granted",
        "sql/suspend.sql",
        "        and job.keepuntil is distinct from ended.seen_until\n",
        "",
        ("tests/conformance/test_endless_waits.py", MODEL),
    ),
    Mutant(
        "waits for ended jobs in turn without a pause",
        "sql/suspend.sql",
        "interval '1 second'",
        "interval '0'",
        ("tests/conformance/test_endless_waits.py", MODEL),
    ),
    Mutant(
        "wait for another job that ended at the same time refused",
        "sql/suspend.sql",
        "('x' || right((%(child)s::uuid)::text, 8))::bit(32)::bigint * interval '1 microsecond'",
        "interval '1 microsecond'",
        ("tests/conformance/test_endless_waits.py",),
    ),
    Mutant(
        "end out of the range of sums",
        "sql/suspend.sql",
        "        found.completedon <= coalesce(%(now)s::timestamptz, statement_timestamp())\n",
        "        true\n",
        ("tests/conformance/test_endless_waits.py",),
    ),
    Mutant(
        "history taken for a list",
        "sql/settle.sql",
        "when jsonb_typeof(job.history) is distinct from 'array' then '[]'",
        "when job.history is null then '[]'",
        ODD_ROWS,
    ),
    Mutant(
        "deadline out of the range of timestamps",
        "sql/lock_expired.sql",
        "least(greatest(startedon, timestamptz '0001-01-01 00:00+00'), timestamptz '9999-12-31 00:00+00')",
        "startedon",
        ODD_ROWS,
    ),
    Mutant(
        "schedules without any lock",
        "sql/lock_due_schedules.sql",
        "for update of listed skip locked\n",
        "",
        races("schedulers"),
    ),
    Mutant(
        "schedules without SKIP LOCKED",
        "sql/lock_due_schedules.sql",
        "for update of listed skip locked\n",
        "for update of listed\n",
        races("schedulers"),
    ),
    Mutant(
        "a completed job sends no completion job",
        "sql/complete.sql",
        "    where done.on_complete\n",
        "    where false\n",
        (
            "tests/postgres/test_beside_pgboss.py::test_job_that_asks_for_it_sends_a_completion_job_at_its_end",
        ),
    ),
    Mutant(
        "a settled job sends no completion job",
        "sql/settle.sql",
        "    where done.on_complete\n",
        "    where false\n",
        (
            "tests/postgres/test_beside_pgboss.py::test_job_that_asks_for_it_sends_a_completion_job_at_its_end",
        ),
    ),
    Mutant(
        "a retried job sends a completion job",
        "sql/settle.sql",
        "job.on_complete and job.state > 'active' and",
        "job.on_complete and",
        ("tests/postgres/test_beside_pgboss.py::test_job_that_is_not_at_its_end_sends_no_completion_job",),
    ),
    Mutant(
        "a completion job sends one of its own",
        "sql/settle.sql",
        "and left(job.name, 9) <> '__state__'",
        "",
        ("tests/postgres/test_beside_pgboss.py::test_job_that_is_not_at_its_end_sends_no_completion_job",),
    ),
    Mutant(
        "a completed completion job sends one of its own",
        "sql/complete.sql",
        " and left(job.name, 9) <> '__state__'",
        "",
        ("tests/postgres/test_beside_pgboss.py::test_job_that_is_not_at_its_end_sends_no_completion_job",),
    ),
    Mutant(
        "a completion job kept past the calendar",
        "sql/settle.sql",
        "least(ended.keepuntil, timestamptz '9999-12-31 00:00+00')\n                    +",
        "ended.keepuntil\n                    +",
        ODD_ROWS,
    ),
    Mutant(
        "history without a zone",
        "rows.py",
        "if at.tzinfo is None or any(",
        "if any(",
        ODD_ROWS,
    ),
    Mutant(
        "a retry or snooze with a delay wakes no worker of a limited queue",
        "sql/settle.sql",
        "from (select distinct name from done) as ended",
        "from (select distinct name from done where state > 'active') as ended",
        (f"{WAKEUPS} -k due_later",),
    ),
    Mutant(
        "a wait for a child wakes no worker of a limited queue",
        "sql/suspend.sql",
        "on done.name = queue.name and queue.concurrency_limit is not null",
        "on done.name = queue.name and queue.concurrency_limit < 0",
        (f"{WAKEUPS} -k due_later",),
    ),
    Mutant(
        "a wait in turn wakes workers before its pause is over",
        "sql/suspend.sql",
        "        where startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())\n",
        "        where startafter <= statement_timestamp() + interval '1 year'\n",
        (f"{WAKEUPS} -k in_turn",),
    ),
    Mutant(
        "lines of archived jobs are deleted",
        "sql/orphans.sql",
        "        and (select true from {schema}.archive where archive.id = told.job_id limit 1) is null",
        "        and true",
        ("tests/conformance/test_retention.py -k missing_jobs",),
    ),
    Mutant(
        "lines without a job are looked for among the first jobs only",
        "retention.py",
        "self._orphans_after = last or NIL",
        "self._orphans_after = NIL",
        ("tests/postgres/test_retention.py -k without_a_job",),
    ),
    Mutant(
        "lines are written without the locks of their jobs",
        "sql/append_events.sql",
        "count(pg_advisory_xact_lock(hashtext('{schema}.job_event'), jobs.lock))",
        "count(jobs.lock)",
        races("lines-of-two-attempts"),
    ),
    Mutant(
        "lines are written with one lock of several",
        "sql/append_events.sql",
        "        order by lock\n",
        "        order by lock\n        limit 1\n",
        races("lines-of-two-jobs"),
    ),
    Mutant(
        "lines are stored without their numbers",
        "sql/append_events.sql",
        "        given.number\n",
        "        null::bigint\n",
        ("tests/conformance/test_events.py -k by_their_numbers",),
    ),
    Mutant(
        "locks of lines are taken in the order of the lines",
        "sql/append_events.sql",
        "        select distinct hashtext(job_id::text) & 511 as lock\n"
        "        from unnest(%(ids)s::uuid[]) as given (job_id)\n"
        "        order by lock\n",
        "        select hashtext(job_id::text) & 511 as lock\n"
        "        from unnest(%(ids)s::uuid[]) as given (job_id)\n",
        races("lines-behind-another"),
    ),
    Mutant(
        "schedules of pg-boss are due while it fires them",
        "sql/lock_due_schedules.sql",
        "            true\n        )\n",
        "            true\n        ) is not null\n",
        ("tests/postgres/test_beside_pgboss.py",),
    ),
    Mutant(
        "schedules of pg-boss count as never served by it",
        "sql/lock_due_schedules.sql",
        "greatest(last_tick, cron_on)",
        "last_tick",
        ("tests/postgres/test_beside_pgboss.py",),
    ),
    Mutant(
        "a stored schedule leaves the one of pg-boss",
        "sql/put_schedule.sql",
        "    where name = %(name)s::text\n)\n",
        "    where false\n)\n",
        ("tests/postgres/test_beside_pgboss.py",),
    ),
    Mutant(
        "a schedule of an earlier version stays in the table of pg-boss",
        "migrations/0013_schedules_of_earlier_versions.sql",
        "when (new.task is not null)",
        "when (false)",
        ("tests/postgres/test_beside_pgboss.py",),
    ),
    Mutant(
        "an earlier version replaces edits of a schedule when it starts",
        "migrations/0013_schedules_of_earlier_versions.sql",
        "    where excluded.declared is null or ours.declared is distinct from excluded.declared;\n",
        "    ;\n",
        ("tests/postgres/test_beside_pgboss.py",),
    ),
    Mutant(
        "rows that are purged by their ids have no parent",
        "sql/purge.sql",
        "            case when awaited then parent end as parent\n"
        "        from {schema}.archive\n"
        "        where\n"
        "            id = any",
        "            null::uuid as parent\n"
        "        from {schema}.archive\n"
        "        where\n"
        "            id = any",
        ("tests/postgres/test_retention.py -k rows_are_the_same",),
    ),
    Mutant(
        "extension that counts the seconds of the last minute",
        "sql/extend.sql",
        "extract(epoch from",
        "extract(second from",
        ("tests/conformance/test_overdue.py -k extension_sets",),
    ),
    Mutant(
        "sweep of parents that does not begin again",
        "store.py",
        "self._swept_to = reached or _BEFORE_ALL",
        "self._swept_to = reached or self._swept_to",
        ("tests/postgres/test_sweeps.py -k few_sweeps",),
    ),
    Mutant(
        "wait for a job without an end that leaves no mark",
        "sql/suspend.sql",
        "when living.id is null then interval '1752000 hours'",
        "when living.id is null then interval '876000 hours'",
        ("tests/conformance/test_endless_waits.py -k odd_end",),
    ),
    Mutant(
        "wait for a job without an end that never pauses",
        "sql/suspend.sql",
        "coalesce(ended.completedon < job.startedon, true)",
        "coalesce(ended.completedon < job.startedon, false)",
        ("tests/conformance/test_endless_waits.py -k odd_end",),
    ),
    Mutant(
        "search for lines without a job that does not begin again",
        "retention.py",
        "self._orphans_after = last or NIL",
        "self._orphans_after = last or self._orphans_after",
        ("tests/postgres/test_retention.py -k some_at_a_time",),
    ),
    Mutant(
        "debounced jobs of a batch start before their slot",
        "sql/insert.sql",
        "case when slot_offset > 0 then slot end",
        "case when slot_offset > 0 and start_at is null then slot end",
        ("tests/conformance/test_insert.py -k of_a_batch",),
    ),
    Mutant(
        "lines that lock one of their jobs",
        "sql/append_events.sql",
        "        order by lock\n",
        "        order by lock desc\n        limit 1\n",
        races("lines-of-two-jobs"),
    ),
    Mutant(
        "idle flag known though it did not arrive",
        "../../worker/loops.py",
        "            claims.idle = None\n            await self._storage.set_idle",
        "            claims.idle = idle\n            await self._storage.set_idle",
        ("tests/runtime/test_claim_loop.py -k idle_flag",),
    ),
    Mutant(
        "awaited jobs deleted before their parents have ended",
        "sql/delete_jobs.sql",
        "where job.id = ended.parent and job.state <= 'active'",
        "where job.id = ended.parent and job.state < 'active'",
        ("tests/conformance/test_retention.py -k deleted_with",),
    ),
)
