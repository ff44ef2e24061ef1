"""The programs in docs/http.md: a task, a client that follows it, an application around both."""

from __future__ import annotations

import re
import sys
from functools import partial
from types import ModuleType

import httpx2
import pytest

from tests.tidy import ROOT
from zeke_queue import Queue, Worker
from zeke_queue.api_client import JobsClient

ITEM = "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.nightly
async def test_programs_of_the_page_run(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_PRIMARY_URL", dsn)
    app = ModuleType("app")
    monkeypatch.setitem(sys.modules, "app", app)
    page = (ROOT / "docs/http.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/http.md", "exec"), vars(app))  # noqa: S102 - our own page
    transport = httpx2.ASGITransport(app.host, client=("203.0.113.9", 1))
    async with Queue.connect(app.catalog) as queue, Worker(queue), app.lifespan(app.host):
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://jobs.example.org/jobs-api"
        ) as client:
            assert (await client.get("/queues")).status_code == 401
            assert (await client.get("/queues", headers={"x-user": "ada"})).status_code == 200
            assert (await client.post("/queues/my-task/pause", headers={"x-user": "ada"})).status_code == 403
        app.__dict__["JobsClient"] = partial(JobsClient, transport=_Ada(transport))
        output = await app.look_at(ITEM, "http://jobs.example.org/jobs-api", "mid_" + "0" * 64)
    assert output == {"success": True}
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "COMPLETED"
    assert {"0.5 half way", f"info looking {{'item': '{ITEM}'}}"} <= set(printed)


class _Ada(httpx2.AsyncBaseTransport):
    """Adds what the page's application knows Ada by."""

    def __init__(self, way: httpx2.AsyncBaseTransport) -> None:
        self._way = way

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["x-user"] = "ada"
        return await self._way.handle_async_request(request)
