"""Tasks that serve several callers: they see no context variable of the caller that started them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from contextvars import Context, ContextVar
from typing import Any, cast

from tests.cases import check_each
from tests.clocks import FrozenClock
from tests.conformance.driver import soon
from tests.web.conftest import open_house
from zeke_queue.client.queue import Queue
from zeke_queue.storage.access import Scope
from zeke_queue.storage.forwarding import Call, forward
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.postgres.listener import Listener
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.web import WebSettings, close_app, create_app
from zeke_queue.web.access.guard import AuthorizationCheck
from zeke_queue.web.dashboard.sampler import USUAL, Sampler
from zeke_queue.worker import Worker

CALLER: ContextVar[str] = ContextVar("caller", default="none")


class RecordingClock(FrozenClock):
    """Records which caller the code that sleeps sees."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def sleep(self, seconds: float) -> None:
        if not self.slept.done():
            self.slept.set_result(CALLER.get())
        await super().sleep(seconds)


async def test_shared_task_sees_no_variable_of_its_first_caller(clock: FrozenClock) -> None:
    catalog, callers = Catalog(), defaultdict[str, set[str]](set)

    @catalog.task("report")
    async def report(job: JobContext) -> None:
        CALLER.set("handler")
        await job.progress(0.5)

    async def record(call: Call, do: Callable[[], Awaitable[Any]]) -> Any:
        callers[call.verb].add(CALLER.get())
        return await do()

    queue = Queue(catalog, forward(MemoryStorage(clock), record), clock=clock)
    run = await queue.send(report)
    async with Worker(queue) as worker:
        CALLER.set("subscriber")
        watching = asyncio.ensure_future(run.result())
        await worker.drain()
        await soon(watching)
    CALLER.set("viewer")
    app = create_app(queue, WebSettings(), authenticator=open_house(queue))
    sampler = Sampler(app.state.zeke)
    async with aclosing(sampler.watch(USUAL)) as samples:
        await soon(anext(samples))
    await sampler.close()
    await close_app(app)

    def check(verb: str) -> None:
        assert callers[verb] == {"none"}

    check_each(["append_events", "subscribe", "add", "get", "discard", "throughput", "queue_stats"], check)


async def test_parts_and_handlers_of_a_worker_keep_its_caller_s_variables(clock: FrozenClock) -> None:
    catalog, callers = Catalog(), defaultdict[str, set[str]](set)

    @catalog.task("report")
    async def report() -> str:
        return CALLER.get()

    async def record(call: Call, do: Callable[[], Awaitable[Any]]) -> Any:
        callers[call.verb].add(CALLER.get())
        return await do()

    queue = Queue(catalog, forward(MemoryStorage(clock), record), clock=clock)
    run = await queue.send(report)
    callers.clear()
    CALLER.set("owner")
    async with Worker(queue) as worker:
        await worker.drain()
    assert await run.result() == "owner"

    def check(verb: str) -> None:
        assert callers[verb] == {"owner"}

    check_each(["claim", "settle", "heartbeat"], check)


async def test_authorization_is_checked_with_the_variables_of_its_request() -> None:
    class Middleware:
        async def require(self, _connection: object, _scope: object) -> None:
            callers.append(CALLER.get())

    callers: list[str] = []
    for name in ("ada", "grace"):
        CALLER.set(name)
        check = AuthorizationCheck(cast("Any", Middleware()), cast("Any", None), Scope.READ, (name,))
        assert await asyncio.create_task(check(), context=Context())
    assert callers == ["ada", "grace"]


async def test_listening_connection_sees_no_variable_of_its_first_caller() -> None:
    clock = RecordingClock()
    CALLER.set("worker")
    listener = Listener("host=127.0.0.1 port=1", "pgboss", clock, enabled=True)
    listener.start()
    assert await soon(clock.slept) == "none"  # it could not connect, and waits
    await listener.stop()
