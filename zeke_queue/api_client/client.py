"""The client, with one method for each operation of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypedDict, Unpack
from urllib.parse import quote
from uuid import UUID

from pydantic_core import PydanticSerializationError, to_jsonable_python

from zeke_queue.api_client import model
from zeke_queue.api_client.errors import RunFailedError
from zeke_queue.api_client.http import Http, answer
from zeke_queue.api_client.watch import Watch
from zeke_queue.errors import JobNotFoundError, ResultTimeoutError, SerializationError
from zeke_queue.model import JobStatus
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SystemEntropy
from zeke_queue.system.waiting import first

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    import httpx2

    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy

RETRIES: Final = 4
PATIENCE: Final = 300.0
_KEY_BITS: Final = 128


class Filters(TypedDict, total=False):
    """Filters of job lists.

    Attributes:
        task: only jobs of these tasks.
        status: only jobs of these statuses.
        parent: only jobs that this one sent.
        text: only jobs whose id, singleton key, payload, output or meta contains it.
        created_from: only jobs created at or after this instant; aware.
        created_to: only jobs created before this instant; aware.
        archived: archived jobs instead of live ones.
    """

    task: str | Sequence[str]
    status: JobStatus | Sequence[JobStatus]
    parent: UUID | str | None
    text: str | None
    created_from: datetime | None
    created_to: datetime | None
    archived: bool


class JobsClient:
    """Sends jobs to a server, watches them, and manages its queues and schedules.

    Use it as an async context manager, one for all requests of a program. Ids may be UUIDs or their text. A
    request is repeated, after growing pauses, when the server can't be reached or answers 502, 503 or 504, if
    repeating it is safe: reading, pausing and resuming, storing a schedule, and triggering, which carries an
    idempotency key for that.

    Args:
        base_url: the API's URL, such as ``http://localhost:3003``, with the path under which it is mounted.
        token: an API key; None if a host application or a proxy authenticates.
        timeout: seconds that the server may be silent within a request; streams have their own limit.
        transport: a transport in place of httpx2's own, for tests.
        retries: how often such a request is repeated before ``ServerUnavailableError`` is raised.
        clock: the clock of pauses and of ``result(timeout=)``.
        entropy: the source of idempotency keys.

    Raises:
        InvalidOptionError: ``base_url`` is not a URL, or ``token`` can't be a key.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
        retries: int = RETRIES,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        self._entropy = entropy or SystemEntropy()
        self._clock = clock or SystemClock()
        self._http = Http(
            base_url,
            token,
            timeout=timeout,
            transport=transport,
            clock=self._clock,
            entropy=self._entropy,
            retries=retries,
        )

    def __repr__(self) -> str:
        return f"<JobsClient {self._http.client.base_url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, including those of streams."""
        await self._http.client.aclose()

    async def trigger(
        self, task: str, payload: Any = None, *, idempotency_key: str | None = None
    ) -> model.Triggered:
        """Send a job. Needs ``jobs.trigger``.

        Args:
            task: a task of the server's catalog, or an alias.
            payload: a mapping, a pydantic model (written by its aliases) or a dataclass; None for ``{}``.
            idempotency_key: 1 to 255 printable ASCII characters. The same key again returns the job that the
                first request sent. Without one a new one is drawn, so that a lost answer does not lead to a
                second job.

        Raises:
            UnknownTaskError: the server has no such task.
            PayloadValidationError: the payload is invalid; ``fields`` says where.
            JobConflictError: a uniqueness rule refused the job; ``holder`` is the conflicting one.
            RateLimitedError: the caller's limit is exhausted.
            ZekeError: see ``zeke_queue.api_client.errors``.
        """
        body = {"taskId": task} if payload is None else {"taskId": task, "payload": _json(payload)}
        key = idempotency_key or f"{self._entropy.stream('idempotency').getrandbits(_KEY_BITS):032x}"
        response = await self._http.send(
            "POST", "/trigger", json=body, headers={"idempotency-key": key}, task=task, repeat=True
        )
        replayed = response.headers.get("idempotent-replayed") == "true"
        return answer(model.Triggered, response, replayed=replayed)

    async def run(self, run_id: UUID | str) -> model.Run:
        """Return a job, live or archived.

        Raises:
            JobNotFoundError: no job has this id.
            ZekeError: see ``zeke_queue.api_client.errors``.
        """
        return await self._http.ask(model.Run, "GET", _run(run_id))

    async def detail(self, run_id: UUID | str) -> model.RunDetail:
        """Return a job with its options, its family and its failed attempts; raises like ``run``."""
        return await self._http.ask(model.RunDetail, "GET", f"{_run(run_id)}/detail")

    async def page(
        self, *, cursor: str | None = None, limit: int = 50, **filters: Unpack[Filters]
    ) -> model.Page:
        """Return a page of jobs, newest first.

        Args:
            cursor: ``next_cursor`` of the page before, which had the same filters.
            limit: 1 to 200 jobs.
            **filters: see ``Filters``.

        Raises:
            ApiResponseError: a filter is invalid; ``fields`` says which.
        """
        task, status = filters.get("task", ()), filters.get("status", ())
        parent, text = filters.get("parent"), filters.get("text")
        since, until = filters.get("created_from"), filters.get("created_to")
        asked: dict[str, Any] = {
            "task": [task] if isinstance(task, str) else list(task),
            "status": [JobStatus(one) for one in ([status] if isinstance(status, str) else status)],
            "parent": None if parent is None else str(parent),
            "text": text,
            "createdFrom": None if since is None else since.isoformat(),
            "createdTo": None if until is None else until.isoformat(),
            "archived": "true" if filters.get("archived") else None,
            "cursor": cursor,
            "limit": limit,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        return await self._http.ask(model.Page, "GET", "/trigger/runs", params=given)

    async def runs(self, *, limit: int = 50, **filters: Unpack[Filters]) -> AsyncGenerator[model.Run]:
        """Yield jobs, newest first, page by page; ``limit`` is per page, the rest as for ``page``."""
        cursor: str | None = None
        while True:
            page = await self.page(cursor=cursor, limit=limit, **filters)
            for run in page.runs:
                yield run
            cursor = page.next_cursor
            if cursor is None:
                return

    async def events(self, run_id: UUID | str, after: int = 0) -> tuple[model.Event, ...]:
        """Return progress and log lines of a job, oldest first, at most 1000.

        Args:
            after: only those with a greater ``seq``.

        Raises:
            JobNotFoundError: no job has this id.
        """
        path = f"{_run(run_id)}/events"
        return (await self._http.ask(model.Events, "GET", path, params={"after": after})).events

    async def cancel(self, run_id: UUID | str) -> model.RunDetail:
        """Cancel a job permanently, with the children that it waits for. Needs ``jobs.admin``.

        Raises:
            JobNotFoundError: no job has this id.
            ApiResponseError: it has ended (409).
        """
        return await self._change(run_id, "cancel")

    async def retry(self, run_id: UUID | str) -> model.RunDetail:
        """Run a failed job again, at once. Needs ``jobs.admin``.

        Raises:
            JobNotFoundError: no job has this id.
            ApiResponseError: it has not failed, or is archived (409).
            JobConflictError: another job has taken its place.
        """
        return await self._change(run_id, "retry")

    async def resume(self, run_id: UUID | str) -> model.RunDetail:
        """Requeue a cancelled job; raises like ``retry``."""
        return await self._change(run_id, "resume")

    async def _change(self, run_id: UUID | str, verb: str) -> model.RunDetail:
        path = f"{_run(run_id)}/{verb}"
        return await self._http.ask(model.RunDetail, "POST", path, about=_uuid(run_id))

    async def watch(self, run_id: UUID | str, *, patience: float = PATIENCE) -> AsyncGenerator[model.Update]:
        """Yield a job's updates until it has ended: its status, progress, and log lines.

        The first update is the present status, the last one the end, with the output. A lost connection is
        reopened and continues after the last received event, and so does a stream that the server ended after
        its five minutes. A reader that may leave early closes it: ``async with aclosing(jobs.watch(id))``.

        Args:
            patience: seconds without the server after which to give up, once it has been reached.

        Raises:
            JobNotFoundError: there is no such job, or it was deleted.
            ServerUnavailableError: the server could not be reached for that long.
            ZekeError: see ``zeke_queue.api_client.errors``.
        """
        async for update in Watch(self._http, _uuid(run_id), patience).updates():
            yield update

    async def result(self, run_id: UUID | str, timeout: float | None = None) -> Any:
        """Wait for a job to end and return its output.

        Args:
            timeout: seconds; None for no limit.

        Raises:
            RunFailedError: it failed or was cancelled.
            ResultTimeoutError: it did not end in time, and continues.
            JobNotFoundError: there is no such job, or it was deleted.
            ServerUnavailableError: as for ``watch``.
        """
        if timeout is None:
            return await self._end(run_id)
        return await first(self._end(run_id), self._time_out(run_id, timeout))

    async def _time_out(self, run_id: UUID | str, timeout: float) -> NoReturn:
        await self._clock.sleep(timeout)
        raise ResultTimeoutError(f"Job {run_id} has not ended after {timeout:g} s; it continues")

    async def _end(self, run_id: UUID | str) -> Any:
        while True:
            async for update in self.watch(run_id):
                if isinstance(update, model.StatusChange) and update.status is JobStatus.COMPLETED:
                    return update.output
            run = await self.run(run_id)
            if run.status is JobStatus.COMPLETED:
                return run.output
            if run.ended:
                raise RunFailedError(run)
            # The job was requeued meanwhile.

    async def tasks(self) -> tuple[model.TaskInfo, ...]:
        """Return the tasks that may be triggered, by name."""
        return (await self._http.ask(model.Tasks, "GET", "/tasks")).tasks

    async def queues(self) -> tuple[model.QueueInfo, ...]:
        """Return every queue that has live jobs, settings or a task, by name."""
        return (await self._http.ask(model.Queues, "GET", "/queues")).queues

    async def pause_queue(self, name: str) -> model.QueueInfo:
        """Stop claims from a queue; running jobs continue. Needs ``jobs.admin``.

        Raises:
            ApiResponseError: nothing has this name (404).
        """
        return await self._http.ask(model.QueueInfo, "POST", f"/queues/{_in_path(name)}/pause", repeat=True)

    async def resume_queue(self, name: str) -> model.QueueInfo:
        """Resume a paused queue; raises like ``pause_queue``."""
        return await self._http.ask(model.QueueInfo, "POST", f"/queues/{_in_path(name)}/resume", repeat=True)

    async def workers(self) -> tuple[model.WorkerInfo, ...]:
        """Return the workers that are alive, and those dead for less than a day, by start."""
        return (await self._http.ask(model.Workers, "GET", "/workers")).workers

    async def schedules(self) -> tuple[model.ScheduleInfo, ...]:
        """Return all schedules, by name."""
        return (await self._http.ask(model.Schedules, "GET", "/schedules")).schedules

    async def schedule(self, name: str) -> model.ScheduleInfo:
        """Return a schedule.

        Raises:
            ScheduleNotFoundError: no schedule has this name.
        """
        return await self._http.ask(model.ScheduleInfo, "GET", _schedule(name))

    async def put_schedule(
        self,
        name: str,
        cron: str,
        *,
        task: str | None = None,
        payload: Any = None,
        zone: str | None = None,
        catch_up: Literal["skip", "once", "all"] = "once",
        description: str | None = None,
        paused: bool = False,
    ) -> model.ScheduleInfo:
        """Create or replace a schedule. Needs ``jobs.admin``.

        Args:
            cron: five fields, or six of which the last is seconds.
            task: the task of the schedule's name by default.
            payload: as for ``trigger``.
            zone: an IANA zone; the server's ``JOBS_CRON_TZ`` by default.
            catch_up: what happens to ticks missed while no scheduler ran.
            description: text for users.
            paused: whether the schedule is stored without serving ticks for now.

        Raises:
            ApiResponseError: an argument is invalid (422).
        """
        body = {
            "cron": cron,
            "task": task,
            "payload": _json(payload),
            "zone": zone,
            "catchUp": catch_up,
            "description": description,
            "paused": paused,
        }
        return await self._http.ask(model.ScheduleInfo, "PUT", _schedule(name), json=body, repeat=True)

    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule; one declared in code returns when the next worker starts.

        Raises:
            ScheduleNotFoundError: no schedule has this name.
        """
        await self._http.send("DELETE", _schedule(name))

    async def pause_schedule(self, name: str) -> model.ScheduleInfo:
        """Pause a schedule, so that it serves no ticks; raises like ``schedule``."""
        return await self._http.ask(model.ScheduleInfo, "POST", f"{_schedule(name)}/pause", repeat=True)

    async def resume_schedule(self, name: str) -> model.ScheduleInfo:
        """Resume a paused schedule from its next tick on; raises like ``schedule``."""
        return await self._http.ask(model.ScheduleInfo, "POST", f"{_schedule(name)}/resume", repeat=True)

    async def run_schedule(self, name: str) -> model.Triggered:
        """Send the job of a schedule at once; its ticks do not change. Needs ``jobs.admin``.

        Raises:
            ScheduleNotFoundError: no schedule has this name.
            JobConflictError: a uniqueness rule of the schedule's options refused it.
            RateLimitedError: the caller's limit is exhausted.
        """
        return await self._http.ask(model.Triggered, "POST", f"{_schedule(name)}/run")


def _uuid(run_id: UUID | str) -> UUID:
    """Return an id."""
    try:
        return run_id if isinstance(run_id, UUID) else UUID(run_id)
    except ValueError:
        raise JobNotFoundError(f"No job has the id {run_id!r}: ids are UUIDs") from None


def _run(run_id: UUID | str) -> str:
    return f"/trigger/runs/{_uuid(run_id)}"


def _schedule(name: str) -> str:
    return f"/schedules/{_in_path(name)}"


def _in_path(name: str) -> str:
    return quote(name, safe="")


def _json(payload: Any) -> Any:
    """Return a payload as JSON values."""
    try:
        return to_jsonable_python(payload, by_alias=True)
    except PydanticSerializationError as error:
        raise SerializationError(f"payload: must have a JSON form ({error})") from error
