"""Teams' subscriptions and states on Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_tasks.store.highlights import ReadingState, TeamHighlight, TeamStory
from zeke_tasks.store.postgres.runner import StatementRunner
from zeke_tasks.store.subscriptions import check_subscriptions

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID


class PostgresTeams(StatementRunner):
    """The methods on teams."""

    async def connect(self, team_id: UUID, source_id: UUID) -> bool:
        """Subscribe a team to a source."""
        added = await self._run("connect", team_id=team_id, source_id=source_id)
        await self._require_teams(team_id)
        if added:
            (row,) = await self._run("count_subscriptions", team_id=team_id)
            check_subscriptions(team_id, row["count"])
        return bool(added)

    async def disconnect(self, team_id: UUID, source_id: UUID) -> bool:
        """End a team's subscription to a source."""
        return bool(await self._run("disconnect", team_id=team_id, source_id=source_id))

    async def teams_of(self, source_id: UUID, *, lock: bool = False) -> list[UUID]:
        """Return the teams that subscribe to a source, by id."""
        statement = "lock_teams_of" if lock else "teams_of"
        return [row["team_id"] for row in await self._run(statement, source_id=source_id)]

    async def keep_team(self, team_id: UUID) -> None:
        """Keep a team from being deleted until the transaction ends."""
        await self._require_teams(team_id)

    async def set_reading_state(
        self, story_id: UUID, team_ids: Collection[UUID], state: ReadingState
    ) -> list[UUID]:
        """Set teams' reading state of a story."""
        rows = await self._run(
            "set_reading_state", story_id=story_id, team_ids=sorted(set(team_ids)), state=state
        )
        return sorted(row["team_id"] for row in rows)

    async def reading_states(self, story_id: UUID) -> list[TeamStory]:
        """Return the reading states of a story, by team."""
        rows = await self._run("reading_states", story_id=story_id)
        return [_team_story(row) for row in rows]

    async def put_team_highlight(self, state: TeamHighlight) -> bool:
        """Store a team's state of a highlight unless it has one."""
        await self._require_teams(state.team_id)
        added = await self._run(
            "put_team_highlight",
            team_id=state.team_id,
            highlight_id=state.highlight_id,
            pinned=state.pinned,
            dismissed=state.dismissed,
        )
        return bool(added)

    async def team_highlights(self, team_id: UUID) -> list[TeamHighlight]:
        """Return a team's states of highlights, by highlight."""
        return [TeamHighlight(**row) for row in await self._run("team_highlights", team_id=team_id)]


def _team_story(row: dict[str, Any]) -> TeamStory:
    row["state"] = ReadingState(row["state"])
    return TeamStory(**row)
