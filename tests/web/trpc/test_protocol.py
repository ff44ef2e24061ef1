"""tRPC's protocol: requests, batches, answers and errors, on procedures made here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from tests.cases import check_each, check_each_async
from zeke_queue.storage.access import Scope
from zeke_queue.web.trpc import protocol
from zeke_queue.web.trpc.protocol import BATCH_MAX, Code, Procedure, TrpcError, TrpcRequest, answer

JSON = "application/json"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


async def echo(context: list[Any], given: Any) -> Any:
    context.append(given)
    return {"context": len(context), "given": given}


async def refuse(context: list[Any], given: Any) -> Any:
    raise TrpcError(Code.CONFLICT, "It is taken", data={"id": "x"}, headers={"retry-after": "7"})


async def break_down(context: list[Any], given: Any) -> Any:
    raise RuntimeError("password=hunter2")


async def answer_nonsense(context: list[Any], given: Any) -> Any:
    return {"given": object()}


PROCEDURES: dict[str, Procedure[list[Any]]] = {
    "a.look": Procedure("query", echo, Scope.READ),
    "a.do": Procedure("mutation", echo, Scope.TRIGGER),
    "a.refuse": Procedure("mutation", refuse, Scope.TRIGGER),
    "a.break": Procedure("mutation", break_down, Scope.TRIGGER),
    "a.nonsense": Procedure("query", answer_nonsense, Scope.READ),
}


async def anybody(scope: Scope) -> None:
    """Allow any scope."""


async def no_caller(scope: Scope) -> None:
    raise TrpcError(Code.UNAUTHORIZED, f"Show a key for {scope.value}")


async def ask(
    method: str,
    path: str,
    *,
    body: str | bytes = b"",
    media_type: str | None = JSON,
    authorize: Any = anybody,
    **query: str,
) -> Answer:
    data = body.encode() if isinstance(body, str) else body
    answered = await answer(
        PROCEDURES,
        TrpcRequest(method, path, query, media_type, data),
        [],
        lambda error: TrpcError(Code.INTERNAL_SERVER_ERROR, "Internal server error"),
        authorize=authorize,
    )
    return Answer(
        answered.status, json.loads(answered.body) if answered.body else None, dict(answered.headers)
    )


def wire(value: Any) -> str:
    return json.dumps({"json": value})


def error(shape: Any) -> dict[str, Any]:
    return shape["error"]["json"]


async def test_query_takes_its_input_from_the_url() -> None:
    told = await ask("GET", "a.look", input=wire({"x": 1}), media_type=None)
    assert told.status == 200
    assert told.body == {"result": {"data": {"json": {"context": 1, "given": {"x": 1}}}}}


async def test_mutation_takes_its_input_from_the_body() -> None:
    told = await ask("POST", "a.do", body=wire([1]), media_type="Application/JSON; charset=utf-8")
    assert told.body["result"]["data"]["json"]["given"] == [1]


async def test_dates_are_decoded_and_encoded() -> None:
    sent = '{"json":"1970-01-01T00:00:00.000Z","meta":{"values":["Date"]}}'
    told = await ask("POST", "a.do", body=sent)
    data = told.body["result"]["data"]
    assert data["json"]["given"] == "1970-01-01T00:00:00.000Z"
    assert data["meta"]["values"] == {"given": ["Date"]}


async def test_missing_input_is_none() -> None:
    for body in ("", wire(None), '{"json":null,"meta":{"values":["undefined"],"v":1}}'):
        assert (await ask("POST", "a.do", body=body)).body["result"]["data"]["json"]["given"] is None, body
        assert (await ask("GET", "a.look", input=body)).body["result"]["data"]["json"]["given"] is None, body


async def test_batch_is_answered_in_its_order() -> None:
    async def check(paths: str, inputs: dict[str, Any], expected: list[Any]) -> None:
        wires = json.dumps({index: {"json": value} for index, value in inputs.items()}) if inputs else ""
        query = "a.look" in paths
        told = await (
            ask("GET", paths, batch="1", input=wires) if query else ask("POST", paths, batch="1", body=wires)
        )
        assert told.status == 200
        assert [one["result"]["data"]["json"]["given"] for one in told.body] == expected

    cases = {
        "two": ("a.look,a.look", {"0": "first", "1": "second"}, ["first", "second"]),
        "one": ("a.do", {"0": 1}, [1]),
        "a missing input": ("a.do,a.do", {"1": 1}, [None, 1]),
        "no inputs": ("a.do,a.do", {}, [None, None]),
    }
    await check_each_async(cases, check)


async def test_each_call_of_a_batch_has_its_own_error() -> None:
    paths = "a.do,a.refuse,a.break,nowhere"
    told = await ask("POST", paths, batch="1", body='{"0":{"json":1}}')
    assert told.status == 207
    assert told.body[0]["result"]["data"]["json"]["given"] == 1
    assert error(told.body[1]) == {
        "message": "It is taken",
        "code": -32009,
        "data": {"code": "CONFLICT", "httpStatus": 409, "path": "a.refuse", "id": "x"},
    }
    assert error(told.body[2])["data"]["code"] == "INTERNAL_SERVER_ERROR"
    assert error(told.body[3])["data"]["code"] == "NOT_FOUND"
    assert told.headers["retry-after"] == "7"
    # A batch of one kind of error has its status.
    assert (await ask("POST", "a.refuse,a.refuse", batch="1")).status == 409


async def test_unexpected_error_reveals_nothing() -> None:
    told = await ask("POST", "a.break")
    assert told.status == 500
    assert error(told.body)["code"] == -32603
    assert "hunter2" not in json.dumps(told.body)
    # So is an answer that has no form in JSON.
    assert (await ask("GET", "a.nonsense")).status == 500


async def test_unknown_procedure_is_not_found() -> None:
    told = await ask("GET", "a.nothing")
    assert told.status == 404
    assert error(told.body) == {
        "message": 'No procedure found on path "a.nothing"',
        "code": -32004,
        "data": {"code": "NOT_FOUND", "httpStatus": 404, "path": "a.nothing"},
    }
    told = await ask("GET", "x" * 10_000)
    assert len(error(told.body)["message"]) < 300


async def test_wrong_method_is_not_supported() -> None:
    for method, path, allow in (("GET", "a.do", "POST"), ("POST", "a.look", "GET")):
        told = await ask(method, path)
        code = (error(told.body)["code"], error(told.body)["data"]["code"])
        assert (told.status, code) == (405, (-32005, "METHOD_NOT_SUPPORTED")), method
        assert told.headers["allow"] == allow


async def test_head_has_no_body() -> None:
    told = await ask("HEAD", "a.look")
    assert (told.status, told.body) == (204, None)


async def test_malformed_json_is_a_parse_error() -> None:
    async def check(body: str | bytes) -> None:
        told = await ask("POST", "a.do", body=body)
        assert told.status == 400
        assert (error(told.body)["code"], error(told.body)["data"]["code"]) == (-32700, "PARSE_ERROR")

    bodies = [
        "{",
        "\x00",
        b"\xff\xfe",
        '{"json": NaN}',
        '{"json": "\\ud800"}',
        "1" * 5000,
        "[" * 100_000,
        " ",
    ]
    await check_each_async(bodies, check)
    for given in ("{", "\ud800"):
        told = await ask("GET", "a.look", input=given)
        assert error(told.body)["data"]["code"] == "PARSE_ERROR", given


async def test_invalid_superjson_is_an_error_of_its_call() -> None:
    told = await ask("POST", "a.do,a.do", batch="1", body='{"0":{"x":1},"1":{"json":1}}')
    assert told.status == 207
    assert error(told.body[0])["data"] == {"code": "BAD_REQUEST", "httpStatus": 400, "path": "a.do"}
    assert "superjson" in error(told.body[0])["message"]
    told = await ask("POST", "a.do", batch="1", body="[1]")
    assert error(told.body)["message"] == '"input" needs to be an object when doing a batch call'


async def test_unauthorized_input_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    monkeypatch.setattr(protocol, "decode", lambda *given: decoded.append(given))
    told = await ask("POST", "a.do,a.do", batch="1", body='{"0":{"json":1},"1":7}', authorize=no_caller)
    assert told.status == 401
    assert [error(one)["message"] for one in told.body] == ["Show a key for jobs.trigger"] * 2
    assert decoded == []
    await ask("POST", "a.do", body=wire(1))
    assert len(decoded) == 1


async def test_number_of_calls_in_a_batch_is_limited() -> None:
    assert (await ask("POST", ",".join(["a.do"] * BATCH_MAX), batch="1")).status == 200
    told = await ask("POST", ",".join(["a.do"] * (BATCH_MAX + 1)), batch="1")
    assert told.status == 400
    assert "maxItems" in error(told.body)["message"]


async def test_answer_of_a_batch_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls after that are not carried out."""
    done: list[Any] = []

    async def do(_: list[Any], given: Any) -> Any:
        done.append(given)
        return "a" * 60

    monkeypatch.setitem(PROCEDURES, "a.do", Procedure("mutation", do, Scope.TRIGGER))
    monkeypatch.setattr(protocol, "ANSWER_MAX", 100)
    told = await ask("POST", ",".join(["a.do"] * 5), batch="1")
    assert (told.status, len(told.body), len(done)) == (207, 5, 2)
    assert [error(one)["data"]["code"] for one in told.body[2:]] == ["PAYLOAD_TOO_LARGE"] * 3


async def test_body_of_another_media_type_is_not_read() -> None:
    for media_type in (None, "", "text/plain", "application/x-www-form-urlencoded"):
        told = await ask("POST", "a.do", body=wire(1), media_type=media_type)
        code = error(told.body)["data"]["code"]
        assert (told.status, code) == (415, "UNSUPPORTED_MEDIA_TYPE"), media_type


def test_status_is_mapped_to_the_nearest_code() -> None:
    def check(status: int, code: Code) -> None:
        assert Code.of_status(status) is code

    cases = [
        (400, Code.BAD_REQUEST),
        (402, Code.BAD_REQUEST),
        (404, Code.NOT_FOUND),
        (422, Code.UNPROCESSABLE_CONTENT),
        (500, Code.INTERNAL_SERVER_ERROR),
        (502, Code.INTERNAL_SERVER_ERROR),
        (503, Code.SERVICE_UNAVAILABLE),
    ]
    check_each(cases, check)
