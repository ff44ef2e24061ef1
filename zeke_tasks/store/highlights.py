"""Highlights and insights as values, and the states of teams on them and on stories.

An insight is a highlight written by a person or an assistant; a highlight without a team is global.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from zeke_queue.core import jsonb
from zeke_queue.errors import InvalidOptionError
from zeke_tasks.store.model import IDS, storable, two_decimals


class HighlightKind(enum.StrEnum):
    """The kind of a highlight."""

    CODE_EXAMPLE = "code_example"
    CODE_CHANGE = "code_change"
    API_CHANGE = "api_change"
    METRIC = "metric"
    INSIGHT = "insight"
    ACTION = "action"
    QUOTE = "quote"
    QUESTION = "question"


class Origin(enum.StrEnum):
    """The origin of a highlight: a rule, or an assistant that works with a team."""

    SYSTEM = "system"
    ASSISTANT = "assistant"


class ReadingState(enum.StrEnum):
    """The reading state of a story for a team."""

    UNREAD = "unread"
    READ = "read"
    ARCHIVED = "archived"


def highlight_key(summary: str, quote: str | None) -> str:
    """Return the deduplication key of a highlight.

    It is the sha256 of summary and quote, trimmed, in lower case, and joined by a bar.

    >>> highlight_key(" Faster ", None) == highlight_key("faster", "")
    True
    """
    said = f"{storable(summary).strip().lower()}|{storable(quote or '').strip().lower()}"
    return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class NewHighlight:
    """A highlight to add; unique by story, team (or none) and key.

    Attributes:
        team_id: the team that owns it; None for a global one.
        confidence: 0 to 1, rounded to two decimals.
        tags: stored sorted and without duplicates.
        references: URLs of the sources, stored sorted and without duplicates.
        metadata: any value serializable as JSON.

    Raises:
        InvalidOptionError: the confidence is out of range.
    """

    story_id: UUID
    team_id: UUID | None
    kind: HighlightKind
    summary: str
    confidence: float
    title: str | None = None
    quote: str | None = None
    origin: Origin = Origin.SYSTEM
    created_by: UUID | None = None
    tags: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        for name in ("summary", "title", "quote"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, storable(value))
        for name in ("tags", "references"):
            kept = dict.fromkeys(storable(value) for value in getattr(self, name))
            object.__setattr__(self, name, tuple(kept))
        if not 0 <= self.confidence <= 1:
            raise InvalidOptionError(f"confidence: must be from 0 to 1, got {self.confidence}.")
        object.__setattr__(self, "confidence", two_decimals(self.confidence))
        metadata = jsonb.loads(jsonb.normalise(jsonb.dumps(dict(self.metadata))))
        object.__setattr__(self, "metadata", metadata)

    @property
    def key(self) -> str:
        """The deduplication key."""
        return highlight_key(self.summary, self.quote)

    @property
    def id(self) -> UUID:
        """The id of the row, which follows from story, team and key."""
        return uuid5(IDS, f"highlight/{self.story_id}/{self.team_id or ''}/{self.key}")


@dataclass(frozen=True, slots=True)
class Score:
    """The relevance of a highlight, with its breakdown.

    Attributes:
        value: 0 to 1, rounded to two decimals.
        matches: the keywords found.
        breakdown: the parts of the sum by name.

    Raises:
        InvalidOptionError: the value is out of range.
        SerializationError: a part is not a finite number.
    """

    value: float
    matches: tuple[str, ...]
    breakdown: Mapping[str, float]

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise InvalidOptionError(f"value: must be from 0 to 1, got {self.value}.")
        object.__setattr__(self, "value", two_decimals(self.value))
        object.__setattr__(self, "matches", tuple(storable(word) for word in self.matches))
        breakdown = jsonb.loads(jsonb.normalise(jsonb.dumps(dict(self.breakdown))))
        object.__setattr__(self, "breakdown", breakdown)


@dataclass(frozen=True, slots=True)
class Highlight:
    """A stored highlight.

    Attributes:
        score: None until scored; ``scored_at`` is the time of the score's last change.
        tags, references: in alphabetical order.
    """

    id: UUID
    story_id: UUID
    team_id: UUID | None
    kind: HighlightKind
    title: str | None
    summary: str
    quote: str | None
    key: str
    confidence: float
    origin: Origin
    created_by: UUID | None
    metadata: Mapping[str, Any]
    tags: tuple[str, ...]
    references: tuple[str, ...]
    score: Score | None
    scored_at: datetime | None


@dataclass(frozen=True, slots=True)
class TeamStory:
    """A team's reading state of a story; unique by team and story."""

    team_id: UUID
    story_id: UUID
    state: ReadingState
    last_viewed_at: datetime | None


@dataclass(frozen=True, slots=True)
class TeamHighlight:
    """A team's state of a highlight; unique by team and highlight."""

    team_id: UUID
    highlight_id: UUID
    pinned: bool = False
    dismissed: bool = False
