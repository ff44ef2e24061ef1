"""The methods on stories, analyses, highlights, teams and playbooks.

They have the same guarantees as those on sources and items: each is idempotent, a repeated call changes no
row (not even its time of change), and times come from the store's clock.

Locks are taken in this order: deletions of sources, sources, subscriptions, stories, their items. What stores
an item's text locks its source and the pending item, and then the story of the text, if there is one:
deletions of stories lock only items that have a text.

All data of a story is written under the story's lock: its summary and source, its overlay, its highlights and
their scores, the reading states of teams. So transactions on one story each can't deadlock, and one on
several stories locks them in the order of their ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from zeke_tasks.store.analysis import Analysis, Brief, BriefDraft, Embedding, Overlay, Spending
    from zeke_tasks.store.highlights import (
        Highlight,
        NewHighlight,
        ReadingState,
        Score,
        TeamHighlight,
        TeamStory,
    )
    from zeke_tasks.store.model import Content, Story
    from zeke_tasks.store.playbooks import NewRun, Playbook, PlaybookRun, RunEvent, RunStatus


class StoryRows(Protocol):
    """Stories, their analyses, and the AI usage."""

    async def story(self, story_id: UUID) -> Story | None:
        """Return a story, or None if it does not exist."""
        ...

    async def lock_story(self, story_id: UUID) -> Story | None:
        """Return a story, locked until the transaction ends.

        A transaction whose writes depend on a story's data must lock the story first.
        """
        ...

    async def newest_stories(self, limit: int) -> list[Story]:
        """Return stories, latest publication first, those without a date last, then by id."""
        ...

    async def text_of(self, story_id: UUID) -> Content | None:
        """Return the text from which a story was made."""
        ...

    async def set_summary(self, story_id: UUID, summary: str, *, replace: bool) -> bool:
        """Set a story's summary.

        Returns:
            False, without any change, if it has one and ``replace`` is not set, or the story does not exist.
        """
        ...

    async def link_source(self, story_id: UUID, source_id: UUID) -> bool:
        """Set the story's primary source; returns False if either does not exist."""
        ...

    async def put_analysis(self, story_id: UUID, analysis: Analysis) -> bool:
        """Store a story's analysis or replace it; the story becomes ``analyzed``, its briefs stay.

        Returns:
            False, without any change, if it is a stub's and the story has a model's, or the story does not
            exist.
        """
        ...

    async def put_brief(self, story_id: UUID, brief: Brief) -> bool:
        """Store the briefs of a story.

        Returns:
            False, without any change, if they are a stub's and the story has a model's, or the story is not
            analysed.
        """
        ...

    async def put_brief_draft(self, story_id: UUID, draft: BriefDraft | None) -> bool:
        """Store the draft of a story's brief, or remove it.

        Returns:
            False, without any change, if the story is not analysed.
        """
        ...

    async def overlay(self, story_id: UUID) -> Overlay | None:
        """Return a story's overlay; None if it does not exist yet."""
        ...

    async def put_embedding(self, story_id: UUID, embedding: Embedding) -> None:
        """Store an embedding; replace one of the same model and number of dimensions.

        Does nothing for a story that does not exist.
        """
        ...

    async def embeddings(self, story_id: UUID) -> list[Embedding]:
        """Return the embeddings of a story, by model, then dimensions."""
        ...

    async def nearest(self, embedding: Embedding, limit: int) -> list[tuple[UUID, float]]:
        """Return stories by cosine distance: 0 is the same direction, 2 the opposite.

        Distances are rounded to six decimals; stories at equal distances are sorted by id. A zero vector has
        no direction and is at distance 1 of all others. All embeddings of this model and number of dimensions
        are
        compared: on Postgres that takes about 4 ms for 1000 of 1536 dimensions with pgvector, and 220 ms with
            real[].
        """
        ...

    async def note_spending(self, spending: Spending) -> None:
        """Record the usage of an AI call, unless there is a record of its job, attempt and purpose."""
        ...

    async def spending(self, job_id: UUID | None = None) -> list[Spending]:
        """Return the AI usage of a job, or of all, by job, attempt and purpose."""
        ...


class HighlightRows(Protocol):
    """Highlights, including insights."""

    async def put_highlights(self, highlights: Sequence[NewHighlight]) -> list[UUID]:
        """Add highlights with their tags and references.

        A highlight is skipped if its story does not exist, or has its key already for the team or globally;
        of several with the same key in one call the first counts.

        Returns:
            The ids of the new highlights, in the given order.
        """
        ...

    async def known_keys(self, story_id: UUID, team_id: UUID | None, keys: Collection[str]) -> set[str]:
        """Return the keys that a story has already for a team or globally."""
        ...

    async def highlights(self, story_id: UUID) -> list[Highlight]:
        """Return the highlights of a story for all teams, by id.

        A global highlight may have the same key as an older one of a team; a view for that team should leave
        out the global one.
        """
        ...

    async def put_score(self, highlight_id: UUID, score: Score) -> bool:
        """Set a highlight's score; returns False if that changes nothing or it does not exist."""
        ...


class TeamRows(Protocol):
    """Teams' subscriptions, and their states of stories and highlights."""

    async def connect(self, team_id: UUID, source_id: UUID) -> bool:
        """Subscribe a team to a source; returns False if it is subscribed or the source does not exist.

        Raises:
            UsageError: the team has ``SUBSCRIPTIONS_MAX`` subscriptions, or was deleted.
        """
        ...

    async def disconnect(self, team_id: UUID, source_id: UUID) -> bool:
        """End a team's subscription to a source; returns False if it is not subscribed."""
        ...

    async def teams_of(self, source_id: UUID, *, lock: bool = False) -> list[UUID]:
        """Return the teams that subscribe to a source, by id.

        Args:
            source_id: the source.
            lock: whether to lock the subscriptions until the transaction ends, so that ``delete_team`` waits
                and deletes the rows that the transaction writes for these teams.
        """
        ...

    async def keep_team(self, team_id: UUID) -> None:
        """Keep a team from being deleted until the transaction ends.

        Raises:
            TeamDeletedError: it is deleted.
        """
        ...

    async def set_reading_state(
        self, story_id: UUID, team_ids: Collection[UUID], state: ReadingState
    ) -> list[UUID]:
        """Set teams' reading state of a story; a change to ``read`` sets the time of the last view.

        The teams must be kept from being deleted: by ``teams_of`` with ``lock``, which takes no lock of each
        team, or by ``keep_team``.

        Returns:
            The teams whose state changed, by id; none if the story does not exist.
        """
        ...

    async def reading_states(self, story_id: UUID) -> list[TeamStory]:
        """Return the reading states of a story, by team."""
        ...

    async def put_team_highlight(self, state: TeamHighlight) -> bool:
        """Store a team's state of a highlight unless it has one; returns whether it is new.

        Does nothing for a highlight that does not exist.
        """
        ...

    async def team_highlights(self, team_id: UUID) -> list[TeamHighlight]:
        """Return a team's states of highlights, by highlight."""
        ...


class PlaybookRows(Protocol):
    """Playbooks and their runs."""

    async def put_playbook(self, playbook: Playbook) -> None:
        """Store a playbook and its steps; replace an earlier version."""
        ...

    async def playbook(self, playbook_id: UUID, team_id: UUID) -> Playbook | None:
        """Return a team's playbook; None if it does not exist or is another team's."""
        ...

    async def every_playbook(self) -> list[Playbook]:
        """Return the playbooks of all teams, by id."""
        ...

    async def activate_playbook(self, playbook_id: UUID) -> bool:
        """Make a draft active; returns False if it is not a draft."""
        ...

    async def ensure_run(self, run: NewRun) -> tuple[PlaybookRun, bool]:
        """Create a pending run, or return the one with this id, and whether it is new.

        Raises:
            UsageError: the playbook does not exist.
        """
        ...

    async def run(self, run_id: UUID) -> PlaybookRun | None:
        """Return a run, or None."""
        ...

    async def runs_of(self, playbook_id: UUID) -> list[PlaybookRun]:
        """Return the runs of a playbook, by id."""
        ...

    async def lock_run(self, run_id: UUID) -> PlaybookRun | None:
        """Return a run, locked until the transaction ends."""
        ...

    async def begin_run(self, run_id: UUID) -> bool:
        """Start a pending run; returns False, without any change, if it is not pending."""
        ...

    async def resume_run(self, run_id: UUID) -> bool:
        """Resume a failed or cancelled run, and count the resumption.

        Returns:
            False, without any change, if it is neither.
        """
        ...

    async def end_run(self, run_id: UUID, status: RunStatus, error: str | None = None) -> bool:
        """End a pending or running run; returns False, without any change, if it is neither.

        The first 512 characters of the error are stored.

        Raises:
            InvalidOptionError: the status is not final.
        """
        ...

    async def put_output(self, run_id: UUID, step: str, output: Any) -> None:
        """Store the output of a step, any value serializable as JSON, unless it has one."""
        ...

    async def put_run_event(self, event: RunEvent) -> bool:
        """Store an event, unless its run, round, kind and step have one; returns whether it is new."""
        ...

    async def run_events(self, run_id: UUID) -> list[RunEvent]:
        """Return the events of a run in the order in which they were stored."""
        ...
