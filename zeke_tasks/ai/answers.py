"""Answer models: the forms that an AI fills in and that tasks read.

AI models deviate slightly from the form: a number out of range, a bullet with its dash, a line that is too
long. Deviations that can be corrected without changing the meaning are corrected here, so that no call is
repeated for them. All others fail validation, and pydantic gives the reason.

The forms are sent to the model as JSON Schema, with their docstrings and descriptions. OpenAI's strict mode
supports no default but null, so an optional field has a ``default_factory``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Final, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from zeke_tasks.fetch.text import one_line, without_controls
from zeke_tasks.store.model import URL_CHARACTERS
from zeke_tasks.text_rules import shorten

ONE_LINER_CHARACTERS: Final = 139
TWO_LINER_CHARACTERS: Final = 279
QUOTE_CHARACTERS: Final = 1000
CHILI_MAX: Final = 5

STARTS_MAX: Final = 20
"""Opening braces of an answer that are tried as the beginning of its JSON."""

M = TypeVar("M", bound=BaseModel)

_BULLET: Final = re.compile(r"\A(?:[-*•‣–—]|\d{1,2}[.)])(?:\s+|$)")


def line(text: str) -> str:
    """Return a text as one line that can be stored and shown."""
    return one_line(without_controls(text))


def _bullets(items: list[str]) -> list[str]:
    lines = [text for item in items if (text := line(_BULLET.sub("", line(item), count=1)))]
    if not lines:
        raise ValueError("must have a bullet with text")
    return lines


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _number(value: Any) -> Any:
    """Reject bool and NaN, which Python accepts as numbers."""
    if isinstance(value, bool) or value != value:  # noqa: PLR0124 - not a number is the one that differs from itself
        raise ValueError("must be a number")
    return value


def _chili(value: Any) -> Any:
    if isinstance(_number(value), int | float):
        return round(min(max(value, 0), CHILI_MAX))
    return value


def _chili_in_range(value: int) -> int:
    return min(max(value, 0), CHILI_MAX)


def _share(value: float) -> float:
    return min(max(_number(value), 0.0), 1.0)


def _web_address(url: str | None) -> str | None:
    """Return the URL if it is http or https, else None, since pages show it as a link."""
    url = line(url) if url else ""
    whole = url.lower().startswith(("https://", "http://")) and len(url) <= URL_CHARACTERS and " " not in url
    return url if whole else None


Line = Annotated[str, AfterValidator(line), AfterValidator(_not_empty)]


class Citation(BaseModel):
    """A passage of the text that the answer rests on."""

    model_config = ConfigDict(frozen=True)

    quote: Annotated[str, AfterValidator(lambda text: shorten(line(text), QUOTE_CHARACTERS))] = Field(
        description="The passage, copied letter by letter"
    )
    url: Annotated[str | None, AfterValidator(_web_address)] = Field(
        default=None, description="The address that the text gives for it, or null"
    )


def _with_quotes(citations: list[Citation]) -> list[Citation]:
    return [citation for citation in citations if citation.quote]


class Analysis(BaseModel):
    """Whether a text deserves a reader's time, and why."""

    model_config = ConfigDict(frozen=True)

    why_it_matters: Annotated[list[str], AfterValidator(_bullets)] = Field(
        description="Bullets of one sentence each, at least one"
    )
    chili: Annotated[int, BeforeValidator(_chili), AfterValidator(_chili_in_range)] = Field(
        description="How hot the news is, from 0 to 5"
    )
    confidence: Annotated[float, BeforeValidator(_number), AfterValidator(_share)] = Field(
        description="How sure the answer is, from 0 to 1"
    )
    citations: Annotated[list[Citation], AfterValidator(_with_quotes)] = Field(
        default_factory=list[Citation], description="Passages that the bullets rest on, or an empty list"
    )


def _variant(value: Any) -> Any:
    return value if isinstance(value, str) else ""


Variant = Annotated[str, BeforeValidator(_variant), AfterValidator(line)]


class Variants(BaseModel):
    """Variants of a story's summary.

    One that is missing or no text is empty, so that the others can be used.
    """

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _any(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        given = cast("Mapping[str, Any]", data)
        if not any(_variant(given.get(name)).strip() for name in cls.model_fields):
            raise ValueError(f"must have {', '.join(cls.model_fields)}")
        return {name: given.get(name, "") for name in cls.model_fields}

    def by_name(self) -> dict[str, str]:
        """Return the texts of the variants by their names."""
        return self.model_dump()


class Briefs(Variants):
    """Three variants of a story's summary."""

    one_liner: Annotated[Variant, AfterValidator(lambda text: shorten(text, ONE_LINER_CHARACTERS))] = Field(
        description="One sentence of fewer than 140 characters"
    )
    two_liner: Annotated[Variant, AfterValidator(lambda text: shorten(text, TWO_LINER_CHARACTERS))] = Field(
        description="Two sentences of fewer than 280 characters together"
    )
    elevator: Variant = Field(description="Three to four sentences")


@cache
def briefs_form(names: tuple[str, ...]) -> type[Variants]:
    """Return the form for some of the variants of `Briefs`."""
    fields = Briefs.model_fields
    if names == tuple(fields):
        return Briefs
    wanted: dict[str, Any] = {name: (fields[name].rebuild_annotation(), fields[name]) for name in names}
    return create_model("SomeBriefs", __base__=Variants, __doc__="Variants of a story's summary.", **wanted)


def read_answer(text: str, form: type[M]) -> M:
    """Return the answer in a model's text: JSON, also in a code fence or between sentences.

    Raises:
        ValidationError: no JSON in the text has the form; the error of the first object, if there is one.
    """
    first: ValidationError | None = None
    for whole in _objects(text):
        try:
            return form.model_validate_json(whole)
        except ValidationError as error:
            first = first or error
    if first is not None:
        raise first
    return form.model_validate_json(text)


def _objects(text: str) -> Iterator[str]:
    """Yield the JSON objects in a text, each before those within it."""
    decoder, start = json.JSONDecoder(), -1
    for _ in range(STARTS_MAX):
        if (start := text.find("{", start + 1)) < 0:
            return
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        yield text[start:end]
