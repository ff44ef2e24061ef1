"""The verbs that work alone and inside a transaction; the protocol documents each."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from psycopg.errors import UniqueViolation

from zeke_queue.core import failure, jsonb, waits
from zeke_queue.core.options import INT4_MAX
from zeke_queue.core.timeouts import BRIEF_LOCK_SECONDS, LEAST_LOCK_SECONDS, LOCKS_TRIED
from zeke_queue.errors import LeaseLostError, LockTimeoutError, StorageUnavailableError, TimeLimitError
from zeke_queue.model import Settled, Suspensions
from zeke_queue.storage.postgres import rows
from zeke_queue.storage.postgres.connection_pool import Statement
from zeke_queue.storage.postgres.rows import Outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from zeke_queue.model import Completed, Extended, Failed, NewJob, Released, Waiting
    from zeke_queue.storage.postgres.connection_pool import ConnectionPool, OpenTransaction
    from zeke_queue.storage.postgres.rows import Row

_HOLDER_READS: Final = 3


def work_channel(schema: str) -> str:
    """Return the channel for notifications of queues with work."""
    return f"zeke_work_{schema}"


def job_channel(schema: str) -> str:
    """Return the channel for notifications of changed jobs."""
    return f"zeke_job_{schema}"


class PostgresVerbs:
    """``storage.jobs.JobWriter`` on an executor of statements.

    Args:
        runner: the pool, where each verb is its own transaction, or an open transaction.
    """

    def __init__(self, runner: ConnectionPool | OpenTransaction) -> None:
        self._runner = runner
        # A worker that falls asleep between the check of its flag and a later commit would not be woken, so
        # an open transaction always notifies.
        self._channels = {
            "work_channel": work_channel(runner.schema),
            "job_channel": job_channel(runner.schema),
            "always": runner.in_transaction,
        }

    async def insert(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        """Insert jobs, and wake idle workers of their queues."""
        if not jobs:
            return []
        ids: set[UUID] = set()
        if not all(job.fresh for job in jobs):
            ids.update(await self._insert_known(jobs))
        elif len(jobs) > 1:
            ids.update(
                row[0] for row in await self._runner.run("insert", rows.of_new_jobs(jobs) | self._channels)
            )
        elif await self._insert_one(jobs[0]):
            return [jobs[0].id]
        # An existing job with this id was inserted by an earlier try. A fresh job had none: its key or slot
        # refused it.
        missing = [job.id for job in jobs if job.id not in ids and not (job.fresh and _is_unique(job))]
        if missing:
            try:
                ids.update(row[0] for row in await self._runner.run("known", {"ids": missing}))
            except TimeLimitError as error:
                if not ids or self._runner.in_transaction:
                    raise
                raise StorageUnavailableError(f"Some of the jobs were inserted: {error}") from error
        return [job.id if job.id in ids else None for job in jobs]

    async def _insert_known(self, jobs: Sequence[NewJob]) -> set[UUID]:
        """Insert jobs of which earlier tries may have inserted some; return the ids that were inserted.

        An insert whose id is being archived waits for the end of that, and then sees neither the live job,
        which is gone, nor the archived one, which is not in its snapshot. A second statement sees that one,
        and deletes the new job. If an archived job is purged meanwhile, nothing is inserted, and a caller
        who finds no conflicting job inserts again.
        """
        # More than one statement lies between the read of a worker's flag and the commit, so always notify.
        channels = self._channels | {"always": True}
        if len(jobs) > 1:
            insert = Statement("insert", rows.of_new_jobs(jobs) | channels)
        else:
            insert = Statement("insert_one", rows.of_new_job(jobs[0]) | channels)
        drop = Statement("drop_archived", {"ids": [job.id for job in jobs if not job.fresh]})
        inserted, dropped = await self._runner.run_all(insert, drop)
        ids = {row[0] for row in inserted} if len(jobs) > 1 else {job.id for job in jobs if inserted}
        return ids - {row[0] for row in dropped}

    async def _insert_one(self, job: NewJob) -> bool:
        """Insert a job, and return whether it was inserted."""
        plain = not self._runner.in_transaction and rows.is_plain(job)
        parameters = rows.of_new_job(job) | self._channels
        try:
            row = await self._runner.run_small("insert_plain" if plain else "insert_one", parameters)
        except UniqueViolation:  # only ``insert_plain`` raises for an existing job
            return False
        return row is not None

    async def settle(
        self,
        completed: Sequence[Completed] = (),
        failed: Sequence[Failed] = (),
        released: Sequence[Released] = (),
        *,
        repeated: bool = False,
    ) -> set[UUID]:
        """Write outcomes of active jobs, and notify watchers."""
        number = len(completed) + len(failed) + len(released)
        if number == 0:
            return set()
        if self._runner.in_transaction and number > 1:
            await self._lock_active([(one.id, one.attempt) for one in (*completed, *failed, *released)])
        if number == len(completed):
            changed = await self._ids("complete", rows.of_completed(completed))
        else:
            changed = await self._settle(Outcomes(completed, failed, released))
        if repeated and len(changed) < number:
            wanted = Outcomes(completed, failed, released).parameters()
            # An earlier try may have ended a job without resuming its parent.
            changed |= await self._woken_for(await self._runner.run("settled_before", wanted))
        return changed

    async def _settle(self, outcomes: Outcomes) -> set[UUID]:
        """Settle all outcomes together, or one by one if a job's slot was taken meanwhile."""
        if not outcomes.may_collide:
            return await self._ids("settle", outcomes.parameters())
        try:
            return await self._ids_or_refusal("settle", outcomes.parameters())
        except UniqueViolation:
            return await self._in_transaction(lambda verbs: verbs.settle_singly(outcomes))

    async def settle_singly(self, outcomes: Outcomes) -> set[UUID]:
        """Settle one by one, in a transaction, so that a job whose slot was taken delays no other."""
        await self._lock_active([row[:2] for row in outcomes.rows])
        changed: set[UUID] = set()
        for single in outcomes.one_by_one():
            changed |= await self._settle_one(single)
        return changed

    async def settle_free(self, outcomes: Outcomes, *, repeated: bool) -> Settled:
        """Settle, inside a transaction, the jobs that no other transaction has locked."""
        usual = await self._limit_waits(BRIEF_LOCK_SECONDS)
        parameters = {"ids": [row[0] for row in outcomes.rows], "attempts": [row[1] for row in outcomes.rows]}
        found = dict(await self._runner.run("lock_unlocked", parameters))
        free = {job_id for job_id, is_free in found.items() if is_free}
        locked = found.keys() - free
        ending, returning = (outcomes.only(free, returning=one) for one in (False, True))
        changed: set[UUID] = set()
        if ending.rows:
            changed |= await self._ids("settle", ending.parameters())
        try:
            if returning.rows:
                changed |= await self._ids_or_refusal("settle", returning.parameters())
        except (UniqueViolation, LockTimeoutError):
            tried = 0
            for single in returning.one_by_one():
                try:
                    changed |= await self._settle_one(single)
                except LockTimeoutError:
                    locked.add(single.rows[0][0])
                    tried += 1
                    if tried == LOCKS_TRIED:
                        await self._limit_waits(LEAST_LOCK_SECONDS)
        rest = outcomes.only({row[0] for row in outcomes.rows} - changed - locked)
        if repeated and rest.rows:
            changed |= await self._woken_for(await self._runner.run("settled_before", rest.parameters()))
        await self._limit_waits(usual)
        return Settled(changed, locked)

    async def _limit_waits(self, limit: float | str) -> str:
        """Limit how long the rest of the transaction waits for a lock; return the previous limit.

        Restore it before the commit, which waits for the commits of others if it notifies.

        Args:
            limit: in seconds, or what an earlier call returned.
        """
        text = limit if isinstance(limit, str) else f"{limit}s"
        ((before, _),) = await self._runner.run("lock_wait", {"limit": text})
        return before

    async def _settle_one(self, single: Outcomes) -> set[UUID]:
        other: UUID | None = None
        for _ in range(_HOLDER_READS):
            try:
                return await self._ids_or_refusal("settle", single.parameters())
            except UniqueViolation:
                (other,) = await self.find_conflicts([single.rows[0][0]])
            if other is not None:
                break
        output = single.rows[0][4] or failure.error_record("Superseded", "Another job waits in its place")
        superseded = {**jsonb.loads(output), "superseded_by": None if other is None else str(other)}
        return await self._ids("settle", single.failing_with(jsonb.dumps(superseded)).parameters())

    async def extend(self, extended: Sequence[Extended]) -> set[UUID]:
        """Move deadlines of active jobs."""
        found = await self._runner.run("extend", rows.of_extended(extended)) if extended else []
        return {row[0] for row in found}

    async def cancel(self, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel waiting or running jobs, and the children that they wait for."""
        return await self._in_transaction(lambda verbs: verbs.cancel_families(ids)) if ids else set()

    async def cancel_families(self, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel jobs and, generation by generation, the children that they wait for, in a transaction.

        A child sent meanwhile locks its parent first, so either it is found here, or it finds its parent
        cancelled.
        """
        cancelled: set[UUID] = set()
        wanted = list(ids)
        while wanted:
            await self._lock_in_order(wanted)
            these = await self._ids("cancel", {"ids": wanted})
            cancelled |= these
            found = await self._runner.run("children", {"ids": list(these)}) if these else []
            wanted = [row[0] for row in found]
        return cancelled

    async def find_conflicts(self, wanted: Sequence[NewJob | UUID]) -> list[UUID | None]:
        """Return the jobs that hold the singleton key or the slot of others."""
        parameters = rows.conflict_parameters(wanted)
        found = dict(await self._runner.run("find_conflicts", parameters)) if parameters else {}
        return [found.get(position) for position in range(1, len(wanted) + 1)]

    async def _lock_attempt(self, job_id: UUID, attempt: int, idle_timeout: float | None = None) -> bool:
        """Lock a job, and return whether it is active at this attempt."""
        idle = None if idle_timeout is None else min(int(idle_timeout * 1000), INT4_MAX)
        parameters = {"id": job_id, "attempt": attempt, "idle_timeout": idle}
        return bool(await self._runner.run("lock_attempt", parameters))

    async def resume_families(self, ids: Sequence[UUID]) -> set[UUID]:
        """Requeue cancelled jobs, with the children that were cancelled along with them."""
        await self._lock_in_order(ids)
        family = await self._runner.run("cancelled_along", {"ids": list(ids)})
        changed: set[UUID] = set()
        due = {job_id for job_id, parent in family if parent is None}
        while due:
            back = await self._bring_back(sorted(due), "created", "cancelled")
            changed |= back
            due = {job_id for job_id, parent in family if parent in back}
        return changed

    async def insert_awaited(self, child: NewJob, attempt: int) -> UUID | None:
        """Insert a job that its parent waits for, in a transaction, if that is active at this attempt."""
        if child.parent is None or not await self._lock_attempt(child.parent, attempt):
            raise LeaseLostError.of(child.parent)
        (inserted,) = await self.insert([child])
        if inserted is not None:
            await self._runner.run("await", {"id": inserted})
        return inserted

    async def suspend_one(self, waiting: Waiting, tried: int | None = None) -> Suspensions:
        """Suspend a job until another one has ended, in a transaction; lock the parent before its child.

        Args:
            tried: how many waits have failed before, to wait only briefly for locks.
        """
        usual = None
        if tried is not None:
            brief = BRIEF_LOCK_SECONDS if tried < LOCKS_TRIED else LEAST_LOCK_SECONDS
            usual = await self._limit_waits(brief)
        if not await self._lock_attempt(waiting.id, waiting.attempt):
            return Suspensions(set(), {})
        locked = await self._runner.run("lock_jobs", {"ids": [waiting.child]})
        if not locked and not await self._runner.run("known", {"ids": [waiting.child]}):
            return Suspensions(set(), {waiting.id: ()})
        if waiting.child == waiting.id or (locked and locked[0][1] is not None):
            chain = await self._lock_chain(waiting)
            if waits.is_endless(chain, waiting.id):
                return Suspensions(set(), {waiting.id: chain})
        try:
            changed = await self._ids_or_refusal("suspend", waiting._asdict())
        except UniqueViolation:
            changed = await self._settle_one(Outcomes(waiting=[waiting]))
        if usual is not None:
            await self._limit_waits(usual)
        return Suspensions(changed, {} if changed else {waiting.id: (waiting.child,)})

    async def _lock_chain(self, waiting: Waiting) -> tuple[UUID, ...]:
        """Return the chain of jobs that begins with the child, locked so that none begins to wait meanwhile.

        Each round locks at least one more job of the chain. Jobs that begin to wait for each other at the
        same time wait for each other's locks, so the server aborts one, which is repeated.
        """
        parameters = {"id": waiting.id, "child": waiting.child, "limit": waits.WAIT_CHAIN_MAX}
        locked = {waiting.id, waiting.child}
        while True:
            chain = tuple(row[0] for row in await self._runner.run("wait_chain", parameters))
            unlocked = [one for one in chain if one not in locked]
            if not unlocked:
                return chain
            await self._runner.run("lock_jobs", {"ids": unlocked})
            locked.update(unlocked)

    async def _bring_back(self, ids: Sequence[UUID], state: str, *from_states: str) -> set[UUID]:
        """Requeue ended jobs; one whose key or slot was taken stays unchanged."""
        if not ids:
            return set()
        parameters = {"state": state, "from_states": list(from_states)}
        try:
            return await self._ids_or_refusal("requeue", {**parameters, "ids": list(ids)})
        except UniqueViolation:
            return await self._in_transaction(lambda verbs: verbs.requeue_singly(ids, parameters))

    async def requeue_singly(self, ids: Sequence[UUID], parameters: dict[str, Any]) -> set[UUID]:
        """Requeue ended jobs, one by one in a transaction, in the order of ids."""
        await self._runner.run("lock_jobs", {"ids": list(ids)})
        changed: set[UUID] = set()
        for job_id in sorted(set(ids)):
            try:
                changed |= await self._ids_or_refusal("requeue", {**parameters, "ids": [job_id]})
            except UniqueViolation:
                continue
        return changed

    async def _lock_active(self, jobs: Sequence[tuple[UUID, int]]) -> None:
        """Lock those of some jobs that are active at the given attempts, in the order of their ids.

        The others are skipped, since another worker may claim them before this transaction ends.
        """
        ids, attempts = zip(*jobs, strict=True)
        await self._runner.run("lock_active", {"ids": list(ids), "attempts": list(attempts)})

    async def _lock_in_order(self, ids: Sequence[UUID]) -> None:
        """Lock jobs in the order of their ids, where the next statement may use another order.

        In an application's transaction a statement is planned with default settings, and may scan a small
        table in physical order.
        """
        if self._runner.in_transaction and len(ids) > 1:
            await self._runner.run("lock_jobs", {"ids": list(ids)})

    async def _in_transaction(self, work: Callable[[PostgresVerbs], Any]) -> Any:
        """Run a function of several statements in this transaction, or in a new one."""
        return await work(self)

    async def _ids(self, name: str, parameters: dict[str, Any]) -> set[UUID]:
        """Run a statement that changes jobs and notifies; return the ids that it changed."""
        return await self._woken_for(await self._runner.run(name, parameters | self._channels))

    async def _ids_or_refusal(self, name: str, parameters: dict[str, Any]) -> set[UUID]:
        """Run a statement that a uniqueness rule may refuse, so that a transaction can go on after it."""
        if not self._runner.in_transaction:
            return await self._ids(name, parameters)
        async with self._runner.atomic():
            return await self._ids(name, parameters)

    async def _woken_for(self, changed: Sequence[Row]) -> set[UUID]:
        """Resume jobs that wait for those that have ended; return the ids of all changed jobs.

        A statement sees the snapshot from its start, and a parent may have begun to wait for a job that this
        statement ended while it waited for the lock, so a second statement is needed. If that one is lost, a
        sweep makes up for it.
        """
        awaited = [row[0] for row in changed if len(row) > 1 and row[1] is True]
        if awaited:
            parents = {"ids": awaited} | self._channels
            if not self._runner.in_transaction:
                with suppress(LockTimeoutError):
                    await self._runner.run("resume_parents_for_sure", parents)
                    return {row[0] for row in changed}
            await self._runner.run("resume_parents", parents)
        return {row[0] for row in changed}


def _is_unique(job: NewJob) -> bool:
    """Return whether a key or slot can refuse the job."""
    return job.singleton_key is not None or job.slot_seconds is not None
