"""What the tasks ask of the domain's store, inside the queue's transaction.

Rows and the jobs that follow from them are written in one transaction, so a repository has no transactions of
its own: it joins the queue's::

    async with job.transaction() as transaction:
        rows = job.resources.repository.within(transaction)
        new = await rows.put_items(source.id, items)
        await transaction.send("fetch-content", {"rawItemIds": new})

Every verb is safe to repeat: it says what shall be there, on unique keys, and never looks first and writes
then. Durations come in and the store adds its own clock, as in the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

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
    """What a repository needs of the queue's transaction that it joins."""

    @property
    def connection(self) -> Any:
        """The psycopg connection of the transaction; None in memory."""
        ...

    def on_commit(self, apply: Callable[[], None]) -> None:
        """Call ``apply`` once the transaction has committed."""
        ...

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` if the transaction rolls back."""
        ...


class Rows(StoryRows, HighlightRows, TeamRows, PlaybookRows, Protocol):
    """The verbs, within one transaction: they see what it wrote, and others see it once it has committed."""

    async def ensure_source(self, id: UUID, source: NewSource) -> Source:  # noqa: A002 - the column's name
        """Add a source under ``id``, or return the one that has this type and url already, unchanged."""
        ...

    async def source(self, source_id: UUID) -> Source | None:
        """Return a source, or None if there is none of this id."""
        ...

    async def health(self, source_id: UUID) -> Health | None:
        """Return what is known of a source's health; None before its first check."""
        ...

    async def sources(self, types: Collection[SourceType], *, due_in: float | None = None) -> list[Source]:
        """Return active sources of some types that have a place, the one that waits longest first.

        A search needs no url; any other source without one is nothing that could be checked.

        Args:
            types: which types.
            due_in: only those whose next check is due within this many seconds from now; None for all.
        """
        ...

    async def every_source(self) -> list[Source]:
        """Return all sources, those that are not active too, by type, then name, then id."""
        ...

    async def set_active(self, source_id: UUID, *, active: bool) -> bool:
        """Pause or resume the checks of a source; False, and nothing is changed, if it is so already."""
        ...

    async def move_source(self, source_id: UUID, url: str) -> bool:
        """Give a source a new url of 2,048 characters at most.

        Returns:
            False, and nothing is changed, if it is longer, if another source of its type has it, or if there
            is no such source.
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
        """Write down that a source was checked; it is well from here on. ``next_check_in`` is in seconds.

        Does nothing for a source that does not exist, as ``record_failure`` does.
        """
        ...

    async def record_failure(self, source_id: UUID, *, next_check_in: float, message: str) -> None:
        """Write down that a check failed, with the first 512 characters of why; validators stay."""
        ...

    async def put_items(self, source_id: UUID, items: Sequence[NewItem]) -> list[UUID]:
        """Add items, and bring what is said of known ones up to date; their status stays.

        Of two items with one identity the first counts. For a source that does not exist nothing is written.

        Returns:
            The ids of those that are new, in the order given.
        """
        ...

    async def take_up_forgotten_items(self, source_id: UUID, after: float) -> list[UUID]:
        """Return pending items that nobody has touched for ``after`` seconds, oldest first, and touch them.

        Their job gave up or was lost; whoever calls this sends them again, in the same transaction.
        """
        ...

    async def reopen_items(self, ids: Collection[UUID]) -> list[UUID]:
        """Make items pending again that failed or had no text, with all their attempts before them.

        Returns:
            The ids of those that were reopened, in order.
        """
        ...

    async def items(self, ids: Collection[UUID]) -> list[RawItem]:
        """Return those of the items that exist, by id."""
        ...

    async def items_of(self, source_id: UUID) -> list[RawItem]:
        """Return the items of a source, by id."""
        ...

    async def finish_item(self, item_id: UUID, status: ItemStatus, error: str | None = None) -> bool:
        """Write down how an attempt at a pending item ended; ``pending`` leaves it to be tried again.

        Returns:
            False, and nothing is changed, if the item is not pending any more: somebody else has finished it.
        """
        ...

    async def lock_video(self, video_id: str) -> None:
        """Lock a video until the transaction ends, whichever items it belongs to.

        Whoever keeps its text looks first whether another item has it.
        """
        ...

    async def put_content(self, content: Content) -> None:
        """Store the text of an item, in place of an earlier one."""
        ...

    async def content(self, item_id: UUID) -> Content | None:
        """Return the text of an item, if it has one."""
        ...

    async def ensure_story(self, story: NewStory) -> tuple[UUID, bool]:
        """Make a story, or find the one that tells the same text.

        Returns:
            Its id, and whether it is new.
        """
        ...

    async def stories_of(self, item_ids: Collection[UUID]) -> dict[UUID, Story]:
        """Return for each item that has come so far the story that tells its text."""
        ...


class Repository(Protocol):
    """The domain's store."""

    def within(self, transaction: OpenTransaction) -> Rows:
        """Return the verbs as part of an open transaction of the queue."""
        ...
