"""The interface of the domain's store, used within the queue's transactions.

Rows and the jobs that follow from them are written in one transaction, so a repository has no transactions of
its own: it joins the queue's::

    async with job.transaction() as transaction:
        rows = job.resources.repository.within(transaction)
        new = await rows.put_items(source.id, items)
        await transaction.send("fetch-content", {"rawItemIds": new})

Every method is idempotent: it declares the wanted state on unique keys, and never reads first and writes
then. Durations are arguments, to which the store adds its own clock, as in the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from zeke_tasks.store.budgets import BudgetRows
from zeke_tasks.store.deletion import DeletionRows
from zeke_tasks.store.verbs import HighlightRows, PlaybookRows, StoryRows, TeamRows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from uuid import UUID

    from zeke_tasks.store.model import (
        Content,
        Health,
        HealthStatus,
        ItemStatus,
        NewItem,
        NewSource,
        NewStory,
        RawItem,
        Source,
        SourceType,
        Story,
    )


class OpenTransaction(Protocol):
    """The part of the queue's transaction that a repository uses."""

    @property
    def connection(self) -> Any:
        """The psycopg connection of the transaction; None in memory."""
        ...

    def on_commit(self, callback: Callable[[], None], /) -> None:
        """Call ``callback`` once the transaction has committed."""
        ...

    def on_rollback(self, callback: Callable[[], None], /) -> None:
        """Call ``callback`` if the transaction rolls back."""
        ...


class Rows(StoryRows, BudgetRows, HighlightRows, TeamRows, PlaybookRows, DeletionRows, Protocol):
    """The methods within one transaction: they see its writes, which others see after the commit."""

    async def ensure_source(self, id: UUID, source: NewSource) -> Source:  # noqa: A002 - the column's name
        """Add a source as ``id``, or return the existing one with this type and url unchanged."""
        ...

    async def source(self, source_id: UUID) -> Source | None:
        """Return a source, or None if it does not exist."""
        ...

    async def health(self, source_id: UUID) -> Health | None:
        """Return a source's health; None before its first check."""
        ...

    async def sources(self, types: Collection[SourceType], *, due_in: float | None = None) -> list[Source]:
        """Return active sources of some types that can be checked, longest waiting first.

        A search needs no url; other sources without one can't be checked.

        Args:
            types: the types.
            due_in: only sources whose next check is due within this many seconds; None for all.
        """
        ...

    async def every_source(self) -> list[Source]:
        """Return all sources, including inactive ones, by type, then name, then id."""
        ...

    async def subscribed_sources(self, team_id: UUID) -> list[Source]:
        """Return the sources to which a team subscribes, by type, then name, then id."""
        ...

    async def set_active(self, source_id: UUID, *, active: bool) -> bool:
        """Pause or resume the checks of a source; returns False if that changes nothing."""
        ...

    async def move_source(self, source_id: UUID, url: str) -> bool:
        """Set a source's url of at most 2,048 characters.

        Returns:
            False, without any change, if the url is longer, another source of the type has it, or the source
            does not exist.
        """
        ...

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
        """Record a successful check, which ends a series of failures. ``next_check_in`` is in seconds.

        Does nothing for a source that does not exist, as ``record_failure`` does.
        """
        ...

    async def record_failure(self, source_id: UUID, *, next_check_in: float, message: str) -> None:
        """Record a failed check with the first 512 characters of the message; validators stay."""
        ...

    async def put_items(self, source_id: UUID, items: Sequence[NewItem]) -> list[UUID]:
        """Add items, and update the data of known ones, unless they are deleted; their status stays.

        Of several items with the same identity the first counts. Does nothing for a source that does not
        exist.

        Returns:
            The ids of the new items, in the given order.
        """
        ...

    async def take_up_forgotten_items(self, source_id: UUID, after: float) -> list[UUID]:
        """Return pending items that were not touched for ``after`` seconds, oldest first, and touch them.

        Their job failed or was lost; the caller must send them again in the same transaction.
        """
        ...

    async def reopen_items(self, ids: Collection[UUID]) -> list[UUID]:
        """Make failed and deleted items and those without text pending again, and reset their attempts.

        Returns:
            The ids of the reopened items, in order.
        """
        ...

    async def items(self, ids: Collection[UUID]) -> list[RawItem]:
        """Return the existing items, by id."""
        ...

    async def items_of(self, source_id: UUID) -> list[RawItem]:
        """Return the items of a source, by id."""
        ...

    async def finish_item(self, item_id: UUID, status: ItemStatus, error: str | None = None) -> bool:
        """Record the outcome of an attempt at a pending item; with ``pending`` it will be tried again.

        Returns:
            False, without any change, if the item is not pending, since another job has finished it.
        """
        ...

    async def lock_video(self, video_id: str) -> None:
        """Lock a video, which may have several items, until the transaction ends.

        With the lock a job checks whether another item has the video's text before it stores the text.
        """
        ...

    async def put_content(self, content: Content) -> None:
        """Store the text of an item; replace an earlier one."""
        ...

    async def content(self, item_id: UUID) -> Content | None:
        """Return the text of an item, if it has one."""
        ...

    async def ensure_story(self, story: NewStory) -> tuple[UUID, bool]:
        """Create a story, or find the one with the same text.

        Returns:
            The story's id, and whether it is new.
        """
        ...

    async def stories_of(self, item_ids: Collection[UUID]) -> dict[UUID, Story]:
        """Return the story of each item that has one."""
        ...


class Repository(Protocol):
    """The domain's store."""

    def within(self, transaction: OpenTransaction) -> Rows:
        """Return the methods within an open transaction of the queue."""
        ...
