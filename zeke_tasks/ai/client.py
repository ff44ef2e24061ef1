"""What tasks ask of an AI, whichever it is: an answer of a given form, and vectors for texts.

There are several clients: OpenAI's (`zeke_tasks.ai.openai`), one without any AI (`zeke_tasks.ai.stub`), one
that embeds offline (`zeke_tasks.ai.wordllama`), and those of tests and simulations. `Limited` may stand
before any of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Final, Generic, Protocol, TypeVar

from pydantic import BaseModel

from zeke_tasks.ai.errors import AIRejected
from zeke_tasks.ai.prices import Price, load_prices
from zeke_tasks.fetch.text import one_line, without_controls
from zeke_tasks.store.model import storable

M = TypeVar("M", bound=BaseModel)
M_co = TypeVar("M_co", bound=BaseModel, covariant=True)

QUESTION_CHARACTERS: Final = 8_000
"""How much of a text a model is asked about; the rest is cut off."""

EMBEDDED_CHARACTERS: Final = 6_000
"""How much of a text is embedded; the rest is cut off."""

TEXTS_AT_ONCE: Final = 100
"""How many texts one call embeds at most; together they stay below what OpenAI takes in one request."""

_PROMPT: Final = re.compile(r"---\nversion: (\S+)\n---\n(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used.

    Attributes:
        model: who answered, as the server calls it; ``stub`` if it was none.
        input_tokens: of prompt and text; 0 if the server does not count.
        output_tokens: of the answer, with what the model thought to itself; 0 for embeddings.
        cost_usd: by the list prices, in US dollars; None if the price or the number of tokens is unknown, 0.0
            for what costs nothing.
    """

    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Answer(Generic[M_co]):
    """What a model answered.

    Attributes:
        value: the answer, valid in its form.
        usage: what it used.
        stub: whether no AI had a part in it.
    """

    value: M_co
    usage: Usage
    stub: bool


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts.

    Attributes:
        vectors: one for each text, in order, all of one length.
        model: what made them; vectors of different models can't be compared.
        dimensions: the length of each vector.
        usage: what it used.
        stub: whether no AI had a part in it.
    """

    vectors: tuple[tuple[float, ...], ...]
    model: str
    dimensions: int
    usage: Usage
    stub: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is told to do with a text.

    Attributes:
        name: the task that it is for.
        version: changes whenever the text does, so that an answer can be traced to what was asked.
        text: the instructions.
    """

    name: str
    version: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AIOptions:
    """Which AI is asked, and how much; the defaults are those of production.

    Attributes:
        model: who answers.
        embedding_model: who embeds; OpenAI's gives vectors of 1,536 numbers.
        base_url: where the API is.
        timeout: seconds that one request may take, all of it.
        max_output_tokens: of one answer, with what the model thinks to itself.
        requests_per_minute: requests that begin within a minute at most, in one process.
        at_once: requests that are under way at a time at most, in one process.
        patience: seconds that a request waits for its turn before it is put off.
        prices: what a million tokens cost, by model.
    """

    model: str = "gpt-5-nano"
    embedding_model: str = "text-embedding-3-small"
    base_url: str = "https://api.openai.com/v1"
    timeout: float = 60.0
    max_output_tokens: int = 8_000
    requests_per_minute: int = 300
    at_once: int = 8
    patience: float = 30.0
    prices: Mapping[str, Price] = field(default_factory=load_prices)


class Asks(Protocol):
    """Whoever answers questions about a text."""

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Send a text to the AI with a prompt.

        Args:
            prompt: the instructions.
            text: the material; no instructions in it are followed. The first 8,000 characters count.
            answer: the form of the answer. All of its fields are asked for, also those that have defaults.

        Raises:
            AIRateLimited: too much was asked; it says how long to wait.
            AIUnavailable: there was no answer, and may be one later.
            AIRefused, AIMalformed: there was an answer that is of no use.
            AIRejected: this can't be asked.
        """
        ...


class Embeds(Protocol):
    """Whoever makes vectors of texts."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return a vector for each text, which is near to those of texts that mean the same.

        Args:
            texts: 1 to 100, none of them empty. The first 6,000 characters of each count.

        Raises:
            AIRateLimited, AIUnavailable, AIMalformed, AIRejected: as of ``ask``.
        """
        ...


class AIClient(Asks, Embeds, Protocol):
    """What tasks read as ``job.resources.ai``."""


class Paired:
    """A client that asks one and has another embed.

    Args:
        asks: who answers questions.
        embeds: who makes vectors.
    """

    def __init__(self, asks: Asks, embeds: Embeds) -> None:
        self._asks = asks
        self._embeds = embeds

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Ask the one."""
        return await self._asks.ask(prompt, text, answer)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed by the other client."""
        return await self._embeds.embed(texts)


def load_prompt(name: str) -> Prompt:
    """Read a prompt of ours from its file, ``prompts/NAME.md``.

    Raises:
        FileNotFoundError: there is none of this name.
        ValueError: the file does not begin with its version.
    """
    file = resources.files("zeke_tasks.ai") / "prompts" / f"{name}.md"
    found = _PROMPT.fullmatch(file.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"The prompt {name!r} does not begin with ---, a line version: N, and ---")
    return Prompt(name, found[1], found[2].strip())


def to_ask(text: str) -> str:
    """Return the part of a text that is asked about.

    Raises:
        AIRejected: there is nothing in it.
    """
    return _cut(text, QUESTION_CHARACTERS, "the text to ask about is empty")


def to_embed(texts: Sequence[str]) -> list[str]:
    """Return the parts of texts that are embedded.

    Raises:
        AIRejected: there are none or too many, or there is nothing in one of them.
    """
    if not 1 <= len(texts) <= TEXTS_AT_ONCE:
        raise AIRejected(f"{len(texts)} texts can't be embedded at once; give 1 to {TEXTS_AT_ONCE}")
    return [
        _cut(text, EMBEDDED_CHARACTERS, f"text {number} of {len(texts)} to embed is empty")
        for number, text in enumerate(texts, 1)
    ]


def _cut(text: str, characters: int, complaint: str) -> str:
    # What can't be stored can't be sent either: half a character is no UTF-8.
    text = storable(text).strip()[:characters]
    if not one_line(without_controls(text)):
        raise AIRejected(complaint)
    return text
