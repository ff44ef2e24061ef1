"""Attempts: one run of a job from payload through handler to outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.errors import PayloadValidationError
from zeke_queue.model import Released
from zeke_queue.system import logging as log
from zeke_queue.worker.held import WorkerContext

if TYPE_CHECKING:
    from zeke_queue.worker.executors.executor import Executor
    from zeke_queue.worker.held import Held, Outcome
    from zeke_queue.worker.host import WorkerHost
    from zeke_queue.worker.outcomes import Outcomes


class Attempts:
    """Runs jobs, each in the pool task that calls.

    Args:
        outcomes: turns what handlers return and raise into outcomes.
        executor: runs sync handlers.
        host: the implementation behind the contexts of the jobs.
    """

    def __init__(self, outcomes: Outcomes, executor: Executor, host: WorkerHost) -> None:
        self._host = host
        self._outcomes = outcomes
        self._executor = executor
        self._logger = log.get_logger()
        self._tells = log.enabled("info")

    async def __call__(self, held: Held) -> Outcome | None:
        """Run a job's handler and return the outcome; nothing that the handler raises propagates."""
        claimed, task = held.claimed, held.served.task
        if held.started >= held.deadline:
            if held.reason == "expired":
                # Its time ran out before it began, and would again, so releasing it would never end.
                return self._outcomes.expired(held)
            # It waited here for too long, which is not the handler's fault.
            return Released(claimed.id, claimed.attempt)
        try:
            payload = task.validate_json(claimed.data)
        except PayloadValidationError as error:
            return self._outcomes.misfit(held, error)
        except BaseException as error:  # noqa: BLE001 - validators of a model are application code and may raise anything
            return self._outcomes.raised(held, error)
        if self._tells:
            job_id = str(claimed.id)
            self._logger.info("job_started", taskId=task.name, jobId=job_id, attempt=claimed.attempt)
        held.began = True
        try:
            if task.kind != "async":
                result = await self._elsewhere(held, payload)
            elif task.takes_job:
                job = held.context = WorkerContext(held, self._host)
                result = await (task.handler(payload, job) if task.takes_payload else task.handler(job))
            else:
                result = await (task.handler(payload) if task.takes_payload else task.handler())
            return self._outcomes.returned(held, result)
        except GeneratorExit:  # the loop is gone, so nothing can be awaited
            raise
        except BaseException as error:  # noqa: BLE001 - anything a handler raises fails its job, SystemExit included
            return self._outcomes.raised(held, error)

    async def _elsewhere(self, held: Held, payload: Any) -> Any:
        task = held.served.task
        job = held.context = WorkerContext(held, self._host)
        if task.kind == "process":
            return await self._executor.run_process(task, held.claimed, job, self._host)
        arguments = ([payload] if task.takes_payload else []) + ([job] if task.takes_job else [])
        return await self._executor.run_sync(lambda: task.handler(*arguments))
