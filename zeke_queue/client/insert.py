"""Insertion of prepared jobs: repeats a lost answer, tries the next slot, and finds conflicting jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from zeke_queue.errors import JobConflictError, StorageUnavailableError, is_outage
from zeke_queue.task.prepare import second_tries
from zeke_queue.task.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from zeke_queue.client.parts import Parts
    from zeke_queue.model import NewJob
    from zeke_queue.storage.jobs import Transaction
    from zeke_queue.task.prepare import PreparedJob
    from zeke_queue.task.run import RunSource

InsertTarget: TypeAlias = "IntoStorage | IntoTransaction"

INSERT_WAITS: Final = (0.2, 0.8)
"""Seconds before an insert without an answer is repeated, then given up; a restart takes about one."""

HOLDERS_MAX: Final = 3
"""Lookups of the job that holds a refused job's key or slot; if it has ended, the insert is repeated."""

_PARTLY_STORED: Final = (
    "Some jobs of this call are stored, and others are not, since the database ended a statement at a time"
    " limit. Repeat the call only if its jobs have ids; others would be sent twice"
)


async def insert_one(target: InsertTarget, prepared: PreparedJob, *, insist: bool) -> Run[Any]:
    """Insert a job and return its run, or that of the job which a uniqueness rule keeps.

    Args:
        target: where the job is inserted.
        insist: whether a refused job is an error.

    Raises:
        JobConflictError: the job was refused, and either ``insist``, or the conflicting job is not known.
        LeaseLostError: the parent is not active at this attempt.
        StorageUnavailableError: the last try had no answer.
    """
    (run,) = await insert_all(target, [prepared], insist=insist)
    return run


async def insert_all(
    target: InsertTarget, prepared: Sequence[PreparedJob], *, insist: bool = False
) -> list[Run[Any]]:
    """Insert jobs in one statement and return their runs; see ``insert_one``.

    Raises:
        JobConflictError: as in ``insert_one``, for the first such job; ``sent`` has the other runs, whose
            jobs are stored.
    """
    ids = await target.insert([one.job for one in prepared])
    retried = second_tries(prepared, ids)
    if retried:
        again = await target.insert([job for tries in retried.values() for job in tries])
        for position, job_id in zip(retried, again[1::2], strict=True):
            ids[position] = job_id
    refused = {position: retried.get(position, [prepared[position].job])[-1] for position in _missing(ids)}
    holders = await _holders(target, refused, ids, insist=insist)
    runs: list[Run[Any]] = []
    conflicts: list[int] = []
    for position, (one, job_id) in enumerate(zip(prepared, ids, strict=True)):
        if job_id is not None:
            runs.append(Run(target.runs, job_id, one.job.name, one.task))
        elif (holder := holders.get(position)) is not None and not insist:
            runs.append(Run(target.runs, holder, one.job.name, one.task, created=False))
        else:
            conflicts.append(position)
    if conflicts:
        raise _conflict(prepared[conflicts[0]].job, holders.get(conflicts[0]), runs)
    return runs


async def _holders(
    target: InsertTarget, refused: Mapping[int, NewJob], ids: list[UUID | None], *, insist: bool
) -> dict[int, UUID | None]:
    """Return the holders of refused jobs, by position; insert jobs whose holder has ended."""
    holders: dict[int, UUID | None] = {}
    for _ in range(HOLDERS_MAX):
        found = await target.holders(list(refused.values()), insist=insist) if refused else None
        if found is None:
            break
        holders |= zip(refused, found, strict=True)
        # The holders that are missing ended between the two statements. An earlier try may have inserted
        # the job without an answer, so it is no longer fresh.
        free = {p: replace(job, fresh=False) for p, job in refused.items() if holders[p] is None}
        if free:
            for position, job_id in zip(free, await target.insert(list(free.values())), strict=True):
                ids[position] = job_id
        refused = {position: job for position, job in free.items() if ids[position] is None}
    return holders


def _missing(ids: Sequence[UUID | None]) -> list[int]:
    return [position for position, job_id in enumerate(ids) if job_id is None]


class IntoStorage:
    """Inserts into a queue's storage; an insert without an answer is repeated, which the jobs' ids make safe.

    Args:
        attempt: for a child that its parent waits for: the parent's attempt.
    """

    def __init__(self, parts: Parts, attempt: int | None = None) -> None:
        self.runs = parts.runs
        self._parts = parts
        self._attempt = attempt
        self._has_stored = False

    async def insert(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        """Insert jobs, in up to three tries.

        Raises:
            TimeLimitError: the first try was answered: nothing was inserted.
            StorageUnavailableError: a try had no answer, so it may have inserted the jobs; or an earlier
                insert has stored other jobs of the call.
        """
        waits = iter(INSERT_WAITS)
        unanswered: StorageUnavailableError | None = None
        while True:
            try:
                ids = await self._try(jobs)
            except StorageUnavailableError as error:
                if not is_outage(error):  # the caller has waited for as long as it may
                    if unanswered is None and not self._has_stored:
                        raise
                    raise unanswered or StorageUnavailableError(_PARTLY_STORED) from error
                if (wait := next(waits, None)) is None:
                    raise
                unanswered = error
                await self._parts.clock.sleep(wait)
                jobs = [replace(job, fresh=False) for job in jobs]  # it may exist already
            else:
                self._has_stored = self._has_stored or any(ids)
                return ids

    async def _try(self, jobs: Sequence[NewJob]) -> list[UUID | None]:
        storage = self._parts.storage
        if self._attempt is None:
            return await storage.insert(jobs)
        return [await storage.insert_child(job, self._attempt) for job in jobs]

    async def holders(self, jobs: Sequence[NewJob], *, insist: bool) -> list[UUID | None] | None:
        """Look up the jobs that hold the keys or slots of refused jobs, in up to three tries.

        Returns:
            A holder for each, None for one that ended meanwhile; or None if the storage did not answer: the
            refusal is certain, so a conflict is reported without a holder. ``insist`` needs the holder only
            for its error, so that it takes one try.
        """
        for wait in (None,) if insist else (*INSERT_WAITS, None):
            try:
                return await self._parts.storage.find_conflicts(jobs)
            except StorageUnavailableError:
                if wait is not None:
                    await self._parts.clock.sleep(wait)
        return None


class IntoTransaction:
    """Inserts in an open transaction, in one try: a lost connection means a rollback.

    Args:
        runs: provides the jobs to their runs.
    """

    def __init__(self, transaction: Transaction, runs: RunSource) -> None:
        self.runs = runs
        self.insert = transaction.insert
        self._transaction = transaction

    async def holders(self, jobs: Sequence[NewJob], *, insist: bool) -> list[UUID | None]:  # noqa: ARG002
        """Look up the holders, as the transaction sees them."""
        return await self._transaction.find_conflicts(jobs)


def _conflict(job: NewJob, holder: UUID | None, sent: list[Run[Any]]) -> JobConflictError:
    if job.singleton_key is not None:
        what, instead = f"key {job.singleton_key!r}", "wait for it, or use another key"
    else:
        what, instead = "slot", "send in the next slot"
    by = "another job" if holder is None else f"job {holder}"
    return JobConflictError(
        f"Job of task {job.name!r} was not sent: {by} holds its {what}; {instead}",
        holder,
        sent,
    )
