"""A payload's JSON Schema for users: an example payload, and a table row for each field."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEEPEST: Final = 4
_EMPTY: Final[Mapping[str, Any]] = {"string": "", "integer": 0, "number": 0, "boolean": False, "null": None}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a payload in the form's table."""

    name: str
    type: str
    required: bool
    default: str
    description: str


def example(schema: Mapping[str, Any] | None) -> str:
    """Return an example as JSON: defaults if there are any, else an empty value of the right type."""
    if schema is None:
        return ""
    return json.dumps(_example(schema, schema, 0), indent=2, ensure_ascii=False)


def fields(schema: Mapping[str, Any] | None) -> list[Field]:
    """Return the fields of an object's schema; none for other payloads."""
    if schema is None:
        return []
    top = _resolved(schema, schema)
    required = top.get("required", [])
    members: dict[str, Any] = top.get("properties", {})
    return [
        Field(
            name=name,
            type=_type(member, schema),
            required=name in required,
            default=json.dumps(member["default"], ensure_ascii=False) if "default" in member else "",
            description=str(member.get("description", "")),
        )
        for name, member in members.items()
    ]


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(part.get("$ref", "")).removeprefix("#/$defs/")
    found: Any = schema.get("$defs", {}).get(name)
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else part


def _example(part: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> Any:
    part = _resolved(part, schema)
    if "default" in part:
        return part["default"]
    for key in ("const", "examples", "enum"):
        if part.get(key):
            return part[key] if key == "const" else part[key][0]
    if choices := part.get("anyOf") or part.get("oneOf"):
        return _example(choices[0], schema, depth)
    if part.get("type") == "object" or "properties" in part:
        return _object(part, schema, depth)
    empty = _EMPTY.get(str(part.get("type")))
    return [] if part.get("type") == "array" else {} if empty is None and depth == 0 else empty


def _object(part: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Return an object with its required members and those with a default."""
    members: dict[str, Any] = part.get("properties", {})
    required = part.get("required", [])
    return {
        name: _example(member, schema, depth + 1)
        for name, member in members.items()
        if depth < _DEEPEST and (name in required or "default" in member)
    }


def _type(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    part = _resolved(part, schema)
    if choices := part.get("anyOf") or part.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(choice, schema) for choice in choices))
    if "enum" in part:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in part["enum"])
    name = str(part.get("format") or part.get("type") or "any")
    if name == "array" and isinstance(part.get("items"), dict):
        return f"list of {_type(part['items'], schema)}"
    return name
