"""Mutants of the claims of the Postgres storage, and of declarations, whose rows claims lock."""

from __future__ import annotations

from typing import Final

from tests.interleaving.mutant_runner import Mutant
from tests.interleaving.races import DRAWN, LIMIT, MODEL, races

DEFINITION: Final = ("tests/conformance/test_claim.py -k definition",)
CLAIMS: Final = (
    Mutant(
        "claim without SKIP LOCKED",
        "sql/claim.sql",
        "for update skip locked\n",
        "for update\n",
        races("claims-of-rows"),
    ),
    Mutant(
        "claim without any lock",
        "sql/claim.sql",
        "            for update skip locked\n",
        "",
        races("claims-of-rows"),
    ),
    Mutant(
        "claim without the queue's lock",
        "sql/lock_queues.sql",
        "    for no key update skip locked\n",
        "",
        LIMIT,
    ),
    Mutant(
        "claim that waits for the queue's lock",
        "sql/lock_queues.sql",
        "for no key update skip locked",
        "for no key update",
        ("tests/postgres/test_contended_queues.py",),
    ),
    Mutant(
        "locked queues are tried again by polls only",
        "claims.py",
        "            self._retry(name)\n",
        "            pass\n",
        ("tests/postgres/test_contended_queues.py",),
    ),
    Mutant(
        "a locked queue's place goes to no other",
        "claims.py",
        "if marks or contended or any(",
        "if marks or any(",
        ("tests/postgres/test_contended_queues.py",),
    ),
    Mutant(
        "a queue that nobody is known to have locked is not logged",
        "sql/queue_holders.sql",
        "left join pg_catalog.pg_locks",
        "inner join pg_catalog.pg_locks",
        ("tests/postgres/test_contended_queues.py",),
    ),
    Mutant(
        "claims do not tell that they left out a queue",
        "claims.py",
        "            bool(contended) or len(free) < len(limited),\n",
        "",
        ("tests/postgres/test_contended_queues.py",),
    ),
    Mutant(
        "a drain ends although a queue was left out",
        "../../worker/loops.py",
        "if holds_nothing and not left_out and ",
        "if holds_nothing and ",
        ("tests/runtime/test_drain.py",),
    ),
    Mutant(
        "a drain ends for jobs that its last claim did not see",
        "../../worker/loops.py",
        "                self._notify_drained(drains)\n",
        "                self._notify_drained(len(self._drains))\n",
        ("tests/runtime/test_drain.py",),
    ),
    Mutant(
        "a drain ends although a queue was not asked",
        "../../worker/loops.py",
        " and len(claim.capacity) == len(self._info.queues):",
        ":",
        ("tests/runtime/test_drain.py",),
    ),
    Mutant(
        "jobs of a limited queue count against what a claim asks of it",
        "sql/claim.sql",
        "else least(want.free, coalesce(first.concurrency_limit, queue.concurrency_limit) - (",
        "else least(want.free, coalesce(first.concurrency_limit, queue.concurrency_limit)) - ((",
        DEFINITION,
    ),
    Mutant(
        "priorities of which nothing is due count as due",
        "sql/claim.sql",
        "and job.priority = next.priority\n"
        "                and job.state < 'active'\n"
        "                and job.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())\n",
        "and job.priority = next.priority\n                and job.state < 'active'\n",
        DEFINITION,
    ),
    Mutant(
        "marks at the highest position",
        "claims.py",
        "            fresh.setdefault((job.name, job.priority), Mark(job.start_after, job.id))\n",
        "            fresh[job.name, job.priority] = Mark(job.start_after, job.id)\n",
        ("tests/postgres/test_marks.py -k locked_between",),
    ),
    Mutant(
        "marks outlive a commit of the same process",
        "transaction.py",
        "    changed()\n",
        "",
        ("tests/postgres/test_marks.py -k commit_of",),
    ),
    Mutant(
        "search below the marks has the whole budget again",
        "claims.py",
        "max(0, bytes_max - sum(job.payload_bytes for job in taken))",
        "bytes_max",
        ("tests/postgres/test_marks.py -k budget",),
    ),
    Mutant(
        "claims lock every limited queue",
        "sql/ready.sql",
        "limit %(limit)s::int + (",
        "limit 1000 + (",
        ("tests/postgres/test_contended_queues.py",),
    ),
    Mutant(
        "queues are locked in the order of their names",
        "sql/ready.sql",
        "order by ahead.priority desc, ahead.startafter asc, ahead.id asc\n",
        "order by ahead.name desc\n",
        ("tests/postgres/test_contended_queues.py",),
    ),
    Mutant(
        "lock of a queue that excludes no other claim",
        "sql/lock_queues.sql",
        "for no key update skip locked",
        "for key share skip locked",
        LIMIT,
    ),
    Mutant(
        "each queue has a lock of its own, though it shares a limit",
        "sql/lock_queues.sql",
        "where first.name = queue.limited_with[1]),",
        "where false),",
        races("share-a-limit"),
    ),
    Mutant(
        "claim in one snapshot with the lock",
        "connection_pool.py",
        '"begin isolation level read committed"',
        '"begin isolation level repeatable read"',
        # Both statements of the claim that comes later would have to begin before the other one commits.
        ("tests/postgres/test_concurrency.py",),
    ),
    Mutant(
        "statistics of two snapshots",
        "connection_pool.py",
        '"begin isolation level repeatable read, read only"',
        '"begin isolation level read committed"',
        races("sends-and-looks-again"),
    ),
    Mutant(
        "a limit wakes only those that are idle",
        "sql/declare_queues.sql",
        "stored.name))\nfrom stored\n",
        "stored.name))\nfrom stored\nwhere exists (\n"
        "    select from {schema}.worker where worker.asleep and stored.name = any(worker.queues)\n)\n",
        races("gets-room"),
    ),
    Mutant(
        "limit too high by one",
        "sql/claim.sql",
        "queue.concurrency_limit) - (",
        "queue.concurrency_limit) + 1 - (",
        (*LIMIT, MODEL),
    ),
    Mutant(
        "claim from a paused queue",
        "sql/claim.sql",
        "queue.paused_on is null\n        and ",
        "",
        (*races("a-pause-against"), MODEL),
    ),
    Mutant(
        "new limits are never heard of",
        "claims.py",
        "if marks or contended or any(",
        "if marks and any(",
        (*races("new-to"), *DRAWN),
    ),
    Mutant(
        "marks that are never gone without",
        "claims.py",
        "if marks or contended or any(",
        "if contended or any(",
        ("tests/postgres/test_marks.py",),
    ),
    Mutant(
        "marks that are trusted forever",
        "claims.py",
        "return name in self._marks and now < self._full_look_due.get(name, 0.0)",
        "return name in self._marks",
        ("tests/postgres/test_marks.py",),
    ),
    # Budgets of payloads
    Mutant(
        "claims have no budget",
        "sql/claim.sql",
        "        %(bytes_max)s::bigint is null\n",
        "        true\n",
        ("tests/conformance/test_claim_bytes.py", MODEL),
    ),
    Mutant(
        "a job that is larger than the budget is never claimed",
        "sql/claim.sql",
        "[:(greatest(counted.number, %(least)s::int))]",
        "[:(counted.number)]",
        ("tests/conformance/test_claim_bytes.py", MODEL),
    ),
    Mutant(
        "smaller jobs get ahead of one that does not fit",
        "sql/claim.sql",
        "array_agg(best.place order by best.priority desc, best.startafter asc, best.id asc) as places",
        "array_agg(best.place order by best.priority asc, best.startafter asc, best.id desc) as places",
        ("tests/conformance/test_claim_bytes.py",),
    ),
    Mutant(
        "meta is not counted",
        "sql/claim.sql",
        "coalesce(octet_length(kept.data::text), 0) + coalesce(octet_length(kept.meta::text), 0)",
        "coalesce(octet_length(kept.data::text), 0)",
        ("tests/conformance/test_claim_bytes.py",),
    ),
    Mutant(
        "a worker asks for any number of bytes",
        "../../worker/loops.py",
        "claim.limit, claim.bytes_max",
        "claim.limit",
        ("tests/runtime/test_payload_budget.py",),
    ),
    Mutant(
        "payloads of lost jobs count forever",
        "../../worker/state.py",
        "        if not runs:\n            self.payload_bytes -= job.payload_bytes\n",
        "",
        ("tests/unit/test_worker_state.py",),
    ),
    # Declarations
    Mutant(
        "a declaration locks queues that stay as they are",
        "sql/declare_queues.sql",
        "        known.name is null\n        or (",
        "        true\n        or (",
        ("tests/postgres/test_declarations.py",),
    ),
    Mutant(
        "a declaration locks schedules that stay as they are",
        "sql/put_schedule.sql",
        "    %(declared)s::jsonb is null\n",
        "    true\n",
        ("tests/postgres/test_declarations.py",),
    ),
    Mutant(
        "a worker whose declaration is held up does not store the rest",
        "../../worker/lifecycle.py",
        "            if self.declaration.left:\n",
        "            if False:\n",
        ("tests/postgres/test_declarations.py",),
    ),
    Mutant(
        "claims that learn of a limit too late",
        "claims.py",
        "            if any(one.name not in self._limited for one in rest.capacity):\n"
        "                await self._look_up_limits()\n",
        "",
        ("tests/postgres/test_limits.py -k learns",),
    ),
)
