"""Tasks, queues and workers."""

from __future__ import annotations

from fastapi import APIRouter

from zeke_queue.api_client import model as answers
from zeke_queue.web.admin import set_queue_paused
from zeke_queue.web.api import Administers, Parts, Reads
from zeke_queue.web.errors import problems
from zeke_queue.web.inspect import all_queues, all_workers, one_queue

router = APIRouter()


@router.get("/tasks", tags=["tasks"], summary="List tasks", responses=problems(401, 403, 503))
async def tasks(parts: Parts, _caller: Reads) -> answers.Tasks:
    """Return the tasks that may be triggered, by name, with the JSON Schema of their payloads."""
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
async def queues(parts: Parts, _caller: Reads) -> answers.Queues:
    """Return every queue that has live jobs, settings or a task, by name."""
    return answers.Queues(queues=tuple(await all_queues(parts)))


@router.post(
    "/queues/{name:path}/pause",
    tags=["queues"],
    summary="Pause a queue",
    responses=problems(401, 403, 404, 503),
)
async def pause(name: str, parts: Parts, _caller: Administers) -> answers.QueueInfo:
    """Pause a queue: its waiting jobs are not claimed; running jobs continue."""
    await set_queue_paused(parts, name, paused=True)
    return await one_queue(parts, name)


@router.post(
    "/queues/{name:path}/resume",
    tags=["queues"],
    summary="Resume a queue",
    responses=problems(401, 403, 404, 503),
)
async def resume(name: str, parts: Parts, _caller: Administers) -> answers.QueueInfo:
    """Resume a paused queue."""
    await set_queue_paused(parts, name, paused=False)
    return await one_queue(parts, name)


@router.get("/workers", tags=["workers"], summary="List workers", responses=problems(401, 403, 503))
async def workers(parts: Parts, _caller: Reads) -> answers.Workers:
    """Return registered workers by start time: live ones, and those dead for less than a day."""
    return answers.Workers(workers=tuple(await all_workers(parts)))
