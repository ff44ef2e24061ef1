"""What a time limit says that ends an insert of several jobs: whether any of them is stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from tests.cases import check_each_async
from zeke_queue.client.insert import IntoStorage
from zeke_queue.errors import StatementTimeoutError, StorageUnavailableError, is_outage
from zeke_queue.model import NewJob
from zeke_queue.storage.postgres.verbs import PostgresVerbs

JOBS = [NewJob(UUID(int=n), "mail", fresh=False) for n in (1, 2)]


class Runner:
    """An executor that inserts some jobs, and is too slow to look up the others."""

    schema = "pgboss"

    def __init__(self, inserted: int, *, in_transaction: bool) -> None:
        self.inserted = inserted
        self.in_transaction = in_transaction

    async def run_all(self, *_statements: object) -> list[list[tuple[Any, ...]]]:
        return [[(job.id,) for job in JOBS[: self.inserted]], []]

    async def run(self, *_arguments: object) -> list[tuple[Any, ...]]:
        raise StatementTimeoutError("it took too long")


async def test_time_limit_behind_stored_jobs_does_not_say_that_nothing_has_changed() -> None:
    async def check(inserted: int, in_transaction: bool, is_stored: bool) -> None:  # noqa: FBT001
        verbs = PostgresVerbs(cast("Any", Runner(inserted, in_transaction=in_transaction)))
        with pytest.raises(StorageUnavailableError) as caught:
            await verbs.insert(JOBS)
        assert is_outage(caught.value) == is_stored

    await check_each_async([(1, False, True), (0, False, False), (1, True, False)], check)


async def test_time_limit_says_that_earlier_inserts_of_the_call_are_stored() -> None:
    answers: list[list[UUID | None] | Exception] = [
        [JOBS[0].id],
        [None],
        StatementTimeoutError("it took too long"),
    ]

    async def insert(_jobs: object) -> list[UUID | None]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    target = IntoStorage(cast("Any", SimpleNamespace(storage=SimpleNamespace(insert=insert), runs=None)))
    for job in JOBS:
        await target.insert([job])
    with pytest.raises(StorageUnavailableError, match="Some jobs of this call are stored"):
        await target.insert(JOBS)
