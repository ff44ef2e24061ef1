"""Following a job with the Python client, from a real server, across lost connections and restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.cases import check_each_async
from tests.web.client.conftest import Hasty, Way
from tests.web.conftest import Web, open_house
from zeke_queue import (
    Catalog,
    JobContext,
    JobNotFoundError,
    JobStatus,
    Queue,
    ResultTimeoutError,
    Settings,
    Worker,
)
from zeke_queue.api_client import (
    ApiResponseError,
    JobsClient,
    LogLine,
    Progress,
    RunFailedError,
    ServerUnavailableError,
    StatusChange,
    UnauthorizedError,
)
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.web import WebSettings
from zeke_queue.web.server import ApiServer

RUN = UUID("01a216ee-4f1a-7197-80f3-387a0e206cbc")


class Place:
    """A server, a worker, and a job that continues when the test permits."""

    def __init__(self, storage: Any) -> None:
        self.catalog = Catalog()
        self.go_on = asyncio.Event()
        self.queue = Queue(self.catalog, storage, settings=Settings.load())
        self.url = ""

        @self.catalog.task("stepwise")
        async def stepwise(job: JobContext) -> dict[str, int]:
            job.progress(0.5, "half")
            job.logger.info("begun", number=1)
            await self.go_on.wait()
            job.logger.warning("going on")
            return {"answer": 42}

        @self.catalog.task("break", retry_limit=0)
        async def broken() -> None:
            raise RuntimeError("the glass is broken")

    @asynccontextmanager
    async def serving(self, port: int = 0, **settings: Any) -> AsyncIterator[ApiServer]:
        server = ApiServer(
            self.queue,
            WebSettings.load(api_port=port, **settings),
            authenticator=open_house(self.queue),
        )
        self.url = server.url
        running = asyncio.ensure_future(server.run())
        try:
            yield server
        finally:
            server.stop()
            await running


on_both = pytest.mark.parametrize("place", ["memory", "postgres"], indirect=True)


@pytest.fixture
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Here time is real, as the server's and the worker's is; in memory, unless a test is ``on_both``."""
    async with AsyncExitStack() as opened:
        storage: Any = MemoryStorage(SystemClock())
        if getattr(request, "param", "memory") == "postgres":
            dsn = request.getfixturevalue("emptied_dsn")
            storage = await opened.enter_async_context(PostgresStorage.open(dsn))
        place = Place(storage)
        async with Worker(place.queue):
            yield place
            place.go_on.set()
        await place.queue.close()


async def none_open(server: ApiServer) -> None:
    async with asyncio.timeout(120):
        while server.app.state.zeke.live.open_streams:
            await SystemClock().sleep(0.01)


@on_both
async def test_job_is_followed_to_its_end(place: Place) -> None:
    async with place.serving(), JobsClient(place.url) as jobs:
        sent = await jobs.trigger("stepwise")
        seen: list[Any] = []
        async for update in jobs.watch(sent.id):
            seen.append(update)
            if isinstance(update, LogLine) and update.message == "begun":
                place.go_on.set()
    statuses = [update for update in seen if isinstance(update, StatusChange)]
    assert [status.status for status in statuses][-2:] == [JobStatus.EXECUTING, JobStatus.COMPLETED]
    expected = ({"answer": 42}, True, "stepwise")
    assert (statuses[-1].output, statuses[-1].ended, statuses[-1].task_id) == expected
    assert statuses[-1].completed_on is not None
    assert seen[-1] is statuses[-1]
    expected = [(0.5, "half", 1)]
    assert [(one.value, one.message, one.attempt) for one in seen if isinstance(one, Progress)] == expected
    lines = [(one.level, one.message, one.fields) for one in seen if isinstance(one, LogLine)]
    assert lines == [("info", "begun", {"number": 1}), ("warning", "going on", {})]


async def test_stream_that_timed_out_is_opened_again(place: Place) -> None:
    async with place.serving(api_stream_timeout=0.05) as server, JobsClient(place.url, clock=Hasty()) as jobs:
        sent = await jobs.trigger("stepwise")
        seen: list[Any] = []
        async with aclosing(jobs.watch(sent.id)) as updates:
            async for update in updates:
                seen.append(update)
                if isinstance(update, LogLine) and update.message == "begun":
                    await none_open(server)
                    place.go_on.set()
    assert [one.message for one in seen if isinstance(one, LogLine)] == ["begun", "going on"]
    assert seen[-1].output == {"answer": 42}


async def test_result_timeout_raises_and_the_job_continues(place: Place) -> None:
    async with place.serving() as server, JobsClient(place.url) as jobs:
        sent = await jobs.trigger("stepwise")
        with pytest.raises(ResultTimeoutError, match=r"after 0\.1 s; it continues"):
            await jobs.result(sent.id, timeout=0.1)
        await none_open(server)
        place.go_on.set()
        assert await jobs.result(sent.id, timeout=60) == {"answer": 42}


async def test_invalid_id_is_refused_by_result_without_a_timeout_too() -> None:
    async with JobsClient("http://127.0.0.1:1") as jobs:
        for timeout in (0, None):
            with pytest.raises(JobNotFoundError):
                await jobs.result("no-id", timeout=timeout)


@on_both
async def test_result_of_a_failed_or_cancelled_job_raises(place: Place) -> None:
    async with place.serving(), JobsClient(place.url) as jobs:
        broken = await jobs.trigger("break")
        with pytest.raises(RunFailedError, match="failed: RuntimeError: the glass is broken") as failed:
            await jobs.result(broken.id)
        assert (failed.value.run.id, failed.value.run.status) == (broken.id, JobStatus.FAILED)
        sent = await jobs.trigger("stepwise")
        await jobs.cancel(sent.id)
        with pytest.raises(RunFailedError, match=r"was cancelled$"):
            await jobs.result(sent.id, timeout=60)


async def test_closed_watch_closes_its_stream(place: Place) -> None:
    async with place.serving() as server, JobsClient(place.url) as jobs:
        sent = await jobs.trigger("stepwise")
        async with aclosing(jobs.watch(sent.id)) as updates:
            await anext(updates)
            assert server.app.state.zeke.live.open_streams == 1
        await none_open(server)


async def test_one_client_follows_many_streams(place: Place) -> None:
    async with place.serving() as server, JobsClient(place.url) as jobs:
        sent = await jobs.trigger("stepwise")
        following = [asyncio.ensure_future(jobs.result(sent.id)) for _ in range(120)]
        async with asyncio.timeout(120):
            while server.app.state.zeke.live.open_streams < 120:
                await SystemClock().sleep(0.01)
        place.go_on.set()
        assert await asyncio.gather(*following) == [{"answer": 42}] * 120


async def test_watch_of_a_missing_job_or_without_a_key_raises(place: Place) -> None:
    async with place.serving() as server, JobsClient(place.url) as jobs:
        with pytest.raises(JobNotFoundError):
            await anext(jobs.watch(RUN))
        await Web(server.app, place.queue).key()
        with pytest.raises(UnauthorizedError):
            await anext(jobs.watch(RUN))


# What a server may send, in any pieces.


def stream(*pieces: str | Exception) -> httpx2.Response:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece.encode()

    return httpx2.Response(200, content=body(), headers={"content-type": "text/event-stream; charset=utf-8"})


def event(name: str, data: Any, event_id: str | None = None) -> str:
    head = "" if event_id is None else f"id: {event_id}\n"
    return f"{head}event: {name}\ndata: {data if isinstance(data, str) else json.dumps(data)}\n\n"


def status(word: str, event_id: str | None = None, **more: Any) -> str:
    return event("status", {"id": str(RUN), "status": word, "taskId": "mail", **more}, event_id)


CLOSE = event("close", "complete")
DONE = status("COMPLETED", output=1) + CLOSE


class Script:
    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.clock = Hasty()
        self.way = Way(httpx2.MockTransport(lambda _: httpx2.Response(500)))
        self.way.meet(*answers)
        self.jobs = JobsClient("http://localhost", transport=self.way, clock=self.clock)

    async def said(self, **how: Any) -> list[Any]:
        return [
            one.status.value if isinstance(one, StatusChange) else one.message
            async for one in self.jobs.watch(RUN, **how)
        ]

    @property
    def last_event_ids(self) -> list[str | None]:
        return [request.headers.get("last-event-id") for request in self.way.requests]


async def test_streams_are_read_and_resumed() -> None:
    async def check(streams: list[httpx2.Response], seen: list[str], ids: list[str | None]) -> None:
        script = Script(*streams)
        assert await script.said() == seen
        assert script.last_event_ids == ids

    in_pieces = f": hello\r\n\r\n{status('QUEUED')}{DONE}".replace("\n", "\r")
    cut = status("COMPLETED", "9", output=1)[:-1]
    reset = httpx2.ReadError("reset")
    away = event("error", {"error": "The database went away"})
    executing, queued = ["EXECUTING", "COMPLETED"], ["QUEUED", "COMPLETED"]
    cases: dict[str, Any] = {
        "first status of another connection": (
            [stream(status("EXECUTING", "1")), stream(status("EXECUTING"), DONE)],
            executing,
            [None, "1"],
        ),
        "pieces of any size and line ending": ([stream(*in_pieces)], queued, [None]),
        "event that was cut off": ([stream(status("QUEUED", "1"), cut), stream(DONE)], queued, [None, "1"]),
        "unknown events": (
            [stream(event("child", {"x": 1}), event("message", "y"), DONE)],
            ["COMPLETED"],
            [None],
        ),
        "known end before a reset": ([stream(status("COMPLETED"), reset)], ["COMPLETED"], [None]),
        "event without an id": (
            [stream(status("QUEUED", "1")), stream(status("EXECUTING")), stream(DONE)],
            ["QUEUED", "EXECUTING", "COMPLETED"],
            [None, "1", "1"],
        ),
        "error that may end": ([stream(status("QUEUED"), away), stream(DONE)], queued, [None, None]),
    }
    await check_each_async(cases, check)


async def test_end_without_a_final_status_is_requested() -> None:
    run = {
        "id": str(RUN),
        "status": "FAILED",
        "taskId": "mail",
        "data": None,
        "output": {"type": "E", "message": "m"},
        "startedOn": None,
        "completedOn": "2026-01-05T12:00:00.000Z",
        "createdOn": "2026-01-05T12:00:00.000Z",
        "retryCount": 0,
    }
    script = Script(stream(status("EXECUTING", "1")), stream(CLOSE), httpx2.Response(200, json=run))
    assert await script.said() == ["EXECUTING", "FAILED"]


async def test_deleted_job_raises() -> None:
    script = Script(stream(status("QUEUED"), event("error", {"error": "Job not found"})))
    with pytest.raises(JobNotFoundError):
        await script.said()


async def test_client_reconnects_when_the_server_asks() -> None:
    full = httpx2.Response(503, json={"error": "5000 streams are open"}, headers={"retry-after": "5"})
    script = Script(
        full, stream("retry: 2000\n\n", status("QUEUED")), httpx2.ConnectError("no"), stream(DONE)
    )
    assert await script.said() == ["QUEUED", "COMPLETED"]
    first, second, third = script.clock.pauses
    assert first == 5
    assert 1 <= second <= 2 <= third <= 4


async def test_server_that_never_answered_raises_soon() -> None:
    script = Script(*[httpx2.ConnectError("refused")] * 5)
    with pytest.raises(ServerUnavailableError, match="refused"):
        await script.said()
    assert len(script.way.requests) == 5


async def test_server_that_answered_is_retried_for_longer() -> None:
    script = Script(stream(status("QUEUED")), *[httpx2.ConnectError("refused")] * 20, stream(DONE))
    assert await script.said() == ["QUEUED", "COMPLETED"]
    script = Script(stream(status("QUEUED")), httpx2.ConnectError("refused"))
    with pytest.raises(ServerUnavailableError):
        await script.said(patience=0)


async def test_response_other_than_a_stream_raises() -> None:
    async def check(met: httpx2.Response) -> None:
        with pytest.raises(ApiResponseError, match="check base_url"):
            await Script(met).said()

    cases = {
        "a page": httpx2.Response(200, text="<h1>Welcome</h1>", headers={"content-type": "text/html"}),
        "no JSON": stream(event("status", "no JSON")),
        "no status": stream(event("status", {"id": str(RUN)})),
    }
    await check_each_async(cases, check)
