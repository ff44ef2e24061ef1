"""The catalog of the workers: one task per workload, each of which logs what it executes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from tests.chaos.executions import BEGAN, CANCELLED, CLAIMED, FAILED, LOST, RAISED, RETURNED, WAITS
from zeke_queue.errors import LeaseLostError, StorageUnavailableError
from zeke_queue.model import CatchUp
from zeke_queue.system.clock import SystemClock
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.chaos.executions import ExecutionLog

LIMIT: Final = 8
"""How many of the limited jobs run at once."""

CHILDREN: Final = 2
"""Children of each parent."""

STEPS: Final = 3
"""Progress events of each streamed job."""

SCHEDULE: Final = "every-second"

_EXPIRE_IN: Final = 3600.0
_POLICY: Final[dict[str, Any]] = {"retry_limit": 50, "retry_delay": 0, "expire_in": _EXPIRE_IN}
_HOW: Final = (
    (Wait, WAITS),
    (asyncio.CancelledError, CANCELLED),
    (StorageUnavailableError, RAISED),
    (LeaseLostError, LOST),
    (BaseException, FAILED),
)
"""The line for each error with which a handler ends; the first that applies counts."""

_MOMENT: Final = 0.01


class Work(BaseModel):
    """The payload of every task."""

    n: int = 0


def make_catalog(log: ExecutionLog | None) -> Catalog:
    """Make the catalog; without a log, for processes that run no jobs."""
    catalog = Catalog()
    clock = SystemClock()

    async def at_once(work: Work, job: JobContext) -> None:
        pass

    async def limited(work: Work, job: JobContext) -> None:
        await clock.sleep(_MOMENT)

    async def parent(work: Work, job: JobContext) -> None:
        runs = [await job.start_child("child", {"n": work.n}, key=str(k)) for k in range(CHILDREN)]
        for run in runs:
            await job.wait_for(run)

    async def streamed(work: Work, job: JobContext) -> None:
        for step in range(1, STEPS + 1):
            await job.progress(step / STEPS)
            await clock.sleep(_MOMENT)

    for name, handler in (
        ("plain", at_once),
        ("limited", limited),
        ("parent", parent),
        ("child", at_once),
        ("tick", at_once),
        ("streamed", streamed),
    ):
        options = {**_POLICY, **({"concurrency_limit": LIMIT} if name == "limited" else {})}
        catalog.task(name, **options)(handler if log is None else _logged(log, name, handler))
    catalog.schedule(
        SCHEDULE, "* * * * * *", task="tick", payload={"n": 0}, timezone="UTC", catch_up=CatchUp.ALL
    )
    return catalog


def _logged(log: ExecutionLog, name: str, work: Callable[[Work, JobContext], Awaitable[None]]) -> Any:
    async def handler(payload: Work, job: JobContext) -> Any:
        # The deadline counts from when the claim was sent.
        log.append(CLAIMED, name, job.id, job.attempt, job.deadline - _EXPIRE_IN)
        await log.write(BEGAN, name, job.id, job.attempt)
        try:
            await work(payload, job)
            await log.write(RETURNED, name, job.id, job.attempt)
        except BaseException as error:
            how = next(letter for kind, letter in _HOW if isinstance(error, kind))
            log.append(how, name, job.id, job.attempt)
            raise
        return job.attempt

    return handler


catalog = make_catalog(None)
"""For the API, which runs no jobs."""
