"""The committed rows, and one transaction's view of a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

from zeke_tasks.store.analysis import Embedding, Overlay, Spending
from zeke_tasks.store.highlights import Highlight, TeamHighlight, TeamStory
from zeke_tasks.store.model import Content, Health, RawItem, Source, Story
from zeke_tasks.store.playbooks import Playbook, PlaybookRun, RunEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from zeke_tasks.store.budgets import Reservation

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Check:
    """A source's health with the time from which ``failing_for`` counts."""

    health: Health
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class Item:
    """A raw item with the time at which it was last touched."""

    row: RawItem
    touched: datetime


@dataclass(frozen=True, slots=True)
class Placed:
    """An embedding and its story."""

    story_id: UUID
    embedding: Embedding


@dataclass(frozen=True, slots=True)
class TimedReservation:
    """A reservation and its time."""

    reservation: Reservation
    at: datetime


@dataclass(frozen=True, slots=True)
class Budget:
    """A team's own budget; None for no limit."""

    dollars: Decimal | None


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of a run and its sequence number."""

    number: int
    event: RunEvent


class Table(Generic[K, V]):
    """Committed rows by key.

    Args:
        group: returns the immutable group of a row, by which rows can be queried.
    """

    def __init__(self, group: Callable[[V], Hashable] | None = None) -> None:
        self.rows: dict[K, V] = {}
        self.groups: dict[Hashable, dict[K, None]] = {}
        self.group = group


class Layer(Generic[K, V]):
    """One transaction's view of a table: its changes over the committed rows; None marks a deleted row."""

    def __init__(self, table: Table[K, V]) -> None:
        self._table = table
        self._changes: dict[K, V | None] = {}

    def get(self, key: K) -> V | None:
        """Return a row, or None."""
        return self._changes[key] if key in self._changes else self._table.rows.get(key)

    def put(self, key: K, value: V | None) -> None:
        """Change a row, or delete it."""
        self._changes[key] = value

    def values(self) -> Iterator[V]:
        """Yield every row."""
        return (value for _, value in self.items())

    def items(self) -> Iterator[tuple[K, V]]:
        """Yield every row with its key."""
        for key in {**self._table.rows, **self._changes}:
            if (value := self.get(key)) is not None:
                yield key, value

    def of(self, group: Hashable) -> Iterator[V]:
        """Yield the rows of a group."""
        assert self._table.group is not None  # noqa: S101 - only called for tables with groups
        for key in self._table.groups.get(group, ()):
            if key not in self._changes:
                yield self._table.rows[key]
        for value in self._changes.values():
            if value is not None and self._table.group(value) == group:
                yield value

    def commit(self) -> None:
        """Make the changes visible to others."""
        table = self._table
        for key, value in self._changes.items():
            if value is None:
                old = table.rows.pop(key, None)
                if old is not None and table.group is not None:
                    del table.groups[table.group(old)][key]
            else:
                table.rows[key] = value
                if table.group is not None:
                    table.groups.setdefault(table.group(value), {})[key] = None


class Tables:
    """The committed rows by their unique keys."""

    def __init__(self) -> None:
        self.sources = Table[UUID, Source]()
        self.places = Table[tuple[str, str], UUID]()
        self.checks = Table[UUID, Check]()
        self.items = Table[UUID, Item](lambda item: item.row.source_id)
        self.contents = Table[UUID, Content]()
        self.stories = Table[UUID, Story]()
        self.births = Table[UUID, datetime]()
        self.told = Table[UUID, UUID]()
        self.overlays = Table[UUID, Overlay]()
        self.embeddings = Table[tuple[UUID, str, int], Placed](lambda placed: placed.story_id)
        self.spending = Table[tuple[UUID, int, str], Spending](lambda spending: spending.job_id)
        self.spent_at = Table[tuple[UUID, int, str], datetime]()
        self.budgets = Table[UUID | None, Budget]()
        self.budget_days = Table[tuple[UUID | None, date], Decimal]()
        self.reservations = Table[tuple[UUID, int, str, date], TimedReservation]()
        self.highlights = Table[UUID, Highlight](lambda highlight: highlight.story_id)
        self.connections = Table[tuple[UUID, UUID], tuple[UUID, UUID]](lambda pair: pair[1])
        self.team_stories = Table[tuple[UUID, UUID], TeamStory](lambda state: state.story_id)
        self.team_highlights = Table[tuple[UUID, UUID], TeamHighlight](lambda state: state.team_id)
        self.playbooks = Table[UUID, Playbook]()
        self.runs = Table[UUID, PlaybookRun](lambda run: run.playbook_id)
        self.events = Table[tuple[UUID, int, str, str | None], Happened](lambda one: one.event.run_id)
        self.deleted_teams = Table[UUID, UUID]()
        # The transactions that refer to a row, which therefore must not be deleted, by number.
        self.sharers: dict[str, set[int]] = {}
        self.sharer_numbers = count()
        # Like a sequence, it does not roll back with a transaction.
        self.event_numbers = count()
