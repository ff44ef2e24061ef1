"""Who calls the HTTP API: scopes, API keys as they are stored, and how often somebody may call.

Nothing here does anything. The text of a key is known to its holder alone: what is stored is a digest.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID


class Scope(enum.StrEnum):
    """What a caller may do.

    Attributes:
        TRIGGER: send jobs; implies READ, since clients of the earlier system hold nothing else.
        READ: look at jobs, queues, schedules and workers.
        ADMIN: cancel, retry, pause, edit; implies the other two.
    """

    TRIGGER = "jobs.trigger"
    READ = "jobs.read"
    ADMIN = "jobs.admin"


IMPLIED: Final[Mapping[Scope, frozenset[Scope]]] = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.TRIGGER: frozenset({Scope.TRIGGER, Scope.READ}),
    Scope.ADMIN: frozenset(Scope),
}
"""What each scope permits."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key to be stored. Times are durations: the storage adds its clock.

    Attributes:
        name: for people, 1 to 100 characters.
        prefix: the first 12 characters of its text, by which it is looked up and shown.
        digest: SHA-256 of its text.
        team_id: the team on whose behalf its holder calls, for tasks that need one.
        expires_in: seconds until it is no longer good; None for never.
    """

    id: UUID
    name: str
    prefix: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]
    team_id: UUID | None = None
    expires_in: float | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is stored; see ``NewKey``.

    Attributes:
        last_used_on: when it was last used, to a minute; None if it never was.
        revoked_on: since when it is not good any more, whatever ``expires_on`` says; None if that never was.
    """

    id: UUID
    name: str
    prefix: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]
    team_id: UUID | None
    created_on: datetime
    expires_on: datetime | None = None
    last_used_on: datetime | None = None
    revoked_on: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        """Return whether it lets its holder in at an instant: it is neither revoked nor expired."""
        return self.revoked_on is None and (self.expires_on is None or self.expires_on > now)


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether one more call of a caller is within its limit.

    ``count`` is of the calls in the present window, this one included if it is admitted; ``resets_in`` is in
    seconds, more than 0, and may exceed the window by as long as a call waited for the one that began it.
    """

    admitted: bool
    count: int
    resets_in: float
