"""The application on a storage with a stopped clock, and clients that call it.

The storage is one in memory. A test of what HTTP and the database do together is marked ``on_both_storages``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core import apikeys
from zeke_queue.storage import Storage
from zeke_queue.storage.access import NewKey, Scope
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.web import Authenticator, Caller, WebSettings, create_app
from zeke_queue.worker import Worker

on_both_storages = pytest.mark.parametrize("storage", ["memory", "postgres"], indirect=True)
"""Run a test in memory and on Postgres."""


class Mail(BaseModel):
    to: str
    copies: int = Field(default=1, ge=1)


numbers = count()


class Ticket(BaseModel):
    number: int = Field(default_factory=lambda: next(numbers), strict=True)


class Login(BaseModel):
    user: str
    password: str


def shop_catalog() -> Catalog:
    """Return the tasks of a shop: ``mail`` returns, ``break`` fails permanently, ``login`` hides secrets."""
    catalog = Catalog()

    @catalog.task("mail", aliases=["old-mail"], concurrency_limit=5)
    async def mail(payload: Mail, job: JobContext) -> dict[str, Any]:
        """Send a mail."""
        job.progress(0.5, "half")
        job.logger.info("sending", to=payload.to)
        return {"sent": payload.copies}

    @catalog.task("break", retry_limit=0)
    async def broken() -> None:
        raise RuntimeError("the glass is broken")

    @catalog.task("login", retry_limit=0, redact=["payload.password", "output.token", "error", "log"])
    async def login(payload: Login, job: JobContext) -> dict[str, str]:
        job.logger.info("logging in", password=payload.password)
        if payload.user == "nobody":
            raise RuntimeError(f"no such user, password {payload.password}")
        return {"token": "t0k3n", "user": payload.user}

    @catalog.task("twice", redact=["output.token"])
    async def twice(job: JobContext) -> dict[str, str]:
        if job.attempt == 1:
            raise RuntimeError("not yet")
        return {"type": "card", "message": "stored", "token": "t0k3n"}

    @catalog.task("ticket")
    async def ticket(payload: Ticket) -> None:
        del payload

    return catalog


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the variables of the machine that would decide how a test ends."""
    for name in (*Settings.model_fields, *WebSettings.model_fields):
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def storage(request: pytest.FixtureRequest, clock: FrozenClock) -> AsyncIterator[Storage]:
    """A storage with nothing in it: in memory, unless a test is marked ``on_both_storages``."""
    if getattr(request, "param", "memory") == "memory":
        yield MemoryStorage(clock)
        return
    dsn: str = request.getfixturevalue("emptied_dsn")
    async with PostgresStorage.open(dsn, min_size=1, max_size=4, now=clock.now) as opened:
        yield opened


@asynccontextmanager
async def shop_queue(storage: Storage, clock: FrozenClock) -> AsyncIterator[Queue]:
    queue = Queue(shop_catalog(), storage, clock=clock, entropy=SeededEntropy(0), settings=Settings.load())
    yield queue
    await queue.close()


@pytest.fixture
async def queue(storage: Storage, clock: FrozenClock) -> AsyncIterator[Queue]:
    async with shop_queue(storage, clock) as queue:
        yield queue


@pytest.fixture
def jobs(storage: Storage, clock: FrozenClock) -> Driver:
    """What a worker would do, done by hand."""
    return Driver(storage, clock)


@pytest.fixture
def web() -> WebSettings:
    """The settings of the application; a module of tests may have others."""
    return WebSettings.load()


def open_house(queue: Queue) -> Authenticator:
    """Return an authenticator to which every caller is an admin until a key exists.

    So tests of other things need no key.
    """

    async def authenticate(connection: HTTPConnection) -> Caller | None:
        del connection
        if await parts_of(queue).storage.access.has_keys():
            return None
        return Caller("tests", "tests", frozenset(Scope))

    return authenticate


@pytest.fixture
def app(queue: Queue, web: WebSettings) -> FastAPI:
    return create_app(queue, web, authenticator=open_house(queue))


class Web:
    """Calls the application, and does by hand what a worker would do."""

    def __init__(self, app: Any, queue: Queue) -> None:
        self.app = app
        self.queue = queue

    def with_app(self, settings: WebSettings | None = None, **options: Any) -> Web:
        """Return the callers of another application on the same queue."""
        given = {"authenticator": open_house(self.queue), **options}
        return Web(create_app(self.queue, settings or WebSettings.load(), **given), self.queue)

    def client(
        self, key: str | None = None, *, host: str = "localhost", peer: str = "127.0.0.1", **headers: str
    ) -> httpx2.AsyncClient:
        """Return a client that shows a key, or none."""
        shown = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.app, raise_app_exceptions=False, client=(peer, 50_000)),
            base_url=f"http://{host}",
            headers={**shown, **headers},
        )

    async def __call__(self, method: str, path: str, key: str | None = None, **more: Any) -> httpx2.Response:
        """Send one request from this machine."""
        async with self.client(key) as client:
            return await client.request(method, path, **more)

    async def trigger(self, task: str, payload: Any = None) -> str:
        body = {"taskId": task} if payload is None else {"taskId": task, "payload": payload}
        answer = await self("POST", "/trigger", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    async def work(self) -> None:
        """Run all jobs that are due."""
        await Worker(self.queue).drain()

    async def key(
        self, *scopes: Scope, name: str = "ci", team: UUID | None = None, expires_in: float | None = None
    ) -> str:
        """Store a key; returns its text."""
        draw = parts_of(self.queue).entropy.stream("key").randbytes(apikeys.KEY_BYTES)
        text = apikeys.new_key(draw)
        await parts_of(self.queue).storage.access.create_key(
            NewKey(
                id=parts_of(self.queue).factory.new_id(),
                name=name,
                prefix=apikeys.prefix_of(text),
                digest=apikeys.digest_of(text),
                scopes=frozenset(scopes or (Scope.TRIGGER,)),
                team_id=team,
                expires_in=expires_in,
            )
        )
        return text


@asynccontextmanager
async def new_web(clock: FrozenClock | None = None, **settings: Any) -> AsyncIterator[Web]:
    """Open a separate application in memory, for a case that must not see the state of another."""
    clock = clock or FrozenClock()
    async with shop_queue(MemoryStorage(clock), clock) as queue:
        web = WebSettings.load(**settings)
        yield Web(create_app(queue, web, authenticator=open_house(queue)), queue)


@pytest.fixture
def call(app: FastAPI, queue: Queue) -> Web:
    return Web(app, queue)
