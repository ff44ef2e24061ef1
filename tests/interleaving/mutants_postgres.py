"""Mutants of the Postgres storage, each with one change: which test finds it, and how soon.

``python -m tests.interleaving.mutants_postgres`` tries all, or those that are named, and ends with 1 if one
is not found. ``--all`` asks every test of a mutant instead of the first that finds it, and ``--whole`` all of
a test's cases instead of the likely ones. A mutant is a copy of the project in which one text stands instead
of another.
"""

from __future__ import annotations

import sys
from typing import Final

from tests.interleaving.mutant_runner import Mutant, main
from tests.interleaving.mutants_of_claims import CLAIMS
from tests.interleaving.mutants_of_rows import ROWS
from tests.interleaving.mutants_of_sessions import SESSIONS
from tests.interleaving.mutants_of_wakeups import WAKEUPS
from tests.interleaving.races import DRAWN, MODEL, races

POOLER: Final = ("tests/postgres/test_pooler.py",)
POOLED_MIGRATION: Final = ("tests/postgres/test_migrate_pooled.py",)
HEARTBEATS: Final = ("tests/postgres/test_heartbeat_connection.py",)

MUTANTS: Final = (
    *CLAIMS,
    *SESSIONS,
    *ROWS,
    *WAKEUPS,
    # Settlements
    Mutant(
        "complete without the fence",
        "sql/complete.sql",
        "        and job.attempt = outcome.attempt\n",
        "",
        (*races("an-old-attempt"), MODEL),
    ),
    Mutant(
        "settle without the fence",
        "sql/settle.sql",
        "        and job.attempt = outcome.attempt\n",
        "",
        (*races("an-old-attempt"), MODEL),
    ),
    Mutant(
        "extend without the fence",
        "sql/extend.sql",
        "    and job.attempt = given.attempt\n",
        "",
        (*races("an-old-attempt"), MODEL),
    ),
    Mutant(
        "complete without the state",
        "sql/complete.sql",
        "        and job.state between 'active' and 'active'\n",
        "",
        (*races("cancelling-against"), MODEL),
    ),
    Mutant(
        "settle without the state",
        "sql/settle.sql",
        "        and job.state between 'active' and 'active'\n",
        "",
        (*races("lives-after-all"), MODEL),
    ),
    Mutant(
        "settled twice is not mine",
        "verbs.py",
        "if repeated and len(changed) < number:",
        "if False:",
        (*races("cancelling-against"), MODEL),
    ),
    Mutant(
        "the end of any child resumes its parent",
        "sql/resume_parents.sql",
        "            where job.waitsfor = any(array[ended.id]) and",
        "            where job.id = "
        "(select child.parent from {schema}.job as child where child.id = ended.id) and",
        ("tests/model/test_replay.py -k waiting",),
    ),
    Mutant(
        "a parent is resumed when no child of it is left",
        "sql/resume_parents.sql",
        "            where job.waitsfor = any(array[ended.id]) and",
        "            where job.waitsfor = any(array[ended.id]) and not exists ("
        "select from {schema}.job as child where child.parent = job.id and child.state < 'completed') and",
        ("tests/model/test_replay.py -k waiting",),
    ),
    Mutant(
        "a taken place breaks the batch",
        "verbs.py",
        "        async with self._runner.atomic():\n            return await",
        "        if True:\n            return await",
        (*races("a-return"), MODEL),
    ),
    Mutant(
        "cancel what has ended",
        "sql/cancel.sql",
        "job.state between 'created' and 'active'",
        "job.state between 'created' and 'completed'",
        (*races("cancelling-against"), MODEL),
    ),
    Mutant(
        "a cycle is closed by two at once",
        "verbs.py",
        '            await self._runner.run("lock_jobs", {"ids": unlocked})\n',
        "",
        races("close-a-cycle"),
    ),
    Mutant(
        "a wait is not followed",
        "sql/wait_chain.sql",
        "chain.state::text in ('created', 'retry')",
        "chain.state::text in ('retry')",
        races("in-a-cycle"),
    ),
    Mutant(
        "an idle transaction keeps its job",
        "sql/lock_attempt.sql",
        "when %(idle_timeout)s::bigint is not null",
        "when %(idle_timeout)s::bigint < 0",
        ("tests/postgres/test_job_transaction.py",),
    ),
    Mutant(
        "an extended transaction gets no more time",
        "sql/lock_attempt.sql",
        "nullif(current_setting('zeke.idle_limit', true), '')",
        "null",
        ("tests/postgres/test_job_transaction.py",),
    ),
    Mutant(
        "a batch in a transaction in any order",
        "verbs.py",
        "if self._runner.in_transaction and len(ids) > 1:",
        "if False:",
        races("another-order-than"),
    ),
    Mutant(
        "settlements in a transaction in any order",
        "verbs.py",
        "if self._runner.in_transaction and number > 1:",
        "if False:",
        races("that-lie-and-are-named"),
    ),
    Mutant(
        "settlements in a transaction as they are named",
        "sql/lock_active.sql",
        "    order by asked.id\n",
        "",
        races("that-lie-and-are-named"),
    ),
    Mutant(
        "settled one by one without a lock on all",
        "verbs.py",
        "        await self._lock_active([row[:2] for row in outcomes.rows])\n",
        "",
        races("settled-one-by-one"),
    ),
    Mutant(
        "return of what ended otherwise",
        "sql/requeue.sql",
        " and job.state::text = any(%(from_states)s::text[])",
        "",
        (*races("two-failures-of-one-key"), MODEL),
    ),
    # Sends
    Mutant(
        "insert without ON CONFLICT",
        "sql/insert.sql",
        "    on conflict do nothing\n",
        "",
        (*races("batches-under-keys"), MODEL),
    ),
    Mutant(
        "insert of one without ON CONFLICT",
        "sql/insert_one.sql",
        "on conflict do nothing\n",
        "",
        (*races("sends-under-one-key"), MODEL),
    ),
    Mutant(
        "a refused send is taken for one that was made",
        "verbs.py",
        "return [job.id if job.id in ids else None for job in jobs]",
        "return [job.id for job in jobs]",
        (*races("sends-under-one-key"), MODEL),
    ),
    Mutant(
        "a send that is known is taken for refused",
        "verbs.py",
        "        if missing:\n",
        "        if False:\n",
        (*races("one-id-sent"), MODEL),
    ),
    # Heartbeats
    Mutant(
        "heartbeat kept waiting by another",
        "heartbeat_connection.py",
        "        connection, self._idle = self._idle, None\n",
        "        connection = self._idle\n",
        HEARTBEATS,
    ),
    Mutant(
        "broken connection kept for the next heartbeat",
        "heartbeat_connection.py",
        "                connection.pgconn.finish()\n",
        "                self._idle = connection\n",
        HEARTBEATS,
    ),
    Mutant(
        "pool asked once after an outage",
        "connections.py",
        "min(RECONNECT_SECONDS, max(0.0, until - time()))",
        "max(0.0, until - time())",
        ("tests/postgres/test_connections.py",),
    ),
    Mutant(
        "a server that hangs is awaited",
        "connections.py",
        "                connection.cut()\n",
        "",
        ("tests/postgres/test_connections.py -k answer",),
    ),
    Mutant(
        "callers pass others that wait",
        "connections.py",
        "asyncio.Semaphore(pool.max_size)",
        "asyncio.Semaphore(1000)",
        ("tests/postgres/test_connections.py",),
    ),
    Mutant(
        "heartbeat through the pool",
        "store.py",
        "return HeartbeatConnection(pool.session, pool.schema) if pool.now is None else None",
        "return None",
        ("tests/runtime/test_heartbeat_postgres.py -k continue",),
    ),
    # Sweeps and schedules
    Mutant(
        "overdue without any lock",
        "sql/lock_expired.sql",
        "for update of job skip locked\n",
        "",
        races("against-maintenance"),
    ),
    Mutant(
        "overdue without SKIP LOCKED",
        "sql/lock_expired.sql",
        "for update of job skip locked\n",
        "for update of job\n",
        races("against-maintenance"),
    ),
    Mutant(
        "leases end in an outage",
        "sql/lock_expired.sql",
        "                    or alive.lease >= %(uptime)s::bigint * interval '1 microsecond'\n",
        "",
        ("tests/conformance/test_overdue.py", MODEL),
    ),
    Mutant(
        "archive without SKIP LOCKED",
        "sql/archive.sql",
        "for update skip locked\n    ) as oldest",
        "for update\n    ) as oldest",
        races("two-archivings"),
    ),
    Mutant(
        "no second check for an id that is being archived",
        "sql/drop_archived.sql",
        "    and attempt = 0\n",
        "    and attempt < 0\n",
        ("tests/postgres/test_retention.py -k sent_while",),
    ),
    Mutant(
        "sweep begins again with the same waiting parents",
        "store.py",
        "self._swept_to = reached or _BEFORE_ALL",
        "self._swept_to = _BEFORE_ALL",
        ("tests/postgres/test_sweeps.py",),
    ),
    Mutant(
        "sweep of waiting parents forgets what has just ended",
        "sql/resume_waiting.sql",
        "where latest.awaited",
        "where false",
        ("tests/postgres/test_sweeps.py",),
    ),
    Mutant(
        "locked parents keep the others waiting",
        "sql/resume_waiting.sql",
        "order by gone.id) as child",
        "order by gone.id limit {limit}) as child",
        ("tests/postgres/test_sweeps.py",),
    ),
    Mutant(
        "a sweep ends at a batch that stopped short",
        "../../maintenance/runner.py",
        "more = rows > 0  # it may",
        "more = rows >= self._batch  # it may",
        ("tests/runtime/test_maintenance.py",),
    ),
    Mutant(
        "a table's lock is taken for bad rows",
        "retention.py",
        "if await self._is_table_locked():",
        "if False:",
        ("tests/postgres/test_retention.py",),
    ),
    Mutant(
        "a batch that takes too long is tried again as it is",
        "retention.py",
        "self._size, self._successes = max(1, size // 2), 0",
        "self._size, self._successes = size, 0",
        ("tests/postgres/test_retention.py",),
    ),
    Mutant(
        "purge takes the outcome that a live parent asks for again",
        "sql/purge.sql",
        "limit 1) is not null as kept",
        "limit 1) is not null and false as kept",
        ("tests/conformance/test_retention.py",),
    ),
    Mutant(
        "archive takes waiting rows",
        "sql/archive.sql",
        "            and state > 'active'\n            and id <> all(%(without)s::uuid[])\n"
        "            and completedon\n",
        "            and id <> all(%(without)s::uuid[])\n            and coalesce(completedon, createdon)\n",
        ("tests/conformance/test_retention.py", MODEL),
    ),
    Mutant(
        "archive by days of the session's zone",
        "sql/archive.sql",
        "            - %(after)s::bigint * interval '1 microsecond'\n        order by completedon, id\n",
        "            - justify_hours(%(after)s::bigint * interval '1 microsecond')\n"
        "        order by completedon, id\n",
        ("tests/postgres/test_retention.py",),
    ),
    Mutant(
        "purge by days of the session's zone",
        "sql/purge.sql",
        "            - %(after)s::bigint * interval '1 microsecond'\n        order by archivedon, id\n",
        "            - justify_hours(%(after)s::bigint * interval '1 microsecond')\n"
        "        order by archivedon, id\n",
        ("tests/postgres/test_retention.py",),
    ),
    Mutant(
        "archived at the time of day of the session's zone",
        "sql/archive.sql",
        "        coalesce(%(now)s::timestamptz, statement_timestamp())\n    from gone",
        "        coalesce(%(now)s::timestamptz, statement_timestamp()) at time zone 'UTC'\n    from gone",
        ("tests/postgres/test_retention.py",),
    ),
    Mutant(
        "a job that returns nothing completes with null",
        "sql/complete.sql",
        "        output = outcome.output::jsonb\n",
        "        output = coalesce(outcome.output::jsonb, 'null')\n",
        (MODEL,),
    ),
    Mutant(
        "a repeated completion with nothing counts as another",
        "sql/settled_before.sql",
        "job.output is not distinct from outcome.output",
        "job.output = outcome.output",
        (MODEL,),
    ),
    Mutant(
        "a parent waits on for a child that is archived",
        "sql/resume_waiting.sql",
        "living.state < 'completed'\n        limit 1 -- noqa: AM09\n    ) is null",
        "living.state > 'active'\n        limit 1 -- noqa: AM09\n    ) is not null",
        ("tests/conformance/test_waiting.py", MODEL),
    ),
    # The server
    Mutant(
        "no retry of what the server undid",
        "error_mapping.py",
        '_SERIALIZATION: Final = ("40001", "40P01")',
        '_SERIALIZATION: Final = ("40000",)',
        (*DRAWN, "tests/postgres/test_connect.py"),
    ),
    Mutant(
        "a migration's lock belongs to a session",
        "migrate.py",
        "pg_try_advisory_xact_lock",
        "pg_try_advisory_lock",
        POOLED_MIGRATION,
    ),
    Mutant(
        "a migration changes connections of a pooler",
        "migrate.py",
        "if not _is_pooled(connection):",
        "if connection:",
        POOLED_MIGRATION,
    ),
    Mutant(
        "a migration prepares statements",
        "migrate.py",
        "connection.prepare_threshold = None",
        "connection.prepare_threshold = 1",
        POOLED_MIGRATION,
    ),
    Mutant(
        "grants beside others",
        "grants.py",
        "connected(dsn) as connection, alone(dsn, schema):",
        "connected(dsn) as connection:",
        ("tests/postgres/test_migrate.py -k grants_and",),
    ),
    Mutant(
        "every pooler lets us listen",
        "pooler.py",
        "    if not await is_pooled(connection):\n",
        "    if True:\n",
        POOLER,
    ),
    Mutant(
        "a pooler without another connection stops listening",
        "pooler.py",
        "except (OSError, OperationalError):",
        "except ZeroDivisionError:",
        ("tests/postgres/test_pooler.py -k second_connection",),
    ),
    Mutant(
        "statements are prepared whatever a pooler keeps",
        "session.py",
        "prepares = keep and not await loses_prepared_statements(plain)",
        "prepares = keep",
        POOLER,
    ),
    Mutant(
        "options are lost behind a pooler",
        "session.py",
        "ours = limits | here | relied_on",
        "ours = limits | relied_on",
        ("tests/postgres/test_session.py -k options",),
    ),
    Mutant(
        "refused options are lost behind a pooler that shows the process of the server",
        "session.py",
        "dropped = plain != whole or (",
        "dropped = (",
        ("tests/postgres/test_session.py -k options",),
    ),
    Mutant(
        "an option that never has an effect stops the start behind a pooler",
        "session.py",
        " and name not in RELIED_ON:",
        ":",
        ("tests/postgres/test_session.py -k option",),
    ),
    Mutant(
        "options of an application's transaction are lost behind a pooler",
        "session.py",
        "elsewhere=here | needed",
        "elsewhere=needed",
        ("tests/postgres/test_session.py -k options",),
    ),
    Mutant(
        "options are sent to poolers that refuse them",
        "session.py",
        'if "startup parameter" not in str(error):\n                raise\n    if others',
        "raise\n    if others",
        ("tests/postgres/test_session.py -k options",),
    ),
    Mutant(
        "only notifications wake workers",
        "store.py",
        "if not self._listener.enabled:",
        "if False:",
        POOLER,
    ),
    Mutant(
        "the machine's clock",
        "connection_pool.py",
        '"now": None if now is None else now()}',
        '"now": (now or __import__("zeke_queue.system.clock").clock.SystemClock().now)()}',
        ("tests/postgres/test_server_clock.py",),
    ),
)


if __name__ == "__main__":
    raise SystemExit(main(MUTANTS, __doc__, sys.argv[1:]))
