"""Sweeps over more rows than one batch holds: each makes progress, and none reads all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.postgres.many_jobs import ANNA
from zeke_queue.model import RowState, Waiting

if TYPE_CHECKING:
    from uuid import UUID

    from tests.postgres.many_jobs import Connection, Sender
    from zeke_queue.storage.postgres import PostgresStorage


async def waiting_parents(jobs: Sender, times: int) -> list[tuple[UUID, UUID]]:
    """Make jobs that wait for others; return (other, job), in the order of the others' ids."""
    await jobs.send(times)
    claimed = await jobs.claim(times)
    found: list[tuple[UUID, UUID]] = []
    for parent in claimed:
        child = jobs.new("child", parent=parent.id)
        assert await jobs.storage.insert_child(child, parent.attempt) == child.id
        assert await jobs.storage.suspend([Waiting(parent.id, parent.attempt, child.id)])
        found.append((child.id, parent.id))
    return sorted(found)


async def test_every_parent_of_a_deleted_child_is_found_within_a_few_sweeps(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    pairs = await waiting_parents(jobs, 25)
    deleted = [pairs[place] for place in (0, 12, 24)]
    sql.execute("delete from pgboss.job where id = any(%s)", [[child for child, _ in deleted]])
    # One reads ten children, and resumes one job.
    assert [await storage.resume_waiting(1) for _ in range(6)] == [1, 0, 1, 0, 1, 0]
    resumed = await storage.get([parent for _, parent in pairs])
    assert {job.id for job in resumed.values() if job.waits_for is None} == {parent for _, parent in deleted}
    # Behind the last one they begin again with the first.
    sql.execute("delete from pgboss.job where id = %s", [pairs[1][0]])
    assert sum([await storage.resume_waiting(1) for _ in range(4)]) == 1


async def test_parent_of_a_child_that_has_just_ended_is_found_at_once(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    pairs = await waiting_parents(jobs, 25)
    child, parent = pairs[-1]
    # Others have ended before.
    assert len(await jobs.complete(await jobs.claim(3, "child"))) == 3
    await jobs.claim(3)
    # As pg-boss completes a job, which resumes no other.
    sql.execute("update pgboss.job set state = 'completed', completedon = now() where id = %s", [child])
    assert await storage.resume_waiting(1) == 1
    assert [job.id for job in await jobs.claim(worker=ANNA)] == [parent]
    assert (await storage.get([parent]))[parent].row_state is RowState.ACTIVE


async def test_locked_parents_do_not_keep_the_others_waiting(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    pairs = await waiting_parents(jobs, 5)
    sql.execute("delete from pgboss.job where name = 'child'")
    with sql.transaction():
        locked = [parent for _, parent in pairs[:2]]
        sql.execute("select from pgboss.job where id = any(%s) for update", [locked])
        assert [await storage.resume_waiting(2) for _ in range(3)] == [2, 1, 0]
    assert await storage.resume_waiting(2) == 2


async def test_parents_of_one_child_are_resumed_in_batches(
    storage: PostgresStorage, jobs: Sender, sql: Connection
) -> None:
    pairs = await waiting_parents(jobs, 5)
    sql.execute("update pgboss.job set waitsfor = %s where name = 'mail'", [pairs[0][0]])
    sql.execute("update pgboss.job set state = 'cancelled', completedon = now() where name = 'child'")
    assert [await storage.resume_waiting(2) for _ in range(4)] == [2, 2, 1, 0]
