"""superjson's wire format: JSON with metadata that marks which parts are a Date, a Map, undefined and so on.

Input is converted to plain values, as for a payload; output is marked so that clients get Dates.

| in JavaScript | read as | written from |
|---|---|---|
| undefined | no member of an object; None elsewhere | |
| Date | an aware ``datetime`` | an aware ``datetime`` |
| bigint | ``int`` | an ``int`` that a JavaScript number can't hold |
| NaN, ±Infinity, -0 | ``float`` | ``float`` |
| Map | ``dict``; its keys are text or integers | a mapping with keys that are no text |
| Set, typed array | ``list`` | ``set``, ``frozenset`` |
| Error | ``{"name": …, "message": …}`` | |
| RegExp, URL | its text | |

References between parts are not resolved: without ``dedupe``, which is off by default, each place has a copy.
A place that is null because it refers to another one, as with ``dedupe`` or in a circle, is refused; so are
instances of classes and symbols that a client registered, which have no JSON form.

Source: superjson 2.2.6, ``plainer.ts``, ``accessDeep.ts``, ``pathstringifier.ts``, ``transformer.ts``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast
from uuid import UUID

from zeke_queue.api_client.model import iso
from zeke_queue.core.failure import shown
from zeke_queue.core.jsonb import INTEGER_DIGITS_READ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer up to which a JavaScript number is exact."""

_FORBIDDEN: Final = frozenset({"__proto__", "prototype", "constructor"})
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_INTEGER: Final = re.compile(rf"-?\d{{1,{INTEGER_DIGITS_READ}}}", re.ASCII)
_INDEX: Final = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
_NUMBERS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, "-0": -0.0}

_Tree: TypeAlias = "dict[str, Any] | list[Any] | None"


class BadSuperJson(ValueError):
    """The input is not valid superjson, or has no plain form; the message names the place and the reason."""


class _Place(NamedTuple):
    """A place in a value: a container and the key in it."""

    container: Any
    key: str | int

    def get(self) -> Any:
        return self.container[self.key]


# Reading


def decode(wire: object) -> Any:
    """Decode a value, in time proportional to the input's size.

    Args:
        wire: parsed JSON, ``{"json": …, "meta": …}``; it is modified and must not be used afterwards.

    Raises:
        BadSuperJson: the input is invalid, or has no plain form.
    """
    if not isinstance(wire, dict) or "json" not in wire:
        raise BadSuperJson('must be superjson, {"json": …, "meta": …}; send what superjson.serialize returns')
    value = cast("dict[str, Any]", wire)
    meta = _object(value.get("meta") or {}, "meta")
    legacy = not meta.get("v")
    root = [value["json"]]
    _check_references(_Place(root, 0), meta.get("referentialEqualities"), legacy=legacy)
    _annotate(_Place(root, 0), meta.get("values"), legacy=legacy)
    return root[0]


def _check_references(root: _Place, equalities: object, *, legacy: bool) -> None:
    """Check that no place is null because it refers to another one."""
    field = "meta.referentialEqualities"
    of_root: Any = []
    if equalities and isinstance(equalities, list):
        tree = cast("list[Any]", equalities)
        of_root, equalities = tree[0], tree[1] if len(tree) > 1 else {}
    for paths in (of_root, *_object(equalities or {}, field).values()):
        if not isinstance(paths, list):
            raise BadSuperJson(f"{field}: must be lists of paths, got {shown(paths)}")
        for path in cast("list[Any]", paths):
            if not isinstance(path, str):
                raise BadSuperJson(f"{field}: must be lists of paths, got {shown(path)} in one")
            if _descend(root, path, legacy=legacy).get() is None:
                raise BadSuperJson(
                    f"{field}: must be paths of values, got {shown(path)}, which is null; "
                    "serialize without dedupe, and send nothing that contains itself"
                )


def _annotate(place: _Place, tree: _Tree, *, legacy: bool) -> None:
    """Convert the parts that a metadata tree marks at and below a place, the innermost first."""
    if tree is None:
        return
    below: object = tree
    if isinstance(tree, list):
        if not tree:
            raise BadSuperJson("meta.values: must be a type and its parts, got an empty list")
        below = tree[1] if len(tree) > 1 else {}
    for path, subtree in _object(below, "meta.values").items():
        _annotate(_descend(place, path, legacy=legacy), subtree, legacy=legacy)
    if isinstance(tree, list):
        container, key = place
        if tree[0] != "undefined":
            container[key] = _converted(tree[0], container[key])
        elif isinstance(container, dict):
            del container[key]
        else:  # the other members keep their indexes
            container[key] = None


def _descend(place: _Place, path: str, *, legacy: bool) -> _Place:
    """Return the place at a path below another one."""
    for segment in parse_path(path, legacy=legacy):
        if segment in _FORBIDDEN:
            raise BadSuperJson(f"meta: must not have {segment} in a path, got {shown(path)}")
        container = place.get()
        if isinstance(container, list) and _INDEX.fullmatch(segment):
            index = int(segment)
            place, exists = _Place(container, index), index < len(cast("list[Any]", container))
        else:
            place, exists = _Place(container, segment), isinstance(container, dict) and segment in container
        if not exists:
            raise BadSuperJson(f"meta: must be paths of existing members, got {shown(path)}")
    return place


def parse_path(path: str, *, legacy: bool = False) -> list[str]:
    r"""Split a path at its dots; dots and backslashes in keys are escaped.

    Args:
        path: a path from ``meta``.
        legacy: whether backslashes are literal, as before superjson 2.2.3.

    >>> parse_path(r"a\\.b.c")
    ['a\\', 'b', 'c']
    >>> parse_path(r"a\.b")
    ['a.b']
    """
    if "\\" not in path:
        return path.split(".")
    pattern = r"\\\.|[^.]" if legacy else r"\\[\\.]|[^.\\]"
    segments: list[str] = []
    at = 0
    while True:
        part = re.compile(f"(?:{pattern})*", re.DOTALL).match(path, at)
        assert part is not None, "it matches nothing at the least"  # noqa: S101
        text = part.group()
        segments.append(
            text.replace("\\.", ".") if legacy else re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
        )
        at = part.end()
        if at == len(path):
            return segments
        if path[at] != ".":
            raise BadSuperJson(f"meta: must be paths that escape each backslash, got {shown(path)}")
        at += 1


def _converted(kind: object, value: Any) -> Any:
    """Return the value that a marked part represents."""
    if isinstance(kind, list):
        named = cast("list[Any]", kind)
        if len(named) == 2 and named[0] == "typed-array" and isinstance(value, list):  # noqa: PLR2004 - type and name
            return cast("Any", value)
        raise BadSuperJson(f"meta.values: must be built-in types, got {shown(named)}; send plain values")
    convert = _CONVERTERS.get(kind) if isinstance(kind, str) else None
    if convert is None:
        raise BadSuperJson(f"meta.values: must be types of superjson, got {shown(kind)}")
    try:
        return convert(value)
    except BadSuperJson:
        raise
    except (TypeError, ValueError, KeyError) as error:
        raise BadSuperJson(f"meta.values: must mark a valid {kind}, got {shown(value)}") from error


def _date(value: Any) -> datetime:
    if _DATE.fullmatch(value) is None:
        raise ValueError(value)
    return datetime.fromisoformat(value)


def _integer(value: Any) -> int:
    if _INTEGER.fullmatch(value) is None:
        raise ValueError(value)
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(value)
    return cast("list[Any]", value)


def _map(value: Any) -> dict[Any, Any]:
    plain: dict[Any, Any] = {}
    for entry in _list(value):
        key, member = _list(entry)
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise BadSuperJson(f"a Map's keys: must be text or integers, got {shown(key)}; send an object")
        plain[key] = member
    return plain


def _error(value: Any) -> dict[str, Any]:
    mapping = cast("dict[str, Any]", value)
    _text(mapping["name"])
    _text(mapping["message"])
    return mapping


_CONVERTERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Date": _date,
    "bigint": _integer,
    "number": lambda value: _NUMBERS[value],
    "set": _list,
    "map": _map,
    "Error": _error,
    "regexp": _text,
    "URL": _text,
}


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadSuperJson(f"{where}: must be an object, got {shown(value)}")
    return cast("dict[str, Any]", value)


# Writing


def encode(value: Any) -> dict[str, Any]:
    """Encode a value as superjson: ``{"json": …}``, with ``meta`` if parts need to be marked.

    Args:
        value: plain values, and those of the table above; UUIDs become text.

    Raises:
        TypeError: the value contains another type.
        ValueError: a ``datetime`` is naive.
    """
    json, tree = _written(value)
    return {"json": json} if tree is None else {"json": json, "meta": {"values": tree, "v": 1}}


def _written(value: Any) -> tuple[Any, _Tree]:
    """Return a value's JSON form and the metadata tree of its marked parts."""
    if value is None or isinstance(value, bool | str):
        return value, None
    if isinstance(value, int | float):
        return _written_number(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a date: must be aware, got {value.isoformat()}; add its time zone")
        return iso(value), ["Date"]
    if isinstance(value, UUID):
        return str(value), None
    return _written_container(value)


def _written_container(value: Any) -> tuple[Any, _Tree]:
    kind: str | None = None
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        if all(isinstance(key, str) for key in mapping):
            json, below = _members(mapping.items())
            return json, below or None
        kind, members = "map", [[key, member] for key, member in mapping.items()]
    elif isinstance(value, set | frozenset):
        kind, members = "set", sorted(cast("set[Any]", value), key=repr)
    elif isinstance(value, list | tuple):
        members = cast("list[Any]", value)
    else:
        raise TypeError(f"a value: must have a form in superjson, got {type(value).__name__}")
    json, below = _members(enumerate(members))
    if kind is None:
        return list(json.values()), below or None
    return list(json.values()), [kind, below] if below else [kind]


def _written_number(value: float) -> tuple[Any, _Tree]:
    if isinstance(value, int):
        return (value, None) if abs(value) <= SAFE_INTEGER else (str(value), ["bigint"])
    if math.isnan(value):
        return "NaN", ["number"]
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity", ["number"]
    return ("-0", ["number"]) if not value and math.copysign(1, value) < 0 else (value, None)


def _members(members: Iterable[tuple[Any, Any]]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return the JSON form of members, and their metadata by path."""
    written: dict[Any, Any] = {}
    below: dict[str, Any] = {}
    for key, member in members:
        # Clients refuse a whole response with metadata for such a key, so the value is sent as text.
        written[key], tree = _written(member)
        if key in _FORBIDDEN:
            continue
        name = str(key).replace("\\", "\\\\").replace(".", "\\.")
        if isinstance(tree, list):
            below[name] = tree
        elif tree is not None:
            below |= {f"{name}.{path}": subtree for path, subtree in tree.items()}
    return written, below
