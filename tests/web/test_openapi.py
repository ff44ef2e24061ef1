"""The OpenAPI document: schemathesis sends valid and invalid requests to a real server and finds no fault."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.web.conftest import Web, open_house, shop_catalog
from zeke_queue.client.queue import Queue
from zeke_queue.storage.access import Scope
from zeke_queue.web import WebSettings, create_app
from zeke_queue.web.extension import installed_extensions
from zeke_queue.web.server import ApiServer
from zeke_tasks.catalog import catalog
from zeke_tasks.pages import subscriptions_extension
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.store.model import NewSource, SourceType

pytestmark = pytest.mark.nightly

OPERATIONS = 27
TEAM = UUID(int=7)
MAIL = {"to": "ada@example.org"}


@contextmanager
def served() -> Iterator[tuple[str, str]]:
    """Serve the shop in memory, from a thread; yields the URL and a key that may do everything."""
    told: list[tuple[str, str]] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        web = WebSettings.load(api_port=0, api_trigger_limit=0, api_stream_timeout=0.1)
        async with Queue.in_memory(shop_catalog()) as queue:
            rows = MemoryRepository(queue.clock)
            async with queue.transaction() as transaction:
                await rows.within(transaction).ensure_source(
                    UUID(int=1), NewSource(SourceType.RSS, "A", "https://a.example/feed")
                )
            # The shop lacks the task for which the routes are there.
            extension = replace(subscriptions_extension(rows), needs=None)
            server = ApiServer(queue, web, authenticator=open_house(queue), extensions=[extension])
            key = await Web(server.app, queue).key(Scope.ADMIN, team=TEAM)
            for _ in range(3):
                await queue.send("mail", MAIL)
            await queue.schedules.put("mail", "* * * * *", payload=MAIL)
            serving = asyncio.ensure_future(server.run())
            told.append((server.url, key))
            ready.set()
            await stop.wait()
            server.stop()
            await serving

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(120)
        yield told[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


# JSON Schema can't express that a cursor must be one that was returned, nor the syntax of cron expressions.
CONFIG = """
[[operations]]
include-name = ["GET /trigger/runs", "PUT /schedules/{name}"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 422]
"""


def test_schemathesis_finds_no_fault(tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    with served() as (url, key):
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
        command += ["run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {key}"]
        command += ["--max-examples", "10", "--seed", "1", "--generation-deterministic", "--no-color"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    tested = re.search(r"Tested: (\d+)", run.stdout)
    assert tested is not None
    assert int(tested[1]) == OPERATIONS


async def test_each_task_has_its_own_schema(call: Web) -> None:
    document = (await call("GET", "/openapi.json")).json()
    schemas = document["components"]["schemas"]
    expected = {"Trigger.mail", "Trigger.break", "Trigger.login", "Trigger.twice", "Trigger.ticket"}
    assert {one["$ref"].rpartition("/")[2] for one in schemas["Trigger"]["anyOf"]} == expected
    assert schemas["Trigger.mail"]["properties"]["taskId"] == {"enum": ["mail", "old-mail"]}
    assert schemas["Trigger.mail"]["properties"]["payload"]["required"] == ["to"]


async def test_every_route_but_health_needs_a_key(call: Web) -> None:
    queue, repository = call.queue, MemoryRepository(call.queue.clock)
    extension = replace(subscriptions_extension(repository), needs=None)
    call = Web(create_app(queue, authenticator=open_house(queue), extensions=[extension]), queue)
    document = (await call("GET", "/openapi.json")).json()
    assert "/subscriptions/{source_id}" in document["paths"]
    await call.key()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answer = await call(method.upper(), path.replace("{run_id}", "1").replace("{name}", "mail"))
            open_to_all = operation.get("security") == []
            assert (answer.status_code == 200) == open_to_all, path
            assert open_to_all or answer.status_code == 401, path


def documented() -> Any:
    async def document() -> Any:
        async with Queue.in_memory(catalog) as queue:
            return create_app(queue, WebSettings(), extensions=installed_extensions()).openapi()

    return asyncio.run(document())


def test_references_and_schemas_match() -> None:
    made = documented()
    assert references(made) == {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}


def test_every_error_is_documented_as_a_problem() -> None:
    errors = {
        (path, method, code, *references(answer))
        for path, operations in documented()["paths"].items()
        for method, operation in operations.items()
        for code, answer in operation["responses"].items()
        if int(code) >= HTTPStatus.BAD_REQUEST
    }
    assert {shape for *_, shape in errors} == {"#/components/schemas/Problem"}


def references(part: Any) -> set[str]:
    if isinstance(part, list):
        return set().union(*(references(one) for one in part))
    if not isinstance(part, dict):
        return set()
    own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set[str]()
    return own.union(*(references(one) for one in part.values()))
