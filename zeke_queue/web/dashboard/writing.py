"""The begin of a JSON value, written without writing the rest: values may be as large as memory holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

_END: Final = object()


@dataclass(frozen=True, slots=True)
class Begin:
    """The first characters of a value.

    Attributes:
        is_cut: whether there are more of them.
    """

    text: str
    is_cut: bool


def begin(value: Any, most: int, *, indent: int | None = None) -> Begin:
    """Write at most so many characters of a value: text as it is, all else as JSON.

    Args:
        value: as it was read from JSON; it may nest as deep as it likes.
        most: characters; the time that it takes follows from them, not from how large the value is.
        indent: spaces by which members stand further in, each in a line of its own; None: all in one line.
    """
    if isinstance(value, str):
        return Begin(value[:most], len(value) > most)
    pieces: list[str] = []
    length = 0
    for piece in _pieces(value, most, indent):
        pieces.append(piece)
        length += len(piece)
        if length > most:
            return Begin("".join(pieces)[:most], is_cut=True)
    return Begin("".join(pieces), is_cut=False)


def _pieces(value: Any, most: int, indent: int | None) -> Iterator[str]:
    """Yield a value's JSON, of each text as much as can be wanted; what holds others is kept on a stack."""
    inside: list[tuple[Iterator[Any], str]] = []

    def opened(one: Any) -> str:
        """Return how something is written, or how it begins, and then its members are next."""
        if isinstance(one, dict) and one:
            inside.append((iter(cast("dict[str, Any]", one).items()), "}"))
            return "{"
        if isinstance(one, list) and one:
            inside.append((iter(cast("list[Any]", one)), "]"))
            return "["
        return json.dumps(one[:most] if isinstance(one, str) else one, ensure_ascii=False)

    def line() -> str:
        return "" if indent is None else "\n" + " " * (indent * len(inside))

    yield opened(value)
    is_first = True
    while inside:
        members, closing = inside[-1]
        member: Any = next(members, _END)
        if member is _END:
            inside.pop()
            yield line() + closing
            is_first = False
            continue
        if not is_first:
            yield ", " if indent is None else ","
        yield line()
        if closing == "}":
            name: str = member[0]
            member = member[1]
            yield json.dumps(name[:most], ensure_ascii=False) + ": "
        depth = len(inside)
        yield opened(member)
        is_first = len(inside) > depth
