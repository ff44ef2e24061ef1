"""Base of the memory store's methods: the transaction's view of the tables, locks, and the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.memory.locks import Locks, Owner
from zeke_tasks.store.deletion import TeamDeletedError
from zeke_tasks.store.memory.tables import Layer, Table, Tables

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from uuid import UUID

    from zeke_queue.system.clock import Clock
    from zeke_tasks.store.model import Story

K = TypeVar("K")
V = TypeVar("V")


class Scope:
    """One transaction's layers over the tables."""

    def __init__(self, tables: Tables, locks: Locks, clock: Clock) -> None:
        self._layers: list[Layer[Any, Any]] = []
        self._sources = self._over(tables.sources)
        self._places = self._over(tables.places)
        self._checks = self._over(tables.checks)
        self._items = self._over(tables.items)
        self._contents = self._over(tables.contents)
        self._stories = self._over(tables.stories)
        self._births = self._over(tables.births)
        self._told = self._over(tables.told)
        self._overlays = self._over(tables.overlays)
        self._embeddings = self._over(tables.embeddings)
        self._spending = self._over(tables.spending)
        self._spent_at = self._over(tables.spent_at)
        self._budgets = self._over(tables.budgets)
        self._budget_days = self._over(tables.budget_days)
        self._reservations = self._over(tables.reservations)
        self._highlights = self._over(tables.highlights)
        self._connections = self._over(tables.connections)
        self._team_stories = self._over(tables.team_stories)
        self._team_highlights = self._over(tables.team_highlights)
        self._playbooks = self._over(tables.playbooks)
        self._runs = self._over(tables.runs)
        self._events = self._over(tables.events)
        self._deleted_teams = self._over(tables.deleted_teams)
        self._event_numbers = tables.event_numbers
        self._sharers = tables.sharers
        self._number = next(tables.sharer_numbers)
        self._locks = locks
        self._owner = Owner()
        self._now = clock.now

    def _over(self, table: Table[K, V]) -> Layer[K, V]:
        layer = Layer(table)
        self._layers.append(layer)
        return layer

    def commit(self) -> None:
        """Make the rows visible to others."""
        for layer in self._layers:
            layer.commit()
        self.roll_back()

    def roll_back(self) -> None:
        """Discard the changes that were not committed."""
        for name in [name for name, numbers in self._sharers.items() if self._number in numbers]:
            self._sharers[name].discard(self._number)
            if not self._sharers[name]:
                del self._sharers[name]
        self._locks.release(self._owner)

    async def _lock(self, names: Iterable[str]) -> None:
        """Lock the named rows, waiting for other transactions that hold them.

        Raises:
            StorageUnavailableError: this transaction has ended, possibly by the server.
        """
        wanted = sorted(set(names))
        for name in wanted:
            await self._locks.clear(lambda name=name: (name,), self._owner)
            self._require_open()
            self._locks.take(name, self._owner)

    async def _share(self, name: str) -> None:
        """Keep a row from being deleted until this transaction ends, as a foreign key does."""
        await self._locks.clear(lambda: (f"existence of {name}",), self._owner)
        self._require_open()
        self._sharers.setdefault(name, set()).add(self._number)
        self._locks.take(f"{name}, kept by {self._number}", self._owner)

    async def _keep_source(self, source_id: UUID) -> bool:
        """Keep a source from being deleted; returns whether it exists.

        Call it before locking items, texts or a story, so that all transactions lock in the same order.
        """
        self._require_open()
        if self._sources.get(source_id) is None:
            return False
        await self._share(f"source {source_id}")
        return self._sources.get(source_id) is not None

    async def _require_teams(self, *teams: UUID | None) -> None:
        """Keep teams from being deleted until the transaction ends.

        Raises:
            TeamDeletedError: one is deleted.
        """
        for team in sorted({team for team in teams if team is not None}):
            await self._share(f"team {team}")
            if self._deleted_teams.get(team) is not None:
                raise TeamDeletedError.of(team)

    async def _is_kept(self, team: UUID | None) -> bool:
        """Keep a team as ``_require_teams`` does, but without waiting; returns False if it is deleted."""
        if team is None:
            return True
        if self._locks.taken(f"existence of team {team}", self._owner):
            return False
        await self._share(f"team {team}")
        return self._deleted_teams.get(team) is None

    async def _lock_to_delete(self, name: str) -> None:
        """Lock a row, and wait for the transactions that refer to it."""
        await self._locks.clear(lambda: self._hindrances(name), self._owner)
        self._require_open()
        for lock in (f"existence of {name}", name):
            self._locks.take(lock, self._owner)

    def _can_be_deleted(self, name: str) -> bool:
        """Return whether no other transaction has locked a row or refers to it."""
        return not any(self._locks.taken(lock, self._owner) for lock in self._hindrances(name))

    def _hindrances(self, name: str) -> list[str]:
        """Return the locks of transactions that change a row, delete it or refer to it."""
        kept = (f"{name}, kept by {number}" for number in sorted(self._sharers.get(name, ())))
        return [f"existence of {name}", name, *kept]

    def _require_open(self) -> None:
        if self._owner.ended:
            raise StorageUnavailableError("The transaction of these rows has ended; open another one")

    async def _lock_stories(self, ids: Collection[UUID]) -> dict[UUID, Story]:
        """Lock the existing stories in the order of their ids; returns their locked state.

        As in Postgres, a story that another open transaction has inserted is invisible and not waited for.
        """
        self._require_open()
        await self._lock(f"story row {key}" for key in ids if self._stories.get(key) is not None)
        found = {key: self._stories.get(key) for key in sorted(set(ids))}
        return {key: story for key, story in found.items() if story is not None}
