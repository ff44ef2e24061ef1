"""The application inside another one: under a prefix, without a lifespan, beside the host's own routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from zeke_queue.web import WebSettings, create_app

if TYPE_CHECKING:
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


async def shows_a_run_under(web: Web, prefix: str) -> None:
    sent = await web("POST", f"{prefix}/trigger", json={"taskId": "break"})
    assert sent.status_code == 200
    run = await web("GET", f"{prefix}/trigger/runs/{sent.json()['id']}")
    assert run.json()["status"] == "QUEUED"
    assert (await web("GET", f"{prefix}/jobs/stream/123")).json() == {"error": "Job not found"}
    assert (await web("GET", f"{prefix}/nope")).status_code == 404
