"""What is wrong with a request is told by code and message, and nothing else is."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from tests.web.trpc.test_procedures import serving, whole_catalog
from zeke_queue.errors import Forbidden, SchemaMismatch, StorageUnavailable
from zeke_queue.web import WebSettings, create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.web.conftest import Web
    from zeke_queue.queue import Queue

JSON = {"content-type": "application/json"}
HOSTILE = [
    "'; drop table pgboss.job; --",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "${7*7}{{7*7}}",
    "\u0000",
    "\ud83d",
    "x" * 2000,
    "\r\nset-cookie: a=b",
]


@pytest.fixture
def web() -> WebSettings:
    """Settings with a small cap on bodies."""
    return WebSettings.load(api_body_max=4096)


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[1,2", b'{"taskId": "mail", }', b"\xff\xfe", b"NaN", b'{"taskId": "a" "b"}', b"\x00"],
)
async def test_a_body_that_is_no_json_is_told_so(call: Web, body: bytes) -> None:
    answer = await call("POST", "/trigger", content=body, headers=JSON)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


async def test_json_that_nests_for_ever_is_refused(call: Web) -> None:
    deep = b'{"taskId": "mail", "payload": ' + b"[" * 2000
    answer = await call("POST", "/trigger", content=deep, headers=JSON)
    assert answer.status_code == 400
    closed = b'{"taskId": "mail", "payload": ' + b"[" * 1900 + b"]" * 1900 + b"}"
    answer = await call("POST", "/trigger", content=closed, headers=JSON)
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("body", ["[]", "7", '"mail"', "null", "{}", '{"taskId": ""}', '{"taskId": null}'])
async def test_json_of_another_shape_is_told_so(call: Web, body: str) -> None:
    answer = await call("POST", "/trigger", content=body.encode(), headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["fields"]
    assert "Content-Type" not in answer.text


async def test_json_that_is_not_said_to_be_such_is_told_so(call: Web) -> None:
    body = b'{"taskId": "break"}'
    for headers in ({}, {"content-type": "application/x-www-form-urlencoded"}):
        answer = await call("POST", "/trigger", content=body, headers=headers)
        assert answer.status_code == 422
        assert "Content-Type: application/json" in answer.json()["fields"][0]["message"]


@pytest.mark.parametrize(
    "given", ["2026-11-26T12:00:00", "2026-11-26", "yesterday", "2026-13-01T00:00:00Z", "7"]
)
@pytest.mark.parametrize("name", ["createdFrom", "createdTo"])
async def test_an_instant_that_is_none_is_told_how_one_is_written(call: Web, name: str, given: str) -> None:
    answer = await call("GET", "/trigger/runs", params={name: given})
    assert answer.status_code == 422
    (field,) = answer.json()["fields"]
    assert (field["path"], field["message"].partition("as ")[2]) == (name, "2026-01-31T12:00:00Z")


@pytest.mark.parametrize("name", ["status", "task"])
async def test_a_parameter_that_may_be_repeated_is_told_by_its_name(call: Web, name: str) -> None:
    answer = await call("GET", "/trigger/runs", params={name: "x" * 600})
    assert answer.status_code == 422
    assert [field["path"] for field in answer.json()["fields"]] == [name]
    assert answer.json()["error"].startswith(f"The request does not fit: {name}: ")


@pytest.mark.parametrize("number", ["1e400", "0.5", "NaN", "-Infinity"])
async def test_a_number_that_can_not_be_is_no_servers_error(call: Web, number: str) -> None:
    body = f'{{"taskId": "mail", "payload": {{"to": "a", "copies": {number}}}}}'
    answer = await call("POST", "/trigger", content=body.encode(), headers=JSON)
    assert answer.status_code in (400, 422)


async def test_an_integer_of_any_length_arrives_as_it_is(call: Web, queue: Queue) -> None:
    body = b'{"taskId": "mail", "payload": {"to": "a", "copies": 123456789012345678901234567890}}'
    answer = await call("POST", "/trigger", content=body, headers=JSON)
    job = await queue.get(UUID(answer.json()["id"]))
    assert job is not None
    assert job.data["copies"] == 123456789012345678901234567890


async def test_a_body_that_is_too_large_is_not_read(call: Web, queue: Queue) -> None:
    body = b'{"taskId": "mail", "payload": {"to": "' + b"x" * 5000 + b'"}}'
    told = await call("POST", "/trigger", content=body, headers=JSON)
    assert (told.status_code, told.json()) == (413, {"error": "The body is too large: 4096 bytes at most"})

    async def in_pieces() -> AsyncIterator[bytes]:
        for place in range(0, len(body), 100):
            yield body[place : place + 100]

    untold = await call("POST", "/trigger", content=in_pieces(), headers=JSON)
    assert untold.status_code == 413
    client = await call("POST", "/trpc/trigger.trigger", content=body, headers=JSON)
    assert client.status_code == 413
    assert client.json()["error"]["json"]["data"]["code"] == "PAYLOAD_TOO_LARGE"
    assert await queue.count() == []


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_anywhere_is_data_or_refused(call: Web, queue: Queue, text: str) -> None:
    ended = await call.trigger("mail", {"to": "ada"})
    await call.work()
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/trigger", {"json": {"taskId": text, "payload": {}}}),
        ("POST", "/trigger", {"json": {"taskId": "mail", "payload": {"to": text}}}),
        ("POST", "/trigger", {"json": {"taskId": "mail", "payload": text}}),
        ("PUT", "/schedules/x", {"json": {"cron": text, "task": "break"}}),
        ("PUT", "/schedules/x", {"json": {"cron": "0 0 * * *", "task": text}}),
        ("PUT", "/schedules/x", {"json": {"cron": "0 0 * * *", "task": "break", "zone": text}}),
        ("PUT", "/schedules/x", {"json": {"cron": "0 0 * * *", "task": "break", "description": text}}),
        ("PUT", "/schedules/x", {"json": {"cron": "0 0 * * *", "task": "break", "catchUp": text}}),
        ("PUT", "/schedules/x", {"json": {"cron": "0 0 * * *", "task": "mail", "payload": {"to": text}}}),
        ("PUT", "/schedules/x", {"json": {"cron": "0 0 * * *", "task": "mail", "payload": text}}),
    ]
    requests += [
        ("POST", f"/trpc/trigger.{procedure}", {"json": {"json": given}})
        for procedure, given in (
            ("trigger", {"taskId": text, "payload": {}}),
            ("trigger", {"taskId": "mail", "payload": {"to": text}}),
        )
    ]
    idempotent = {"taskId": "mail", "payload": {"to": "ada"}}
    # Half of a surrogate pair has no form in a URL, or in a header.
    if text != "\ud83d":
        names = ("task", "status", "text", "parent", "createdFrom", "cursor", "limit")
        requests += [("GET", "/trigger/runs", {"params": {name: text}}) for name in names]
        requests += [
            ("GET", f"/trigger/runs/{ended}/events", {"params": {"after": text}}),
            ("GET", f"/jobs/stream/{ended}", {"params": {"lastEventId": text}}),
            ("GET", f"/jobs/stream/{ended}", {"headers": {"last-event-id": text}}),
            ("POST", "/trigger", {"json": idempotent, "headers": {"idempotency-key": text}}),
        ]
    for method, path, more in requests:
        headers = {"headers": {**JSON, **more.get("headers", {})}}
        body = {"content": json.dumps(more["json"]).encode()} if "json" in more else more
        answer = await call(method, path, **{**body, **headers})
        assert answer.status_code < 500, (method, path, more)
        kind = "text/event-stream" if "/stream/" in path else "application/json"
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert "set-cookie" not in answer.headers
        assert "Traceback" not in answer.text
        assert "psycopg" not in answer.text
    assert {one.name for one in await queue.count()} <= {"mail"}


@pytest.mark.parametrize("text", [text for text in HOSTILE if text != "\ud83d"])
async def test_hostile_text_in_the_input_of_a_procedure_is_data_or_refused(text: str) -> None:
    async with serving(whole_catalog()) as client:
        for procedure, given in (
            ("ingestUrl", {"url": text}),
            ("ingestUrl", {"url": f"https://example.org/{text}"}),
            ("runPlaybook", {"playbookId": text}),
            ("runPlaybook", {"playbookId": str(UUID(int=9)), "context": {"note": text}}),
            ("runPlaybook", {"playbookId": str(UUID(int=9)), "context": text}),
        ):
            answer = await client.mutate(f"trigger.{procedure}", given, as_="trigger+team")
            assert answer.status in (200, 400, 422), (procedure, given, answer)
            assert answer.headers["content-type"] == "application/json"
            assert "set-cookie" not in answer.headers
            if answer.status == HTTPStatus.OK:
                job = await client.queue.get(UUID(answer.value["id"]))
                assert job is not None
                assert repr(text)[1:-1] in str(job.data)


async def test_a_route_or_method_that_is_not_there_is_told_so(call: Web) -> None:
    assert (await call("GET", "/nope")).json() == {"error": "There is nothing at /nope"}
    answer = await call("PATCH", "/trigger")
    assert (answer.status_code, answer.json()) == (405, {"error": "/trigger does not take PATCH"})
    assert answer.headers["allow"] == "POST"
    named = await call("PATCH", "/schedules/mail")
    assert named.headers["allow"] == "DELETE, GET, PUT"


async def test_of_strangers_nothing_is_read(call: Web) -> None:
    await call.key()
    reads = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal reads
        reads += 1
        yield b"{"

    for method, path in (("POST", "/trigger"), ("PUT", "/schedules/mail")):
        answer = await call(method, path, content=body(), headers=JSON)
        assert answer.status_code == 401
    assert reads == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageUnavailable("connection to 10.1.2.3 failed: password for zeke"), 503),
        (Forbidden("permission denied for table secret_table"), 500),
        (SchemaMismatch("secret_table is missing"), 500),
        (RuntimeError("secret_table at /srv/zeke.py"), 500),
        (KeyError("secret_table"), 500),
    ],
)
async def test_what_fails_inside_says_nothing_of_the_inside(
    call: Web, queue: Queue, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(queue.storage), "get", fail)
    monkeypatch.setattr(type(queue.storage), "now", fail)
    answer = await call("GET", "/trigger/runs/01a216ee-4f1a-7197-80f3-387a0e206cbc")
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for secret in ("secret", "10.1.2.3", "password", "/srv"):
        assert secret not in answer.text
    if status == 503:
        assert answer.headers["retry-after"]
        ready = await call("GET", "/readyz")
        assert (ready.status_code, ready.json()) == (503, {"error": "The database can't be reached"})
    assert (await call("GET", "/healthz")).status_code == 200


async def test_every_answer_keeps_browsers_careful(call: Web) -> None:
    for path in ("/queues", "/nope", "/trigger/runs/1", "/metrics", "/openapi.json", "/dashboard/"):
        headers = (await call("GET", path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


async def test_over_https_browsers_are_told_to_stay_there(call: Web) -> None:
    key = await call.key()
    async with call.client(key) as client:
        secure = await client.get("https://localhost/queues")
        plain = await client.get("http://localhost/queues")
    assert secure.headers["strict-transport-security"].startswith("max-age=")
    assert "strict-transport-security" not in plain.headers


async def test_other_origins_may_call_only_where_they_are_named(queue: Queue, call: Web) -> None:
    app = create_app(queue, WebSettings.load(api_cors_origins="https://app.example.org, https://b.example"))
    open_to = type(call)(app, queue)
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    named = await open_to("OPTIONS", "/trigger", headers={"origin": "https://app.example.org", **asked})
    assert named.headers["access-control-allow-origin"] == "https://app.example.org"
    assert "access-control-allow-credentials" not in named.headers
    other = await open_to("OPTIONS", "/trigger", headers={"origin": "https://evil.example", **asked})
    assert "access-control-allow-origin" not in other.headers
    # Of an answer a page of a named origin may read what is exposed to it, and nothing else.
    job = {"taskId": "mail", "payload": {"to": "ada@example.org"}}
    async with open_to.client(await call.key()) as client:
        for origin in ("https://app.example.org", "https://b.example"):
            sent = await client.post("/trigger", json=job, headers={"origin": origin})
            assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, origin)
            assert "access-control-allow-credentials" not in sent.headers
            limit = {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"}
            exposed = set(sent.headers["access-control-expose-headers"].split(", "))
            assert limit <= set(sent.headers)
            assert exposed == {*limit, "retry-after", "idempotent-replayed"}
        unread = await client.get("/queues", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in unread.headers
    refused = await open_to("GET", "/queues", headers={"origin": "https://b.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://b.example")
