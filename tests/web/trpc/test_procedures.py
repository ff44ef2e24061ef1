"""The four procedures over the whole application, called as tRPC's client does, without a network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import httpx2
import pytest
from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core import apikeys
from zeke_queue.errors import JobConflictError
from zeke_queue.model import Job, JobQuery
from zeke_queue.storage.access import Scope
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.web import WebSettings, create_app
from zeke_queue.web.access.guard import Caller
from zeke_queue.web.trpc.procedures import to_trpc_error
from zeke_queue.web.trpc.superjson import decode

TEAM = UUID(int=7)
PLAYBOOK = "00000000-0000-0000-0000-000000000009"


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Item(Camel):
    item_id: UUID


class Page(Camel):
    url: Annotated[str, StringConstraints(max_length=2048)]
    priority: str


class Playbook(Camel):
    playbook_id: UUID
    team_id: UUID
    trigger_source: str
    metadata: dict[str, Any] | None = None


def whole_catalog() -> Catalog:
    catalog = Catalog()

    @catalog.task("my-task")
    async def my_task(payload: Item) -> None:
        """Do nothing."""

    @catalog.task("anything")
    async def anything(payload: Any) -> None:
        """Do nothing."""

    @catalog.task("ingest-oneoff")
    async def ingest_oneoff(payload: Page) -> None:
        """Do nothing."""

    @catalog.task("playbook-run")
    async def playbook_run(payload: Playbook) -> None:
        """Do nothing."""

    return catalog


class Answer(NamedTuple):
    status: int
    body: Any
    headers: httpx2.Headers

    @property
    def value(self) -> Any:
        return decode(self.body["result"]["data"])

    @property
    def error(self) -> dict[str, Any]:
        return self.body["error"]["json"]


class Client:
    """Calls procedures as ``httpLink`` does, as the caller that a header names."""

    def __init__(self, http: httpx2.AsyncClient, queue: Queue) -> None:
        self._http = http
        self.queue = queue

    async def query(self, path: str, value: Any = None, *, as_: str = "trigger") -> Answer:
        wire = json.dumps({"json": value})
        return self._answer(
            await self._http.get(f"/trpc/{path}", params={"input": wire}, headers={"x-as": as_})
        )

    async def mutate(self, path: str, value: Any = None, *, as_: str = "trigger") -> Answer:
        return await self.post(path, {"json": value}, as_=as_)

    async def post(self, path: str, wire: Any, *, as_: str = "trigger") -> Answer:
        """Call a mutation with superjson's form of its input."""
        return self._answer(await self._http.post(f"/trpc/{path}", json=wire, headers={"x-as": as_}))

    async def batch(self, paths: list[str], values: list[Any], *, as_: str = "trigger") -> list[Answer]:
        wire = {str(index): {"json": value} for index, value in enumerate(values)}
        url = f"/trpc/{','.join(paths)}?batch=1"
        response = await self._http.post(url, json=wire, headers={"x-as": as_})
        return [Answer(response.status_code, one, response.headers) for one in response.json()]

    async def sent(self, answer: Answer) -> Job:
        job = await self.queue.get(UUID(answer.value["id"]))
        assert job is not None
        return job

    def _answer(self, response: httpx2.Response) -> Answer:
        return Answer(response.status_code, response.json(), response.headers)


async def who(connection: Any) -> Caller | None:
    """Return the caller that a header names: its scope, and whether it has a team."""
    name, _, team = connection.headers.get("x-as", "").partition("+")
    if not name:
        return None
    scopes = frozenset({Scope(f"jobs.{name}")})
    return Caller(name, name, scopes, TEAM if team else None)


@asynccontextmanager
async def serving(catalog: Catalog, **settings: Any) -> AsyncIterator[Client]:
    web = WebSettings.model_validate(settings)
    async with Queue.in_memory(catalog, clock=FrozenClock(), settings=Settings()) as queue:
        transport = httpx2.ASGITransport(create_app(queue, web, authenticator=who))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield Client(http, queue)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving(whole_catalog()) as made:
        yield made


async def test_trigger_sends_a_job(client: Client) -> None:
    item = str(UUID(int=5))
    sent = await client.mutate("trigger.trigger", {"taskId": "my-task", "payload": {"itemId": item}})
    assert sent.status == 200
    assert sent.value == {"id": sent.value["id"], "status": "created", "taskId": "my-task"}
    assert (await client.sent(sent)).data == {"itemId": item}


async def test_run_shows_a_job_with_dates(client: Client) -> None:
    run = await client.queue.trigger("anything", {"when": "2024"})
    for name in ("runId", "id"):
        told = await client.query("trigger.run", {name: str(run.id)})
        assert told.value == {
            "id": str(run.id),
            "status": "QUEUED",
            "taskId": "anything",
            "data": {"when": "2024"},
            "output": None,
            "startedOn": None,
            "completedOn": None,
            "createdOn": (await run.job()).created_on,
            "retryCount": 0,
        }


async def test_date_in_a_payload_is_kept_as_json_stringify_writes_it(client: Client) -> None:
    wire = {"json": {"taskId": "anything", "payload": [{"when": "1970-01-01T00:00:00.000Z"}]}}
    wire["meta"] = {"values": {"payload.0.when": ["Date"]}, "v": 1}
    sent = await client.post("trigger.trigger", wire)
    assert (await client.sent(sent)).data == [{"when": "1970-01-01T00:00:00.000Z"}]


async def test_deep_payload_is_sent_and_read(client: Client) -> None:
    deep: Any = 1
    for _ in range(180):
        deep = [deep]
    sent = await client.mutate("trigger.trigger", {"taskId": "anything", "payload": deep})
    assert (await client.query("trigger.run", {"runId": sent.value["id"]})).value["data"] == deep


async def test_missing_job_is_not_found(client: Client) -> None:
    async def check(run_id: str) -> None:
        told = await client.query("trigger.run", {"runId": run_id})
        assert told.status == 404
        assert (told.error["message"], told.error["code"]) == (f"Job run {run_id} not found", -32004)

    await check_each_async([str(UUID(int=1)), "123", "", "<b>", "'; drop table job", "{" + "1" * 32], check)
    long = await client.query("trigger.run", {"runId": "x" * 5000})
    assert len(long.error["message"]) < 300


async def test_ingest_url_sends_the_task_that_reads_a_page(client: Client) -> None:
    sent = await client.mutate("trigger.ingestUrl", {"url": "https://example.org/a", "priority": "high"})
    job = await client.sent(sent)
    assert (job.name, job.data) == ("ingest-oneoff", {"url": "https://example.org/a", "priority": "high"})
    plain = await client.mutate("trigger.ingestUrl", {"url": "https://example.org/b"})
    assert (await client.sent(plain)).data["priority"] == "normal"


async def test_invalid_input_is_rejected_with_its_field(client: Client) -> None:
    async def check(given: Any, path: str = "url") -> None:
        told = await client.mutate("trigger.ingestUrl", given)
        assert (told.status, told.error["data"]["code"]) == (400, "BAD_REQUEST")
        assert [field["path"] for field in told.error["data"]["fields"]] == [path]
        assert told.error["message"].startswith(f"Invalid input: {path}: ")
        assert (await client.queue.find(JobQuery())).jobs == []

    cases: list[Any] = [
        {},
        None,
        ([], "input"),
        {"url": "example.org"},
        {"url": "file:///etc/passwd"},
        {"url": "https://"},
        {"url": "https://[::1"},
        {"url": "https://example.org/" + "x" * 3000},
        {"url": 5},
        ({"url": "https://example.org", "priority": "now"}, "priority"),
    ]
    await check_each_async(cases, check)


async def test_run_playbook_runs_it_for_the_callers_team(client: Client) -> None:
    given = {"playbookId": PLAYBOOK, "context": {"a": [1]}}
    job = await client.sent(await client.mutate("trigger.runPlaybook", given, as_="trigger+team"))
    assert job.name == "playbook-run"
    expected = {"playbookId": PLAYBOOK, "teamId": str(TEAM), "triggerSource": "api", "metadata": {"a": [1]}}
    assert job.data == expected
    plain = await client.mutate("trigger.runPlaybook", {"playbookId": PLAYBOOK}, as_="trigger+team")
    assert (await client.sent(plain)).data["metadata"] is None


async def test_run_playbook_needs_a_team(client: Client) -> None:
    told = await client.mutate("trigger.runPlaybook", {"playbookId": PLAYBOOK})
    assert told.status == 403
    assert (told.error["message"], told.error["data"]["code"]) == ("Team context required", "FORBIDDEN")


async def test_task_that_the_catalog_lacks_is_not_implemented() -> None:
    async with serving(Catalog()) as client:
        given = {"url": "https://example.org", "playbookId": PLAYBOOK}
        for path in ("trigger.ingestUrl", "trigger.runPlaybook"):
            told = await client.mutate(path, given, as_="trigger+team")
            assert (told.status, told.error["data"]["code"]) == (501, "NOT_IMPLEMENTED"), path
            assert "catalog does not have" in told.error["message"]


async def test_unknown_task_is_not_found(client: Client) -> None:
    told = await client.mutate("trigger.trigger", {"taskId": "nobodys", "payload": {}})
    assert (told.status, told.error["data"]["code"]) == (404, "NOT_FOUND")
    assert "nobodys" in told.error["message"]


async def test_invalid_payload_is_rejected_with_its_field(client: Client) -> None:
    told = await client.mutate("trigger.trigger", {"taskId": "my-task", "payload": {"itemId": "123"}})
    assert (told.status, told.error["code"]) == (422, -32022)
    assert [field["path"] for field in told.error["data"]["fields"]] == ["payload.itemId"]


def test_conflict_names_the_holder_of_the_key() -> None:
    told = to_trpc_error(JobConflictError("The slot is held", UUID(int=5))).shape("trigger.trigger")["error"][
        "json"
    ]
    assert (told["code"], told["data"]["code"], told["data"]["httpStatus"]) == (-32009, "CONFLICT", 409)
    assert told["data"]["id"] == str(UUID(int=5))


async def test_call_without_a_key_is_unauthorized(client: Client) -> None:
    told = await client.mutate("trigger.trigger", {"taskId": "anything"}, as_="")
    assert told.status == 401
    assert (told.error["message"], told.error["code"]) == ("Authorization header required", -32001)
    assert told.headers["www-authenticate"] == "Bearer"
    assert (await client.query("trigger.run", {"runId": "1"}, as_="")).status == 401


async def test_read_scope_may_not_trigger(client: Client) -> None:
    assert (await client.query("trigger.run", {"runId": "1"}, as_="read")).status == 404
    told = await client.mutate("trigger.trigger", {"taskId": "anything"}, as_="read")
    assert (told.status, told.error["code"]) == (403, -32003)
    assert "jobs.trigger" in told.error["message"]


async def test_invalid_key_of_a_batch_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Queue.in_memory(whole_catalog(), clock=FrozenClock(), settings=Settings()) as queue:
        looks: list[str] = []
        real = parts_of(queue).storage.access.valid_keys

        async def valid_keys(prefix: str) -> Any:
            looks.append(prefix)
            return await real(prefix)

        async def has_keys() -> bool:
            return True

        monkeypatch.setattr(parts_of(queue).storage.access, "valid_keys", valid_keys)
        monkeypatch.setattr(parts_of(queue).storage.access, "has_keys", has_keys)
        key = apikeys.new_key(bytes(apikeys.KEY_BYTES))
        transport = httpx2.ASGITransport(create_app(queue, WebSettings()))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            path = f"/trpc/{','.join(['trigger.trigger', 'trigger.ingestUrl'] * 50)}?batch=1"
            told = await http.post(path, json={}, headers={"authorization": f"Bearer {key}"})
    assert told.status_code == 401
    assert {one["error"]["json"]["message"] for one in told.json()} == {"Invalid API key"}
    assert len(told.json()) == 100
    assert looks == [apikeys.prefix_of(key)]


async def test_each_call_of_a_batch_counts_against_the_limit() -> None:
    async with serving(whole_catalog(), api_trigger_limit=2) as client:
        told = await client.batch(["trigger.trigger"] * 3, [{"taskId": "anything"}] * 3)
    assert [one.status for one in told] == [207] * 3
    assert ["result" in one.body for one in told] == [True, True, False]
    assert (told[2].error["code"], told[2].error["data"]["code"]) == (-32029, "TOO_MANY_REQUESTS")
    assert int(told[2].headers["retry-after"]) > 0


async def test_internal_error_reveals_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(ids: Any) -> Any:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(parts_of(client.queue).storage, "get", broken)
    told = await client.query("trigger.run", {"runId": str(UUID(int=1))})
    assert (told.status, told.error["data"]["code"]) == (500, "INTERNAL_SERVER_ERROR")
    assert "hunter2" not in json.dumps(told.body)
