"""The methods that delete rows: by request, and when they are older than a deployment keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from zeke_queue.errors import UsageError
from zeke_queue.task.signals import Fail

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID


class Deleted(NamedTuple):
    """The rows that a deletion removed.

    Attributes:
        items: items that were deleted or emptied.
        stories: stories with all that belongs to them.
        moved: stories of a deleted source that other sources also have, which remain as those of the others.
    """

    items: int
    stories: int
    moved: int = 0


class TeamDeletedError(Fail, UsageError):
    """The team was deleted, so nothing can be written for it; a job that meets this fails permanently."""

    @classmethod
    def of(cls, team_id: UUID) -> Self:
        """Return the error for a team."""
        return cls(f"Team {team_id} was deleted; use the id of another team")


class DeletionRows(Protocol):
    """Deletions. Each is one transaction's, with all rows that belong to what it deletes."""

    async def delete_source(self, source_id: UUID) -> Deleted | None:
        """Delete a source with its items, their texts and stories, its health and its subscriptions.

        A story whose text another source has too remains, as that source's. A story that was linked to this
        source, but read from another, becomes the other's.

        Returns:
            None if the source does not exist.
        """
        ...

    async def count_source(self, source_id: UUID) -> Deleted | None:
        """Return what ``delete_source`` would delete now; reads only, and waits for no lock."""
        ...

    async def count_story(self, story_id: UUID) -> Deleted | None:
        """Return what ``delete_story`` would delete now, likewise."""
        ...

    async def count_team(self, team_id: UUID) -> Mapping[str, int]:
        """Return what ``delete_team`` would delete now, likewise."""
        ...

    async def delete_story(self, story_id: UUID) -> Deleted | None:
        """Delete a story with its texts, analysis, briefs, embeddings and highlights, and teams' states.

        Its items become ``deleted``, so that the next checks of their sources do not read them again. If
        another item with the same text is read later, that is a new story.

        Returns:
            None if the story does not exist.
        """
        ...

    async def delete_team(self, team_id: UUID) -> Mapping[str, int]:
        """Delete a team's subscriptions, states, highlights, playbooks with runs, budgets and AI usage.

        Later writes of rows of the team raise ``TeamDeletedError``; those of AI usage are ignored.

        Returns:
            The number of deleted rows by table, without what belongs to them (tags, steps, events).
        """
        ...

    async def expire_stories(self, after: float, limit: int) -> Deleted:
        """Delete up to ``limit`` stories created more than ``after`` seconds ago, oldest first.

        Stories that other transactions have locked are skipped.
        """
        ...

    async def expire_items(self, after: float, limit: int) -> int:
        """Empty up to ``limit`` items that had failed or had no text more than ``after`` seconds ago."""
        ...

    async def expire_runs(self, after: float, limit: int) -> int:
        """Delete up to ``limit`` playbook runs that ended more than ``after`` seconds ago, with their events.

        Runs that other transactions have locked are skipped.
        """
        ...

    async def open_runs(self, after: float, limit: int, behind: UUID | None) -> list[UUID]:
        """Return up to ``limit`` runs that started ``after`` seconds ago and did not end, by id.

        Args:
            after: the seconds.
            limit: how many at most.
            behind: only runs with greater ids; None for all.
        """
        ...

    async def delete_open_runs(self, ids: Collection[UUID]) -> int:
        """Delete runs with their events, unless they have ended, or other transactions have locked them."""
        ...

    async def expire_spending(self, after: float, limit: int) -> int:
        """Delete records of AI usage from more than ``after`` seconds ago, oldest first; return how many.

        These are calls, sums of days, and calls that were reserved and not settled: up to ``limit`` of each.
        Those that other transactions have locked are skipped.
        """
        ...
