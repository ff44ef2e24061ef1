"""A scripted AI for tests and simulations: it gives prepared answers and records its calls.

Without prepared answers it answers by the text alone, like the stub; but its answers count as a model's, so
that tasks behave as with a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from pydantic import BaseModel

from zeke_queue.system.clock import SystemClock
from zeke_tasks.ai.answers import Variants
from zeke_tasks.ai.client import Answer, Embedded, Quote, Usage, to_ask, to_embed
from zeke_tasks.ai.errors import AIError, AIMalformed
from zeke_tasks.ai.stub import StubClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zeke_tasks.ai.client import M, Prompt

MODEL: Final = "scripted"
DIMENSIONS: Final = 8
EMBED: Final = "embed"
"""The name of embedding calls, in place of a prompt's name."""

_TOKEN: Final = 4
"""Characters per token, for approximate usage."""

_SENTENCES: Final = ("There is more to it.", "The rest follows below.", "That is all.")


class Asked(NamedTuple):
    """A call: the prompt's name or ``embed``, the text, and the time by the running loop."""

    what: str
    text: str
    at: float = 0.0


Said: TypeAlias = "BaseModel | Mapping[str, Any] | Sequence[float] | Exception | None"
"""An answer, its fields, a vector, an exception to raise, or None for the default answer."""

Says: TypeAlias = "Said | Callable[[str], Said]"


class _Lines(NamedTuple):
    """Prepared answers to one kind of call whose text contains some words."""

    about: str
    answers: list[Says]


class ScriptedAI:
    """A ``zeke_tasks.ai.AIClient`` with prepared answers.

    ::

        ai = ScriptedAI()
        ai.put("analyze-story", AIRateLimited(30), {"why_it_matters": ["Bees dance."], "chili": 3, …})
        ai.put("generate-brief", AIRefused("no"), about="wasps")

    Of several answers each is given once, and the last one repeatedly.

    Args:
        model: the name of the model.
        stub: whether its answers count as the stub's.
        dollars: the price of a call, and its highest price before it is made.
        late: seconds per answer by the running loop, in a simulation virtual ones.

    Attributes:
        asked: the calls so far, including failed ones.
        before: is awaited before each answer, for example to run something in between.
    """

    def __init__(
        self, *, model: str = MODEL, stub: bool = False, late: float = 0.0, dollars: float = 0.0
    ) -> None:
        self._model = model
        self._stub = stub
        self._late = late
        self._dollars = dollars
        self._lines: dict[str, list[_Lines]] = {}
        self.asked: list[Asked] = []
        self.before: Callable[[], Awaitable[None]] | None = None

    def put(self, what: str, *answers: Says, about: str = "") -> None:
        """Set the answers to a kind of call, replacing earlier ones.

        Args:
            what: the name of a prompt, or ``embed``.
            *answers: see ``Said``, or functions that make one from the text.
            about: only calls whose text contains this; of several matches the last one put answers.
        """
        lines = [line for line in self._lines.get(what, []) if line.about != about]
        self._lines[what] = [_Lines(about, list(answers) or [None]), *lines]

    def calls(self, what: str) -> list[str]:
        """Return the texts of the calls of a kind."""
        return [one.text for one in self.asked if one.what == what]

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Give the next prepared answer, or else one by the text.

        Raises:
            AIError: it was prepared, or the prepared answer does not fit the form.
        """
        text = to_ask(text)
        scripted = await self._next(prompt.name, text)
        value = (
            await _default_answer(prompt, text, answer)
            if scripted is None
            else _in_form(prompt, scripted, answer)
        )
        return Answer(value, self._usage(text, len(value.model_dump_json())), stub=self._stub)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return the next prepared vector per text, or else one by the text.

        Raises:
            AIError: it was prepared.
        """
        vectors: list[tuple[float, ...]] = []
        for text in to_embed(texts):
            scripted = await self._next(EMBED, text)
            if scripted is not None and not isinstance(scripted, Sequence):
                raise TypeError(f"embed was put {type(scripted).__name__}; put numbers, or an error")
            vectors.append(_vector(text) if scripted is None else tuple(scripted))
        usage = self._usage("".join(texts), 0)
        return Embedded(tuple(vectors), self._model, len(vectors[0]), usage, stub=self._stub)

    def quote(
        self, texts: Sequence[str], prompt: Prompt | None = None, answer: type[BaseModel] | None = None
    ) -> Quote:
        """Return the price of a call."""
        del texts, prompt, answer
        return Quote(self._model, self._dollars)

    async def _next(self, what: str, text: str) -> Said:
        self.asked.append(Asked(what, text, asyncio.get_running_loop().time()))
        if self.before is not None:
            await self.before()
        if self._late:
            await SystemClock().sleep(self._late)
        line = next((one for one in self._lines.get(what, []) if one.about in text), None)
        if line is None:
            return None
        scripted = line.answers.pop(0) if len(line.answers) > 1 else line.answers[0]
        if callable(scripted):
            scripted = scripted(text)
        if isinstance(scripted, Exception):
            raise scripted
        return scripted

    def _usage(self, text: str, written: int) -> Usage:
        return Usage(self._model, len(text) // _TOKEN, written // _TOKEN, self._dollars)


def _in_form(prompt: Prompt, scripted: Said, form: type[M]) -> M:
    if isinstance(scripted, form):
        return scripted
    if isinstance(scripted, BaseModel):
        # A brief may be requested in part.
        scripted = scripted.model_dump()
    if not isinstance(scripted, Mapping):
        given = type(scripted).__name__
        raise TypeError(f"{prompt.name} was put {given}; put a {form.__name__}, its fields, or an error")
    try:
        return form.model_validate(scripted)
    except ValueError as error:
        raise AIMalformed(f"the answer does not have the form of {form.__name__}: {error}") from error


async def _default_answer(prompt: Prompt, text: str, form: type[M]) -> M:
    """Return the stub's answer, with as many sentences as a model is asked for."""
    try:
        quoted = (await StubClient().ask(prompt, text, form)).value
    except AIError as error:
        raise TypeError(
            f"{prompt.name}: the default answers have no {form.__name__}; set one with "
            f"zeke_ai.put({prompt.name!r}, …)"
        ) from error
    if isinstance(quoted, Variants):
        variants = quoted.by_name()
        first = next(iter(variants.values())).rstrip(".!?…") + "."
        fields = {"two_liner": f"{first} {_SENTENCES[0]}", "elevator": " ".join((first, *_SENTENCES))}
        return form.model_validate({**variants, **fields})
    return quoted


def _vector(text: str) -> tuple[float, ...]:
    return tuple(byte / 255 for byte in sha256(text.encode()).digest()[:DIMENSIONS])
