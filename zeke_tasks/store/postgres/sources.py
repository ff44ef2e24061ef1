"""Sources and their health on Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg import errors
from psycopg.types.json import Jsonb

from zeke_queue.errors import StorageUnavailableError
from zeke_tasks.store.model import URL_CHARACTERS, Health, HealthStatus, Source, SourceType
from zeke_tasks.store.postgres.runner import StatementRunner
from zeke_tasks.store.postgres.runner import message as cut

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from zeke_tasks.store.model import NewSource

_TRIES: Final = 3
"""Tries to add a source that other transactions delete."""


class PostgresSources(StatementRunner):
    """The methods on sources."""

    async def ensure_source(self, id: UUID, source: NewSource) -> Source:  # noqa: A002 - the column's name
        """Add a source, or return the one with this type and url."""
        for _ in range(_TRIES):
            added = await self._run(
                "ensure_source",
                id=id,
                type=source.type,
                name=source.name,
                url=source.url,
                authority_score=source.authority_score,
                is_active=source.is_active,
                check_frequency_hours=source.check_frequency_hours,
                metadata=Jsonb(dict(source.metadata)),
            )
            if added:
                found = await self._run("source", id=id)
            else:
                found = await self._run("known_source", id=id, type=source.type, url=source.url)
            # None if it was deleted between the two statements; then it is added.
            if found:
                return _source(found[0])
        raise StorageUnavailableError(f"Source {source.url} was deleted {_TRIES} times meanwhile; try again")

    async def source(self, source_id: UUID) -> Source | None:
        """Return a source."""
        rows = await self._run("source", id=source_id)
        return _source(rows[0]) if rows else None

    async def health(self, source_id: UUID) -> Health | None:
        """Return a source's health."""
        rows = await self._run("health", source_id=source_id)
        return _health(rows[0]) if rows else None

    async def sources(self, types: Collection[SourceType], *, due_in: float | None = None) -> list[Source]:
        """Return active sources that can be checked, longest waiting first."""
        rows = await self._run("sources", types=[kind.value for kind in types], due_in=due_in)
        return [_source(row) for row in rows]

    async def every_source(self) -> list[Source]:
        """Return all sources, by type, then name, then id."""
        return [_source(row) for row in await self._run("every_source")]

    async def subscribed_sources(self, team_id: UUID) -> list[Source]:
        """Return the sources to which a team subscribes, by type, then name, then id."""
        return [_source(row) for row in await self._run("subscribed_sources", team_id=team_id)]

    async def set_active(self, source_id: UUID, *, active: bool) -> bool:
        """Pause or resume the checks of a source."""
        return bool(await self._run("set_active", id=source_id, active=active))

    async def move_source(self, source_id: UUID, url: str) -> bool:
        """Set a source's url unless another source has it."""
        if len(url) > URL_CHARACTERS:
            return False
        try:
            # A unique violation would abort the caller's transaction, so this is a savepoint.
            async with self._connection.transaction():
                return bool(await self._run("move_source", id=source_id, url=url))
        except errors.UniqueViolation:
            return False

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
        await self._run(
            "record_success",
            source_id=source_id,
            status=status,
            message=cut(message),
            next_check_in=next_check_in,
            etag=etag,
            last_modified=last_modified,
        )

    async def record_failure(self, source_id: UUID, *, next_check_in: float, message: str) -> None:
        """Record a failed check."""
        await self._run(
            "record_failure", source_id=source_id, message=cut(message), next_check_in=next_check_in
        )


def _source(row: dict[str, Any]) -> Source:
    row["type"] = SourceType(row["type"])
    return Source(**row)


def _health(row: dict[str, Any]) -> Health:
    row["status"] = HealthStatus(row["status"])
    return Health(**row)
