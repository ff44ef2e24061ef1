"""Playbooks, their runs, and the events of runs as values."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from zeke_queue.core import jsonb
from zeke_queue.errors import InvalidOptionError
from zeke_tasks.store.model import KEY_CHARACTERS, storable

EVENT_KINDS: Final = (
    "run.created",
    "run.started",
    "run.resumed",
    "run.completed",
    "run.failed",
    "run.cancelled",
    "step.started",
    "step.completed",
    "step.failed",
)
"""The kinds of events of a run."""


class PlaybookStatus(enum.StrEnum):
    """The status of a playbook; a draft becomes active with its first run."""

    DRAFT = "draft"
    ACTIVE = "active"
    ARCHIVED = "archived"


class RunStatus(enum.StrEnum):
    """The status of a run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TriggerSource(enum.StrEnum):
    """What started a run."""

    DASHBOARD = "dashboard"
    API = "api"
    SCHEDULE = "schedule"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a playbook: a registered task, and its payload.

    Attributes:
        name: unique within its playbook, at most 512 characters; later steps use it to refer to the output.
        task: a name or an alias in the catalog.
        input: a JSON object, in which ``{"$from": "steps.NAME.output.PATH"}`` refers to the result of an
            earlier step, and ``{"$from": "run.metadata.PATH"}`` to the metadata with which the run was
            started.
    """

    name: str
    task: str
    input: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        for name in ("name", "task"):
            value = storable(getattr(self, name))
            if not value:
                raise InvalidOptionError(f"{name} of a step is empty; give it one.")
            object.__setattr__(self, name, value)
        if "." in self.name:
            raise InvalidOptionError(
                f"name of a step is {self.name!r}; give it one without dots, which paths have."
            )
        if len(self.name) > KEY_CHARACTERS:
            raise InvalidOptionError(
                f"name of a step has {len(self.name)} characters; {KEY_CHARACTERS} at most."
            )
        object.__setattr__(self, "input", _json(self.input))


@dataclass(frozen=True, slots=True)
class Playbook:
    """A series of steps that a team runs as one unit.

    Raises:
        InvalidOptionError: two steps have the same name.
    """

    id: UUID
    team_id: UUID
    name: str
    steps: Sequence[Step]
    status: PlaybookStatus = PlaybookStatus.DRAFT

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", storable(self.name))
        object.__setattr__(self, "steps", tuple(self.steps))
        names = [step.name for step in self.steps]
        for name in names:
            if names.count(name) > 1:
                raise InvalidOptionError(
                    f"steps: {name!r} names {names.count(name)} steps; give each a name of its own."
                )


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to create: one per job, with the job's id."""

    id: UUID
    playbook_id: UUID
    team_id: UUID
    trigger_source: TriggerSource
    triggered_by: UUID | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", _json(self.metadata))


@dataclass(frozen=True, slots=True)
class PlaybookRun:
    """A stored run.

    Attributes:
        id: the id of its job.
        resumed: number of resumptions after a failure or cancellation.
        outputs: the results of completed steps, by name.
        error: the error of the failed step, at most 512 characters.
    """

    id: UUID
    playbook_id: UUID
    team_id: UUID
    trigger_source: TriggerSource
    triggered_by: UUID | None
    metadata: Mapping[str, Any]
    status: RunStatus
    resumed: int
    outputs: Mapping[str, Any]
    error: str | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunEvent:
    """An event of a run.

    Attributes:
        kind: one of ``EVENT_KINDS``.
        step: the name of its step.
        round: the run's number of resumptions then; an event is unique by run, round, kind and step.
        data: a JSON object.
        at: when it was stored, by the store's clock; ignored on writing.

    Raises:
        InvalidOptionError: the kind is unknown.
    """

    run_id: UUID
    round: int
    kind: str
    step: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    at: datetime | None = None

    def __post_init__(self) -> None:
        if self.kind not in EVENT_KINDS:
            raise InvalidOptionError(f"kind is {self.kind!r}; it is one of {', '.join(EVENT_KINDS)}.")
        if self.step is not None:
            object.__setattr__(self, "step", storable(self.step))
        object.__setattr__(self, "data", _json(self.data))


def require_end(status: RunStatus) -> None:
    """Raise unless a run can end with this status.

    Raises:
        InvalidOptionError: the status is not final.
    """
    if status in {RunStatus.PENDING, RunStatus.RUNNING}:
        raise InvalidOptionError(f"status is {status}; a run ends succeeded, failed or cancelled.")


def _json(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return jsonb.loads(jsonb.normalise(jsonb.dumps(dict(value))))
