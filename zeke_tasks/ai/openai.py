"""Client of OpenAI and of servers with a compatible API, on the official SDK.

The SDK sends the request and makes the schema of the answer (``responses.parse``). Its retries are off, since
a job that waits in the queue does not occupy a worker. The body is read here and not by the SDK, which
reports a truncated answer or a proxy's page as a parse error and loses the cause. Its media type is ignored,
since servers name others for JSON, and invalid UTF-8 makes it unusable.

Importing the SDK takes half a second. So only `zeke_tasks.ai.choose` imports this module, when it is needed.
"""

from __future__ import annotations

import asyncio
import json
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Annotated, Any, Final, Self, TypeVar, cast
from urllib.parse import urlsplit

import httpx2
import openai
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from zeke_queue.system.clock import Clock, SystemClock
from zeke_tasks.ai.answers import read_answer
from zeke_tasks.ai.client import AIOptions, Answer, Embedded, M, Prompt, Quote, Usage, to_ask, to_embed
from zeke_tasks.ai.errors import AIError, AIMalformed, AIRateLimited, AIRefused, AIRejected, AIUnavailable
from zeke_tasks.ai.prices import cost, most
from zeke_tasks.ai.statuses import GATEWAY_STATUSES, failure

T = TypeVar("T")

_KEY_CHARACTERS: Final = 8
"""Minimum length of a real key. A shorter one is a placeholder that may occur in any sentence."""

FRAME_TOKENS: Final = 1_000
"""Limit of the tokens that the API adds to instructions, form and material."""

TOKENS_MAX: Final = 2**31 - 1
"""Limit of the tokens that are counted for a call, whatever number a server gives."""

_FAILED_BY: Final[dict[str, type[AIError]]] = {
    "rate_limit_exceeded": AIRateLimited,
    "invalid_prompt": AIRefused,
    "bio_policy": AIRefused,
    "misalignment_policy_violation": AIRefused,
    "data_residency_mismatch": AIRejected,
}


class _Loose(BaseModel):
    """Base of the parts of a body that are read; servers may add fields and omit others."""

    model_config = ConfigDict(extra="ignore")


_Count = Annotated[int, AfterValidator(lambda tokens: min(max(tokens, 0), TOKENS_MAX))]


class _Part(_Loose):
    type: str
    text: str | None = None
    refusal: str | None = None


class _Message(_Loose):
    phase: str | None = None
    content: list[_Part] | None = None


class _Details(_Loose):
    cached_tokens: int | None = None


class _Tokens(_Loose):
    input_tokens: _Count
    output_tokens: _Count
    input_tokens_details: _Details | None = None


class _Trouble(_Loose):
    code: str | None = None
    message: str | None = None
    reason: str | None = None


class _Response(_Loose):
    status: str | None = None
    model: str | None = None
    # An unreadable answer is billed too, so the output is parsed after the usage.
    output: Any = None
    usage: _Tokens | None = None
    error: _Trouble | None = None
    incomplete_details: _Trouble | None = None


class _Vector(_Loose):
    index: int
    embedding: list[float] = Field(min_length=1)


class _EmbeddedTokens(_Loose):
    prompt_tokens: _Count


class _Embeddings(_Loose):
    model: str | None = None
    # Parsed after the usage, as ``output`` is.
    data: Any = None
    usage: _EmbeddedTokens | None = None


_ITEMS: Final = TypeAdapter(list[dict[str, Any]])
_VECTORS: Final = TypeAdapter(list[_Vector])

B = TypeVar("B", bound=_Loose)


class OpenAIClient:
    """Client of OpenAI's API. An async context manager.

    Proxies of the environment are not used and redirects are not followed, since they would receive the key.
    The SDK itself reads OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS.

    Args:
        key: the API key.
        options: the models, the URL and the limits.
        clock: gives the time, for a ``Retry-After`` that is a date.
    """

    def __init__(self, key: str, options: AIOptions | None = None, *, clock: Clock | None = None) -> None:
        self._key = key
        self._options = options or AIOptions()
        self._clock = clock or SystemClock()
        # The library's time-outs are per read; ours covers the whole request.
        self._http = httpx2.AsyncClient(timeout=None, trust_env=False, follow_redirects=False)
        self._sdk = openai.AsyncOpenAI(
            api_key=key,
            base_url=self._options.base_url,
            timeout=None,
            max_retries=0,
            http_client=self._http,
        )

    async def __aenter__(self) -> Self:
        """Start; connections are opened on demand."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Ask the model for an answer of this form; raises the errors of `Asks.ask`."""
        material = to_ask(text)
        options = self._options
        body = await self._body(
            options.model,
            lambda: self._sdk.responses.with_raw_response.parse(
                model=options.model,
                instructions=prompt.text,
                input=material,
                text_format=answer,
                max_output_tokens=options.max_output_tokens,
                store=False,
            ),
        )
        response = _read(_Response, body)
        usage = self._usage(response)
        try:
            return Answer(_value(_answered(response), answer), usage, stub=False)
        except AIError as error:
            # Unusable answers are billed too.
            error.usage, error.may_cost = usage if response.usage else None, True
            raise

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed texts with the embedding model; raises the errors of `Embeds.embed`."""
        cut = to_embed(texts)
        model = self._options.embedding_model
        body = await self._body(
            model,
            lambda: self._sdk.embeddings.with_raw_response.create(
                model=model,
                input=cut,
                # Not every server supports the SDK's default, base64.
                encoding_format="float",
            ),
        )
        response = _read(_Embeddings, body)
        tokens = response.usage.prompt_tokens if response.usage else 0
        answered = response.model or model
        dollars = cost(self._options.prices, (answered, model), fresh=tokens) if response.usage else None
        usage = Usage(answered, tokens, 0, dollars)
        try:
            vectors = _vectors(response, len(cut))
        except AIError as error:
            # Unusable answers are billed too.
            error.usage, error.may_cost = usage if response.usage else None, True
            raise
        return Embedded(vectors, model, len(vectors[0]), usage, stub=False)

    def quote(
        self, texts: Sequence[str], prompt: Prompt | None = None, answer: type[BaseModel] | None = None
    ) -> Quote:
        """Return the price of a token per byte of input, which no text exceeds, and of the longest answer."""
        options = self._options
        if prompt is None:
            cut, model, written = to_embed(texts), options.embedding_model, 0
        else:
            schema = json.dumps(answer.model_json_schema()) if answer is not None else ""
            cut = [prompt.text, to_ask("".join(texts)), schema]
            model, written = options.model, options.max_output_tokens
        read = FRAME_TOKENS + sum(len(text.encode()) for text in cut)
        return Quote(model, most(options.prices, model, read, written))

    async def _body(self, model: str, send: Callable[[], Awaitable[Any]]) -> bytes:
        """Send a request and return the body of a successful answer."""
        seconds = self._options.timeout
        try:
            async with asyncio.timeout(seconds):
                raw = await send()
        except TimeoutError as error:
            late = AIUnavailable(f"the AI did not complete an answer within {seconds:g} seconds")
            late.may_cost = True
            raise late from error
        except openai.APIStatusError as error:
            failed = failure(
                error.status_code,
                error.response.headers,
                code=error.code,
                said=self._server_message(error),
                model=model,
                now=self._clock.now(),
            )
            # Only successful answers are billed, but a gateway may have lost one.
            failed.may_cost = error.status_code in GATEWAY_STATUSES
            raise failed from error
        except openai.APIConnectionError as error:
            why = str(error.__cause__ or error) or type(error.__cause__).__name__
            where = _origin(self._options.base_url)
            lost = AIUnavailable(f"the AI at {where} can't be reached: {why}")
            lost.may_cost = not isinstance(error.__cause__, (httpx2.ConnectError, httpx2.UnsupportedProtocol))
            raise lost from error
        return bytes(raw.http_response.content)

    def _server_message(self, error: openai.APIStatusError) -> str:
        """Return the server's error message, without the key; empty if there is none."""
        body: Any = error.body
        said = cast("dict[str, Any]", body).get("message") if isinstance(body, dict) else body
        # An HTML page comes from a proxy and has no useful first line.
        words = said if isinstance(said, str) and not said.lstrip().startswith("<") else ""
        return words.replace(self._key, "…") if len(self._key) >= _KEY_CHARACTERS else words

    def _usage(self, response: _Response) -> Usage:
        asked = self._options.model
        answered = response.model or asked
        if (used := response.usage) is None:
            return Usage(answered, 0, 0, None)
        cached = (used.input_tokens_details.cached_tokens or 0) if used.input_tokens_details else 0
        cached = min(max(cached, 0), used.input_tokens)
        dollars = cost(
            self._options.prices,
            (answered, asked),
            fresh=used.input_tokens - cached,
            cached=cached,
            output=used.output_tokens,
        )
        return Usage(answered, used.input_tokens, used.output_tokens, dollars)


def _origin(url: str) -> str:
    """Return scheme, host and port of a URL: the rest may be secret, and errors are stored and shown."""
    parsed = urlsplit(url)
    return f"{parsed.scheme}://{parsed.netloc.rpartition('@')[2]}"


def _read(form: type[B], body: bytes) -> B:
    try:
        return form.model_validate_json(body.removeprefix(BOM_UTF8))
    except ValidationError as error:
        raise AIMalformed(f"the response does not have the form of the API: {_first(error)}") from error


def _answered(response: _Response) -> str:
    """Return the text that the model gave as its answer.

    Raises:
        AIError: there is no answer, or an incomplete one; the class depends on the reason.
    """
    if response.error is not None or response.status == "failed":
        trouble = response.error or _Trouble()
        said = f"the model failed: {trouble.message or trouble.code or 'no reason given'}"
        kind = _FAILED_BY.get(trouble.code or "", AIUnavailable)
        raise kind(reason=said)
    if response.status == "incomplete":
        why = (response.incomplete_details.reason if response.incomplete_details else None) or "unknown"
        if why == "content_filter":
            raise AIRefused("a content filter ended the answer")
        raise AIMalformed(f"the answer is incomplete: it ended because of {why}")
    if response.status not in {None, "completed"}:
        raise AIUnavailable(f"the answer is not complete yet: its status is {response.status}")
    parts = [part for message in _messages(response) for part in message.content or []]
    if refusal := " ".join(part.refusal for part in parts if part.refusal):
        raise AIRefused(f"the model refuses to answer: {refusal}")
    return "".join(part.text or "" for part in parts if part.type == "output_text")


def _messages(response: _Response) -> list[_Message]:
    """Return the messages of the answer, without reasoning and tool calls."""
    try:
        items = _ITEMS.validate_python(response.output)
    except ValidationError as error:
        raise AIMalformed(
            f"the response does not have the form of the API: output: {_first(error)}"
        ) from error
    try:
        messages = [_Message.model_validate(item) for item in items if item.get("type") == "message"]
    except ValidationError as error:
        raise AIMalformed(f"the response does not have the form of the API: {_first(error)}") from error
    return [message for message in messages if message.phase in {None, "final_answer"}]


def _value(text: str, answer: type[M]) -> M:
    if not text.strip():
        raise AIMalformed("the answer is empty")
    try:
        return read_answer(text, answer)
    except ValidationError as error:
        raise AIMalformed(
            f"the answer does not have the form of {answer.__name__}: {_first(error)}"
        ) from error


def _vectors(response: _Embeddings, wanted: int) -> tuple[tuple[float, ...], ...]:
    """Return the vectors in the order of the texts; the server may send them in another."""
    try:
        given = _VECTORS.validate_python(response.data)
    except ValidationError as error:
        raise AIMalformed(f"the response does not have the form of the API: data: {_first(error)}") from error
    ordered = sorted(given, key=lambda vector: vector.index)
    if [vector.index for vector in ordered] != list(range(wanted)):
        raise AIMalformed(f"the server gave {len(ordered)} vectors for {wanted} texts")
    vectors = tuple(tuple(vector.embedding) for vector in ordered)
    if len({len(vector) for vector in vectors}) > 1:
        raise AIMalformed("the server gave vectors of different lengths")
    return vectors


def _first(error: ValidationError) -> str:
    """Return the first validation error and its location, without the value, which may be long."""
    detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, detail["loc"]))
    reason = detail["msg"].removeprefix("Value error, ")
    return f"{place}: {reason}" if place else reason
