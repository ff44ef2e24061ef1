"""What clients of a script do: verbs that are known beforehand, and those that follow from an answer."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from tests.interleaving.history import HOLD, brief
from zeke_queue.errors import LeaseLostError
from zeke_queue.model import Completed, Failed, NewJob, QueueCapacity, Released, RowState

if TYPE_CHECKING:
    from tests.interleaving.client import Client, ClientTransaction
    from tests.interleaving.scheduler import Step
    from zeke_queue.model import ExpiredJob

ERROR = '{"type":"E","message":"boom","traceback":null}'

Ending: TypeAlias = Literal["complete", "retry", "fail", "expire", "release"]


class Do:
    def __init__(self, verb: str, *arguments: Any, **options: Any) -> None:
        self.verb = verb
        self.arguments = arguments
        self.options = options

    async def run(self, client: Client) -> None:
        await client.do(self.verb, *self.arguments, **self.options)

    async def run_in(self, transaction: ClientTransaction) -> None:
        if self.verb == HOLD:
            await transaction.hold(*self.arguments)
        else:
            await transaction.do(self.verb, *self.arguments, **self.options)

    def __repr__(self) -> str:
        options = [f"{name}={brief(value)}" for name, value in self.options.items()]
        return f"{self.verb}({', '.join([*map(brief, self.arguments), *options])})"


class Transaction:
    def __init__(self, *steps: Do, commit: bool = True) -> None:
        self.steps = steps
        self.commit = commit

    async def run(self, client: Client) -> None:
        async with client.transaction(commit=self.commit) as transaction:
            for step in self.steps:
                await step.run_in(transaction)

    def __repr__(self) -> str:
        return f"transaction{self.steps}" + ("" if self.commit else ", rolled back")


@dataclass(frozen=True)
class SettleClaimed:
    """Settle all that this client has claimed, in one of the ways that there are."""

    ending: Ending = "complete"

    async def run(self, client: Client) -> None:
        claimed, client.claimed = client.claimed, []
        if claimed:
            await client.do("settle", *outcomes([(job.id, job.attempt) for job in claimed], self.ending))


@dataclass(frozen=True)
class ReleaseExpired:
    """The steps of maintenance: lock expired jobs and release them, in one transaction."""

    limit: int = 10
    ending: Ending = "retry"

    async def run(self, client: Client) -> None:
        async with client.transaction() as transaction:
            found: list[ExpiredJob] = await transaction.do("lock_expired", self.limit)
            if found:
                settled = outcomes([(job.id, job.attempt) for job in found], self.ending)
                await transaction.do("settle", *settled)


@dataclass(frozen=True)
class RecordTicks:
    """The steps of a scheduler, in one transaction: lock due schedules, send a job for each, record it."""

    limit: int = 10

    async def run(self, client: Client) -> None:
        async with client.transaction() as transaction:
            now, due = await transaction.do("lock_due_schedules", self.limit)
            for schedule in due:
                tick = UUID(int=0x7000 + sum(schedule.name.encode()))
                await transaction.do("insert", [NewJob(tick, schedule.task)])
                await transaction.do("record_tick", schedule.name, now, now + timedelta(seconds=60))


@dataclass(frozen=True)
class FallAsleep:
    """The steps of an idle worker: set its idle flag, and claim once more."""

    worker: UUID
    queues: tuple[str, ...]

    async def run(self, client: Client) -> None:
        await client.do("set_idle", self.worker, list(self.queues))
        await client.ear.mark(f"asleep {client.number}")
        await client.do("claim", self.worker, [QueueCapacity(name, 10) for name in self.queues], 10)


@dataclass(frozen=True)
class Spawn:
    """What a handler does that needs another job's outcome: send it, unless its own job is lost by now."""

    child: NewJob
    attempt: int = 1

    async def run(self, client: Client) -> None:
        with suppress(LeaseLostError):
            await client.do("insert_child", self.child, self.attempt)


class Script(NamedTuple):
    """What happens before, one verb after another, and then what each client does.

    Attributes:
        before: verbs, or seconds by which time advances; it is constant while the clients run.
    """

    name: str
    before: tuple[Do | float, ...]
    clients: tuple[tuple[Step, ...], ...]

    def __str__(self) -> str:
        before = "\n".join(f"  before: {step}" for step in self.before)
        clients = "\n".join(
            f"  client {number}: {', '.join(map(repr, steps))}" for number, steps in enumerate(self.clients)
        )
        return f"{self.name}\n{before}\n{clients}"


def outcomes(
    leases: list[tuple[UUID, int]], ending: Ending
) -> tuple[list[Completed], list[Failed], list[Released]]:
    """Return the arguments of ``settle`` by which these leases end in one way."""
    if ending == "complete":
        return [Completed(job_id, attempt, '{"n": 1}') for job_id, attempt in leases], [], []
    if ending == "release":
        return [], [], [Released(job_id, attempt) for job_id, attempt in leases]
    final = RowState.EXPIRED if ending == "expire" else RowState.FAILED
    retry_in = 0.0 if ending == "retry" else None
    return [], [Failed(job_id, attempt, retry_in, ERROR, final) for job_id, attempt in leases], []
