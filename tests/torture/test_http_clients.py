"""What a client over HTTP records: its sends as the API stores them, and the answers that it got."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx2

from tests.clocks import FrozenClock
from tests.interop.keys import add_key
from tests.torture.http_clients import HttpClient
from tests.torture.recording import Journal, loads, recording
from tests.torture.tasks import make_catalog
from zeke_queue.api_client import JobsClient
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.model import JobStatus, NewJob, RowState
from zeke_queue.storage.access import Scope
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.web import WebSettings, close_app, create_app
from zeke_sim.history.events import Answered, Event, Invoked


async def test_client_records_its_sends_as_the_api_makes_them_and_its_answers(tmp_path: Path) -> None:
    journals = [Journal(tmp_path / name, name, 0.0, place) for place, name in enumerate(("a1", "c1"))]
    storage = recording(MemoryStorage(FrozenClock()), journals[0])
    async with AsyncExitStack() as stack:
        queue = Queue(make_catalog(journals[0]), storage)
        stack.push_async_callback(queue.close)
        token = await add_key(queue, "test", Scope.ADMIN)
        (key,) = await parts_of(queue).storage.access.keys()
        app = create_app(queue, WebSettings(api_trigger_limit=0))
        stack.push_async_callback(close_app, app)
        api = await stack.enter_async_context(
            JobsClient("http://api", token, transport=httpx2.ASGITransport(app))
        )
        draw = SeededEntropy(1).stream("client")
        client = HttpClient(queue, journals[1], draw, 1.0, "", api=api, caller=f"key:{key.id}")
        for step in (client.send, client.read, client.cancel, client.cancel, client.follow):
            await step()
    stored, sent = (_written(tmp_path / name) for name in ("a1", "c1"))
    (inserted,) = (one.args["jobs"] for one in stored if isinstance(one, Invoked) and one.verb == "insert")
    (job,) = cast("tuple[NewJob]", cast("Invoked", sent[0]).args["jobs"])
    assert (replace(inserted[0], meta=None),) == (job,)
    told = [(one.verb, one.outcome, one.result) for one in sent if isinstance(one, Answered)]
    (refused,) = (one for one in told if one[1] == "unknown")
    assert "it has ended" in refused[2]
    told.remove(refused)
    assert told == [
        ("insert", "ok", [job.id]),
        ("http_get", "ok", {job.id: (RowState.CREATED, 0)}),
        ("http_cancel", "ok", {job.id: (RowState.CANCELLED, 0)}),
        ("http_watch", "ok", {job.id: JobStatus.CANCELLED}),
    ]


def _written(path: Path) -> list[Event]:
    return [loads(line) for line in path.read_text().splitlines()]
