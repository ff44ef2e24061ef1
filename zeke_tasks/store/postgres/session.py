"""What every verb works with: the connection of its transaction, and the time that tests set."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg import errors
from psycopg.rows import dict_row

from zeke_queue.errors import SchemaVersionError
from zeke_tasks.store.model import MESSAGE_CHARACTERS, Kind, Story, StoryStatus, storable
from zeke_tasks.store.postgres.statements import STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from psycopg import AsyncConnection


class Session:
    """Runs statements in one transaction.

    Args:
        connection: that of the transaction.
        now: the time that statements take in place of the database's; None in production.
    """

    def __init__(self, connection: AsyncConnection[Any], now: Callable[[], datetime] | None) -> None:
        self._connection = connection
        self._now = now

    async def _run(self, statement: str, /, *, binary: bool = False, **values: Any) -> list[dict[str, Any]]:
        """Run a statement and return its rows.

        Args:
            statement: its name.
            binary: whether its rows come in binary, which keeps numbers whatever the connection's settings.
            values: its parameters.

        Raises:
            SchemaVersionError: the tables are not there.
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
            rows = await cursor.fetchall() if cursor.description else []
        # The connection may be a caller's, who lives in a time zone.
        return [{name: _in_utc(value) for name, value in row.items()} for row in rows]

    async def _lock_stories(self, ids: Collection[UUID]) -> dict[UUID, Story]:
        """Lock those stories that exist, in the order of their ids, and return them as they then are.

        A statement of its own: one that waits for a lock goes on with what it saw of other tables before.
        """
        found = [story(row) for row in await self._run("lock_stories", ids=list(ids))]
        return {one.id: one for one in found}


def message(text: str | None) -> str | None:
    """Cut a message to what a row holds."""
    return None if text is None else storable(text)[:MESSAGE_CHARACTERS]


def story(row: dict[str, Any]) -> Story:
    """Return a row as a story."""
    row["kind"], row["status"] = Kind(row["kind"]), StoryStatus(row["status"])
    return Story(**row)


def _in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
