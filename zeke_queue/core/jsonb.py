"""JSON as Postgres stores it: writing, reading, and normalising to the form of jsonb.

``dumps`` refuses what Postgres would refuse, before a row is sent, and gives the path of the offending part.
With ``normalise``, a storage without Postgres returns what Postgres does: jsonb sorts keys by length, keeps
the last of two equal keys, and writes numbers like ``numeric`` (``1E2`` is ``100``, ``1.50`` stays
``1.50``).

Encoding and decoding use pydantic, which is several times as fast as the standard library, since both are on
a worker's hot path.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from decimal import Decimal
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, cast

from pydantic_core import SchemaSerializer, core_schema, from_json, to_json

from zeke_queue.errors import PayloadTooLargeError, SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DEPTH_MAX: Final = 200
"""Levels of arrays and objects that pydantic reads at most."""

INTEGER_DIGITS_MAX: Final = 131_072
"""Digits before the decimal point in Postgres's numeric at most."""

FRACTION_DIGITS_MAX: Final = 16_383
"""Digits after the decimal point in Postgres's numeric at most."""

INTEGER_DIGITS_READ: Final = 4_300
"""Digits of an integer that pydantic reads at most, and so of a worker's payloads."""

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
"""The replacement that pydantic writes for text it can't encode, where it does not refuse it."""

_Tree: TypeAlias = "dict[str, _Tree] | list[_Tree] | str | float | None"

_EXPONENT_END: Final = 2**30  # from here on Postgres refuses any number
# The lookbehind prevents a new search at each digit of a long number.
_LONG_NUMBER: Final = re.compile(rf"(?<!\d)\d{{{INTEGER_DIGITS_READ + 1},}}", re.ASCII)
_DIGITS: Final = "0123456789"
_EXPONENT: Final = re.compile(r"\d[eE][+-]?\d")
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_FLOAT_EXPONENT: Final = re.compile(r"\de([+-]\d+)", re.ASCII)
_FRACTION: Final = re.compile(r"\.(\d+)e([+-])", re.ASCII)
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_NEGATIVE_ZERO: Final = re.compile(r"-0\.0(?!\d)", re.ASCII)
_FLOAT_MAX: Final = 400  # characters of a float, and more, with all of its digits written out
_GROWTH_MAX: Final = 64  # times as many bytes as characters, at most: 1e308 and its comma have 311
_TOO_DEEP: Final = f"The value nests more than {DEPTH_MAX} levels deep; flatten it"
_PATH_PARTS: Final = 300
_PATH_SHOWN: Final = 200
_PLAIN: Final = SchemaSerializer(core_schema.any_schema())


def dumps(value: Any, *, digits: int = INTEGER_DIGITS_MAX) -> str:
    """Return a value as compact JSON text that Postgres accepts.

    Besides JSON's own types it accepts those with a JSON form in pydantic: models, dataclasses, UUIDs, dates
    and times, enums, decimals (as text), sets and tuples (as arrays). Keys that are not strings become
    strings, as in pydantic.

    Args:
        value: nested at most 200 levels, which is what pydantic reads.
        digits: digits of an integer at most; by default as many as Postgres accepts and ``loads`` reads.

    Returns:
        Text without whitespace between tokens, in which non-ASCII characters are not escaped.

    Raises:
        SerializationError: for NaN and the infinities, longer integers, NUL characters, lone surrogates,
            values of other types, and values that nest deeper or contain themselves. The message has the path
            to the offending part.
    """
    try:
        text = to_json(value, inf_nan_mode="constants").decode()
    except Exception as error:
        raise SerializationError(complaint(value, error)) from error
    # Valid strings may contain these spellings too, so they only trigger a thorough check.
    long = len(text) > INTEGER_DIGITS_READ and _has_long_number(text)
    if long or "\\u0000" in text or "NaN" in text or "Infinity" in text:
        bare = _without_strings(text)
        is_long = _has_long_number(bare)
        if is_long or "NaN" in bare or "Infinity" in bare or _NUL.search(text):
            _check_tree(json.loads(text, parse_int=_Number if is_long else None), digits)
    if len(text) > DEPTH_MAX and text.count("[") + text.count("{") > DEPTH_MAX:
        try:
            # Long integers stop pydantic, and must not hide errors after them.
            from_json(_LONG_NUMBER.sub("1", text))
        except ValueError:
            raise SerializationError(_TOO_DEEP) from None
    if REPLACEMENT in text:
        check_keys(value)
    return text


def check_keys(value: Any) -> None:
    """Refuse a value with half of a surrogate pair in a key, which pydantic replaces in keys of known type.

    Raises:
        SerializationError: it contains one.
    """
    todo: list[Any] = [_PLAIN.to_python(value)]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            members = cast("dict[Any, Any]", part)
            _encodable("".join([key for key in members if isinstance(key, str)]))
            todo += [member for member in members.values() if isinstance(member, dict | list | tuple)]
        else:
            todo += [member for _, member in _parts(part) if isinstance(member, dict | list | tuple)]


def is_kept(text: str) -> bool:
    """Return whether Postgres can store a text: no NUL character, and no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def complaint(value: Any, error: Exception) -> str:
    """Return the path of the part of a value that pydantic can't write, the reason, and the remedy."""
    reason = str(error).removeprefix("Error serializing to JSON: ")
    if isinstance(error, RecursionError) or "depth exceeded" in reason:
        return _TOO_DEEP
    if "surrogates not allowed" in reason and (found := _half_pair(value)) is not None:
        return ": ".join(found)
    path = _path_to_invalid(value)
    if "Circular reference" in reason:
        return f"{path}: the value contains itself; remove the cycle"
    return f"{path}: {reason}; use JSON types, or a pydantic model"


def loads(text: str | bytes) -> Any:
    """Return the value of JSON text written by Postgres or ``dumps``.

    Raises:
        SerializationError: it is not JSON.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        pass  # nested deeper, or with longer numbers, than pydantic reads: try again below
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise SerializationError(f"The JSON cannot be read: {error}") from None


def normalise(text: str) -> str:
    """Return the text that Postgres prints for this JSON after a round trip through ``jsonb``.

    Raises:
        SerializationError: Postgres would refuse it: not JSON, NUL characters, lone surrogates, numbers too
            long for ``numeric``.

    >>> normalise('{"bb": 1.50, "a": 1E2, "a": [true, null]}')
    '{"a": [true, null], "bb": 1.50}'
    """
    try:
        printed = _PLAIN_ENCODER.encode(_PLAIN_DECODER.decode(text))
    except (ValueError, RecursionError):
        printed = None
    if printed is None or "\\u0000" in printed:
        # Numbers of unusual spelling and equal keys need the slow path, and so does an error for NUL or
        # invalid JSON.
        try:
            printed = _printed(_EXACT_DECODER.decode(text))
        except RecursionError:
            raise SerializationError("The JSON nests too deeply to be read; flatten it") from None
        except json.JSONDecodeError as error:
            raise SerializationError(f"The JSON is invalid: {error}") from None
    return _encodable(printed)


def size_over(text: str, cap: int) -> int | None:
    """Return the size in bytes of ``dumps``' output as Postgres writes it if that exceeds the cap, else None.

    Most texts are short, and few have numbers that expand (``1e300`` has 301 digits), so the exact size is
    seldom computed. Equal keys, as of ``{1: "a", "1": "b"}``, are counted separately.
    """
    if len(text) * _GROWTH_MAX <= cap:
        return None
    size, spaces = len(text.encode()), text.count(",") + text.count(":")
    if size + spaces + len(_EXPONENT.findall(text)) * _FLOAT_MAX <= cap:
        return None
    exact = size + _growth(text)
    return exact if exact > cap else None


def _growth(text: str) -> int:
    """Return how many bytes longer ``dumps``' output is as Postgres writes it, without writing it out.

    The number of calls does not depend on the number of values, so that a long text takes milliseconds.
    """
    bare = _without_strings(text)
    growth = bare.count(",") + bare.count(":")
    if "-0.0" in bare:
        growth -= len(_NEGATIVE_ZERO.findall(bare))  # written without its sign
    if bare.count("e") == bare.count("true") + bare.count("false"):
        return growth
    # A float is written as one digit, a fraction if it has more digits, and the exponent with its sign.
    # ``1.5e+16`` becomes 15000000000000000: as many digits as the exponent says follow the first, and they
    # take in the fraction, which is never longer. ``1.5e-7`` becomes 0.00000015.
    for exponent, number in Counter(_FLOAT_EXPONENT.findall(bare)).items():
        growth += number * (abs(int(exponent)) - len(exponent) - 1 + (exponent[0] == "-"))
    for digits, sign in _FRACTION.findall(bare):
        growth -= 1 if sign == "-" else 1 + len(digits)
    return growth


def _has_long_number(text: str) -> bool:
    """Return whether a text has more digits in a row than pydantic reads.

    Among the places that are ``INTEGER_DIGITS_READ`` apart, at least one is inside such a row.
    """
    for at in range(INTEGER_DIGITS_READ, len(text), INTEGER_DIGITS_READ):
        before, after = text[at - INTEGER_DIGITS_READ : at], text[at : at + INTEGER_DIGITS_READ + 1]
        row = len(before) - len(before.rstrip(_DIGITS)) + len(after) - len(after.lstrip(_DIGITS))
        if row > INTEGER_DIGITS_READ:
            return True
    return False


def _without_strings(text: str) -> str:
    """Return a JSON text without its strings and keys."""
    return "".join(_STRING.split(text)) if "\\" in text else "".join(text.split('"')[::2])


def check_size(text: str, cap: int, what: str, use: str = "send") -> str:
    """Return a JSON text that has at most ``cap`` bytes once Postgres has stored it.

    Raises:
        PayloadTooLargeError: it has more.
    """
    if (size := size_over(text, cap)) is not None:
        raise PayloadTooLargeError(
            f"{what} has {size} bytes of JSON as Postgres writes it, {cap} at most; store large data"
            f" elsewhere, and {use} a reference"
        )
    return text


class _Number(str):
    """The text of a number, distinct from a string."""

    __slots__ = ()


class _Token(str):
    """Text printed unchanged: a bracket, a comma, a quoted key."""

    __slots__ = ()


def _plain_object(pairs: list[tuple[str, _Tree]]) -> dict[str, _Tree]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("equal keys")
    return _sorted(members) if len(members) > 1 else members


def _exact_object(pairs: list[tuple[str, _Tree]]) -> dict[str, _Tree]:
    """Return the last of equal keys, after checking every value: jsonb also reads those it drops."""
    members = dict(pairs)
    if len(members) < len(pairs):
        _encodable(_printed([value for _, value in pairs]))
    return _sorted(members)


def _sorted(members: dict[str, _Tree]) -> dict[str, _Tree]:
    """Return the members sorted by length, then bytes, both of the key in UTF-8, as in jsonb.

    A lone surrogate is accepted here, and found when everything is printed.
    """
    encoded = {key: key.encode("utf-8", "surrogatepass") for key in members}
    return {key: members[key] for key in sorted(members, key=lambda key: (len(encoded[key]), encoded[key]))}


def _encodable(printed: str) -> str:
    try:
        printed.encode()
    except UnicodeEncodeError:
        raise SerializationError(
            "The JSON must be valid Unicode, got half of a surrogate pair; remove it"
        ) from None
    return printed


def _integer(number: str) -> int:
    """Return an integer of any length, in pieces, since Python refuses to convert very long ones at once."""
    if len(number) <= sys.int_info.str_digits_check_threshold:
        return int(number)
    if number[0] == "-":
        return -_integer(number[1:])
    low = len(number) // 2
    return _integer(number[:-low]) * 10**low + _integer(number[-low:])


def _refuse_constant(name: str) -> NoReturn:
    raise SerializationError(f"Numbers must be finite in JSON, got {name}; use null, or text")


def _plain_float(number: str) -> float:
    """Return a number that Python and Postgres print unchanged: no exponent, no zero."""
    value = float(number)
    if not value or "e" in number or repr(value) != number:
        raise ValueError(number)
    return value


def _numeric(number: str) -> _Number:
    """Return a number as Postgres's numeric prints it: no exponent, trailing zeros kept, no negative zero."""
    exponent = number.lower().partition("e")[2] or "0"
    if len(exponent) <= 11 and abs(int(exponent)) < _EXPONENT_END:  # noqa: PLR2004 - no need to read a longer one
        value = Decimal(number)
        # Checked before it is written out, which may take as many digits as the exponent says.
        scale = -cast("int", value.as_tuple().exponent)
        if scale <= FRACTION_DIGITS_MAX and (not value or value.adjusted() < INTEGER_DIGITS_MAX):
            return _Number(format(value or value.copy_abs(), "f"))
    shown = number if len(number) <= 40 else f"{number[:40]}…"  # noqa: PLR2004 - enough to find it
    raise SerializationError(
        f"The number {shown} is beyond what Postgres's numeric can hold; store it as text"
    )


_PLAIN_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_plain_object, parse_float=_plain_float, parse_constant=_refuse_constant
)
_PLAIN_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False)
_EXACT_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_exact_object, parse_int=_numeric, parse_float=_numeric, parse_constant=_refuse_constant
)
_COMMA, _ARRAY_END, _OBJECT_END = _Token(", "), _Token("]"), _Token("}")


def _printed(tree: _Tree) -> str:
    """Return the text, using an explicit stack: the parser limits the depth of JSON, not Python's stack."""
    out: list[str] = []
    rest: list[_Tree] = [tree]
    while rest:
        part = rest.pop()
        if isinstance(part, dict):
            out.append("{")
            rest.append(_OBJECT_END)
            for key, value in reversed(part.items()):
                rest += (value, _Token(f"{_quoted(key)}: "), _COMMA)
        elif isinstance(part, list):
            out.append("[")
            rest.append(_ARRAY_END)
            for value in reversed(part):
                rest += (value, _COMMA)
        else:
            out.append(_leaf(part))
            continue
        if part:
            rest.pop()  # no comma before the first member
    return "".join(out)


def _leaf(part: str | float | None) -> str:
    if isinstance(part, _Token | _Number):
        return part
    if isinstance(part, str):
        return _quoted(part)
    return "null" if part is None else "true" if part else "false"


def _quoted(text: str) -> str:
    if "\0" in text:
        raise SerializationError(
            "The JSON has a NUL character (\\u0000), which Postgres can't keep; remove it"
        )
    return encode_basestring(text)


def _check_tree(tree: _Tree, digits: int) -> None:
    """Refuse a tree that has a NUL, or a number that is not finite or too long."""

    def wrong(leaf: Any) -> str | None:
        if isinstance(leaf, _Number):
            length = len(leaf.lstrip("-"))
            return (
                f"an integer has {length} digits, {digits} at most; store it as text"
                if length > digits
                else None
            )
        if isinstance(leaf, str):
            why = "the text has a NUL character, which Postgres can't keep; remove it"
            return why if "\0" in leaf else None
        if isinstance(leaf, float) and not math.isfinite(leaf):
            return f"must be a finite number, got {leaf}; use null, or text"
        return None

    if (found := _first_wrong(tree, wrong)) is not None:
        raise SerializationError(": ".join(found))


def _first_wrong(tree: Any, wrong: Callable[[Any], str | None]) -> tuple[str, str] | None:
    """Return the path and the fault of a key or of a value without parts that has one; None if none has.

    An explicit stack of iterators, since a path is written for the fault alone, and no value is read twice.
    """
    path: list[Any] = []
    todo: list[Iterator[tuple[Any, Any]]] = [iter([("$", tree)])]
    while todo:
        for key, part in todo[-1]:
            if not isinstance(part, dict | list | tuple):
                if (why := wrong(part)) is not None:
                    return _joined([*path, key]), why
                continue
            path.append(key)
            for name in cast("dict[Any, Any]", part) if isinstance(part, dict) else ():
                if (why := wrong(name)) is not None:
                    return _shown(f"{_joined(path)}, key {_named(name)!r}"), why
            todo.append(iter(_parts(part)))
            break
        else:
            todo.pop()
            del path[-1:]
    return None


def _joined(path: list[Any]) -> str:
    return _shown(".".join(map(_named, path)))


def _path_to_invalid(value: Any) -> str:
    """Return the path to the innermost part that can't be written; in a cycle, to where it closes."""
    path, part, above = "$", value, {id(value)}
    for _ in range(_PATH_PARTS):
        found = next(((key, child) for key, child in _parts(part) if not _fits(child)), None)
        if found is None:
            break
        path, part = f"{path}.{_named(found[0])}", found[1]
        if id(part) in above:
            break
        above.add(id(part))
    return _shown(path)


def _half_pair(value: Any) -> tuple[str, str] | None:
    """Return the path and the fault of the first text that can't be encoded; None if it is not found."""

    def wrong(leaf: Any) -> str | None:
        if not isinstance(leaf, str):
            return None
        try:
            leaf.encode()
        except UnicodeEncodeError:
            return "must be valid Unicode, got half of a surrogate pair; remove it"
        return None

    try:
        return _first_wrong(_PLAIN.to_python(value), wrong)
    except ValueError:  # it contains itself
        return None


def _named(key: object) -> str:
    try:
        return str(key).encode("utf-8", "backslashreplace").decode()
    except Exception:  # noqa: BLE001 - code of a key may raise anything, and an integer may be too long
        return f"<{type(key).__name__}>"


def _shown(path: str) -> str:
    return path if len(path) <= _PATH_SHOWN else f"{path[:_PATH_SHOWN]}…"


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, dict):
        return cast("dict[Any, Any]", value).items()
    if isinstance(value, list | tuple):
        return enumerate(cast("list[Any]", value))
    return ()


def _fits(value: Any) -> bool:
    try:
        to_json(value)
    except Exception:  # noqa: BLE001 - any exception means that it can't be written
        return False
    return True
