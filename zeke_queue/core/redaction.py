"""Redaction: a task's rules for hidden parts of its jobs, and their application to values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from zeke_queue.core.failure import shown
from zeke_queue.errors import InvalidOptionError

REDACTED: Final = "[redacted]"
"""The replacement of a hidden value."""

ROOTS: Final = ("payload", "output", "error", "log")
"""First words of a rule: the payload, the handler's result, its error, its log."""

_WHOLE: Final = ("error", "log")

MISSING_MAX: Final = 100
"""Number of replacements without an original that are named."""


def check_rules(value: object) -> tuple[str, ...]:
    """Return the rules of a task, each a path such as ``payload``, ``payload.card`` or ``output.*.token``.

    A part ``*`` stands for every member of an object and every item of a list. ``error`` and ``log`` are
    hidden as a whole.

    Raises:
        InvalidOptionError: a rule is not such a path.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidOptionError(
            f"redact: must be a list of paths, got {shown(value)}; pass one such as ['payload.password']"
        )
    rules: list[str] = []
    for rule in cast("Iterable[object]", value):
        root, *rest = rule.split(".") if isinstance(rule, str) else [""]
        if root not in ROOTS or not all(rest) or (rest and root in _WHOLE):
            raise InvalidOptionError(
                f"redact: must be paths of payload or output such as payload.card.number, or error, or log,"
                f" got {shown(rule)}"
            )
        rules.append(".".join([root, *rest]))
    return tuple(sorted(set(rules)))


def hides(rules: tuple[str, ...], root: str) -> bool:
    """Return whether a root is hidden as a whole; an error takes an output's place and follows its rules."""
    return root in rules or (root == "error" and "output" in rules)


def redact(value: Any, rules: tuple[str, ...], root: str) -> Any:
    """Return a copy of a JSON value, with the parts that the rules hide under this root replaced."""
    if value is None or not rules:
        return value
    if hides(rules, root):
        return REDACTED
    for rule in rules:
        first, *path = rule.split(".")
        if first == root:
            value = _without(value, path)
    return value


def restored(value: Any, kept: Any, rules: tuple[str, ...], root: str) -> tuple[Any, list[str]]:
    """Return a JSON value in which replacements of hidden values are undone from the original.

    So a client that reads a value, changes a visible part, and writes it back, loses no hidden part.

    Args:
        value: a value as ``redact`` returns it, or any other.
        kept: the original value; None for none.
        root: the root of the value in the rules.

    Returns:
        The value, and the paths of replacements that have no original, the first ``MISSING_MAX``.
    """
    missing: list[str] = []
    if not rules or not _has_replacement(value):
        return value, missing
    kept = _NOTHING if kept is None else kept
    for rule in rules:
        first, *path = rule.split(".")
        if first == root:
            value = _with(value, kept, path, root, missing)
    return value, missing


_NOTHING: Final = object()


def _has_replacement(value: Any) -> bool:
    """Return whether a replacement is anywhere in a value, without a call for each of its parts."""
    todo: list[Any] = [[value]]
    while todo:
        part = todo.pop()
        members = cast("Iterable[Any]", part.values() if isinstance(part, dict) else part)
        if REDACTED in members:
            return True
        todo += [member for member in members if member and isinstance(member, dict | list)]
    return False


def _with(value: Any, kept: Any, path: list[str], at: str, missing: list[str]) -> Any:
    if len(missing) >= MISSING_MAX:
        return value  # the value is refused
    if not path:
        if value == REDACTED and kept is _NOTHING:
            missing.append(at)
        return kept if value == REDACTED and kept is not _NOTHING else value
    part, *rest = path
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        others = cast("dict[str, Any]", kept) if isinstance(kept, dict) else {}
        return {
            name: _with(member, others.get(name, _NOTHING), rest, f"{at}.{name}", missing)
            if part in ("*", name)
            else member
            for name, member in members.items()
        }
    if isinstance(value, list):
        items = cast("list[Any]", value)
        kept_items = cast("list[Any]", kept) if isinstance(kept, list) else []
        return [
            _with(
                item,
                kept_items[place] if place < len(kept_items) else _NOTHING,
                rest,
                f"{at}.{place}",
                missing,
            )
            if part in ("*", str(place))
            else item
            for place, item in enumerate(items)
        ]
    return value


def _without(value: Any, path: list[str]) -> Any:
    if not path:
        return REDACTED
    part, *rest = path
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {
            name: _without(member, rest) if part in ("*", name) else member
            for name, member in members.items()
        }
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [
            _without(item, rest) if part in ("*", str(place)) else item for place, item in enumerate(items)
        ]
    return value
