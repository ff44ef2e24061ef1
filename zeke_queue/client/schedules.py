"""The schedules of a queue, which code and users edit at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.client.insert import IntoStorage, insert_one
from zeke_queue.client.open_transactions import check_outside
from zeke_queue.core.validation import catch_up_policy
from zeke_queue.model import CatchUp, Schedule
from zeke_queue.storage.inspect import require_schedule
from zeke_queue.task.prepare import check_schedule_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, Unpack

    from zeke_queue.client.parts import Parts
    from zeke_queue.core.options import JobOptions
    from zeke_queue.task.run import Run
    from zeke_queue.task.task import Task


class Schedules:
    """The stored schedules: those declared in code, and those created here; see ``Queue.schedules``."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts

    async def put(
        self,
        name: str,
        cron: str,
        *,
        task: str | Task[Any, Any] | None = None,
        payload: object = None,
        timezone: str | None = None,
        catch_up: CatchUp | Literal["skip", "once", "all"] = CatchUp.ONCE,
        description: str | None = None,
        external: bool = False,
        paused: bool = False,
        **options: Unpack[JobOptions],
    ) -> None:
        """Create or edit a schedule; a changed cron or time zone takes effect from now.

        Args:
            name: the unique name of the schedule.
            cron: five fields, or six of which the last is seconds.
            task: the task to send at each tick; the task of the schedule's name by default.
            timezone: the IANA zone of the fields; JOBS_CRON_TZ by default.
            catch_up: what happens to ticks missed while no scheduler ran: ``skip``, ``once`` or ``all``.
            description: one line for users.
            external: whether the task is defined in another process.
            paused: whether the schedule is stored without serving ticks for now.
            **options: options of its jobs. A tick refused by a singleton key is not repeated.

        Raises:
            InvalidScheduleError: the expression is invalid or never fires, or the zone is unknown.
            InvalidNameError: the name is invalid.
            UsageError: as for ``Queue.send``: unknown task, invalid payload, option out of range.
        """
        parts = self._parts()
        schedule = Schedule(
            name=name,
            cron=cron,
            task=name,
            zone=timezone or parts.settings.jobs_cron_tz,
            catch_up=catch_up_policy(catch_up),
            description=description,
            paused=paused,
        )
        await parts.storage.put_schedule(
            parts.factory.schedule(schedule, task, payload, options, external=external)
        )

    async def delete(self, name: str) -> bool:
        """Delete a schedule; False if there was none.

        A schedule declared in code returns when the next worker starts; to silence it, store it with
        ``paused``.
        """
        return await self._parts().storage.delete_schedule(check_schedule_name(name))

    async def list(self) -> list[Schedule]:
        """Return all schedules, by name."""
        return await self._parts().storage.schedules()

    async def trigger(self, name: str) -> Run[Any]:
        """Send the job of a schedule at once; its ticks do not change.

        Raises:
            ScheduleNotFoundError: there is no schedule of this name.
            JobConflictError: a uniqueness rule of its options refused it.
            UsageError: the schedule was edited outside this library, and is invalid.
        """
        parts = self._parts()
        check_outside(parts.storage, "queue.schedules.trigger")
        schedule = await require_schedule(parts.storage, check_schedule_name(name))
        prepared = parts.factory.tick(schedule, parts.factory.new_id())
        return await insert_one(IntoStorage(parts), prepared, insist=True)
