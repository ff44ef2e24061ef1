"""Offline embeddings by wordllama: vectors of 256 numbers from a table of words that its package contains.

They are less precise than a model's and better than the stub's: texts about the same subject are near each
other. Nothing is downloaded, and no text leaves the machine.
"""
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import importlib
import logging
import math
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar, cast

from pydantic import BaseModel

from zeke_queue.errors import SettingsError
from zeke_tasks.ai.client import Embedded, Prompt, Quote, Usage, to_embed
from zeke_tasks.ai.errors import AIRejected, AIUnavailable
from zeke_tasks.fetch.parser_pool import ParserKilled, Unreadable

if TYPE_CHECKING:
    from zeke_tasks.fetch.parser_pool import Compute

P = ParamSpec("P")
T = TypeVar("T")

MODEL: Final = "wordllama-l2-supercat-256"
DIMENSIONS: Final = 256


class _Words(Protocol):
    """The part of the library's interface that is used."""

    def embed(self, texts: list[str]) -> Any: ...


async def in_a_thread(function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
    """Call a function in a thread, so that the event loop is not blocked."""
    return await asyncio.to_thread(function, *args, **options)


class WordLlama:
    """Client of wordllama.

    Args:
        compute: runs the library, in threads or in the parser processes.

    Raises:
        SettingsError: it is not installed.
    """

    def __init__(self, compute: Compute = in_a_thread) -> None:
        try:
            version("wordllama")
        except PackageNotFoundError as error:
            raise SettingsError(
                "ZEKE_EMBEDDINGS=wordllama needs a package that is not installed: the extra `wordllama`"
            ) from error
        self._compute = compute

    def quote(
        self, texts: Sequence[str], prompt: Prompt | None = None, answer: type[BaseModel] | None = None
    ) -> Quote:
        """Return that a call is free."""
        del texts, prompt, answer
        return Quote(MODEL, 0.0)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return vectors of length 1, made outside the event loop; raises the errors of `Embeds.embed`."""
        cut = to_embed(texts)
        try:
            vectors = await self._compute(embed_words, cut)
        except Unreadable as error:
            raise AIRejected(f"the text can't be embedded: {error}") from error
        except ParserKilled as error:
            raise AIUnavailable(f"the embedding process was killed: {error}") from error
        return Embedded(tuple(vectors), MODEL, DIMENSIONS, Usage(MODEL, 0, 0, 0.0), stub=False)


def embed_words(texts: list[str]) -> list[tuple[float, ...]]:
    """Return a vector of length 1 per text; all zeros for a text without a known word.

    The first call in a process loads the table of words, which takes some tenths of a second.
    """
    words = _words()
    # Texts of a batch are padded to one length, which changes the last digits of their sums; so embed one by
    # one.
    return [_normalised(words.embed([text])[0].tolist()) for text in texts]


def _normalised(vector: list[float]) -> tuple[float, ...]:
    length = math.sqrt(math.fsum(number * number for number in vector))
    return tuple(number / length for number in vector) if length else tuple(vector)


@cache
def _words() -> _Words:
    _leave_logging_alone()
    library = importlib.import_module("wordllama")
    # Without these paths the library would download its files from a hub.
    folder = Path(cast("str", library.__file__)).parent
    return cast("_Words", library.WordLlama.load(cache_dir=folder, disable_download=True))


def _leave_logging_alone() -> None:
    """Import the part of the library that configures logging for the whole process, and undo that."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.addHandler(logging.NullHandler())
    try:
        importlib.import_module("wordllama.inference")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
