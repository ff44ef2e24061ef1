"""More storage methods of a node: reads of many jobs at once, and API access.

The history identifies keys by id and tokens by the start of their digest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from uuid import UUID

    from zeke_queue.model import JobEvent, Throughput
    from zeke_queue.storage.access import ApiKey, NewKey, RateLimit
    from zeke_queue.storage.memory import MemoryStorage

_SHOWN = 8


class SimAsking(ABC):
    """Implements ``zeke_queue.storage.store.Access``, and the reads of ``Reader`` over many jobs."""

    _store: MemoryStorage

    @abstractmethod
    async def _call(
        self, verb: str, args: Mapping[str, Any], do: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Send a call, which faults can affect."""

    async def events_of(self, after: Mapping[UUID, int]) -> list[JobEvent]:
        """Return progress and log lines of several jobs."""
        return await self._call("events_of", {"after": dict(after)}, lambda: self._store.events_of(after))

    async def throughput(self, names: Sequence[str], span: float, step: float) -> list[Throughput]:
        """Return the counts of recently ended jobs."""
        args = {"names": tuple(names), "span": span, "step": step}
        return await self._call("throughput", args, lambda: self._store.throughput(names, span, step))

    async def lag(self) -> dict[str, float]:
        """Return the wait time of due jobs."""
        return await self._call("lag", {}, self._store.lag)

    async def holding(self) -> dict[UUID, int]:
        """Return the number of jobs that each worker holds."""
        return await self._call("holding", {}, self._store.holding)

    async def create_key(self, key: NewKey) -> ApiKey:
        """Store a key."""
        return await self._call("create_key", {"id": key.id}, lambda: self._store.create_key(key))

    async def keys(self) -> list[ApiKey]:
        """Return all keys."""
        return await self._call("keys", {}, self._store.keys)

    async def has_keys(self) -> bool:
        """Return whether any key exists."""
        return await self._call("has_keys", {}, self._store.has_keys)

    async def valid_keys(self, prefix: str) -> list[ApiKey]:
        """Return the valid keys with a prefix."""
        return await self._call("valid_keys", {"prefix": prefix}, lambda: self._store.valid_keys(prefix))

    async def touch_key(self, key_id: UUID) -> None:
        """Record that a key was used."""
        await self._call("touch_key", {"id": key_id}, lambda: self._store.touch_key(key_id))

    async def revoke_key(self, key_id: UUID) -> bool:
        """Revoke a key."""
        return await self._call("revoke_key", {"id": key_id}, lambda: self._store.revoke_key(key_id))

    async def create_session(self, digest: bytes, key_id: UUID, seconds: float) -> bool:
        """Open a session."""
        args = {"digest": digest.hex()[:_SHOWN], "id": key_id, "seconds": seconds}
        return await self._call(
            "create_session", args, lambda: self._store.create_session(digest, key_id, seconds)
        )

    async def get_session(self, digest: bytes) -> ApiKey | None:
        """Return the key of a session."""
        args = {"digest": digest.hex()[:_SHOWN]}
        return await self._call("get_session", args, lambda: self._store.get_session(digest))

    async def delete_session(self, digest: bytes) -> bool:
        """End a session."""
        args = {"digest": digest.hex()[:_SHOWN]}
        return await self._call("delete_session", args, lambda: self._store.delete_session(digest))

    async def acquire(self, caller: str, limit: int, window: float) -> RateLimit:
        """Count one call of a caller."""
        args = {"caller": caller, "limit": limit, "window": window}
        return await self._call("acquire", args, lambda: self._store.acquire(caller, limit, window))
