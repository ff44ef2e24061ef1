"""The application inside another one: under a prefix, without a lifespan, beside the host's own routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.web.conftest import Web, open_house
from tests.web.live.tab import Tab
from zeke_queue.client.queue import Queue
from zeke_queue.web import WebSettings, create_app


async def test_api_works_beneath_a_mount(queue: Queue, clock: FrozenClock) -> None:
    api = create_app(queue, WebSettings(), authenticator=open_house(queue))
    fast = FastAPI()

    @fast.get("/own")
    async def own() -> str:
        return "the host's"

    fast.mount("/background", api)
    assert (await Web(fast, queue)("GET", "/own")).json() == "the host's"

    async def check(host: Any, prefix: str) -> None:
        web = Web(host, queue)
        mail = {"taskId": "mail", "payload": {"to": "ann"}}
        job_id = (await web("POST", f"{prefix}/trigger", json=mail)).json()["id"]
        run = await web("GET", f"{prefix}/trigger/runs/{job_id}")
        assert run.json()["status"] == "QUEUED"
        assert (await web("GET", f"{prefix}/jobs/stream/123")).json() == {"error": "Job not found"}
        assert (await web("GET", f"{prefix}/nope")).status_code == 404
        async with Tab(host, f"{prefix}/jobs/stream/{job_id}", clock=clock) as tab:
            await tab.until(lambda tab: tab.statuses == ["QUEUED"])
            await web.work()
            await tab.rest()
            assert tab.statuses[-1] == "COMPLETED"
            assert [event.json["value"] for event in tab.named("progress")] == [0.5]
            assert tab.events[-1].name == "close"

    hosts = {"FastAPI": (fast, "/background"), "Starlette": (Starlette(routes=[Mount("/a/b", api)]), "/a/b")}
    await check_each_async(hosts, check)
