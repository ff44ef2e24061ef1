"""Access to the HTTP API: scopes, stored API keys, rate limits, and the protocols that keep them.

The text of a key is known to its holder alone: the storage keeps a digest.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID


class Scope(enum.StrEnum):
    """Permissions of a caller.

    Attributes:
        TRIGGER: send jobs, subscribe a team; implies READ, since clients of the earlier system have no other
            scope.
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
        revoked_on: when it was revoked, regardless of ``expires_on``; None if it was not.
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

    def is_valid(self, now: datetime) -> bool:
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


class KeyStore(Protocol):
    """The API keys, and the sessions opened with them."""

    async def create_key(self, key: NewKey) -> ApiKey:
        """Store a key and return it as stored. A key whose id exists already is not stored again."""
        ...

    async def keys(self) -> list[ApiKey]:
        """Return all keys by creation, then id, revoked and expired ones included."""
        ...

    async def has_keys(self) -> bool:
        """Return whether a key was ever stored; revoked keys count."""
        ...

    async def valid_keys(self, prefix: str) -> list[ApiKey]:
        """Return the keys with this prefix that are neither revoked nor expired, by creation, then id."""
        ...

    async def touch_key(self, key_id: UUID) -> None:
        """Record that a key was used; within a minute of the last such record nothing is written.

        The key's validity is not checked.
        """
        ...

    async def revoke_key(self, key_id: UUID) -> bool:
        """Revoke a key and delete its sessions; False if it does not exist, or was revoked already."""
        ...

    async def create_session(self, digest: bytes, key_id: UUID, seconds: float) -> bool:
        """Open a session with a valid key, and delete sessions that have ended.

        Args:
            digest: SHA-256 of the session's token, for lookup.

        Returns:
            False, without opening a session, if the key is invalid, or the digest belongs to another session,
            even one that has ended.
        """
        ...

    async def get_session(self, digest: bytes) -> ApiKey | None:
        """Return the key of a session before this use, and record the use as ``touch_key`` does.

        None, without a record, if the session has ended, or its key is no longer valid.
        """
        ...

    async def delete_session(self, digest: bytes) -> bool:
        """Delete a session; False if there was none."""
        ...


class RateLimiter(Protocol):
    """The rate limits of callers."""

    async def acquire(self, caller: str, limit: int, window: float) -> RateLimit:
        """Count one call of a caller, unless it would exceed the limit.

        A window begins with the first call outside any, and lasts ``window`` seconds, across all processes. A
        changed limit applies at once, a changed length from the next window on. Each call also deletes
        windows of other callers that ended over a minute ago. A crash of the server may lose the counts.

        Args:
            caller: the caller's name, 1 to 200 characters.
            limit: calls per window, at least 1.
            window: its length in seconds, more than 0.

        Raises:
            InvalidOptionError: limit or window is out of range.
        """
        ...


class Access(KeyStore, RateLimiter, Protocol):
    """Keys, sessions and rate limits together, as ``Storage.access`` provides them."""
