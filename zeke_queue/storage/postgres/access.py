"""Access to the HTTP API: keys, sessions and rate limit windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.core.validation import check_limit
from zeke_queue.errors import InvalidOptionError
from zeke_queue.storage.access import ApiKey, RateLimit, Scope
from zeke_queue.storage.postgres.rows import microseconds

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.storage.access import NewKey
    from zeke_queue.storage.postgres.connection_pool import ConnectionPool
    from zeke_queue.storage.postgres.rows import Row

_SCOPES: Final = {scope.value: scope for scope in Scope}


class PostgresAccess:
    """``storage.access.Access`` on Postgres; the protocol documents each verb."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    async def create_key(self, key: NewKey) -> ApiKey:
        """Store a key, unless its id exists; return the stored key."""
        parameters = {
            "id": key.id,
            "name": key.name,
            "prefix": key.prefix,
            "digest": key.digest,
            "scopes": sorted(scope.value for scope in key.scopes),
            "team_id": key.team_id,
            "expires_in": None if key.expires_in is None else microseconds(key.expires_in),
        }
        return _key((await self._pool.run("create_key", parameters))[0])

    async def keys(self) -> list[ApiKey]:
        """Return all keys, by creation."""
        return [_key(row) for row in await self._pool.run("keys")]

    async def has_keys(self) -> bool:
        """Return whether there is a key, valid or not."""
        found = await self._pool.run("has_keys")
        return found[0][0]

    async def valid_keys(self, prefix: str) -> list[ApiKey]:
        """Return the valid keys with a prefix, by creation."""
        return [_key(row) for row in await self._pool.run("valid_keys", {"prefix": prefix})]

    async def touch_key(self, key_id: UUID) -> None:
        """Record that a key was used, at most once a minute."""
        await self._pool.run("touch_key", {"id": key_id})

    async def revoke_key(self, key_id: UUID) -> bool:
        """Revoke a key and delete its sessions."""
        return bool(await self._pool.run("revoke_key", {"id": key_id}))

    async def create_session(self, digest: bytes, key_id: UUID, seconds: float) -> bool:
        """Open a session with a valid key, and delete others that have ended."""
        parameters = {"digest": digest, "id": key_id, "length": microseconds(seconds)}
        return bool(await self._pool.run("create_session", parameters))

    async def get_session(self, digest: bytes) -> ApiKey | None:
        """Return the key of a session that has not ended, if it is valid, and record its use."""
        found = await self._pool.run("get_session", {"digest": digest})
        return _key(found[0]) if found else None

    async def delete_session(self, digest: bytes) -> bool:
        """Delete a session."""
        found = await self._pool.run("delete_session", {"digest": digest})
        return bool(found and found[0][0])

    async def acquire(self, caller: str, limit: int, window: float) -> RateLimit:
        """Count one call, unless it would exceed the limit of its window."""
        length = microseconds(window)
        if length <= 0:
            raise InvalidOptionError(f"window: must be above 0 seconds, got {window}")
        parameters = {"caller": caller, "limit": check_limit(limit), "length": length}
        return RateLimit(*(await self._pool.run("acquire", parameters))[0])


def _key(row: Row) -> ApiKey:
    identity, name, prefix, digest, scopes, *rest = row
    # Ignore unknown scopes, written by hand or by a later version.
    known = frozenset(_SCOPES[scope] for scope in scopes if scope in _SCOPES)
    return ApiKey(identity, name, prefix, digest, known, *rest)
