"""How outputs flow on: a step's input is filled with what the run knows when the step begins.

An object with the one key ``$from`` stands for a value::

    {"storyId": {"$from": "steps.fetch.output.stories.0"}, "mode": "auto"}

An object with more keys is an object; one with that key alone can't be given otherwise.

``steps.NAME.output`` is what an earlier step returned, ``run`` has ``id``, ``teamId``, ``triggeredBy`` and
``metadata``. Further names go into objects, and numbers into lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

REFERENCE: Final = "$from"

_LONGEST_NUMBER: Final = 9


class BadReference(ValueError):
    """A step's input names something that is not there; the message says what is."""


def fill(template: Any, known: Mapping[str, Any]) -> Any:
    """Return a step's input with each reference replaced by what it names.

    Args:
        template: a JSON value.
        known: what references can name.

    Raises:
        BadReference: one names what is not there.

    >>> fill({"ids": [{"$from": "steps.a.output.id"}]}, {"steps": {"a": {"output": {"id": 5}}}})
    {'ids': [5]}
    """
    if isinstance(template, Mapping):
        members = cast("Mapping[str, Any]", template)
        if len(members) == 1 and REFERENCE in members:
            return look_up(members[REFERENCE], known)
        return {key: fill(value, known) for key, value in members.items()}
    if isinstance(template, list):
        return [fill(value, known) for value in cast("list[Any]", template)]
    return template


def look_up(path: object, known: Mapping[str, Any]) -> Any:
    """Return what a path of names and numbers, with dots between them, leads to.

    Raises:
        BadReference: it leads nowhere.
    """
    if not isinstance(path, str) or not path:
        raise BadReference(f"{REFERENCE}: {path!r} is no path; give names with dots, as steps.NAME.output.id")
    value: Any = known
    come: list[str] = []
    for name in path.split("."):
        value = _member(value, name, path, come)
        come.append(name)
    return value


def _member(value: Any, name: str, path: str, come: Sequence[str]) -> Any:
    where = ".".join(come) or "it"
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        if name in members:
            return members[name]
        has = f"has {', '.join(sorted(members)) or 'nothing'}"
    elif isinstance(value, list):
        items = cast("list[Any]", value)
        if name.isdecimal() and len(name) <= _LONGEST_NUMBER and int(name) < len(items):
            return items[int(name)]
        has = f"is a list of {len(items)}"
    else:
        has = f"is {type(value).__name__}, which has no members"
    raise BadReference(f"{REFERENCE}: {path!r} names {name!r}, but {where} {has}")
