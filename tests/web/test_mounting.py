"""The application inside another one: under a prefix, without a lifespan, beside the host's own routes."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.web.live.tab import Tab
from zeke_queue.web import WebSettings, close_app, create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.clocks import FrozenClock
    from tests.web.conftest import Web
    from zeke_queue.queue import Queue


async def test_it_is_mounted_into_fastapi(call: Web, queue: Queue) -> None:
    host = FastAPI()

    @host.get("/own")
    async def own() -> str:
        return "the host's"

    host.mount("/background", create_app(queue, WebSettings()))
    await shows_a_run_under(type(call)(host, queue), "/background")
    assert (await type(call)(host, queue)("GET", "/own")).json() == "the host's"


async def test_it_is_mounted_into_starlette(call: Web, queue: Queue) -> None:
    host = Starlette(routes=[Mount("/a/b", create_app(queue, WebSettings()))])
    await shows_a_run_under(type(call)(host, queue), "/a/b")


async def test_a_stream_is_live_beneath_a_mount(call: Web, queue: Queue, clock: FrozenClock) -> None:
    jobs = create_app(queue, WebSettings())
    fast = FastAPI()
    fast.mount("/background", jobs)
    slow = Starlette(routes=[Mount("/a/b", jobs)])
    for host, prefix in ((fast, "/background"), (slow, "/a/b")):
        web = type(call)(host, queue)
        sent = await web("POST", f"{prefix}/trigger", json={"taskId": "mail", "payload": {"to": "ann"}})
        job_id = sent.json()["id"]
        async with Tab(host, f"{prefix}/jobs/stream/{job_id}", clock=clock) as tab:
            await tab.until(lambda tab: tab.statuses == ["QUEUED"])
            await web.work()
            await tab.rest()
            assert tab.statuses[-1] == "COMPLETED"
            assert [event.json["value"] for event in tab.named("progress")] == [0.5]
            assert tab.events[-1].name == "close"


async def test_the_end_of_a_hosts_lifespan_ends_the_streams(
    call: Web, queue: Queue, clock: FrozenClock
) -> None:
    @asynccontextmanager
    async def lifespan(host: FastAPI) -> AsyncIterator[None]:
        jobs = create_app(queue, WebSettings())
        host.mount("/background", jobs)
        yield
        await close_app(jobs)

    host = FastAPI(lifespan=lifespan)
    job_id = await call.trigger("break")
    async with AsyncExitStack() as begun:
        await begun.enter_async_context(host.router.lifespan_context(host))
        async with Tab(host, f"/background/jobs/stream/{job_id}", clock=clock) as tab:
            await tab.until(lambda tab: tab.statuses == ["QUEUED"])
            assert not tab.ended
            await begun.aclose()
            await tab.rest()
            assert tab.ended
            assert tab.named("close", "timeout", "error") == []


async def shows_a_run_under(web: Web, prefix: str) -> None:
    sent = await web("POST", f"{prefix}/trigger", json={"taskId": "break"})
    assert sent.status_code == 200
    run = await web("GET", f"{prefix}/trigger/runs/{sent.json()['id']}")
    assert run.json()["status"] == "QUEUED"
    assert (await web("GET", f"{prefix}/jobs/stream/123")).json() == {"error": "Job not found"}
    assert (await web("GET", f"{prefix}/nope")).status_code == 404
