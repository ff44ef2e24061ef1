"""Invalid requests and internal errors are answered by a status and a message that reveals nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from starlette.exceptions import HTTPException

from tests.cases import check_each, check_each_async
from tests.web.conftest import Web, new_web, on_both_storages
from tests.web.trpc.test_procedures import serving, whole_catalog
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import (
    PayloadValidationError,
    PermissionDeniedError,
    SchemaVersionError,
    StorageUnavailableError,
)
from zeke_queue.task.task import FIELDS_MAX
from zeke_queue.web import WebSettings, request_bodies, triggers
from zeke_queue.web.middleware import ESCAPES_MAX
from zeke_queue.web.trpc import procedures, protocol, router

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
    """Settings with a small cap on bodies, and no rate limit that would answer first."""
    return WebSettings.load(api_body_max=4096, api_trigger_limit=0)


async def test_body_other_than_json_is_rejected(call: Web) -> None:
    async def check(body: bytes) -> None:
        answer = await call("POST", "/trigger", content=body, headers=JSON)
        assert answer.status_code in (400, 422)
        assert answer.json()["error"]

    bodies = [
        b"{",
        b"",
        b"[1,2",
        b'{"taskId": "mail", }',
        b"\xff\xfe",
        b"NaN",
        b'{"taskId": "a" "b"}',
        b"\x00",
    ]
    numbers = [b"1e400", b"0.5", b"NaN", b"-Infinity"]
    nested = [b"[" * 1900 + b"]" * 1900]
    bodies += [b'{"taskId": "mail", "payload": {"to": "a", "copies": %s}}' % number for number in numbers]
    bodies += [b'{"taskId": "mail", "payload": %s}' % value for value in nested]
    await check_each_async(bodies, check)
    endless = b'{"taskId": "mail", "payload": ' + b"[" * 2000
    assert (await call("POST", "/trigger", content=endless, headers=JSON)).status_code == 400


async def test_json_of_another_shape_or_content_type_is_rejected(call: Web) -> None:
    async def check(body: str) -> None:
        answer = await call("POST", "/trigger", content=body.encode(), headers=JSON)
        assert answer.status_code == 422
        assert answer.json()["fields"]
        assert "Content-Type" not in answer.text

    bodies = ["[]", "7", '"mail"', "null", "{}", '{"taskId": ""}', '{"taskId": null}']
    await check_each_async(bodies, check)
    for headers in ({}, {"content-type": "application/x-www-form-urlencoded"}):
        answer = await call("POST", "/trigger", content=b'{"taskId": "break"}', headers=headers)
        assert answer.status_code == 422
        assert "Content-Type: application/json" in answer.json()["fields"][0]["message"]


async def test_invalid_parameter_is_reported_by_its_name(call: Web) -> None:
    async def check(name: str, value: str, message: str = "") -> None:
        answer = await call("GET", "/trigger/runs", params={name: value})
        assert answer.status_code == 422
        (field,) = answer.json()["fields"]
        assert field["path"] == name
        assert message in field["message"]
        assert answer.json()["error"].startswith(f"Invalid request: {name}: ")

    instants = ["2026-11-26T12:00:00", "2026-11-26", "yesterday", "2026-13-01T00:00:00Z", "7"]
    cases = [
        (name, given, "as 2026-01-31T12:00:00Z")
        for name in ("createdFrom", "createdTo")
        for given in instants
    ]
    await check_each_async([*cases, ("status", "x" * 600), ("task", "x" * 600)], check)


@on_both_storages
async def test_integer_of_any_length_is_kept(call: Web, queue: Queue) -> None:
    body = b'{"taskId": "mail", "payload": {"to": "a", "copies": 123456789012345678901234567890}}'
    answer = await call("POST", "/trigger", content=body, headers=JSON)
    job = await queue.get(UUID(answer.json()["id"]))
    assert job is not None
    assert job.data["copies"] == 123456789012345678901234567890


async def test_too_large_body_is_not_read(call: Web, queue: Queue) -> None:
    body = b'{"taskId": "mail", "payload": {"to": "' + b"x" * 5000 + b'"}}'
    told = await call("POST", "/trigger", content=body, headers=JSON)
    why = "body: must have at most 4096 bytes; send less, or raise API_BODY_MAX"
    assert (told.status_code, told.json()) == (413, {"error": why})

    async def in_pieces() -> AsyncIterator[bytes]:
        for place in range(0, len(body), 100):
            yield body[place : place + 100]

    untold = await call("POST", "/trigger", content=in_pieces(), headers=JSON)
    assert untold.status_code == 413
    client = await call("POST", "/trpc/trigger.trigger", content=body, headers=JSON)
    assert client.status_code == 413
    assert client.json()["error"]["json"]["data"]["code"] == "PAYLOAD_TOO_LARGE"
    assert await queue.stats() == []


@on_both_storages
async def test_hostile_text_anywhere_is_data_or_rejected(call: Web, queue: Queue) -> None:
    ended = await call.trigger("mail", {"to": "ada"})
    await call.work()

    async def check(text: str, method: str, path: str, more: dict[str, Any]) -> None:
        headers = {"headers": {**JSON, **more.get("headers", {})}}
        body = {"content": json.dumps(more["json"]).encode()} if "json" in more else more
        answer = await call(method, path, **{**body, **headers})
        assert answer.status_code < 500
        kind = "text/event-stream" if "/stream/" in path else "application/json"
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert "set-cookie" not in answer.headers
        assert "Traceback" not in answer.text
        assert "psycopg" not in answer.text

    cases = [(text, *request) for text in HOSTILE for request in requests_with(text, ended)]
    await check_each_async(cases, check)
    assert {one.name for one in await queue.stats()} <= {"mail"}


def requests_with(text: str, job_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return requests with a text in each field that accepts one."""
    triggers: list[Any] = [
        {"taskId": text, "payload": {}},
        {"taskId": "mail", "payload": {"to": text}},
        {"taskId": "mail", "payload": text},
    ]
    daily = {"cron": "0 0 * * *", "task": "break"}
    schedules: list[Any] = [
        {**daily, "cron": text},
        {**daily, "task": text},
        {**daily, "zone": text},
        {**daily, "description": text},
        {**daily, "catchUp": text},
        {**daily, "task": "mail", "payload": {"to": text}},
        {**daily, "task": "mail", "payload": text},
    ]
    requests: list[tuple[str, str, dict[str, Any]]] = [
        *(("POST", "/trigger", {"json": body}) for body in triggers),
        *(("PUT", "/schedules/x", {"json": body}) for body in schedules),
        *(("POST", "/trpc/trigger.trigger", {"json": {"json": body}}) for body in triggers[:2]),
    ]
    # Half of a surrogate pair has no form in a URL, or in a header.
    if text != "\ud83d":
        names = ("task", "status", "text", "parent", "createdFrom", "cursor", "limit")
        idempotent = {"taskId": "mail", "payload": {"to": "ada"}}
        requests += [("GET", "/trigger/runs", {"params": {name: text}}) for name in names]
        requests += [
            ("GET", f"/trigger/runs/{job_id}/events", {"params": {"after": text}}),
            ("GET", f"/jobs/stream/{job_id}", {"params": {"lastEventId": text}}),
            ("GET", f"/jobs/stream/{job_id}", {"headers": {"last-event-id": text}}),
            ("POST", "/trigger", {"json": idempotent, "headers": {"idempotency-key": text}}),
        ]
    return requests


async def test_hostile_text_in_the_input_of_a_procedure_is_data_or_rejected() -> None:
    async def check(text: str) -> None:
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

    await check_each_async([text for text in HOSTILE if text != "\ud83d"], check)


async def test_unknown_route_or_method_is_reported(call: Web) -> None:
    assert (await call("GET", "/nope")).json() == {"error": "Nothing found at /nope"}
    answer = await call("PATCH", "/trigger")
    assert (answer.status_code, answer.json()) == (405, {"error": "PATCH is not allowed at /trigger"})
    assert answer.headers["allow"] == "POST"
    named = await call("PATCH", "/schedules/mail")
    assert named.headers["allow"] == "DELETE, GET, PUT"


async def test_body_without_a_key_is_not_read(call: Web) -> None:
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


async def test_internal_errors_reveal_nothing() -> None:
    async def check(error: Exception, status: int = 500) -> None:
        async def fail(*_: Any, **__: Any) -> None:
            raise error

        async with new_web() as call:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(parts_of(call.queue).storage, "get", fail)
                patched.setattr(parts_of(call.queue).storage, "now", fail)
                answer = await call("GET", "/trigger/runs/01a216ee-4f1a-7197-80f3-387a0e206cbc")
                ready = await call("GET", "/readyz")
                assert (await call("GET", "/healthz")).status_code == 200
        assert answer.status_code == status
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        for secret in ("secret", "10.1.2.3", "password", "/srv"):
            assert secret not in answer.text
        if status == 503:
            assert answer.headers["retry-after"]
            assert (ready.status_code, ready.json()) == (503, {"error": "The database is unavailable"})

    cases: list[Any] = [
        (StorageUnavailableError("connection to 10.1.2.3 failed: password for zeke"), 503),
        PermissionDeniedError("permission denied for table secret_table"),
        SchemaVersionError("secret_table is missing"),
        RuntimeError("secret_table at /srv/zeke.py"),
        KeyError("secret_table"),
    ]
    await check_each_async(cases, check)


async def test_every_answer_has_security_headers(call: Web) -> None:
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
    # Browsers are asked to require it only over https.
    async with call.client() as client:
        for scheme in ("http", "https"):
            answer = await client.get(f"{scheme}://localhost/queues")
            assert answer.headers.get("strict-transport-security", "").startswith("max-age=") == (
                scheme == "https"
            )


async def test_cors_allows_configured_origins_only(call: Web) -> None:
    origins = "https://app.example.org, https://b.example"
    open_to = call.with_app(WebSettings.load(api_cors_origins=origins))
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    named = await open_to("OPTIONS", "/trigger", headers={"origin": "https://app.example.org", **asked})
    assert named.headers["access-control-allow-origin"] == "https://app.example.org"
    assert "access-control-allow-credentials" not in named.headers
    other = await open_to("OPTIONS", "/trigger", headers={"origin": "https://evil.example", **asked})
    assert "access-control-allow-origin" not in other.headers
    # A page of a named origin may read only the exposed headers of an answer.
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


async def test_body_of_too_many_parts_is_rejected_before_it_is_parsed(
    call: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_bodies, "PARTS_MAX", 20)
    why = "body: must have at most 20 objects, lists and members, got"
    many = '{"taskId": "mail", "payload": {"to": "a", "x": [' + "[]," * 20 + "1]}}"
    answer = await call("POST", "/trigger", content=many, headers=JSON)
    assert (answer.status_code, answer.json()["error"][: len(why)]) == (413, why)
    answer = await call("PUT", "/schedules/a", content=many, headers=JSON)
    assert answer.status_code == 413
    answer = await call("POST", "/trpc/trigger.trigger", content=f'{{"json":{many}}}', headers=JSON)
    assert answer.json()["error"]["json"]["data"]["code"] == "PAYLOAD_TOO_LARGE"
    text = '{"taskId": "mail", "payload": {"to": "[{\\"[[' + "[{," * 20 + '"}}'
    answer = await call("POST", "/trigger", content=text, headers=JSON)
    assert answer.status_code == 200, answer.text


async def test_json_in_an_encoding_that_hides_its_parts_is_rejected(
    call: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_bodies, "PARTS_MAX", 20)

    async def check(encoding: str) -> None:
        # One byte of the letter is a quote in UTF-8, so the brackets would seem to be in a string.
        many = '{"taskId": "mail", "payload": {"to": "\u0122", "x": [' + "[]," * 20 + "1]}}"
        answer = await call("POST", "/trigger", content=many.encode(encoding), headers=JSON)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("body: must be JSON in UTF-8, got utf-")

    await check_each_async(["utf-16", "utf-16-be", "utf-32"], check)


async def test_multipart_form_is_rejected_before_it_is_parsed(call: Web) -> None:
    async def check(path: str) -> None:
        part = b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\na\r\n--b--\r\n'
        form = {"content-type": "multipart/form-data; boundary=b; charset=undefined"}
        answer = await call("POST", path, content=part, headers=form)
        assert answer.status_code == 415
        assert "form: must be application/x-www-form-urlencoded, got multipart" in answer.text

    await check_each_async(["/dashboard/trigger", "/dashboard/sign-in"], check)


async def test_form_with_an_invalid_escape_is_rejected_before_it_is_parsed(call: Web) -> None:
    async def check(value: bytes, refused: bool) -> None:  # noqa: FBT001
        form = {"content-type": "application/x-www-form-urlencoded"}
        answer = await call("POST", "/dashboard/sign-in", content=b"key=" + value, headers=form)
        assert ("two hexadecimal digits" in answer.text) == (answer.status_code == 400) == refused

    await check_each_async([(b"%", True), (b"%%41", True), (b"%4g", True), (b"%e2%82%AC", False)], check)


async def test_form_of_too_many_separators_is_rejected_before_it_is_parsed(
    call: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_bodies, "SEPARATORS_MAX", 20)

    async def check(path: str) -> None:
        for more, refused in ((0, False), (1, True)):
            separators = b"&" * (20 + more)
            form = {"content-type": "application/x-www-form-urlencoded"}
            answer = await call("POST", path, content=separators, headers=form)
            assert (answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE) == refused

    await check_each_async(["/dashboard/trigger", "/dashboard/sign-in"], check)


def test_search_for_too_many_parts_takes_linear_time() -> None:
    """A pattern that goes back would take hours on each of these."""
    brackets = b"[" * request_bodies.PARTS_MAX

    def check(body: bytes, status: int) -> None:
        if status == HTTPStatus.OK:
            request_bodies.check_parts(body)
            return
        with pytest.raises(HTTPException) as caught:
            request_bodies.check_parts(body)
        assert caught.value.status_code == status

    escaped = b'"' + b'\\"' * 1_000_000
    cases = {
        "escapes": (brackets + escaped + b"[", 200),
        "after them": (brackets + escaped + b'"[', 413),
        "the last one escapes nothing": (brackets + escaped + b"\\", 200),
        "quotes": (brackets + b'"' * 1_000_000 + b"[", 413),
        "one quote more": (brackets + b'"' * 1_000_001 + b"[", 200),
        "texts": (b'["[,\\"["' * request_bodies.PARTS_MAX, 200),
        "texts and one more": (b'["[,\\"["' * request_bodies.PARTS_MAX + b"{", 413),
        "members": (b"[" + b"1," * request_bodies.PARTS_MAX, 413),
    }
    check_each(cases, check)


async def test_cookies_of_too_many_escapes_are_rejected_before_they_are_parsed(call: Web) -> None:
    async def check(path: str) -> None:
        for escapes, refused in ((ESCAPES_MAX, False), (ESCAPES_MAX + 2, True)):
            cookie = {"cookie": 'zeke_session="' + "\\" * escapes + '"'}
            answer = await call("GET", path, headers=cookie)
            assert (answer.status_code == 431) == refused

    await check_each_async(["/queues", "/dashboard/", "/healthz"], check)


async def test_errors_of_a_body_are_limited(call: Web) -> None:
    body = {"cron": "* * * * *", **{f"k{i}": 1 for i in range(150)}}
    answer = await call("PUT", "/schedules/mail", json=body)
    assert answer.status_code == 422
    assert [one["path"] for one in answer.json()["fields"]] == ["body"]
    fields = {f"k{i}": 1 for i in range(140)}
    with pytest.raises(PayloadValidationError) as caught:
        call.queue.catalog.get("mail").validate({"to": "a", **fields})
    assert len(caught.value.fields) == FIELDS_MAX + 1
    assert caught.value.fields[-1] == ("payload", "40 more parts are invalid")
    with pytest.raises(PayloadValidationError, match="30000 invalid parts, too many"):
        call.queue.catalog.get("mail").validate({"to": "a", **{f"k{i}": 1 for i in range(30_000)}})


async def test_large_inputs_are_read_in_a_thread(call: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[bool] = []

    def recorded(function: Any) -> Any:
        def record(*given: Any) -> Any:
            threads.append(threading.current_thread() is not threading.main_thread())
            return function(*given)

        return record

    monkeypatch.setattr(protocol, "decode", recorded(protocol.decode))
    monkeypatch.setattr(procedures, "_stringified", recorded(procedures._stringified))
    for size in (1000, 3000):
        monkeypatch.setattr(protocol, "LARGE", 2000)
        monkeypatch.setattr(router, "LARGE", 2000)
        payload = {"taskId": "login", "payload": {"user": "a", "password": "b" * size}}
        answer = await call("POST", "/trpc/trigger.trigger", json={"json": payload})
        assert answer.status_code == 200
        assert set(threads) == {size > 2000}
        threads.clear()
    monkeypatch.setattr(triggers.Jobs, "_digest", recorded(triggers.Jobs._digest))
    answer = await call("POST", "/trigger", json=payload, headers={"idempotency-key": "x"})
    assert answer.status_code == 200
    assert threads == [True]
