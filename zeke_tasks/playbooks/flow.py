"""References in the inputs of steps, which are replaced by values of the run when the step begins.

An object with the single key ``$from`` is a reference::

    {"storyId": {"$from": "steps.fetch.output.stories.0"}, "mode": "auto"}

An object with more keys is a plain object; one with that key alone can't be passed literally.

``steps.NAME.output`` is the result of an earlier step, ``run`` has ``id``, ``teamId``, ``triggeredBy`` and
``metadata``. Further names select members of objects, and numbers elements of lists; names must not be empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

if TYPE_CHECKING:
    from zeke_tasks.store.playbooks import Step

REFERENCE: Final = "$from"

_LONGEST_NUMBER: Final = 9

_TOLD_BY_RUN: Final = object()
"""Placeholder for a value known only at run time; every lookup in it succeeds."""


class BadReference(ValueError):
    """A step's input refers to a missing value; the message names the existing ones.

    Attributes:
        where: the existing part of the path, if any.
        name: the missing name.
    """

    def __init__(self, message: str, where: str = "", name: str = "") -> None:
        super().__init__(message)
        self.where = where
        self.name = name


def known_of(
    outputs: Mapping[str, Any], *, run_id: UUID, team_id: UUID, triggered_by: UUID | None, metadata: Any
) -> dict[str, Any]:
    """Return the values that references can name in a run, given the outputs of the steps so far by name."""
    return {
        "steps": {name: {"output": output} for name, output in outputs.items()},
        "run": {
            "id": str(run_id),
            "teamId": str(team_id),
            "triggeredBy": None if triggered_by is None else str(triggered_by),
            "metadata": metadata,
        },
    }


def check_references(steps: Sequence[Step]) -> None:
    """Check that each step refers only to earlier steps and to values of every run.

    Members of outputs are known only at run time and are not checked.

    Raises:
        BadReference: a reference is invalid; the message names the step and the existing values.
    """
    placeholder = UUID(int=0)
    before: dict[str, Any] = {}
    names = [step.name for step in steps]
    for step in steps:
        known = known_of(
            before, run_id=placeholder, team_id=placeholder, triggered_by=placeholder, metadata=_TOLD_BY_RUN
        )
        try:
            fill(step.input, known)
        except BadReference as error:
            late = error.where == "steps" and error.name in names
            more = f"; {error.name!r} comes no earlier than this step" if late else ""
            raise BadReference(f"step {step.name!r}: {error}{more}") from error
        before[step.name] = _TOLD_BY_RUN


def fill(template: Any, known: Mapping[str, Any]) -> Any:
    """Return a step's input with each reference replaced by its value.

    Args:
        template: a JSON value.
        known: the values that references can name.

    Raises:
        BadReference: a reference names a missing value.

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
    """Return the value at a path of names and numbers, separated by dots.

    Raises:
        BadReference: there is no such value.
    """
    # An empty name means a superfluous dot; members with an empty name can't be referenced.
    if not isinstance(path, str) or not all(path.split(".")):
        raise BadReference(f"{REFERENCE}: must be names with dots, as in steps.NAME.output.id, got {path!r}")
    value: Any = known
    come: list[str] = []
    for name in path.split("."):
        if value is _TOLD_BY_RUN:
            return value
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
    raise BadReference(f"{REFERENCE}: {path!r} names {name!r}, but {where} {has}", where, name)
