"""Formats the beginning of a JSON value without formatting the rest, since values may be very large."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

_END: Final = object()


@dataclass(frozen=True, slots=True)
class Preview:
    """The beginning of a formatted value.

    Attributes:
        is_cut: whether the value is longer.
    """

    text: str
    is_cut: bool


def preview(value: Any, most: int, *, indent: int | None = None) -> Preview:
    """Format at most ``most`` characters of a value: text unchanged, other values as JSON.

    Args:
        value: a value from parsed JSON, of any depth.
        most: maximum number of characters; the run time depends on it, not on the size of the value.
        indent: spaces of indentation, with one member per line; None for a single line.
    """
    if isinstance(value, str):
        return Preview(value[:most], len(value) > most)
    pieces: list[str] = []
    length = 0
    for piece in _pieces(value, most, indent):
        pieces.append(piece)
        length += len(piece)
        if length > most:
            return Preview("".join(pieces)[:most], is_cut=True)
    return Preview("".join(pieces), is_cut=False)


def _pieces(value: Any, most: int, indent: int | None) -> Iterator[str]:
    """Yield a value's JSON in pieces, with texts truncated to ``most``, using a stack for nesting."""
    inside: list[tuple[Iterator[Any], str]] = []

    def opened(one: Any) -> str:
        """Return the JSON of a simple value, or the opening of a container, whose members follow."""
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
