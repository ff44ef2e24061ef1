"""Teams' subscriptions and states in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_tasks.store.highlights import ReadingState, TeamStory
from zeke_tasks.store.memory.scope import Scope
from zeke_tasks.store.subscriptions import check_subscriptions

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from zeke_tasks.store.highlights import TeamHighlight


class MemoryTeams(Scope):
    """The methods on teams."""

    async def connect(self, team_id: UUID, source_id: UUID) -> bool:
        """Subscribe a team to a source."""
        if not await self._keep_source(source_id):
            return False
        pair = (team_id, source_id)
        await self._lock([f"connection {pair}"])
        known = self._connections.get(pair) is not None
        self._connections.put(pair, pair)
        await self._require_teams(team_id)
        if not known:
            check_subscriptions(team_id, sum(team == team_id for team, _ in self._connections.values()))
        return not known

    async def disconnect(self, team_id: UUID, source_id: UUID) -> bool:
        """End a team's subscription to a source."""
        pair = (team_id, source_id)
        await self._lock_to_delete(f"connection {pair}")
        if self._connections.get(pair) is None:
            return False
        self._connections.put(pair, None)
        return True

    async def teams_of(self, source_id: UUID, *, lock: bool = False) -> list[UUID]:
        """Return the teams that subscribe to a source, by id."""
        teams = sorted(team for team, _ in self._connections.of(source_id))
        if not lock:
            return teams
        for team in teams:
            await self._share(f"connection {(team, source_id)}")
        return [team for team in teams if self._connections.get((team, source_id)) is not None]

    async def keep_team(self, team_id: UUID) -> None:
        """Keep a team from being deleted until the transaction ends."""
        await self._require_teams(team_id)

    async def set_reading_state(
        self, story_id: UUID, team_ids: Collection[UUID], state: ReadingState
    ) -> list[UUID]:
        """Set teams' reading state of a story."""
        if story_id not in await self._lock_stories([story_id]):
            return []
        changed: list[UUID] = []
        for team in sorted(set(team_ids)):
            old = self._team_stories.get((team, story_id))
            if old is not None and old.state is state:
                continue
            viewed = old.last_viewed_at if old else None
            if state is ReadingState.READ:
                viewed = self._now()
            self._team_stories.put((team, story_id), TeamStory(team, story_id, state, viewed))
            changed.append(team)
        return changed

    async def reading_states(self, story_id: UUID) -> list[TeamStory]:
        """Return the reading states of a story, by team."""
        return sorted(self._team_stories.of(story_id), key=lambda one: one.team_id)

    async def put_team_highlight(self, state: TeamHighlight) -> bool:
        """Store a team's state of a highlight unless it has one."""
        await self._require_teams(state.team_id)
        self._require_open()
        if self._highlights.get(state.highlight_id) is None:
            return False
        await self._share(f"highlight {state.highlight_id}")
        if self._highlights.get(state.highlight_id) is None:
            return False
        key = (state.team_id, state.highlight_id)
        await self._lock([f"team highlight {key}"])
        if self._team_highlights.get(key) is not None:
            return False
        self._team_highlights.put(key, state)
        return True

    async def team_highlights(self, team_id: UUID) -> list[TeamHighlight]:
        """Return a team's states of highlights, by highlight."""
        return sorted(self._team_highlights.of(team_id), key=lambda one: one.highlight_id)
