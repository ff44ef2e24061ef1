"""Sources and their health in memory."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from zeke_tasks.store.memory.scope import Scope
from zeke_tasks.store.memory.tables import Check
from zeke_tasks.store.model import (
    MESSAGE_CHARACTERS,
    URL_CHARACTERS,
    Health,
    HealthStatus,
    Source,
    storable,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from zeke_tasks.store.model import NewSource, SourceType

_NEVER_CHECKED: Final = datetime.min.replace(tzinfo=UTC)


class MemorySources(Scope):
    """The methods on sources."""

    async def ensure_source(self, id: UUID, source: NewSource) -> Source:  # noqa: A002 - the column's name
        """Add a source, or return the one with this type and url."""
        place = None if source.url is None else (source.type.value, source.url)
        await self._lock([f"source {id}", *([] if place is None else [f"place {place}"])])
        known = self._sources.get(id)
        if known is None and place is not None and (holder := self._places.get(place)) is not None:
            known = self._sources.get(holder)
        if known is not None:
            return known
        made = Source(
            id,
            source.type,
            source.name,
            source.url,
            source.authority_score,
            source.is_active,
            source.check_frequency_hours,
            deepcopy(source.metadata),
        )
        self._sources.put(id, made)
        if place is not None:
            self._places.put(place, id)
        return made

    async def source(self, source_id: UUID) -> Source | None:
        """Return a source."""
        return self._sources.get(source_id)

    async def health(self, source_id: UUID) -> Health | None:
        """Return a source's health."""
        check = self._checks.get(source_id)
        if check is None or check.failing_since is None:
            return check and check.health
        return replace(check.health, failing_for=(self._now() - check.failing_since).total_seconds())

    async def sources(self, types: Collection[SourceType], *, due_in: float | None = None) -> list[Source]:
        """Return active sources that can be checked, longest waiting first."""
        until = None if due_in is None else self._now() + timedelta(seconds=due_in)
        found: list[tuple[datetime, UUID, Source]] = []
        for source in self._sources.values():
            if source.is_active and source.has_place and source.type in types:
                check = self._checks.get(source.id)
                due = _NEVER_CHECKED if check is None else check.health.next_check_at
                if until is None or due <= until:
                    found.append((due, source.id, source))
        return [source for *_, source in sorted(found, key=lambda entry: entry[:2])]

    async def every_source(self) -> list[Source]:
        """Return all sources, by type, then name, then id."""
        return sorted(self._sources.values(), key=_by_name)

    async def subscribed_sources(self, team_id: UUID) -> list[Source]:
        """Return the sources to which a team subscribes, by type, then name, then id."""
        wanted = (self._sources.get(source) for team, source in self._connections.values() if team == team_id)
        return sorted((source for source in wanted if source is not None), key=_by_name)

    async def set_active(self, source_id: UUID, *, active: bool) -> bool:
        """Pause or resume the checks of a source."""
        self._require_open()
        if self._sources.get(source_id) is None:
            return False
        await self._lock([f"source {source_id}"])
        source = self._sources.get(source_id)
        if source is None or source.is_active is active:
            return False
        self._sources.put(source_id, replace(source, is_active=active))
        return True

    async def move_source(self, source_id: UUID, url: str) -> bool:
        """Set a source's url unless another source has it."""
        source = self._sources.get(source_id)
        if source is None or len(url) > URL_CHARACTERS:
            return False
        place = (source.type.value, url)
        await self._lock([f"source {source_id}", f"place {place}"])
        source = self._sources.get(source_id) or source
        if self._places.get(place) not in (None, source_id):
            return False
        if source.url is not None:
            self._places.put((source.type.value, source.url), None)
        self._places.put(place, source_id)
        self._sources.put(source_id, replace(source, url=url))
        return True

    async def record_success(
        self,
        source_id: UUID,
        *,
        next_check_in: float,
        etag: str | None,
        last_modified: str | None,
        status: HealthStatus,
        message: str | None = None,
    ) -> None:
        """Record a successful check."""
        await self._share(f"source {source_id}")
        await self._lock([f"check {source_id}"])
        if self._sources.get(source_id) is None:
            return
        now, old = self._now(), self._checks.get(source_id)
        health = Health(
            source_id,
            status,
            now,
            old.health.last_error_at if old else None,
            None if message is None else storable(message)[:MESSAGE_CHARACTERS],
            None,
            now + timedelta(seconds=next_check_in),
            etag,
            last_modified,
        )
        self._checks.put(source_id, Check(health, None))

    async def record_failure(self, source_id: UUID, *, next_check_in: float, message: str) -> None:
        """Record a failed check."""
        await self._share(f"source {source_id}")
        await self._lock([f"check {source_id}"])
        if self._sources.get(source_id) is None:
            return
        now, old = self._now(), self._checks.get(source_id)
        health = Health(
            source_id,
            HealthStatus.ERROR,
            old.health.last_success_at if old else None,
            now,
            storable(message)[:MESSAGE_CHARACTERS],
            None,
            now + timedelta(seconds=next_check_in),
            old.health.etag if old else None,
            old.health.last_modified if old else None,
        )
        since = old.failing_since if old and old.failing_since is not None else now
        self._checks.put(source_id, Check(health, since))


def _by_name(source: Source) -> tuple[SourceType, str, UUID]:
    return source.type, source.name, source.id
