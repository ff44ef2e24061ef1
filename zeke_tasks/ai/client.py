"""The interface of AI clients: answers of a given form, and embeddings of texts.

There are several clients: OpenAI's (`zeke_tasks.ai.openai`), one without any AI (`zeke_tasks.ai.stub`), one
that embeds offline (`zeke_tasks.ai.wordllama`), and those of tests and simulations. `Limited` can wrap any of
them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Final, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel

from zeke_tasks.ai.errors import AIRejected
from zeke_tasks.ai.prices import Price, load_prices
from zeke_tasks.fetch.text import one_line, without_controls
from zeke_tasks.store.model import storable

M = TypeVar("M", bound=BaseModel)
M_co = TypeVar("M_co", bound=BaseModel, covariant=True)

QUESTION_CHARACTERS: Final = 8_000
"""Characters of a text that are sent with a question; the rest is cut off."""

EMBEDDED_CHARACTERS: Final = 6_000
"""Characters of a text that are embedded; the rest is cut off."""

TEXTS_AT_ONCE: Final = 100
"""Maximum number of texts per embedding call; together they stay below OpenAI's limit for one request."""

_PROMPT: Final = re.compile(r"---\nversion: (\S+)\n---\n(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used.

    Attributes:
        model: the model that answered, by the server's name; ``stub`` for the stub.
        input_tokens: of prompt and text; 0 if the server does not count.
        output_tokens: of the answer, including reasoning; 0 for embeddings.
        cost_usd: by the list prices, in US dollars; None if the price or the number of tokens is unknown, 0.0
            if it was free.
    """

    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Answer(Generic[M_co]):
    """A model's answer.

    Attributes:
        value: the answer, validated.
        usage: the usage of the call.
        stub: whether no AI had a part in it.
    """

    value: M_co
    usage: Usage
    stub: bool


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts.

    Attributes:
        vectors: one per text, in order, all of the same length.
        model: the model that made them; vectors of different models can't be compared.
        dimensions: the length of each vector.
        usage: the usage of the call.
        stub: whether no AI had a part in it.
    """

    vectors: tuple[tuple[float, ...], ...]
    model: str
    dimensions: int
    usage: Usage
    stub: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """Instructions for a model.

    Attributes:
        name: the task that it is for.
        version: changes whenever the text does, so that an answer can be traced to its prompt.
        text: the instructions.
    """

    name: str
    version: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AIOptions:
    """The models and their limits; the defaults are those of production.

    Attributes:
        model: the model that answers.
        embedding_model: the model that embeds; OpenAI's gives vectors of 1,536 numbers.
        base_url: the URL of the API.
        timeout: limit of one whole request in seconds.
        max_output_tokens: limit of one answer, including reasoning.
        requests_per_minute: limit of requests started per minute, per process.
        at_once: limit of concurrent requests, per process.
        patience: seconds that a request waits for its turn before it is rejected with a time to retry after.
        prices: prices per million tokens, by model.
    """

    model: str = "gpt-5-nano"
    embedding_model: str = "text-embedding-3-small"
    base_url: str = "https://api.openai.com/v1"
    timeout: float = 60.0
    max_output_tokens: int = 8_000
    requests_per_minute: int = 1000
    at_once: int = 8
    patience: float = 30.0
    prices: Mapping[str, Price] = field(default_factory=load_prices)


@dataclass(frozen=True, slots=True)
class Quote:
    """The most that a call can cost, known before it is made.

    Attributes:
        model: the model that will be asked.
        dollars: in US dollars; None if the model's price is unknown, 0.0 if it is free.
    """

    model: str
    dollars: float | None


@runtime_checkable
class Quotes(Protocol):
    """A client that knows the most that its calls can cost; budgets need one."""

    def quote(
        self, texts: Sequence[str], prompt: Prompt | None = None, answer: type[BaseModel] | None = None
    ) -> Quote:
        """Return the most that a call can cost.

        Args:
            texts: the material of a question, or the texts to embed.
            prompt: the instructions of a question; None for embeddings.
            answer: the form of the answer to a question.

        Raises:
            AIRejected: the call would be rejected.
        """
        ...


def quote_of(
    client: object,
    texts: Sequence[str],
    prompt: Prompt | None = None,
    answer: type[BaseModel] | None = None,
) -> Quote:
    """Return a client's quote; of a client that gives none, the price is unknown."""
    if isinstance(client, Quotes):
        return client.quote(texts, prompt, answer)
    return Quote(type(client).__name__, None)


class Asks(Protocol):
    """A client that answers questions about a text."""

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Send a text to the AI with a prompt.

        Args:
            prompt: the instructions.
            text: the material; instructions in it are not followed. Only the first 8,000 characters count.
            answer: the form of the answer. All fields are requested, including those with defaults.

        Raises:
            AIRateLimited: a rate limit is reached; the error says how long to wait.
            AIUnavailable: there was no answer; a later request may succeed.
            AIRefused, AIMalformed: the answer is unusable.
            AIRejected: the request is invalid.
        """
        ...


class Embeds(Protocol):
    """A client that makes vectors of texts."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return one vector per text; texts of similar meaning have vectors near each other.

        Args:
            texts: 1 to 100, none of them empty. Only the first 6,000 characters of each count.

        Raises:
            AIRateLimited, AIUnavailable, AIMalformed, AIRejected: as of ``ask``.
        """
        ...


class AIClient(Asks, Embeds, Protocol):
    """The client that tasks use as ``job.resources.ai``."""


class Paired:
    """Combines two clients: one answers, the other embeds.

    Args:
        asks: answers questions.
        embeds: makes vectors.
    """

    def __init__(self, asks: Asks, embeds: Embeds) -> None:
        self._asks = asks
        self._embeds = embeds

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Ask the answering client."""
        return await self._asks.ask(prompt, text, answer)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed with the embedding client."""
        return await self._embeds.embed(texts)

    def quote(
        self, texts: Sequence[str], prompt: Prompt | None = None, answer: type[BaseModel] | None = None
    ) -> Quote:
        """Return the quote of the client that will be called."""
        return quote_of(self._embeds if prompt is None else self._asks, texts, prompt, answer)


def load_prompt(name: str) -> Prompt:
    """Read a prompt from its file, ``prompts/NAME.md``.

    Raises:
        FileNotFoundError: there is no such prompt.
        ValueError: the file does not begin with its version.
    """
    file = resources.files("zeke_tasks.ai") / "prompts" / f"{name}.md"
    found = _PROMPT.fullmatch(file.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"The prompt {name!r} does not begin with ---, a line version: N, and ---")
    return Prompt(name, found[1], found[2].strip())


def to_ask(text: str) -> str:
    """Return the part of a text that is sent with a question.

    Raises:
        AIRejected: the text is empty.
    """
    return _cut(text, QUESTION_CHARACTERS, "the text to ask about is empty")


def to_embed(texts: Sequence[str]) -> list[str]:
    """Return the parts of texts that are embedded.

    Raises:
        AIRejected: there are no texts or too many, or one of them is empty.
    """
    if not 1 <= len(texts) <= TEXTS_AT_ONCE:
        raise AIRejected(f"{len(texts)} texts can't be embedded at once; pass 1 to {TEXTS_AT_ONCE}")
    return [
        _cut(text, EMBEDDED_CHARACTERS, f"text {number} of {len(texts)} to embed is empty")
        for number, text in enumerate(texts, 1)
    ]


def _cut(text: str, characters: int, complaint: str) -> str:
    # A lone surrogate can't be encoded as UTF-8, so it can't be sent either.
    text = storable(text).strip()[:characters]
    if not one_line(without_controls(text)):
        raise AIRejected(complaint)
    return text
