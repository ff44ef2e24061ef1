"""The rows of the domain as values: sources and their health, raw items, contents, stories.

A value does not change when its row does. Text is made storable where a value that is to be written is made,
so that neither store ever sees a character that Postgres can't hold.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final
from uuid import UUID, uuid5

from zeke_queue.core import jsonb
from zeke_queue.errors import InvalidOptionError, SerializationError

IDS: Final = UUID("0c9e7e3c-6d4b-5a56-9b43-2f6f5f1f8a10")
KEY_CHARACTERS: Final = 512
URL_CHARACTERS: Final = 2048
MESSAGE_CHARACTERS: Final = 512
HOURS_MAX: Final = 365 * 24

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class SourceType(enum.StrEnum):
    """Where a source's items come from."""

    RSS = "rss"
    YOUTUBE_CHANNEL = "youtube_channel"
    YOUTUBE_SEARCH = "youtube_search"
    MANUAL = "manual"


class HealthStatus(enum.StrEnum):
    """How the last check of a source went; ``warn`` is a check that succeeded and has something to say."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"


class Kind(enum.StrEnum):
    """What an item, and the story made of it, is."""

    ARTICLE = "article"
    VIDEO = "video"
    PODCAST = "podcast"
    PDF = "pdf"
    TWEET = "tweet"


class ItemStatus(enum.StrEnum):
    """How far a raw item has come. Only ``pending`` is worked on; the others are final."""

    PENDING = "pending"
    PROCESSED = "processed"
    NO_TEXT = "no_text_extracted"
    FAILED = "failed"


class StoryStatus(enum.StrEnum):
    """How far a story has come, the same for every team."""

    NEW = "new"
    ANALYZED = "analyzed"


def storable(text: str) -> str:
    r"""Drop what Postgres can't hold in text: NUL, and surrogates that stand alone.

    >>> storable("a\x00b")
    'ab'
    """
    return _UNSTORABLE.sub("", text)


def json_text(value: Any) -> str:
    """Write a value as Postgres prints it once it is stored as jsonb.

    Raises:
        SerializationError: it can't be written as JSON.
    """
    return jsonb.normalise(jsonb.dumps(value))


def external_key(identity: str) -> str:
    """Return an item's identity as it is kept: short ones as they are, long ones as their sha256.

    An identity is a member of a unique index, which holds no entry of more than about 2,700 bytes, and feeds
    do put whole paragraphs into a guid.
    """
    identity = storable(identity)
    if len(identity) <= KEY_CHARACTERS:
        return identity
    return "sha256:" + hashlib.sha256(identity.encode()).hexdigest()


def decimals(number: float, places: int) -> float:
    """Round as Postgres does on the way from double precision, of which it takes 15 digits, to numeric."""
    return float(Decimal(f"{number:.15g}").quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def two_decimals(number: float) -> float:
    """Round to what a column of two decimals holds.

    >>> two_decimals(0.125)
    0.13
    """
    return decimals(number, 2)


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source to be added.

    Attributes:
        name: what people call it.
        url: at most 2,048 characters; None for a source that has none (a YouTube search).
        authority_score: 0 to 1, kept to two decimals; None means that nothing is known, which scoring reads
            as 0.7.
        check_frequency_hours: hours between two checks, 1 to 8,760 (a year).
        metadata: what can be written as JSON; kept as jsonb gives it back.

    Raises:
        InvalidOptionError: one of them is out of its range.
    """

    type: SourceType
    name: str
    url: str | None
    authority_score: float | None = None
    is_active: bool = True
    check_frequency_hours: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", storable(self.name))
        if self.url is not None and len(self.url) > URL_CHARACTERS:
            raise InvalidOptionError(
                f"url has {len(self.url)} characters, {URL_CHARACTERS} at most: {self.url[:80]}…"
            )
        if self.authority_score is not None and not 0 <= self.authority_score <= 1:
            raise InvalidOptionError(f"authority_score is {self.authority_score}; it goes from 0 to 1.")
        if self.authority_score is not None:
            object.__setattr__(self, "authority_score", two_decimals(self.authority_score))
        if not 1 <= self.check_frequency_hours <= HOURS_MAX:
            raise InvalidOptionError(
                f"check_frequency_hours is {self.check_frequency_hours}; it goes from 1 to {HOURS_MAX}."
            )
        try:
            metadata = jsonb.loads(jsonb.normalise(jsonb.dumps(dict(self.metadata))))
        except SerializationError as error:
            raise InvalidOptionError(f"metadata can't be kept: {error}") from error
        object.__setattr__(self, "metadata", metadata)


@dataclass(frozen=True, slots=True)
class Source:
    """A place that items come from; unique by (type, url)."""

    id: UUID
    type: SourceType
    name: str
    url: str | None
    authority_score: float | None
    is_active: bool
    check_frequency_hours: int
    metadata: Mapping[str, Any]

    @property
    def has_place(self) -> bool:
        """Whether there is something to check: a url, or for a search its words, which need none."""
        return self.url is not None or self.type is SourceType.YOUTUBE_SEARCH


@dataclass(frozen=True, slots=True)
class Health:
    """What checking a source has taught, one row a source.

    Attributes:
        message: the last error, or what a ``warn`` has to say; at most 512 characters.
        failing_for: seconds since the first failure after the last success, by the store's clock; None while
            it is well.
        next_check_at: a scheduled pull leaves the source alone until then.
        etag: opaque validator of the last body that was understood, quotes included; likewise
            ``last_modified``.
    """

    source_id: UUID
    status: HealthStatus
    last_success_at: datetime | None
    last_error_at: datetime | None
    message: str | None
    failing_for: float | None
    next_check_at: datetime
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True, slots=True)
class NewItem:
    """An entry of a feed, or a page somebody named, before its content was fetched.

    Attributes:
        external_id: its identity within its source (see ``external_key``).
        body: what came with it and is needed to read it: the HTML of a feed's entry that has no url to
            fetch; what is known of a video, as JSON.
        metadata: what whoever brought it says of it; what can be written as JSON.

    Raises:
        InvalidOptionError: the metadata can't be written as JSON.
    """

    external_id: str
    kind: Kind = Kind.ARTICLE
    url: str | None = None
    title: str | None = None
    published_at: datetime | None = None
    body: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        object.__setattr__(self, "external_id", external_key(self.external_id))
        object.__setattr__(self, "metadata", jsonb.loads(json_text(dict(self.metadata))))
        for name in ("url", "title", "body"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, storable(value))


@dataclass(frozen=True, slots=True)
class RawItem:
    """An item as it is stored; unique by (source, external_id).

    Attributes:
        attempts: how often its content was asked for and an outcome was written down.
        error: what the last attempt that failed said, at most 512 characters.
    """

    id: UUID
    source_id: UUID
    external_id: str
    kind: Kind
    url: str | None
    title: str | None
    published_at: datetime | None
    body: str | None
    metadata: Mapping[str, Any]
    status: ItemStatus
    attempts: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Content:
    """The text of a raw item, whose id is also the content's; the urls say where it was read."""

    raw_item_id: UUID
    text: str
    content_hash: str
    language: str | None = None
    html_url: str | None = None
    pdf_url: str | None = None
    audio_url: str | None = None
    transcript_vtt: str | None = None
    duration_seconds: int | None = None
    view_count: int | None = None

    def __post_init__(self) -> None:
        for name in ("text", "language", "html_url", "pdf_url", "audio_url", "transcript_vtt"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, storable(value))


@dataclass(frozen=True, slots=True)
class NewStory:
    """What is known of a story when its text is first read."""

    content_id: UUID
    content_hash: str
    kind: Kind
    primary_source_id: UUID
    title: str
    url: str | None = None
    published_at: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", storable(self.title))
        if self.url is not None:
            object.__setattr__(self, "url", storable(self.url))

    @property
    def id(self) -> UUID:
        """The id of the row, which follows from the text: whoever makes the story, it is the same one."""
        return story_id(self.content_hash)


@dataclass(frozen=True, slots=True)
class Story:
    """A text that is worth telling once, however many items carry it; unique by content and by hash."""

    id: UUID
    content_id: UUID
    content_hash: str
    kind: Kind
    cluster_id: UUID | None
    primary_source_id: UUID
    title: str
    summary: str | None
    url: str | None
    published_at: datetime | None
    status: StoryStatus


def story_id(content_hash: str) -> UUID:
    """Return the id of the story that tells a text of this hash."""
    return uuid5(IDS, f"story/{content_hash}")


def item_id(source_id: UUID, external_id: str) -> UUID:
    """Return the id of a raw item, which follows from its source and its identity there."""
    return uuid5(IDS, f"item/{source_id}/{external_id}")
