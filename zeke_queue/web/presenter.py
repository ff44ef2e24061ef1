"""Converts jobs, schedules and workers to answers of the API, without values that their tasks hide."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.api_client import model as answers
from zeke_queue.core import jsonb
from zeke_queue.core.cron import Cron, last_occurrence
from zeke_queue.core.names import task_of
from zeke_queue.core.redaction import REDACTED, hides, redact, restored
from zeke_queue.core.status import output_of
from zeke_queue.errors import InvalidScheduleError
from zeke_queue.model import RowState
from zeke_queue.web.errors import field_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from zeke_queue.model import Attempt, Job, JobEvent, Schedule
    from zeke_queue.task.catalog import Catalog

NEXT_TICKS: Final = 5


class Presenter:
    """Converts stored values to what callers may see, by the rules of each task.

    Args:
        catalog: the tasks with their rules. Jobs of unknown tasks, which another program serves, are shown
            completely.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def rules(self, name: str) -> tuple[str, ...]:
        """Return the paths of values that the jobs of a queue hide."""
        task = self._catalog.find(name)
        return () if task is None else task.redact

    @property
    def opaque(self) -> tuple[str, ...]:
        """The queues whose jobs hide parts of their payload, their output or their errors."""
        hiding = (name for name, task in self._catalog.served.items() if set(task.redact) - {"log"})
        return tuple(sorted(hiding))

    def data(self, job: Job) -> Any:
        """Return a job's payload without hidden values."""
        return redact(job.data, self.rules(job.name), "payload")

    def restored(self, task: str, given: Any, kept: Any = None) -> Any:
        """Return an edited payload with its hidden values restored from the stored one.

        Args:
            given: the edited payload, with ``[redacted]`` in place of hidden values.
            kept: the stored payload, if any.

        Raises:
            ApiError: 422: ``[redacted]`` is in a place without a stored value.
        """
        value, missing = restored(given, kept, self.rules(task), "payload")
        if missing:
            why = "must be a value, got [redacted] where none is stored; send the value itself"
            raise field_errors(
                "; ".join(f"{path}: {why}" for path in missing), [(path, why) for path in missing]
            )
        return value

    def output(self, job: Job) -> Any:
        """Return a job's result or error without hidden values."""
        root = "output" if job.row_state is RowState.COMPLETED else "error"
        return redact(output_of(job), self.rules(job.name), root)

    def error(self, job: Job, attempt: Attempt) -> Any:
        """Return an attempt's error without hidden values."""
        return redact(attempt.error, self.rules(job.name), "error")

    def event(self, name: str, event: JobEvent) -> Any:
        """Return the content of a progress or log line without hidden values."""
        said: dict[str, Any] = jsonb.loads(event.data)
        if not hides(self.rules(name), "log"):
            return said
        kept = {key: said[key] for key in ("level", "value") if key in said}
        return {**kept, "message": REDACTED}

    def run(self, job: Job) -> answers.Run:
        """Return a job in the shape of lists."""
        return answers.Run(**self._run(job))

    def _run(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "status": job.status,
            "task_id": task_of(job.name),
            "data": self.data(job),
            "output": self.output(job),
            "started_on": job.started_on,
            "completed_on": job.completed_on,
            "created_on": job.created_on,
            "retry_count": job.retry_count,
        }

    def detail(self, job: Job) -> answers.RunDetail:
        """Return a job in the shape of its detail page."""
        return answers.RunDetail(
            **self._run(job),
            state=job.row_state.value,
            attempt=job.attempt,
            retry_limit=job.retry_limit,
            priority=job.priority,
            start_after=job.start_after,
            expire_in=job.expire_in,
            singleton_key=job.singleton_key,
            parent=job.parent,
            waits_for=job.waits_for,
            worker=job.worker,
            archived_on=job.archived_on,
            history=tuple(
                answers.FailedAttempt(
                    attempt=attempt.attempt,
                    at=attempt.at,
                    state=attempt.row_state.value,
                    error=self.error(job, attempt),
                    worker=attempt.worker,
                )
                for attempt in job.history
            ),
        )

    def schedule(self, schedule: Schedule, now: datetime) -> answers.ScheduleInfo:
        """Return a schedule; its payload hides the same values as those of its task's jobs."""
        data = None if schedule.data is None else jsonb.loads(schedule.data)
        upcoming = () if schedule.paused else tuple(islice(ticks(schedule, now), NEXT_TICKS))
        # A new schedule has no stored tick until a scheduler polls; it then starts with the first one from
        # that time on. An overdue tick remains the next one.
        stored = None if schedule.paused else schedule.next_tick
        return answers.ScheduleInfo(
            name=schedule.name,
            cron=schedule.cron,
            task=schedule.task,
            zone=schedule.zone,
            payload=redact(data, self.rules(schedule.task), "payload"),
            catch_up=schedule.catch_up.value,
            description=schedule.description,
            paused=schedule.paused,
            last_tick=last_occurrence(schedule),
            next_tick=stored or next(iter(upcoming), None),
            next_ticks=upcoming,
        )


def ticks(schedule: Schedule, now: datetime) -> Iterator[datetime]:
    """Yield the occurrences of a schedule after an instant; none if its expression is invalid."""
    try:
        cron = Cron.parse(schedule.cron, schedule.zone)
    except InvalidScheduleError:
        return
    tick = cron.next_after(now)
    while tick is not None:
        yield tick
        tick = cron.next_after(tick)
