"""Deletions in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from zeke_tasks.store.deletion import Deleted
from zeke_tasks.store.memory.scope import Scope
from zeke_tasks.store.memory.tables import Item
from zeke_tasks.store.model import ItemStatus, RawItem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from zeke_tasks.store.memory.tables import K, Layer, V
    from zeke_tasks.store.model import Story


class MemoryDeletions(Scope):
    """The methods that delete rows."""

    async def delete_source(self, source_id: UUID) -> Deleted | None:
        """Delete a source; stories that another has too become that one's."""
        await self._lock(["deletions of sources"])
        await self._lock_to_delete(f"source {source_id}")
        source = self._sources.get(source_id)
        if source is None:
            return None
        for pair in sorted(self._connections.of(source_id)):
            await self._lock_to_delete(f"connection {pair}")
        for story in self._stories_of_source(source_id):
            await self._lock_to_delete(f"story row {story.id}")
        for key in sorted(item.row.id for item in self._items.of(source_id)):
            await self._lock([f"item {key}"])
        moved = [self._moved(story, source_id) for story in self._stories_of_source(source_id)]
        for old, new in moved:
            self._put_moved(old, new)
        items = [item.row.id for item in self._items.of(source_id)]
        stories = [story for story in self._stories.values() if story.content_id in items]
        for story in stories:
            await self._drop_story(story)
        for key in items:
            self._contents.put(key, None)
            self._items.put(key, None)
        self._checks.put(source_id, None)
        _drop(self._connections, ((team, source_id) for team, _ in list(self._connections.of(source_id))))
        if source.url is not None:
            self._places.put((source.type.value, source.url), None)
        self._sources.put(source_id, None)
        return Deleted(len(items), len(stories), sum(old != new for old, new in moved))

    def _stories_of_source(self, source_id: UUID) -> list[Story]:
        found = (
            story
            for story in self._stories.values()
            if source_id in (story.primary_source_id, self._source_of(story.content_id))
        )
        return sorted(found, key=lambda story: story.id)

    def _source_of(self, item_id: UUID) -> UUID | None:
        item = self._items.get(item_id)
        return item and item.row.source_id

    def _moved(self, story: Story, source_id: UUID) -> tuple[Story, Story]:
        """Return a story of a source that is deleted, and what it becomes: the same if it is deleted."""
        own = self._source_of(story.content_id)
        if own is None or own != source_id:
            return story, replace(story, primary_source_id=own or story.primary_source_id)
        others = sorted(
            content.raw_item_id
            for content in self._contents.values()
            if content.content_hash == story.content_hash
            and self._source_of(content.raw_item_id) != source_id
            and self._told.get(content.raw_item_id) is None
        )
        if not others:
            return story, story
        other = self._source_of(others[0])
        primary = story.primary_source_id if story.primary_source_id != source_id else other
        return story, replace(
            story, content_id=others[0], primary_source_id=primary or story.primary_source_id
        )

    def _put_moved(self, old: Story, new: Story) -> None:
        if old.content_id != new.content_id:
            self._told.put(old.content_id, None)
            self._told.put(new.content_id, new.id)
        self._stories.put(new.id, new)

    async def count_source(self, source_id: UUID) -> Deleted | None:
        """Return what ``delete_source`` would delete."""
        if self._sources.get(source_id) is None:
            return None
        moved = [self._moved(story, source_id) for story in self._stories_of_source(source_id)]
        stays = [old for old, new in moved if old == new]
        return Deleted(len(list(self._items.of(source_id))), len(stays), len(moved) - len(stays))

    async def count_story(self, story_id: UUID) -> Deleted | None:
        """Return what ``delete_story`` would delete."""
        story = self._stories.get(story_id)
        if story is None:
            return None
        items, gone = self._with_story([story])
        return Deleted(len(items), len(gone))

    async def delete_story(self, story_id: UUID) -> Deleted | None:
        """Delete a story."""
        self._require_open()
        if self._stories.get(story_id) is None:
            return None
        await self._lock_to_delete(f"story row {story_id}")
        story = self._stories.get(story_id)
        return None if story is None else await self._delete_stories([story])

    async def _delete_stories(self, stories: Collection[Story]) -> Deleted:
        """Delete locked stories; those that were made of an earlier text of their items are deleted too."""
        items, _ = self._with_story(stories)
        await self._lock(f"item {key}" for key in items)
        _, gone = self._with_story(stories)
        for story in gone:
            await self._drop_story(story)
        for key in items:
            self._contents.put(key, None)
            if (item := self._items.get(key)) is not None:
                self._empty(item)
        return Deleted(len(items), len(gone))

    def _with_story(self, stories: Collection[Story]) -> tuple[list[UUID], list[Story]]:
        """Return the items that are emptied with stories, and the stories that are deleted with them."""
        hashes, made_of = {story.content_hash for story in stories}, {story.content_id for story in stories}
        known = {story.content_hash for story in self._stories.values()}
        items = sorted(
            content.raw_item_id
            for content in self._contents.values()
            if content.content_hash in hashes
            or (content.raw_item_id in made_of and content.content_hash not in known)
        )
        also = [story for story in self._stories.values() if story.content_id in items]
        return items, list({story.id: story for story in (*stories, *also)}.values())

    def _empty(self, item: Item) -> None:
        row: RawItem = replace(
            item.row, status=ItemStatus.DELETED, title=None, body=None, metadata={}, error=None
        )
        self._items.put(item.row.id, Item(row, self._now()))

    async def _drop_story(self, story: Story) -> None:
        await self._lock_to_delete(f"story row {story.id}")
        await self._drop_highlights([one.id for one in self._highlights.of(story.id)])
        self._overlays.put(story.id, None)
        for placed in list(self._embeddings.of(story.id)):
            self._embeddings.put((story.id, placed.embedding.model, placed.embedding.dimensions), None)
        _drop(self._team_stories, [(one.team_id, story.id) for one in self._team_stories.of(story.id)])
        self._stories.put(story.id, None)
        self._births.put(story.id, None)
        self._told.put(story.content_id, None)

    async def _drop_highlights(self, ids: Collection[UUID]) -> None:
        for key in sorted(ids):
            await self._lock_to_delete(f"highlight {key}")
            self._highlights.put(key, None)
        states = [one for one in self._team_highlights.values() if one.highlight_id in ids]
        _drop(self._team_highlights, [(one.team_id, one.highlight_id) for one in states])

    async def count_team(self, team_id: UUID) -> Mapping[str, int]:
        """Return what ``delete_team`` would delete."""
        teams: dict[str, Iterable[UUID | None]] = {
            "source_connections": (team for team, _ in self._connections.values()),
            "team_story_states": (one.team_id for one in self._team_stories.values()),
            "team_highlight_states": (one.team_id for one in self._team_highlights.values()),
            "highlights": (one.team_id for one in self._highlights.values()),
            "playbook_runs": (run.team_id for run in self._runs.values()),
            "playbooks": (playbook.team_id for playbook in self._playbooks.values()),
            "ai_budgets": (team for team, _ in self._budgets.items()),
            "ai_reservations": (one.reservation.team_id for one in self._reservations.values()),
            "ai_budget_days": (team for (team, _), _ in self._budget_days.items()),
            "ai_spending": (one.team_id for one in self._spending.values()),
        }
        return {table: sum(team == team_id for team in found) for table, found in teams.items()}

    async def delete_team(self, team_id: UUID) -> Mapping[str, int]:
        """Delete the rows of a team."""
        connections = await self._drop_connections(team_id)
        await self._lock_to_delete(f"team {team_id}")
        self._deleted_teams.put(team_id, team_id)
        # Transactions that kept the team may have written more rows before it was locked.
        connections += await self._drop_connections(team_id)
        await self._lock_stories(
            {one.story_id for one in self._team_stories.values() if one.team_id == team_id}
            | {one.story_id for one in self._highlights.values() if one.team_id == team_id}
        )
        states = [
            (one.team_id, one.story_id) for one in self._team_stories.values() if one.team_id == team_id
        ]
        _drop(self._team_stories, states)
        marks = [(team_id, one.highlight_id) for one in self._team_highlights.of(team_id)]
        _drop(self._team_highlights, marks)
        highlights = [one.id for one in self._highlights.values() if one.team_id == team_id]
        await self._drop_highlights(highlights)
        runs = sorted(run.id for run in self._runs.values() if run.team_id == team_id)
        await self._drop_runs(runs)
        playbooks = sorted(one.id for one in self._playbooks.values() if one.team_id == team_id)
        for key in playbooks:
            await self._lock_to_delete(f"playbook {key}")
            await self._drop_runs([run.id for run in self._runs.of(key)])
            self._playbooks.put(key, None)
        money = await self._delete_money(team_id)
        return {
            "source_connections": connections,
            "team_story_states": len(states),
            "team_highlight_states": len(marks),
            "highlights": len(highlights),
            "playbook_runs": len(runs),
            "playbooks": len(playbooks),
            **money,
        }

    async def _drop_connections(self, team_id: UUID) -> int:
        connections = sorted(pair for pair in self._connections.values() if pair[0] == team_id)
        for pair in connections:
            await self._lock_to_delete(f"connection {pair}")
        _drop(self._connections, connections)
        return len(connections)

    async def _delete_money(self, team_id: UUID) -> dict[str, int]:
        """Delete the budgets and the AI usage of a team."""
        budgets = [team for team, _ in self._budgets.items() if team == team_id]
        days = [key for key, _ in self._budget_days.items() if key[0] == team_id]
        calls = [key for key, one in self._reservations.items() if one.reservation.team_id == team_id]
        spent = [key for key, one in self._spending.items() if one.team_id == team_id]
        await self._lock(f"budget {team}" for team in budgets)
        await self._lock(f"reservation {key}" for key in calls)
        await self._lock(f"budget day {day}" for day in days)
        _drop(self._budgets, budgets)
        _drop(self._budget_days, days)
        _drop(self._reservations, calls)
        self._drop_spending(spent)
        return {
            "ai_budgets": len(budgets),
            "ai_reservations": len(calls),
            "ai_budget_days": len(days),
            "ai_spending": len(spent),
        }

    def _drop_spending(self, keys: Collection[tuple[UUID, int, str]]) -> None:
        _drop(self._spending, keys)
        _drop(self._spent_at, keys)

    async def _drop_runs(self, ids: Collection[UUID]) -> None:
        await self._lock(f"run row {key}" for key in ids)
        for key in ids:
            for happened in list(self._events.of(key)):
                event = happened.event
                self._events.put((event.run_id, event.round, event.kind, event.step), None)
            self._runs.put(key, None)

    async def expire_stories(self, after: float, limit: int) -> Deleted:
        """Delete old stories."""
        self._require_open()
        old: list[tuple[datetime, UUID, Story]] = []
        for story in self._stories.values():
            born = self._births.get(story.id)
            if (
                born is not None
                and born < self._now() - timedelta(seconds=after)
                and self._can_be_deleted(f"story row {story.id}")
            ):
                old.append((born, story.id, story))
        chosen = [story for *_, story in sorted(old, key=lambda entry: entry[:2])[:limit]]
        for story in chosen:
            await self._lock_to_delete(f"story row {story.id}")
        return await self._delete_stories(chosen) if chosen else Deleted(0, 0)

    async def expire_items(self, after: float, limit: int) -> int:
        """Empty old items without a text."""
        self._require_open()
        old = [
            item
            for item in self._items.values()
            if item.row.status in (ItemStatus.FAILED, ItemStatus.NO_TEXT)
            and item.touched < self._now() - timedelta(seconds=after)
            and not self._locks.taken(f"item {item.row.id}", self._owner)
        ]
        old.sort(key=lambda item: (item.touched, item.row.id))
        await self._lock(f"item {item.row.id}" for item in old[:limit])
        for item in old[:limit]:
            self._empty(item)
        return len(old[:limit])

    async def expire_runs(self, after: float, limit: int) -> int:
        """Delete old runs of playbooks."""
        self._require_open()
        old = [
            (run.ended_at, run.id)
            for run in self._runs.values()
            if run.ended_at is not None
            and run.ended_at < self._now() - timedelta(seconds=after)
            and not self._locks.taken(f"run row {run.id}", self._owner)
        ]
        chosen = [key for _, key in sorted(old)[:limit]]
        await self._drop_runs(chosen)
        return len(chosen)

    async def open_runs(self, after: float, limit: int, behind: UUID | None) -> list[UUID]:
        """Return runs that did not end, by id."""
        self._require_open()
        since = self._now() - timedelta(seconds=after)
        found = sorted(
            run.id
            for run in self._runs.values()
            if run.ended_at is None and run.started_at is not None and run.started_at < since
        )
        return [key for key in found if behind is None or key > behind][:limit]

    async def delete_open_runs(self, ids: Collection[UUID]) -> int:
        """Delete runs unless they have ended."""
        self._require_open()
        found = [
            key
            for key in sorted(set(ids))
            if (run := self._runs.get(key)) is not None
            and run.ended_at is None
            and not self._locks.taken(f"run row {key}", self._owner)
        ]
        await self._drop_runs(found)
        return len(found)

    async def expire_spending(self, after: float, limit: int) -> int:
        """Delete old records of AI usage."""
        self._require_open()
        since = self._now() - timedelta(seconds=after)
        old = sorted((at, key) for key, at in self._spent_at.items() if at < since)[:limit]
        self._drop_spending([key for _, key in old])
        days = [
            key
            for key, _ in self._budget_days.items()
            if key[1] < since.date() - timedelta(days=1)
            and not self._locks.taken(f"budget day {key}", self._owner)
        ]
        days = sorted(days, key=lambda key: (key[1], str(key[0] or "")))[:limit]
        held = sorted(
            (one.at, key)
            for key, one in self._reservations.items()
            if one.at < since and not self._locks.taken(f"reservation {key}", self._owner)
        )[:limit]
        _drop(self._budget_days, days)
        _drop(self._reservations, [key for _, key in held])
        return len(old) + len(days) + len(held)


def _drop(layer: Layer[K, V], keys: Iterable[K]) -> None:
    for key in list(keys):
        layer.put(key, None)
