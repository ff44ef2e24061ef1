"""Access to the HTTP API: scopes, stored API keys, and rate limits.

These are values only. The text of a key is known to its holder alone: the storage keeps a digest.
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
    """Permissions of a caller.

    Attributes:
        TRIGGER: send jobs; implies READ, since clients of the earlier system have no other scope.
        READ: read jobs, queues, schedules and workers.
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
"""The scopes that each scope permits."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key to store. Times are durations: the storage adds its clock.

    Attributes:
        name: a label, 1 to 100 characters.
        prefix: the first 12 characters of the key's text, for lookup and display.
        digest: SHA-256 of its text.
        team_id: the team of the caller, for tasks that need one.
        expires_in: seconds until it expires; None for never.
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
    """A stored API key; see ``NewKey``.

    Attributes:
        last_used_on: when it was last used, to a minute; None if never.
        revoked_on: when it was revoked, whatever ``expires_on`` says; None if it was not.
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
        """Return whether the key is valid at an instant: neither revoked nor expired."""
        return self.revoked_on is None and (self.expires_on is None or self.expires_on > now)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The answer of a rate limiter to one call: whether it is within the caller's limit.

    ``count`` is the number of calls in the present window, including this one if it is admitted.
    ``resets_in`` is in seconds, more than 0, and may exceed the window by the time that this call waited for
    the call that began it.
    """

    allowed: bool
    count: int
    resets_in: float
