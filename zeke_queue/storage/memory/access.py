"""Access to the HTTP API: keys, sessions and rate limit windows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from heapq import nsmallest
from typing import TYPE_CHECKING, Final

from zeke_queue.core.validation import check_limit
from zeke_queue.errors import InvalidOptionError
from zeke_queue.storage.access import ApiKey, RateLimit
from zeke_queue.storage.memory.tables import Session, Window

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.storage.access import NewKey
    from zeke_queue.storage.memory.tables import Tables
    from zeke_queue.system.clock import Clock

_NOTED_EVERY: Final = timedelta(minutes=1)
_WINDOW_KEPT: Final = timedelta(minutes=1)
_FORGOTTEN_AT_ONCE: Final = 10


class MemoryAccess:
    """``storage.access.Access`` in memory; the protocol documents each verb."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    async def create_key(self, key: NewKey) -> ApiKey:
        """Store a key, unless its id exists; return the stored key."""
        now = self._clock.now()
        expires_on = None if key.expires_in is None else now + timedelta(seconds=key.expires_in)
        new = ApiKey(key.id, key.name, key.prefix, key.digest, key.scopes, key.team_id, now, expires_on)
        return self._tables.keys.setdefault(key.id, new)

    async def keys(self) -> list[ApiKey]:
        """Return all keys, by creation."""
        return sorted(self._tables.keys.values(), key=lambda key: (key.created_on, key.id))

    async def has_keys(self) -> bool:
        """Return whether there is a key, valid or not."""
        return bool(self._tables.keys)

    async def valid_keys(self, prefix: str) -> list[ApiKey]:
        """Return the valid keys with a prefix, by creation."""
        now = self._clock.now()
        return [key for key in await self.keys() if key.prefix == prefix and key.is_valid(now)]

    async def touch_key(self, key_id: UUID) -> None:
        """Record that a key was used, at most once a minute."""
        now, key = self._clock.now(), self._tables.keys.get(key_id)
        if key is not None and (key.last_used_on is None or key.last_used_on <= now - _NOTED_EVERY):
            self._tables.keys[key_id] = replace(key, last_used_on=now)

    async def revoke_key(self, key_id: UUID) -> bool:
        """Revoke a key and delete its sessions."""
        key = self._tables.keys.get(key_id)
        if key is None or key.revoked_on is not None:
            return False
        self._tables.keys[key_id] = replace(key, revoked_on=self._clock.now())
        for session in [one for one in self._tables.sessions.values() if one.key_id == key_id]:
            del self._tables.sessions[session.digest]
        return True

    async def create_session(self, digest: bytes, key_id: UUID, seconds: float) -> bool:
        """Open a session with a valid key, and delete others that have ended."""
        now, sessions, key = self._clock.now(), self._tables.sessions, self._tables.keys.get(key_id)
        for session in [one for one in sessions.values() if one.ends_on <= now and one.digest != digest]:
            del sessions[session.digest]
        if key is None or not key.is_valid(now) or digest in sessions:
            return False
        sessions[digest] = Session(digest, key_id, now, now + timedelta(seconds=seconds))
        return True

    async def get_session(self, digest: bytes) -> ApiKey | None:
        """Return the key of a session that has not ended, if it is valid, and record its use."""
        now, session = self._clock.now(), self._tables.sessions.get(digest)
        if session is None or session.ends_on <= now:
            return None
        key = self._tables.keys[session.key_id]
        if not key.is_valid(now):
            return None
        await self.touch_key(key.id)
        return key

    async def delete_session(self, digest: bytes) -> bool:
        """Delete a session."""
        session = self._tables.sessions.pop(digest, None)
        return session is not None and session.ends_on > self._clock.now()

    async def acquire(self, caller: str, limit: int, window: float) -> RateLimit:
        """Count one call, unless it would exceed the limit of its window."""
        now, length, windows = self._clock.now(), timedelta(seconds=window), self._tables.windows
        if length <= timedelta():
            raise InvalidOptionError(f"window: must be above 0 seconds, got {window}")
        check_limit(limit)
        old = [one for one in windows.values() if one.ends_on <= now - _WINDOW_KEPT and one.caller != caller]
        for one in nsmallest(_FORGOTTEN_AT_ONCE, old, key=lambda one: (one.ends_on, one.caller)):
            del windows[one.caller]
        counted = windows.get(caller)
        if counted is None or counted.ends_on <= now:
            counted = Window(caller, now + length, 0)
        admitted = counted.calls < limit
        if admitted:
            counted = counted._replace(calls=counted.calls + 1)
        windows[caller] = counted
        return RateLimit(admitted, counted.calls, (counted.ends_on - now).total_seconds())
