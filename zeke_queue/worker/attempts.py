"""Attempts: one run of a job from payload through handler to outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.errors import PayloadValidationError
from zeke_queue.model import Released
from zeke_queue.system import logging as log
from zeke_queue.worker.job_context import WorkerJobContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from zeke_queue.task.task import Task
    from zeke_queue.worker.executors.executor import ProcessExecutor, SyncExecutor
    from zeke_queue.worker.job_context import ContextServices
    from zeke_queue.worker.leased_job import LeasedJob, Outcome
    from zeke_queue.worker.outcomes import Outcomes
    from zeke_queue.worker.state import WorkerState


class Attempts:
    """Runs jobs, each in the pool task that calls.

    Args:
        tasks: the tasks, by queue.
        outcomes: turns what handlers return and raise into outcomes.
        threads: runs sync handlers.
        processes: runs handlers with ``process=True``.
        services: shared by the contexts of all jobs.
        state: knows the end of the lease.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task[Any, Any]],
        outcomes: Outcomes,
        threads: SyncExecutor,
        processes: ProcessExecutor,
        services: ContextServices,
        *,
        state: WorkerState,
    ) -> None:
        self._tasks = tasks
        self._state = state
        self._services = services
        self._outcomes = outcomes
        self._threads = threads
        self._processes = processes
        self._logger = log.get_logger()
        self._tells = log.enabled("info")

    async def __call__(self, job: LeasedJob) -> Outcome | None:
        """Run a job's handler and return the outcome; nothing that the handler raises propagates."""
        claimed = job.claimed
        task = self._tasks[claimed.name]
        if job.started >= job.deadline:
            if job.reason == "expired":
                # Its time ran out before it began, and would again, so releasing it would never end.
                return self._outcomes.expired(job)
            # It waited here for too long, which is not the handler's fault.
            return Released(claimed.id, claimed.attempt)
        if self._state.is_lease_over(job.started):
            # The loop was blocked until after the end of the lease; another worker may run it.
            return Released(claimed.id, claimed.attempt)
        try:
            payload = task.validate_json(claimed.data)
        except PayloadValidationError as error:
            return self._outcomes.invalid_payload(job, error)
        except BaseException as error:  # noqa: BLE001 - validators of a model are application code and may raise anything
            return self._outcomes.raised(job, error)
        if self._tells:
            job_id = str(claimed.id)
            self._logger.info("job_started", taskId=task.name, jobId=job_id, attempt=claimed.attempt)
        job.began = True
        try:
            result = await self._begin(task, job, payload)
            outcome = self._outcomes.returned(job, result)
        except GeneratorExit:  # the loop is gone, so nothing can be awaited
            raise
        except BaseException as error:  # noqa: BLE001 - anything a handler raises fails its job, SystemExit included
            outcome = self._outcomes.raised(job, error)
        if job.context is not None:
            job.context.end_log()
        return outcome

    def _begin(self, task: Task[Any, Any], job: LeasedJob, payload: Any) -> Awaitable[Any]:
        """Call the handler; return an awaitable of its result."""
        if task.kind == "async" and not task.takes_job:
            return task.handler(payload) if task.takes_payload else task.handler()
        context = job.context = WorkerJobContext(job, self._services)
        if task.kind != "async":
            return self._elsewhere(task, context, payload)
        return task.handler(payload, context) if task.takes_payload else task.handler(context)

    async def _elsewhere(self, task: Task[Any, Any], context: WorkerJobContext, payload: Any) -> Any:
        if task.kind == "process":
            return await self._processes.run(task, context.leased.claimed, context)
        arguments = ([payload] if task.takes_payload else []) + ([context] if task.takes_job else [])
        return await self._threads.run(lambda: task.handler(*arguments))
