"""Base of the Postgres store's methods: the transaction's connection, and the time set by tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg import errors
from psycopg.rows import dict_row

from zeke_queue.errors import SchemaVersionError
from zeke_queue.storage.postgres.error_mapping import is_worth_repeating
from zeke_tasks.store.conflicts import ConflictError
from zeke_tasks.store.deletion import TeamDeletedError
from zeke_tasks.store.model import MESSAGE_CHARACTERS, Kind, Story, StoryStatus, storable
from zeke_tasks.store.postgres.statements import STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from psycopg import AsyncConnection


class StatementRunner:
    """Runs statements in one transaction.

    Args:
        connection: the connection of the transaction.
        now: the time for statements in place of the database's; None in production.
    """

    def __init__(self, connection: AsyncConnection[Any], now: Callable[[], datetime] | None) -> None:
        self._connection = connection
        self._now = now

    async def _run(self, statement: str, /, *, binary: bool = False, **values: Any) -> list[dict[str, Any]]:
        """Run a statement and return its rows.

        Args:
            statement: the name of the statement.
            binary: whether to fetch rows in binary, which keeps numbers exact regardless of the connection's
                settings.
            values: the parameters.

        Raises:
            SchemaVersionError: the tables don't exist.
            ConflictError: a deadlock, or another conflict with a concurrent transaction.
        """
        values["now"] = self._now() if self._now else None
        async with self._connection.cursor(binary=binary, row_factory=dict_row) as cursor:
            try:
                await cursor.execute(STATEMENTS[statement], values)
            except (
                errors.UndefinedTable,
                errors.UndefinedColumn,
                errors.UndefinedObject,
                errors.UndefinedFunction,
                errors.InvalidSchemaName,
            ) as error:
                raise SchemaVersionError(
                    f"The tables of schema zeke are missing or too old ({error.diag.message_primary}):"
                    " run `zeke migrate`."
                ) from error
            except errors.OperationalError as error:
                if not is_worth_repeating(error):
                    raise
                raise ConflictError.of(error) from error
            rows = await cursor.fetchall() if cursor.description else []
        # The connection may be a caller's, with another time zone.
        return [{name: _in_utc(value) for name, value in row.items()} for row in rows]

    async def _lock_stories(self, ids: Collection[UUID]) -> dict[UUID, Story]:
        """Lock the existing stories in the order of their ids; returns their locked state.

        A statement that waits for a lock keeps its snapshot of other tables from before, so this is a
        separate one.
        """
        found = [story(row) for row in await self._run("lock_stories", ids=list(ids))]
        return {one.id: one for one in found}

    async def _require_teams(self, *teams: UUID | None) -> None:
        """Keep teams from being deleted until the transaction ends.

        Raises:
            TeamDeletedError: one is deleted.
        """
        if not (ids := sorted({team for team in teams if team is not None})):
            return
        await self._run("keep_teams", ids=ids)
        # A statement that waited for a lock does not see what was written meanwhile.
        for row in await self._run("deleted_teams", ids=ids):
            raise TeamDeletedError.of(row["team_id"])

    async def _is_kept(self, team: UUID | None) -> bool:
        """Keep a team as ``_require_teams`` does; returns False if it is deleted.

        Returns False also while a transaction deletes it, without waiting, since that one may wait for rows
        of this one. A deletion that still waits for its lock may end at a time limit, so it is waited for.
        """
        if team is None:
            return True
        (row,) = await self._run("try_keep_team", id=team)
        if not row["kept"]:
            (row,) = await self._run("is_deleting_team", id=team)
            if row["deleting"]:
                return False
            await self._run("keep_teams", ids=[team])
        return not await self._run("deleted_teams", ids=[team])


def message(text: str | None) -> str | None:
    """Truncate a message to the length of its column."""
    return None if text is None else storable(text)[:MESSAGE_CHARACTERS]


def story(row: dict[str, Any]) -> Story:
    """Convert a row to a story."""
    row["kind"], row["status"] = Kind(row["kind"]), StoryStatus(row["status"])
    return Story(**row)


def _in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
