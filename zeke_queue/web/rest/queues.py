"""Tasks, queues and workers."""

from __future__ import annotations

from fastapi import APIRouter

from zeke_queue.api_client import model as answers
from zeke_queue.core.names import queue_name
from zeke_queue.errors import InvalidNameError
from zeke_queue.model import JobState
from zeke_queue.web.api import Administers, Api, Parts, Reads
from zeke_queue.web.errors import ApiError, problems

router = APIRouter()


@router.get("/tasks", tags=["tasks"], summary="List tasks", responses=problems(401, 403, 503))
async def tasks(parts: Parts, caller: Reads) -> answers.Tasks:
    """Return the tasks that may be triggered, by name, with the JSON Schema of their payloads."""
    del caller
    return answers.Tasks(
        tasks=tuple(
            answers.TaskInfo(
                id=task.name,
                aliases=task.aliases,
                description=task.description,
                concurrency_limit=task.concurrency_limit,
                payload_schema=task.json_schema(),
            )
            for _, task in sorted(parts.queue.catalog.tasks.items())
        )
    )


@router.get("/queues", tags=["queues"], summary="List queues", responses=problems(401, 403, 503))
async def queues(parts: Parts, caller: Reads) -> answers.Queues:
    """Return every queue that has live jobs, settings or a task, by name."""
    del caller
    return answers.Queues(queues=tuple(await all_queues(parts)))


async def all_queues(parts: Api) -> list[answers.QueueInfo]:
    """Return every queue that has live jobs, settings or a task, by name."""
    storage = parts.queue.storage
    counts = {count.name: count.states for count in await storage.count()}
    settings = {one.name: one for one in await storage.queues()}
    lag = await storage.lag()
    names = sorted({*counts, *settings, *parts.queue.catalog.tasks})
    return [
        answers.QueueInfo(
            name=name,
            counts={state.value: counts.get(name, {}).get(state, 0) for state in JobState},
            lag=lag.get(name),
            concurrency_limit=settings[name].concurrency_limit if name in settings else None,
            paused=name in settings and settings[name].paused_on is not None,
        )
        for name in names
    ]


@router.post(
    "/queues/{name:path}/pause",
    tags=["queues"],
    summary="Pause a queue",
    responses=problems(401, 403, 404, 503),
)
async def pause(name: str, parts: Parts, caller: Administers) -> answers.QueueInfo:
    """Pause a queue: its waiting jobs are not claimed, those that run go on."""
    del caller
    return await set_paused(parts, name, paused=True)


@router.post(
    "/queues/{name:path}/resume",
    tags=["queues"],
    summary="Resume a queue",
    responses=problems(401, 403, 404, 503),
)
async def resume(name: str, parts: Parts, caller: Administers) -> answers.QueueInfo:
    """Resume a paused queue."""
    del caller
    return await set_paused(parts, name, paused=False)


async def set_paused(parts: Api, name: str, *, paused: bool) -> answers.QueueInfo:
    """Pause or resume an existing queue.

    Raises:
        ApiError: 404 if there is no queue with this name.
    """
    try:
        queue_name(name)
    except InvalidNameError:
        raise ApiError(404, "Queue not found") from None
    if name not in {one.name for one in await all_queues(parts)}:
        raise ApiError(404, "Queue not found")
    await parts.queue.storage.pause_queue(name, paused=paused)
    return next(one for one in await all_queues(parts) if one.name == name)


@router.get("/workers", tags=["workers"], summary="List workers", responses=problems(401, 403, 503))
async def workers(parts: Parts, caller: Reads) -> answers.Workers:
    """Return the workers that are known, by start: those that live, and those dead for less than a day."""
    del caller
    return answers.Workers(workers=tuple(await all_workers(parts)))


async def all_workers(parts: Api) -> list[answers.WorkerInfo]:
    """Return the registered workers by start time, with the number of jobs that each holds."""
    storage = parts.queue.storage
    now = await storage.now()
    held = await storage.holding()
    return [
        answers.WorkerInfo(
            id=one.id,
            host=one.host,
            pid=one.pid,
            queues=one.queues,
            alive=one.beat_on is not None and (now - one.beat_on).total_seconds() <= one.lease,
            asleep=one.asleep,
            started_on=one.started_on,
            beat_on=one.beat_on,
            holds=held.get(one.id, 0),
        )
        for one in await storage.workers()
    ]
