"""JSON as Postgres keeps it: writing it, reading it, and saying what jsonb makes of it.

``dumps`` refuses what Postgres would refuse, before a row is sent, and says where in the value the culprit is.
``normalise`` is what lets a storage without Postgres answer as Postgres does: jsonb sorts keys by length, keeps the
last of two equal keys, and writes numbers as ``numeric`` does (``1E2`` is ``100``, ``1.50`` stays ``1.50``).

Encoding and decoding are pydantic's, several times as fast as the standard library's, and on a worker's hot path.
"""

from __future__ import annotations

import json
import math
import re
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pydantic_core import from_json, to_json

from zeke_queue.errors import NotJson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEPTH_MAX: Final = 200
"""Levels of arrays and objects that pydantic reads."""

INTEGER_DIGITS_MAX: Final = 131_072
"""Digits before the decimal point that Postgres's numeric can hold."""

FRACTION_DIGITS_MAX: Final = 16_383
"""Digits after the decimal point that Postgres's numeric can hold."""

_NUMBER: Final = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?", re.ASCII)
_EXPONENT_MAX: Final = 2**30  # beyond it Postgres gives up on a number before it looks at its value
_LONG_NUMBER: Final = re.compile(rf"\d{{{INTEGER_DIGITS_MAX + 1}}}", re.ASCII)
_PATH_MAX: Final = 300


def dumps(value: Any) -> str:
    """Write a value as compact JSON text that Postgres takes.

    Besides what JSON knows by itself it takes what pydantic has a JSON form for: models, dataclasses, UUIDs, dates and
    times, enums, decimals (as text), sets and tuples (as arrays). Keys that are no text become text, as pydantic does.

    Args:
        value: nested at most 200 levels, which is as deep as pydantic reads.

    Returns:
        Text without needless spaces, in which characters beyond ASCII stand for themselves.

    Raises:
        NotJson: for NaN and the infinities, for NUL characters and lone surrogates, for values of other types, for
            ones that contain themselves. The message has the path to the culprit.
    """
    try:
        text = to_json(value, inf_nan_mode="constants").decode()
    except Exception as error:  # noqa: BLE001 - a value's own serialiser may raise anything
        _refuse(value, error)
    # An honest string may have these spellings too, so they only prompt a closer look.
    if "\\u0000" in text or "NaN" in text or "Infinity" in text:
        _look_closer(json.loads(text))
    if text.count("[") + text.count("{") > DEPTH_MAX:
        _refuse_too_deep(text)
    if len(text) > INTEGER_DIGITS_MAX and (number := _LONG_NUMBER.search(text)):
        _refuse_number(number.group())
    return text


def loads(text: str | bytes) -> Any:
    """Read JSON text, as Postgres or ``dumps`` wrote it.

    Raises:
        NotJson: it is no JSON.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        pass  # what is nested deeper than pydantic reads gets a second chance
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotJson(f"The text is no JSON that can be read: {error}") from None


def normalise(text: str) -> str:
    """Return the text that Postgres prints for this JSON after a round trip through ``jsonb``.

    Raises:
        NotJson: Postgres would refuse it: no JSON, NUL characters, lone surrogates, numbers too long for ``numeric``.

    >>> normalise('{"bb": 1.50, "a": 1E2, "a": [true, null]}')
    '{"a": [true, null], "bb": 1.50}'
    """
    try:
        tree = json.loads(
            text,
            object_pairs_hook=_sorted_object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
        )
        printed = "".join(_printed(tree))
    except RecursionError:
        raise NotJson("The JSON nests too deeply to be read; flatten it") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"The text is no JSON: {error}") from None
    if "\\u0000" in printed and "\0" in _strings_of(tree):
        raise NotJson("The JSON has a NUL character (\\u0000), which Postgres can't keep; remove it")
    try:
        printed.encode()
    except UnicodeEncodeError:
        raise NotJson("The JSON has half of a surrogate pair, which is no character; remove it") from None
    return printed


class _Number(str):
    """A number as it was written, to be told from a string."""

    __slots__ = ()


def _sorted_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keep the last of equal keys and sort by length, then bytes, both in UTF-8, as jsonb does.

    A lone surrogate is let through here, and found by whoever prints the tree.
    """
    members = dict(pairs)
    if len(members) > 1:
        keyed = [(key.encode("utf-8", "surrogatepass"), key) for key in members]
        keyed.sort(key=lambda k: (len(k[0]), k[0]))
        members = {key: members[key] for _, key in keyed}
    return members


def _printed(tree: Any) -> Iterator[str]:
    if isinstance(tree, _Number):
        yield _numeric(tree)
    elif isinstance(tree, str):
        yield encode_basestring(tree)
    elif isinstance(tree, dict):
        yield from _joined("{", "}", ((f"{encode_basestring(k)}: ", v) for k, v in tree.items()))
    elif isinstance(tree, list):
        yield from _joined("[", "]", (("", v) for v in tree))
    else:
        yield {None: "null", True: "true", False: "false"}[tree]


def _joined(opening: str, closing: str, members: Iterable[tuple[str, Any]]) -> Iterator[str]:
    separator = opening
    for key, value in members:
        yield separator
        yield key
        yield from _printed(value)
        separator = ", "
    yield closing if separator == ", " else opening + closing


def _strings_of(tree: Any) -> str:
    """Return all strings and keys of the tree in one, to search in."""
    if isinstance(tree, str):
        return tree
    if isinstance(tree, dict):
        return "".join(key + _strings_of(value) for key, value in tree.items())
    return "".join(map(_strings_of, tree)) if isinstance(tree, list) else ""


def _numeric(number: str) -> str:
    """Write a JSON number as Postgres's numeric prints it: no exponent, trailing zeros kept, no negative zero."""
    if number.isdigit():
        if len(number) > INTEGER_DIGITS_MAX:
            _refuse_number(number)
        return number
    match = _NUMBER.fullmatch(number)
    assert match is not None, "the JSON parser lets no other numbers through"  # noqa: S101
    sign, whole, fraction, exponent = (
        match.group(1),
        match.group(2),
        match.group(3) or "",
        match.group(4) or "0",
    )
    if len(exponent) > 11 or abs(int(exponent)) >= _EXPONENT_MAX:  # noqa: PLR2004 - no need to read a longer one
        _refuse_number(number)
    shift = int(exponent)
    scale = max(0, len(fraction) - shift)
    digits = (whole + fraction).lstrip("0")
    if scale > FRACTION_DIGITS_MAX or (digits and len(digits) - len(fraction) + shift > INTEGER_DIGITS_MAX):
        _refuse_number(number)
    if digits:
        digits += "0" * max(0, shift - len(fraction))
    digits = digits.rjust(scale + 1, "0")
    text = f"{digits[: len(digits) - scale]}.{digits[len(digits) - scale :]}" if scale else digits
    return sign + text if digits.strip("0") else text


def _refuse_too_deep(text: str) -> None:
    try:
        from_json(text)
    except ValueError:
        raise NotJson(f"The value nests more than {DEPTH_MAX} levels deep; flatten it") from None


def _refuse_number(number: str) -> NoReturn:
    shown = number if len(number) <= 40 else f"{number[:40]}…"  # noqa: PLR2004 - enough to find it by
    raise NotJson(f"The number {shown} is beyond what Postgres's numeric can hold; store it as text")


def _refuse_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is no JSON number; use null, or text")


def _look_closer(value: Any) -> None:
    """Refuse a tree that has a NUL or a number that is not finite, whose spellings an honest string can have as well."""
    for path, leaf in _leaves(value, "$"):
        if isinstance(leaf, str) and "\0" in leaf:
            raise NotJson(f"{path}: the text has a NUL character, which Postgres can't keep; remove it")
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise NotJson(f"{path}: {leaf} is no JSON number; use null, or text")


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every key and every value that has no parts, with its path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield f"{path}, key {key!r}", key
            yield from _leaves(value, f"{path}.{key}")
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _leaves(value, f"{path}.{index}")
    else:
        yield path, tree


def _refuse(value: Any, error: Exception) -> NoReturn:
    """Say where in the value the part is that can't be written, and why."""
    path, part = "$", value
    for _ in range(_PATH_MAX):
        found = next(((key, child) for key, child in _parts(part) if not _fits(child)), None)
        if found is None:
            break
        path, part = f"{path}.{found[0]}", found[1]
    reason = str(error).removeprefix("Error serializing to JSON: ")
    raise NotJson(f"{path}: {reason}; use what JSON has, or a pydantic model") from error


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, dict):
        return [(key, child) for key, child in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(enumerate(value))
    return []


def _fits(value: Any) -> bool:
    try:
        to_json(value)
    except Exception:  # noqa: BLE001 - whatever it raises, it does not fit
        return False
    return True
