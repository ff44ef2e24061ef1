"""The verbs on what follows from a story: analysis, highlights, teams, playbooks.

They keep the same promises as those on sources and stories: each is safe to repeat, a repeated one changes no
row (not even the time that a row was changed), and times come from the store's clock.

Whatever belongs to a story is written under the story's lock: its summary and source, what is thought of
it, its highlights and their scores, how far teams are with it. So transactions that take one story each never
wait for each other in a circle, and one that takes several takes them in the order of their ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from zeke_tasks.store.analysis import Analysis, Brief, Embedding, Overlay, Spending
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
    """Stories, what is thought of them, and what that cost."""

    async def story(self, story_id: UUID) -> Story | None:
        """Return a story, or None if there is none of this id."""
        ...

    async def lock_story(self, story_id: UUID) -> Story | None:
        """Return a story, which nobody else can lock until the transaction ends.

        Whoever decides by what a story has, and then writes, locks it first.
        """
        ...

    async def newest_stories(self, limit: int) -> list[Story]:
        """Return stories, the one that was published last first; those without a date last, then by id."""
        ...

    async def text_of(self, story_id: UUID) -> Content | None:
        """Return the text that a story was made of."""
        ...

    async def set_summary(self, story_id: UUID, summary: str, *, replace: bool) -> bool:
        """Give a story a summary.

        Returns:
            False, and nothing is changed, if it has one and ``replace`` is not said, or there is no story.
        """
        ...

    async def link_source(self, story_id: UUID, source_id: UUID) -> bool:
        """Make a source the story's primary one; False, and nothing is changed, if either does not exist."""
        ...

    async def put_analysis(self, story_id: UUID, analysis: Analysis) -> bool:
        """Keep an analysis of a story in place of an earlier one; the story is ``analyzed``, its briefs stay.

        Returns:
            False, and nothing is changed, if it is a stub's and a model's is there, or there is no story.
        """
        ...

    async def put_brief(self, story_id: UUID, brief: Brief) -> bool:
        """Keep the briefs of a story.

        Returns:
            False, and nothing is changed, if they are a stub's and a model's are there, or the story has not
            been analysed.
        """
        ...

    async def overlay(self, story_id: UUID) -> Overlay | None:
        """Return what is thought of a story; None if nothing was written yet."""
        ...

    async def put_embedding(self, story_id: UUID, embedding: Embedding) -> None:
        """Keep an embedding, in place of one of the same model and number of dimensions.

        Does nothing for a story that does not exist.
        """
        ...

    async def embeddings(self, story_id: UUID) -> list[Embedding]:
        """Return the embeddings of a story, by model, then dimensions."""
        ...

    async def nearest(self, embedding: Embedding, limit: int) -> list[tuple[UUID, float]]:
        """Return stories by how near they are: 1 less the cosine: 0 is the same direction, 2 the opposite.

        Distances are rounded to six decimals, and at equal ones stories go by id. What is nothing but zeros
        has no direction, and is at distance 1 of everything. Only embeddings of this model and number of
        dimensions are looked at, and all of those are: on Postgres that takes about 4 ms for 1000 of 1536
        dimensions with pgvector, and 220 ms with real[].
        """
        ...

    async def note_spending(self, spending: Spending) -> None:
        """Keep what a call of the AI took, unless its job, attempt and purpose are there already."""
        ...

    async def spending(self, job_id: UUID | None = None) -> list[Spending]:
        """Return what was spent for a job, or for all, by job, attempt and purpose."""
        ...


class HighlightRows(Protocol):
    """Highlights, which insights are too."""

    async def put_highlights(self, highlights: Sequence[NewHighlight]) -> list[UUID]:
        """Add highlights with their tags and references.

        One whose story does not exist is left out, and so is one whose key its story has already for its team
        or for everybody; of two in one call the first counts.

        Returns:
            The ids of those that are new, in the order given.
        """
        ...

    async def known_keys(self, story_id: UUID, team_id: UUID | None, keys: Collection[str]) -> set[str]:
        """Return those of the keys that a story has already for a team or for everybody."""
        ...

    async def highlights(self, story_id: UUID) -> list[Highlight]:
        """Return the highlights of a story, of all teams, by id.

        One for everybody may have the key of a team's that was there before: whoever shows that team what it
        has leaves out the one for everybody.
        """
        ...

    async def put_score(self, highlight_id: UUID, score: Score) -> bool:
        """Give a highlight a score; False, and nothing is changed, if it has this one or does not exist."""
        ...


class TeamRows(Protocol):
    """What teams read and what they make of it."""

    async def connect(self, team_id: UUID, source_id: UUID) -> bool:
        """Subscribe a team to a source; False if it is already, or there is no such source."""
        ...

    async def teams_of(self, source_id: UUID) -> list[UUID]:
        """Return the teams that subscribe to a source, by id."""
        ...

    async def set_reading_state(
        self, story_id: UUID, team_ids: Collection[UUID], state: ReadingState
    ) -> list[UUID]:
        """Set how far teams are with a story; a change to ``read`` stamps when it was viewed last.

        Returns:
            The teams whose state changed, by id; none if there is no such story.
        """
        ...

    async def reading_states(self, story_id: UUID) -> list[TeamStory]:
        """Return how far teams are with a story, by team."""
        ...

    async def put_team_highlight(self, state: TeamHighlight) -> bool:
        """Keep what a team does with a highlight, unless it has a state there; tells whether it was new.

        Does nothing for a highlight that does not exist.
        """
        ...

    async def team_highlights(self, team_id: UUID) -> list[TeamHighlight]:
        """Return what a team does with highlights, by highlight."""
        ...


class PlaybookRows(Protocol):
    """Playbooks and their runs."""

    async def put_playbook(self, playbook: Playbook) -> None:
        """Keep a playbook and its steps, in place of what it was."""
        ...

    async def playbook(self, playbook_id: UUID, team_id: UUID) -> Playbook | None:
        """Return a team's playbook; None if there is none, or it is another team's."""
        ...

    async def every_playbook(self) -> list[Playbook]:
        """Return the playbooks of all teams, by id."""
        ...

    async def activate_playbook(self, playbook_id: UUID) -> bool:
        """Make a draft active; False if it was none."""
        ...

    async def ensure_run(self, run: NewRun) -> tuple[PlaybookRun, bool]:
        """Make a pending run, or return the one of this id; with whether it is new.

        Raises:
            UsageError: there is no such playbook.
        """
        ...

    async def run(self, run_id: UUID) -> PlaybookRun | None:
        """Return a run, or None."""
        ...

    async def runs_of(self, playbook_id: UUID) -> list[PlaybookRun]:
        """Return the runs of a playbook, by id."""
        ...

    async def lock_run(self, run_id: UUID) -> PlaybookRun | None:
        """Return a run, which nobody else can lock until the transaction ends."""
        ...

    async def begin_run(self, run_id: UUID) -> bool:
        """Start a pending run; False, and nothing is changed, if it is not pending."""
        ...

    async def resume_run(self, run_id: UUID) -> bool:
        """Resume a run that failed or was cancelled, and count the resumption.

        Returns:
            False, and nothing is changed, if it has not ended so.
        """
        ...

    async def end_run(self, run_id: UUID, status: RunStatus, error: str | None = None) -> bool:
        """End a run that is pending or running; False, and nothing is changed, if it is neither.

        Of the error the first 512 characters are kept.

        Raises:
            InvalidOptionError: the status is not one that a run ends with.
        """
        ...

    async def put_output(self, run_id: UUID, step: str, output: Any) -> None:
        """Keep what a step of a run returned, which can be written as JSON, unless something is there."""
        ...

    async def put_run_event(self, event: RunEvent) -> bool:
        """Keep an event, unless one of its run, round, kind and step is there; tells whether it was new."""
        ...

    async def run_events(self, run_id: UUID) -> list[RunEvent]:
        """Return the events of a run in the order in which they were put."""
        ...
