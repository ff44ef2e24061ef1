"""Queues and schedules; the protocol documents each verb."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from zeke_queue.storage.postgres import rows
from zeke_queue.storage.postgres.connection_pool import Statement
from zeke_queue.storage.postgres.error_mapping import no_driver_errors
from zeke_queue.storage.postgres.verbs import work_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.model import QueueSettings, Schedule
    from zeke_queue.storage.postgres.claims import Claims
    from zeke_queue.storage.postgres.connection_pool import ConnectionPool


class PostgresAdmin:
    """``storage.admin.QueueAdmin`` on Postgres."""

    _pool: ConnectionPool
    _claims: Claims

    async def declare(self, queues: Sequence[QueueSettings], schedules: Sequence[Schedule]) -> None:
        """Store limits, and schedules whose definition in code differs from the last declared one."""
        ordered = sorted(schedules, key=lambda schedule: schedule.name)
        statements = [
            Statement("put_schedule", rows.of_schedule(schedule, declared=True)) for schedule in ordered
        ]
        # One statement can't change a row twice, so the last declaration of a queue counts.
        limits = {queue.name: queue for queue in queues}
        if limits:
            parameters = {
                "names": list(limits),
                "limits": [queue.concurrency_limit for queue in limits.values()],
                "shared": [
                    json.dumps(queue.limited_with) if queue.limited_with else None
                    for queue in limits.values()
                ],
            }
            # The last one, since claims leave out the queues whose rows it locks.
            statements.append(Statement("declare_queues", {**parameters, **self._channel()}))
        if statements:
            with no_driver_errors():
                await self._pool.run_all(*statements)
        self._claims.forget_limits()

    async def queues(self) -> list[QueueSettings]:
        """Return the settings of all queues that have any, by name."""
        return [rows.queue(row) for row in await self._pool.run("queues")]

    async def pause_queue(self, name: str, *, paused: bool) -> None:
        """Pause a queue, keeping the time of an earlier pause, or resume it."""
        await self._pool.run("pause_queue", {"name": name, "paused": paused, **self._channel()})

    async def put_schedule(self, schedule: Schedule) -> None:
        """Create or edit a schedule; the schedule last declared in code is kept for comparison."""
        await self._pool.run("put_schedule", rows.of_schedule(schedule, declared=False))

    async def delete_schedule(self, name: str) -> bool:
        """Delete a schedule; False if there was none."""
        return bool(await self._pool.run("delete_schedule", {"name": name}))

    async def schedules(self) -> list[Schedule]:
        """Return all schedules, by name."""
        return [rows.schedule(row) for row in await self._pool.run("schedules")]

    def _channel(self) -> dict[str, str]:
        return {"work_channel": work_channel(self._pool.schema)}
