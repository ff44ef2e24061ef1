"""The official SDK against a server on loopback: the requests, and the meaning of each answer."""

from __future__ import annotations

import json
import pickle
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.cases import check_each_async, each
from tests.clocks import START, FrozenClock
from tests.tasks.ai.samples import ANALYSIS, ANALYSIS_TEXT, BRIEFS, PROMPT, TEXT
from tests.tasks.ai.server import OpenAIServer, Said, embeddings, error, response
from zeke_tasks.ai import (
    AIError,
    AIMalformed,
    AIOptions,
    AIRateLimited,
    AIRefused,
    AIRejected,
    AIUnavailable,
    Analysis,
    Answer,
    Briefs,
    Embedded,
    Usage,
)
from zeke_tasks.ai.openai import OpenAIClient
from zeke_tasks.ai.prices import Price
from zeke_tasks.ai.statuses import WAIT_FOR_CREDIT

KEY = "sk-hunter2"
HTML = {"Content-Type": "text/html"}
SNAPSHOT = "gpt-5-nano-2025-08-07"
# 200 fresh tokens at 0.05, 1,000 at 0.005 and 300 at 0.4 dollars a million
COST: Any = pytest.approx(0.000135)
PAID = Usage(SNAPSHOT, 1200, 300, COST)


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        yield running


def client(server: OpenAIServer, **options: Any) -> OpenAIClient:
    return OpenAIClient(KEY, AIOptions(base_url=server.base_url, **options), clock=FrozenClock())


def analysis(**fields: Any) -> str:
    return json.dumps({**ANALYSIS, **fields})


async def ask(server: OpenAIServer, said: Said, **options: Any) -> Answer[Analysis]:
    server.will_say(said)
    async with client(server, **options) as ai:
        return await ai.ask(PROMPT, TEXT, Analysis)


async def embed(server: OpenAIServer, said: Said, *texts: str, **options: Any) -> Embedded:
    server.will_say(said)
    async with client(server, **options) as ai:
        return await ai.embed(texts)


async def test_request_carries_prompt_text_model_and_form(server: OpenAIServer) -> None:
    await ask(server, response(ANALYSIS_TEXT))
    (asked,) = server.asked
    assert asked.path == "/v1/responses"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body["model"] == "gpt-5-nano"
    assert asked.body["instructions"] == PROMPT.text
    assert asked.body["input"] == TEXT
    assert asked.body["store"] is False
    assert asked.body["max_output_tokens"] == 8000
    form = asked.body["text"]["format"]
    assert (form["type"], form["name"], form["strict"]) == ("json_schema", "Analysis", True)
    assert set(form["schema"]["properties"]) == {"why_it_matters", "chili", "confidence", "citations"}


async def test_form_is_valid_in_strict_mode(server: OpenAIServer) -> None:
    async def check(form: type[Analysis | Briefs], said: dict[str, Any]) -> None:
        server.will_say(response(json.dumps(said)))
        async with client(server) as ai:
            await ai.ask(PROMPT, TEXT, form)
        schema = server.asked[-1].body["text"]["format"]["schema"]
        known = {"type", "properties", "required", "additionalProperties", "items", "anyOf", "$ref", "$defs"}
        for node in _schemas(schema):
            # Source: OpenAI's guide to structured outputs. A default is refused with status 400.
            assert node.keys() <= known | {"title", "description"}
            if node.get("type") == "object":
                assert node["additionalProperties"] is False
                assert sorted(node["required"]) == sorted(node["properties"])

    await check_each_async([(Analysis, ANALYSIS), (Briefs, BRIEFS)], check)


def _schemas(node: dict[str, Any]) -> list[dict[str, Any]]:
    below = [
        *node.get("$defs", {}).values(),
        *node.get("properties", {}).values(),
        *node.get("anyOf", []),
        *([node["items"]] if "items" in node else []),
    ]
    return [node, *(found for one in below for found in _schemas(one))]


async def test_text_is_shortened_and_cleaned_before_it_is_sent(server: OpenAIServer) -> None:
    async def check(text: str, sent: str) -> None:
        server.will_say(response(ANALYSIS_TEXT))
        async with client(server) as ai:
            await ai.ask(PROMPT, text, Analysis)
        assert server.asked[-1].body["input"] == sent

    await check_each_async([("ä" * 9000, "ä" * 8000), ("a\ud83db\x00", "ab")], check)


async def test_texts_are_shortened_before_they_are_embedded(server: OpenAIServer) -> None:
    await embed(server, embeddings([1.0, 0.0], [0.0, 1.0]), "a" * 7000, "b")
    (asked,) = server.asked
    assert asked.path == "/v1/embeddings"
    assert asked.body == {
        "model": "text-embedding-3-small",
        "input": ["a" * 6000, "b"],
        "encoding_format": "float",
    }


async def test_proxies_of_the_environment_are_ignored(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with OpenAIServer() as closed:
        nowhere = closed.base_url
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, nowhere.removesuffix("/v1"))
    assert (await ask(server, response(ANALYSIS_TEXT))).value.chili == 3


async def test_models_of_the_options_are_used(server: OpenAIServer) -> None:
    models = {"model": "llama", "embedding_model": "nomic"}
    await ask(server, response(ANALYSIS_TEXT), **models)
    assert (await embed(server, embeddings([1.0]), TEXT, **models)).model == "nomic"
    assert [asked.body["model"] for asked in server.asked] == ["llama", "nomic"]


async def test_answer_is_read_with_its_usage_and_cost(server: OpenAIServer) -> None:
    async def check(model: str, answered: str, cost: float | None, prices: dict[str, Price]) -> None:
        options = {"prices": prices} if prices else {}
        answer = await ask(server, response(ANALYSIS_TEXT, model=answered), model=model, **options)
        assert (answer.value, answer.stub) == (Analysis.model_validate(ANALYSIS), False)
        assert answer.usage == Usage(answered, 1200, 300, cost)

    dear, cheap = Price(input=10, output=20), Price(input=1, output=2)
    cases = [
        ("gpt-5-nano", SNAPSHOT, COST, {}),
        (SNAPSHOT, SNAPSHOT, COST, {}),
        ("llama", "llama", None, {}),
        ("llama", "llama", pytest.approx(0.018), {"llama": dear}),
        ("gpt-5-nano", SNAPSHOT, pytest.approx(0.018), {SNAPSHOT: dear, "gpt-5-nano": cheap}),
        ("llama", "llama-2", pytest.approx(0.018), {"llama-2": dear, "llama": cheap}),
    ]
    await check_each_async(cases, check)
    said = response(ANALYSIS_TEXT)
    uncounted = (await ask(server, Said(body={**said.body, "usage": None, "model": None}))).usage
    assert uncounted == Usage("gpt-5-nano", 0, 0, None)


@each(
    ({"cached_tokens": 10**9}, 1200, 300, 0.000126),
    ({"cached_tokens": -5}, 1200, 300, 0.00018),
    ({}, -3, -4, 0.0),
    ({}, 10**30, 0, (2**31 - 1) * 5e-8),
)
async def test_counts_of_a_server_are_kept_in_range(
    details: dict[str, int], read: int, written: int, dollars: float
) -> None:
    body = response(ANALYSIS_TEXT).body
    counts = {"input_tokens": read, "output_tokens": written, "input_tokens_details": details}
    async with OpenAIServer() as server:
        usage = (await ask(server, Said(body={**body, "usage": counts}))).usage
    assert usage.cost_usd == pytest.approx(dollars)
    assert (usage.input_tokens, usage.output_tokens) == (min(max(read, 0), 2**31 - 1), max(written, 0))


async def test_vectors_come_in_the_order_of_the_texts(server: OpenAIServer) -> None:
    embedded = await embed(server, embeddings([0.6, 0.8], [1.0, 0.0]), "one", "two")
    assert embedded.vectors == ((0.6, 0.8), (1.0, 0.0))
    assert (embedded.model, embedded.dimensions, embedded.stub) == ("text-embedding-3-small", 2, False)
    assert (embedded.usage.input_tokens, embedded.usage.cost_usd) == (500, pytest.approx(0.00001))


@each(
    response(f"Here it is:\n```json\n{ANALYSIS_TEXT}\n```\nAnything else?"),
    Said(body=b"\xef\xbb\xbf" + json.dumps(response(ANALYSIS_TEXT).body).encode()),
    Said(body=response(ANALYSIS_TEXT).body, headers=HTML),
)
async def test_answer_in_a_fence_and_body_of_another_media_type_are_read(said: Said) -> None:
    async with OpenAIServer() as server:
        assert (await ask(server, said)).value == Analysis.model_validate(ANALYSIS)


async def test_commentary_of_the_model_is_ignored(server: OpenAIServer) -> None:
    said = response(ANALYSIS_TEXT)
    thought = {"type": "message", "phase": "commentary", "content": [{"type": "output_text", "text": "Hm."}]}
    answer = await ask(server, Said(body={**said.body, "output": [thought, *said.body["output"]]}))
    assert answer.value.chili == 3


def ended(said: str, reason: str) -> Said:
    return response(said, status="incomplete", incomplete_details={"reason": reason})


def failed(code: str, message: str) -> Said:
    return response(status="failed", error={"code": code, "message": message})


NO_JSON = "the answer does not have the form of Analysis: Invalid JSON"
NO_API = "not have the form of the API"
FAILURES = {
    # Answers of another form.
    "no JSON": (response("I think so."), AIMalformed, NO_JSON),
    "cut JSON": (response('{"chili": 3'), AIMalformed, NO_JSON),
    "another form": (response('{"chili": 3}'), AIMalformed, "why_it_matters: Field required"),
    "no bullets": (response(analysis(why_it_matters=[" "])), AIMalformed, "must have a bullet with text"),
    "no number": (response(analysis(confidence=float("nan"))), AIMalformed, "confidence: must be a number"),
    "empty": (response(""), AIMalformed, "the answer is empty"),
    "no text": (response(), AIMalformed, "the answer is empty"),
    "too long": (
        ended('{"chi', "max_output_tokens"),
        AIMalformed,
        "incomplete: it ended because of max_output_tokens",
    ),
    "a page": (Said(body=b"<html>Welcome</html>", headers=HTML), AIMalformed, NO_API),
    "a cut body": (Said(body=json.dumps(response(ANALYSIS_TEXT).body).encode()[:-40]), AIMalformed, NO_API),
    "no UTF-8": (
        Said(body=json.dumps(response(ANALYSIS_TEXT).body).encode().replace(b"fast", b"f\xe4st")),
        AIMalformed,
        NO_API,
    ),
    "empty output": (response(output=[]), AIMalformed, "the answer is empty"),
    "empty choices": (Said(body={"choices": []}), AIMalformed, NO_API),
    "something else": (Said(body={"hello": 1}), AIMalformed, "not have the form of the API: output: "),
    "a list": (Said(body=[1]), AIMalformed, NO_API),
    "no output": (response(output=None), AIMalformed, NO_API),
    "odd output": (response(output=[7]), AIMalformed, NO_API),
    "odd content": (
        response(output=[{"type": "message", "content": 7}]),
        AIMalformed,
        "not have the form of the API: content",
    ),
    # Refusals.
    "refusal": (response(refusal="I can't help with that."), AIRefused, "I can't help with that."),
    "filter": (ended("{", "content_filter"), AIRefused, "content filter"),
    "failed": (failed("invalid_prompt", "No."), AIRefused, "No."),
    "policy": (error(400, "Not this.", code="content_policy_violation"), AIRefused, "Not this."),
    # What may work later.
    "500": (error(500), AIUnavailable, ""),
    "503": (error(503), AIUnavailable, ""),
    "a proxy's 502": (Said(502, b"<html>Bad gateway</html>", HTML), AIUnavailable, "the AI answered 502"),
    "a proxy's own 520": (error(520), AIUnavailable, ""),
    "time-out": (error(408), AIUnavailable, ""),
    "conflict": (error(409), AIUnavailable, ""),
    "the model failed": (failed("server_error", "Sorry."), AIUnavailable, ""),
    "it failed and does not say why": (response(status="failed"), AIUnavailable, ""),
    "not done": (response(status="in_progress"), AIUnavailable, ""),
    "broken connection": (Said(drop=True), AIUnavailable, ""),
    # Rate limits.
    "a limit in the response": (failed("rate_limit_exceeded", "!"), AIRateLimited, ""),
    # What never works, with what to change.
    "400": (error(400, "Unsupported parameter."), AIRejected, "Unsupported parameter."),
    "401": (error(401, f"Incorrect API key: {KEY}"), AIRejected, "set OPENAI_API_KEY"),
    "403": (error(403), AIRejected, "allow it to use the model gpt-5-nano"),
    "404": (error(404, code="model_not_found"), AIRejected, "the model gpt-5-nano or the API does not exist"),
    "404 of an address": (error(404), AIRejected, "OPENAI_MODEL"),
    "413": (error(413, f"{KEY} is too long"), AIRejected, "413"),
    "422": (Said(422, {"error": "unknown field"}), AIRejected, "unknown field"),
    "a redirect": (Said(307, headers={"Location": "http://127.0.0.1:9/"}), AIRejected, "OPENAI_BASE_URL"),
}


async def test_failed_answers(server: OpenAIServer) -> None:
    async def check(said: Said, kind: type[AIError], reason: str) -> None:
        before = len(server.asked)
        with pytest.raises(kind) as caught:
            await ask(server, said)
        assert reason in str(caught.value)
        assert KEY not in str(caught.value)
        assert "Bad gateway" not in str(caught.value), "the page of a proxy is not repeated"
        assert len(server.asked) == before + 1, "the queue retries, not the SDK"
        # An answer of no use is paid for too.
        paid = isinstance(said.body, dict) and "usage" in said.body
        assert caught.value.usage == (PAID if paid else None)

    await check_each_async(FAILURES, check)
    with pytest.raises(AIRejected, match="the model nomic or the API does not exist"):
        await embed(server, error(404, code="model_not_found"), TEXT, embedding_model="nomic")


async def test_request_that_a_gateway_lost_may_have_cost(server: OpenAIServer) -> None:
    costs: dict[int, bool] = {}
    for status in (400, 429, 500, 502, 503, 504, 524):
        with pytest.raises(AIError) as caught:
            await ask(server, error(status))
        costs[status] = caught.value.may_cost
    assert [status for status, cost in costs.items() if cost] == [502, 504, 524]


async def test_key_that_is_a_word_is_not_hidden_in_sentences(server: OpenAIServer) -> None:
    server.will_say(error(400, "No such parameter."))
    async with OpenAIClient("a", AIOptions(base_url=server.base_url)) as ai:
        with pytest.raises(AIRejected, match="No such parameter"):
            await ai.ask(PROMPT, TEXT, Analysis)


async def test_silent_server_is_unavailable_after_the_timeout(server: OpenAIServer) -> None:
    with pytest.raises(AIUnavailable, match=r"within 0\.05 seconds"):
        await ask(server, Said(hang=True), timeout=0.05)


async def test_unreachable_server_is_unavailable_and_named_without_secrets() -> None:
    async with OpenAIServer() as server:
        where = server.base_url.removeprefix("http://").removesuffix("/v1")
    address = f"http://bee:hunter2@{where}/hunter2/v1?key=hunter2"
    async with OpenAIClient(KEY, AIOptions(base_url=address)) as ai:
        with pytest.raises(AIUnavailable) as caught:
            await ai.ask(PROMPT, TEXT, Analysis)
    assert f"the AI at http://{where} can't be reached" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_retry_after_of_an_overloaded_server_is_kept(server: OpenAIServer) -> None:
    with pytest.raises(AIUnavailable) as caught:
        await ask(server, error(503, retry_after="7"))
    assert caught.value.retry_after == 7


EARLIER = "Mon, 05 Jan 2026 11:00:00 GMT"
LATER = format_datetime(START + timedelta(seconds=90), usegmt=True)


async def test_rate_limit_says_how_long_to_wait(server: OpenAIServer) -> None:
    async def check(headers: dict[str, str], seconds: float | None) -> None:
        with pytest.raises(AIRateLimited, match=r"Slow down\.") as caught:
            await ask(server, error(429, "Slow down.", code="rate_limit_exceeded", **headers))
        assert caught.value.retry_after == seconds

    cases = [
        ({"retry_after": "20"}, 20.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "1"}, 0.25),
        ({"retry_after_ms": "soon", "retry_after": "3"}, 3.0),
        ({"retry_after": LATER}, 90.0),
        ({"retry_after": EARLIER}, 0.0),
        ({"retry_after": "99999999"}, 6 * 3600.0),
        *(({"retry_after": value}, None) for value in ("inf", "-5", "later")),
        ({}, None),
    ]
    await check_each_async(cases, check)


async def test_account_without_credit_waits_at_least_ten_minutes(server: OpenAIServer) -> None:
    async def check(headers: dict[str, str], seconds: float) -> None:
        with pytest.raises(AIRateLimited, match="no credit left: pay in") as caught:
            await ask(server, error(429, "No.", code="insufficient_quota", **headers))
        assert caught.value.retry_after == seconds

    assert WAIT_FOR_CREDIT >= 600
    early = [({"retry_after": said}, WAIT_FOR_CREDIT) for said in ("0", "1", EARLIER)]
    await check_each_async([({}, WAIT_FOR_CREDIT), *early, ({"retry_after": "3600"}, 3600)], check)


async def test_unusable_vectors_are_malformed_and_paid_for(server: OpenAIServer) -> None:
    async def check(said: Said, used: int | None = 500) -> None:
        with pytest.raises(AIMalformed) as caught:
            await embed(server, said, "one", "two", prices={"text-embedding-3-small": Price(input=2.0)})
        paid = used and Usage("text-embedding-3-small", used, 0, used * 2.0 / 1_000_000)
        assert caught.value.usage == paid

    cases = {
        "too few": embeddings([1.0]),
        "of two lengths": embeddings([1.0], [1.0, 2.0]),
        "empty": embeddings([1.0], []),
        "no numbers": embeddings(data=[{"index": 0, "embedding": ["one"]}]),
        "empty list": embeddings(data=[]),
        "none": embeddings(data=None),
        "without usage": (embeddings([1.0], usage=None), None),
        "no JSON": (Said(body=b"ok"), None),
    }
    await check_each_async(cases, check)
    with pytest.raises(AIMalformed):
        await embed(server, embeddings([1.0], [], model=None), "one", "two")


@each(
    AIRateLimited(3.5),
    AIRateLimited(None, "Slow down."),
    AIUnavailable(retry_after=2.0),
    AIRefused("No."),
    AIMalformed("What?"),
    AIRejected("Never."),
)
def test_errors_can_be_pickled(problem: AIError) -> None:
    again = pickle.loads(pickle.dumps(problem))  # noqa: S301 - our own
    assert type(again) is type(problem)
    assert (str(again), again.__dict__) == (str(problem), problem.__dict__)


def test_message_of_an_error_is_one_short_line() -> None:
    problem = AIUnavailable("\x1b[31mred\nlines " + "x" * 10_000)
    assert str(problem).startswith("[31mred lines x")
    assert len(str(problem)) == 500
