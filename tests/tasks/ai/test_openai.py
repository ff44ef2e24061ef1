"""The official SDK against a server on loopback: what is sent, and what each answer means."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

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
    Usage,
)
from zeke_tasks.ai.openai import OpenAIClient
from zeke_tasks.ai.prices import Price
from zeke_tasks.ai.statuses import WAIT_FOR_CREDIT

KEY = "sk-hunter2"


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        yield running


def client(server: OpenAIServer, **options: Any) -> OpenAIClient:
    return OpenAIClient(KEY, AIOptions(base_url=server.base_url, **options), clock=FrozenClock())


async def ask(server: OpenAIServer, said: Said, **options: Any) -> Answer[Analysis]:
    server.will_say(said)
    async with client(server, **options) as ai:
        return await ai.ask(PROMPT, TEXT, Analysis)


# What is sent


async def test_the_request_carries_prompt_text_model_and_the_form_of_the_answer(server: OpenAIServer) -> None:
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


@pytest.mark.parametrize("form", [Analysis, Briefs])
async def test_the_form_is_one_that_strict_mode_takes(
    server: OpenAIServer, form: type[Analysis | Briefs]
) -> None:
    server.will_say(response(json.dumps(ANALYSIS if form is Analysis else BRIEFS)))
    async with client(server) as ai:
        await ai.ask(PROMPT, TEXT, form)
    schema = server.asked[0].body["text"]["format"]["schema"]
    known = {"type", "properties", "required", "additionalProperties", "items", "anyOf", "$ref", "$defs"}
    for node in _schemas(schema):
        # Source: OpenAI's guide to structured outputs. A default is refused with status 400.
        assert node.keys() <= known | {"title", "description"}
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert sorted(node["required"]) == sorted(node["properties"])


def _schemas(node: dict[str, Any]) -> list[dict[str, Any]]:
    below = [
        *node.get("$defs", {}).values(),
        *node.get("properties", {}).values(),
        *node.get("anyOf", []),
        *([node["items"]] if "items" in node else []),
    ]
    return [node, *(found for one in below for found in _schemas(one))]


async def test_of_a_long_text_the_first_8000_characters_are_asked_about(server: OpenAIServer) -> None:
    server.will_say(response(ANALYSIS_TEXT))
    async with client(server) as ai:
        await ai.ask(PROMPT, "ä" * 9000, Analysis)
    assert server.asked[0].body["input"] == "ä" * 8000


async def test_of_a_long_text_the_first_6000_characters_are_embedded(server: OpenAIServer) -> None:
    server.will_say(embeddings([1.0, 0.0], [0.0, 1.0]))
    async with client(server) as ai:
        await ai.embed(["a" * 7000, "b"])
    (asked,) = server.asked
    assert asked.path == "/v1/embeddings"
    assert asked.body == {
        "model": "text-embedding-3-small",
        "input": ["a" * 6000, "b"],
        "encoding_format": "float",
    }


async def test_half_a_character_is_not_sent(server: OpenAIServer) -> None:
    server.will_say(response(ANALYSIS_TEXT))
    async with client(server) as ai:
        await ai.ask(PROMPT, "a\ud83db\x00", Analysis)
    assert server.asked[0].body["input"] == "ab"


async def test_proxies_of_the_environment_are_not_used(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with OpenAIServer() as closed:
        nowhere = closed.base_url
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, nowhere.removesuffix("/v1"))
    assert (await ask(server, response(ANALYSIS_TEXT))).value.chili == 3


async def test_other_models_can_be_asked(server: OpenAIServer) -> None:
    server.will_say(response(ANALYSIS_TEXT), embeddings([1.0]))
    async with client(server, model="llama", embedding_model="nomic") as ai:
        await ai.ask(PROMPT, TEXT, Analysis)
        assert (await ai.embed([TEXT])).model == "nomic"
    assert [asked.body["model"] for asked in server.asked] == ["llama", "nomic"]


# What is answered


async def test_an_answer_is_read_with_what_it_used(server: OpenAIServer) -> None:
    answer = await ask(server, response(ANALYSIS_TEXT))
    assert answer.value == Analysis.model_validate(ANALYSIS)
    assert not answer.stub
    usage = answer.usage
    assert (usage.model, usage.input_tokens, usage.output_tokens) == ("gpt-5-nano-2025-08-07", 1200, 300)
    # 200 fresh tokens at 0.05, 1,000 at 0.005 and 300 at 0.4 dollars a million
    assert usage.cost_usd == pytest.approx(0.000135)


async def test_a_model_without_a_price_has_no_cost(server: OpenAIServer) -> None:
    answer = await ask(server, response(ANALYSIS_TEXT, model="llama"), model="llama")
    assert answer.usage.cost_usd is None


async def test_a_price_of_ones_own_counts(server: OpenAIServer) -> None:
    prices = {"llama": Price(input=10, output=20)}
    answer = await ask(server, response(ANALYSIS_TEXT, model="llama"), model="llama", prices=prices)
    assert answer.usage.cost_usd == pytest.approx((1200 * 10 + 300 * 20) / 1e6)


async def test_a_snapshot_of_a_model_costs_what_the_model_does(server: OpenAIServer) -> None:
    name = "gpt-5-nano-2025-08-07"
    answer = await ask(server, response(ANALYSIS_TEXT, model=name), model=name)
    assert answer.usage.cost_usd == pytest.approx(0.000135)


async def test_a_server_that_counts_no_tokens_gives_no_cost(server: OpenAIServer) -> None:
    said = response(ANALYSIS_TEXT)
    answer = await ask(server, Said(body={**said.body, "usage": None, "model": None}))
    usage = answer.usage
    assert (usage.model, usage.input_tokens, usage.cost_usd) == ("gpt-5-nano", 0, None)


async def test_vectors_come_in_the_order_of_the_texts(server: OpenAIServer) -> None:
    server.will_say(embeddings([0.6, 0.8], [1.0, 0.0]))
    async with client(server) as ai:
        embedded = await ai.embed(["one", "two"])
    assert embedded.vectors == ((0.6, 0.8), (1.0, 0.0))
    assert (embedded.model, embedded.dimensions, embedded.stub) == ("text-embedding-3-small", 2, False)
    assert (embedded.usage.input_tokens, embedded.usage.cost_usd) == (500, pytest.approx(0.00001))


async def test_what_a_model_says_on_the_way_is_not_the_answer(server: OpenAIServer) -> None:
    said = response(ANALYSIS_TEXT)
    thought = {"type": "message", "phase": "commentary", "content": [{"type": "output_text", "text": "Hm."}]}
    answer = await ask(server, Said(body={**said.body, "output": [thought, *said.body["output"]]}))
    assert answer.value.chili == 3


# What goes wrong

MALFORMED = {
    "no JSON": (response("I think so."), "the answer is no Analysis: Invalid JSON"),
    "cut JSON": (response('{"chili": 3'), "the answer is no Analysis: Invalid JSON"),
    "another form": (response('{"chili": 3}'), "why_it_matters: Field required"),
    "no bullets": (response(json.dumps({**ANALYSIS, "why_it_matters": [" "]})), "no bullet with any text"),
    "no number": (
        response(json.dumps({**ANALYSIS, "confidence": float("nan")})),
        "confidence: it is no number",
    ),
    "empty": (response(""), "the answer is empty"),
    "no text": (response(), "the answer is empty"),
    "too long": (
        response('{"chi', status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        "not whole: it ended for max_output_tokens",
    ),
    "a page": (Said(body=b"<html>Welcome</html>", headers={"Content-Type": "text/html"}), "none of the API"),
    "something else": (Said(body={"hello": 1}), "none of the API: output: "),
    "a list": (Said(body=[1]), "none of the API"),
    "odd content": (response(output=[{"type": "message", "content": 7}]), "none of the API: content"),
}


@pytest.mark.parametrize(("said", "reason"), MALFORMED.values(), ids=MALFORMED)
async def test_an_answer_of_another_form_is_malformed(server: OpenAIServer, said: Said, reason: str) -> None:
    with pytest.raises(AIMalformed, match=re.escape(reason)):
        await ask(server, said)


REFUSED = {
    "refusal": (response(refusal="I can't help with that."), "I can't help with that."),
    "filter": (
        response("{", status="incomplete", incomplete_details={"reason": "content_filter"}),
        "content filter",
    ),
    "failed": (response(status="failed", error={"code": "invalid_prompt", "message": "No."}), "No."),
    "status": (error(400, "Not this.", code="content_policy_violation"), "Not this."),
}


@pytest.mark.parametrize(
    "said",
    [response("no JSON"), response(refusal="No."), response(output=None), response(output=[7])],
    ids=["malformed", "refused", "no output", "odd output"],
)
async def test_an_answer_that_is_of_no_use_is_paid_for(server: OpenAIServer, said: Said) -> None:
    with pytest.raises(AIError) as caught:
        await ask(server, said)
    usage = caught.value.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (1200, 300)
    assert usage.cost_usd == pytest.approx(0.000135)


async def test_where_nothing_was_answered_nothing_was_used(server: OpenAIServer) -> None:
    with pytest.raises(AIUnavailable) as caught:
        await ask(server, error(500))
    assert caught.value.usage is None


@pytest.mark.parametrize(("said", "reason"), REFUSED.values(), ids=REFUSED)
async def test_a_refusal_is_told_with_its_reason(server: OpenAIServer, said: Said, reason: str) -> None:
    with pytest.raises(AIRefused, match=re.escape(reason)):
        await ask(server, said)


UNAVAILABLE = {
    "500": error(500),
    "503": error(503),
    "a proxy's 502": Said(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
    "a proxy's own 520": error(520),
    "time-out": error(408),
    "conflict": error(409),
    "the model failed": response(status="failed", error={"code": "server_error", "message": "Sorry."}),
    "it failed and does not say why": response(status="failed"),
    "not done": response(status="in_progress"),
    "broken connection": Said(drop=True),
}


@pytest.mark.parametrize("said", UNAVAILABLE.values(), ids=UNAVAILABLE)
async def test_what_may_work_later_is_unavailable(server: OpenAIServer, said: Said) -> None:
    with pytest.raises(AIUnavailable):
        await ask(server, said)
    assert len(server.asked) == 1, "the queue retries, not the SDK"


async def test_the_page_of_a_proxy_is_not_repeated(server: OpenAIServer) -> None:
    with pytest.raises(AIUnavailable) as caught:
        await ask(server, UNAVAILABLE["a proxy's 502"])
    assert str(caught.value) == "the AI answered 502"


async def test_a_key_that_is_a_word_does_not_blot_sentences(server: OpenAIServer) -> None:
    server.will_say(error(400, "No such parameter."))
    async with OpenAIClient("a", AIOptions(base_url=server.base_url)) as ai:
        with pytest.raises(AIRejected, match="No such parameter"):
            await ai.ask(PROMPT, TEXT, Analysis)


async def test_a_server_that_says_nothing_is_unavailable_when_the_time_is_up(server: OpenAIServer) -> None:
    with pytest.raises(AIUnavailable, match=r"within 0\.05 seconds"):
        await ask(server, Said(hang=True), timeout=0.05)


async def test_nobody_at_the_address_is_unavailable() -> None:
    async with OpenAIServer() as server:
        address = server.base_url
    async with OpenAIClient(KEY, AIOptions(base_url=address)) as ai:
        with pytest.raises(AIUnavailable, match=re.escape(address.removesuffix("/v1"))):
            await ai.ask(PROMPT, TEXT, Analysis)


async def test_of_an_address_where_nobody_is_no_more_is_told_than_the_server() -> None:
    async with OpenAIServer() as server:
        where = server.base_url.removeprefix("http://").removesuffix("/v1")
    address = f"http://bee:hunter2@{where}/hunter2/v1?key=hunter2"
    async with OpenAIClient(KEY, AIOptions(base_url=address)) as ai:
        with pytest.raises(AIUnavailable) as caught:
            await ai.ask(PROMPT, TEXT, Analysis)
    assert f"the AI at http://{where} can't be reached" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_an_overloaded_server_may_say_when(server: OpenAIServer) -> None:
    with pytest.raises(AIUnavailable) as caught:
        await ask(server, error(503, retry_after="7"))
    assert caught.value.retry_after == 7


LATER = format_datetime(START + timedelta(seconds=90), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "20"}, 20.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "1"}, 0.25),
        ({"retry_after_ms": "soon", "retry_after": "3"}, 3.0),
        ({"retry_after": LATER}, 90.0),
        ({"retry_after": "Mon, 05 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"retry_after": "99999999"}, 6 * 3600.0),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "later"}, None),
        ({}, None),
    ],
)
async def test_a_rate_limit_says_how_long_to_wait(
    server: OpenAIServer, headers: dict[str, str], seconds: float | None
) -> None:
    with pytest.raises(AIRateLimited) as caught:
        await ask(server, error(429, "Slow down.", code="rate_limit_exceeded", **headers))
    assert caught.value.retry_after == seconds
    assert "Slow down." in str(caught.value)


async def test_a_rate_limit_in_the_response_is_one(server: OpenAIServer) -> None:
    with pytest.raises(AIRateLimited):
        await ask(server, response(status="failed", error={"code": "rate_limit_exceeded", "message": "!"}))


async def test_an_account_without_credit_waits_and_says_so(server: OpenAIServer) -> None:
    with pytest.raises(AIRateLimited, match="no credit left: pay in") as caught:
        await ask(server, error(429, "You exceeded your current quota.", code="insufficient_quota"))
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 600


@pytest.mark.parametrize("said", ["0", "1", "Mon, 05 Jan 2026 11:00:00 GMT"])
async def test_credit_is_not_paid_in_as_soon_as_a_server_says(server: OpenAIServer, said: str) -> None:
    with pytest.raises(AIRateLimited) as caught:
        await ask(server, error(429, "no credit", code="insufficient_quota", retry_after=said))
    assert caught.value.retry_after == WAIT_FOR_CREDIT


async def test_a_server_may_say_that_credit_takes_longer(server: OpenAIServer) -> None:
    with pytest.raises(AIRateLimited) as caught:
        await ask(server, error(429, "no credit", code="insufficient_quota", retry_after="3600"))
    assert caught.value.retry_after == 3600


REJECTED = {
    "400": (error(400, "Unsupported parameter."), "Unsupported parameter."),
    "401": (error(401, f"Incorrect API key: {KEY}"), "set OPENAI_API_KEY"),
    "403": (error(403), "right to use the model gpt-5-nano"),
    "404": (error(404, code="model_not_found"), "no model gpt-5-nano.*OPENAI_MODEL"),
    "413": (error(413, f"{KEY} is too long"), "413"),
    "422": (Said(422, {"error": "unknown field"}), "unknown field"),
    "a redirect": (Said(307, headers={"Location": "http://127.0.0.1:9/"}), "OPENAI_BASE_URL"),
}


@pytest.mark.parametrize(("said", "advice"), REJECTED.values(), ids=REJECTED)
async def test_what_never_works_says_what_to_change(server: OpenAIServer, said: Said, advice: str) -> None:
    with pytest.raises(AIRejected, match=advice) as caught:
        await ask(server, said)
    assert KEY not in str(caught.value)
    assert len(server.asked) == 1


async def test_the_embedding_model_that_is_not_there_is_named(server: OpenAIServer) -> None:
    server.will_say(error(404, code="model_not_found"))
    async with client(server, embedding_model="nomic") as ai:
        with pytest.raises(AIRejected, match="no model nomic"):
            await ai.embed([TEXT])


@pytest.mark.parametrize(
    "said",
    [
        embeddings([1.0]),
        embeddings([1.0], [1.0, 2.0]),
        embeddings([1.0], [], model=None),
        embeddings(data=[]),
        Said(body=b"ok"),
    ],
    ids=["too few", "of two lengths", "empty", "none", "no JSON"],
)
async def test_vectors_that_can_not_be_used_are_malformed(server: OpenAIServer, said: Said) -> None:
    server.will_say(said)
    async with client(server) as ai:
        with pytest.raises(AIMalformed):
            await ai.embed(["one", "two"])


@pytest.mark.parametrize(
    "said",
    [
        embeddings([1.0]),
        embeddings([1.0], [1.0, 2.0]),
        embeddings([1.0], []),
        embeddings(data=[{"index": 0, "embedding": ["one"]}]),
        embeddings(data=None),
    ],
    ids=["too few", "of two lengths", "empty", "no numbers", "none"],
)
async def test_vectors_that_can_not_be_used_are_paid_for(server: OpenAIServer, said: Said) -> None:
    server.will_say(said)
    prices = {"text-embedding-3-small": Price(input=2.0)}
    async with client(server, prices=prices) as ai:
        with pytest.raises(AIMalformed) as caught:
            await ai.embed(["one", "two"])
    used = said.body["usage"]["prompt_tokens"]
    assert used > 0
    assert caught.value.usage == Usage("text-embedding-3-small", used, 0, used * 2.0 / 1_000_000)


async def test_nothing_is_known_of_what_vectors_took_where_the_server_does_not_say(
    server: OpenAIServer,
) -> None:
    server.will_say(embeddings([1.0], usage=None))
    async with client(server) as ai:
        with pytest.raises(AIMalformed) as caught:
            await ai.embed(["one", "two"])
    assert caught.value.usage is None


@pytest.mark.parametrize("texts", [[], ["a", " \n"], ["a"] * 101], ids=["none", "an empty one", "too many"])
async def test_texts_that_can_not_be_embedded_are_not_sent(server: OpenAIServer, texts: list[str]) -> None:
    async with client(server) as ai:
        with pytest.raises(AIRejected):
            await ai.embed(texts)
    assert server.asked == []


async def test_a_text_without_anything_in_it_is_not_sent(server: OpenAIServer) -> None:
    async with client(server) as ai:
        with pytest.raises(AIRejected, match="empty"):
            await ai.ask(PROMPT, " \x00\n", Analysis)
    assert server.asked == []


@pytest.mark.parametrize(
    "problem",
    [
        AIRateLimited(3.5),
        AIRateLimited(None, "Slow down."),
        AIUnavailable(retry_after=2.0),
        AIRefused("No."),
        AIMalformed("What?"),
        AIRejected("Never."),
    ],
)
def test_errors_go_to_other_processes_whole(problem: AIError) -> None:
    again = pickle.loads(pickle.dumps(problem))  # noqa: S301 - our own
    assert type(again) is type(problem)
    assert (str(again), again.__dict__) == (str(problem), problem.__dict__)


def test_what_a_server_says_is_kept_as_one_short_line() -> None:
    problem = AIUnavailable("\x1b[31mred\nlines " + "x" * 10_000)
    assert str(problem).startswith("[31mred lines x")
    assert len(str(problem)) == 500
