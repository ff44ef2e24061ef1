"""Mutants of how the Postgres storage notifies workers and watchers."""

from __future__ import annotations

from typing import Final

from tests.interleaving.mutant_runner import Mutant
from tests.interleaving.races import MODEL, races

BATCHES: Final = "tests/conformance/test_wakeups_of_batches.py"

STATEMENTS: Final = ("insert", "requeue", "settle", "complete", "resume_parents", "resume_waiting")
"""Those that wake idle workers of several queues, and run alone: others notify also if no worker is idle."""

WAKEUPS: Final = (
    *(
        Mutant(
            f"wake-ups for the first queue of a worker: {name}",
            f"sql/{name}.sql",
            "= any(worker.queues)",
            "= worker.queues[1]",
            (BATCHES,),
        )
        for name in STATEMENTS
    ),
    *(
        Mutant(
            f"wake-ups for one queue of several: {name}",
            f"sql/{name}.sql",
            "select distinct name from done",
            "select name from done limit 1",
            (BATCHES,),
        )
        for name in ("complete", "cancel", "resume_parents", "resume_waiting")
    ),
    Mutant(
        "wake-up of a transaction as if it ended at once",
        "verbs.py",
        '"always": runner.in_transaction,',
        '"always": False,',
        races("falls-asleep"),
    ),
    Mutant(
        "no wake-up for room in a limited queue",
        "sql/complete.sql",
        "ended.name = queue.name and queue.concurrency_limit is not null",
        "ended.name = queue.name and queue.concurrency_limit is null",
        races("falls-asleep"),
    ),
    Mutant(
        "wake-ups for one queue of a batch",
        "sql/insert.sql",
        "from (select distinct name from inserted where startafter <= createdon) as due",
        "from (select name from inserted where startafter <= createdon limit 1) as due",
        (BATCHES, MODEL),
    ),
    Mutant(
        "wake-ups for one queue of those that are requeued",
        "sql/requeue.sql",
        "from (select distinct name from done) as due",
        "from (select name from done limit 1) as due",
        (BATCHES, MODEL),
    ),
    Mutant(
        "wake-ups for one queue of those that have room",
        "sql/settle.sql",
        "from (select distinct name from done) as ended",
        "from (select name from done limit 1) as ended",
        (MODEL,),
    ),
    Mutant(
        "no wake-up for the room that a delayed retry makes",
        "sql/settle.sql",
        "from (select distinct name from done) as ended",
        "from (select distinct name from done where state > 'active') as ended",
        (MODEL,),
    ),
    Mutant(
        "no wake-up for the room that a waiting job makes",
        "sql/suspend.sql",
        "done.name = queue.name and queue.concurrency_limit is not null",
        "done.name = queue.name and queue.concurrency_limit is null",
        (MODEL,),
    ),
    Mutant(
        "watchers are told of one job of a batch",
        "sql/cancel.sql",
        "    select pg_notify(%(job_channel)s, done.id::text)\n    from done\n",
        "    select pg_notify(%(job_channel)s, done.id::text)\n"
        "    from (select id from done limit 1) as done\n",
        (MODEL,),
    ),
    Mutant(
        "repeated settlement that resumes no parent",
        "verbs.py",
        '            changed |= await self._woken_for(await self._runner.run("settled_before", wanted))\n',
        '            changed |= {row[0] for row in await self._runner.run("settled_before", wanted)}\n',
        ("tests/conformance/test_waiting.py -k settled_again",),
    ),
    Mutant(
        "repeated settlement of unlocked jobs that resumes no parent",
        "verbs.py",
        "            changed |= await self._woken_for("
        'await self._runner.run("settled_before", rest.parameters()))\n',
        "            changed |= {row[0] for row in"
        ' await self._runner.run("settled_before", rest.parameters())}\n',
        ("tests/conformance/test_waiting.py -k settled_again",),
    ),
    Mutant(
        "watches are renewed once",
        "change_feed.py",
        "            await self._register(self._ids)\n"
        "            self._renew_at = self._clock.monotonic() + RENEW_SECONDS\n",
        "            await self._register(self._ids)\n            self._renew_at = None\n",
        ("tests/unit/test_change_feed.py",),
    ),
)
