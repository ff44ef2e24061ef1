"""The domain's rows as values: sources and their health, raw items, contents, stories.

A value does not change with its row. Text is made storable when a value to be written is created, so that
neither store gets a character that Postgres can't store.
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
    """The type of a source."""

    RSS = "rss"
    YOUTUBE_CHANNEL = "youtube_channel"
    YOUTUBE_SEARCH = "youtube_search"
    MANUAL = "manual"


class HealthStatus(enum.StrEnum):
    """The outcome of a source's last check; ``warn`` is a success with a warning."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"


class Kind(enum.StrEnum):
    """The kind of an item and its story."""

    ARTICLE = "article"
    VIDEO = "video"
    PODCAST = "podcast"
    PDF = "pdf"
    TWEET = "tweet"


class ItemStatus(enum.StrEnum):
    """The status of a raw item. Only ``pending`` items are processed; the other statuses are final.

    Of a ``deleted`` item only the identity and the url are left, so that its source's next check does not
    read it again.
    """

    PENDING = "pending"
    PROCESSED = "processed"
    NO_TEXT = "no_text_extracted"
    FAILED = "failed"
    DELETED = "deleted"


class StoryStatus(enum.StrEnum):
    """The status of a story, the same for all teams."""

    NEW = "new"
    ANALYZED = "analyzed"


def storable(text: str) -> str:
    r"""Drop characters that Postgres can't store in text: NUL and lone surrogates.

    >>> storable("a\x00b")
    'ab'
    """
    return _UNSTORABLE.sub("", text)


def json_text(value: Any) -> str:
    """Serialize a value as Postgres prints it when stored as jsonb.

    Raises:
        SerializationError: the value can't be serialized as JSON.
    """
    return jsonb.normalise(jsonb.dumps(value))


def external_key(identity: str) -> str:
    """Return an item's identity as stored: short ones unchanged, long ones as their sha256.

    The identity is in a unique index, whose entries are limited to about 2,700 bytes, and some feeds put
    whole paragraphs into a guid.
    """
    identity = storable(identity)
    if len(identity) <= KEY_CHARACTERS:
        return identity
    return "sha256:" + hashlib.sha256(identity.encode()).hexdigest()


def decimals(number: float, places: int) -> float:
    """Round as Postgres does when it casts double precision, of which it uses 15 digits, to numeric."""
    return float(Decimal(f"{number:.15g}").quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def two_decimals(number: float) -> float:
    """Round to two decimals, as a column of that scale does.

    >>> two_decimals(0.125)
    0.13
    """
    return decimals(number, 2)


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source to add.

    Attributes:
        name: the display name.
        url: at most 2,048 characters; None for a source without one (a YouTube search).
        authority_score: 0 to 1, rounded to two decimals; None for unknown, which scoring reads as 0.7.
        check_frequency_hours: hours between two checks, 1 to 8,760 (a year).
        metadata: any value serializable as JSON; normalised as by jsonb.

    Raises:
        InvalidOptionError: an attribute is out of range.
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
            raise InvalidOptionError(f"authority_score: must be from 0 to 1, got {self.authority_score}.")
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
    """A stored source of items; unique by (type, url)."""

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
        """Whether the source can be checked: it has a url, or is a search, which needs none."""
        return self.url is not None or self.type is SourceType.YOUTUBE_SEARCH


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a source, one row per source.

    Attributes:
        message: the last error or warning, at most 512 characters.
        failing_for: seconds since the first failure after the last success, by the store's clock; None if the
            last check succeeded.
        next_check_at: scheduled pulls skip the source until then.
        etag: opaque validator of the last body that was parsed, including quotes; likewise ``last_modified``.
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
    """An entry of a feed, or a page that a user named, before its content is fetched.

    Attributes:
        external_id: its identity within its source (see ``external_key``).
        body: data needed to read it: the HTML of a feed's entry that has no url to fetch, or the metadata of
            a video as JSON.
        metadata: further data from the feed or the upload; any value serializable as JSON.

    Raises:
        InvalidOptionError: the metadata can't be serialized as JSON.
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
    """A stored item; unique by (source, external_id).

    Attributes:
        attempts: number of attempts to fetch its content with a recorded outcome.
        error: the error of the last failed attempt, at most 512 characters.
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
    """The text of a raw item, with the item's id; the urls are those from which it was fetched."""

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
    """A story to create when its text is first read.

    Attributes:
        is_partial: whether the text is a part of its page's article.
    """

    content_id: UUID
    content_hash: str
    kind: Kind
    primary_source_id: UUID
    title: str
    url: str | None = None
    published_at: datetime | None = None
    is_partial: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", storable(self.title))
        if self.url is not None:
            object.__setattr__(self, "url", storable(self.url))

    @property
    def id(self) -> UUID:
        """The id of the row, which follows from the text, so that concurrent jobs create the same story."""
        return story_id(self.content_hash)


@dataclass(frozen=True, slots=True)
class Story:
    """A distinct text, for any number of items; unique by content and by hash.

    Attributes:
        is_partial: whether the text is a part of its page's article, as it was read first.
    """

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
    is_partial: bool = False


def story_id(content_hash: str) -> UUID:
    """Return the id of the story of the text with this hash."""
    return uuid5(IDS, f"story/{content_hash}")


def item_id(source_id: UUID, external_id: str) -> UUID:
    """Return the id of a raw item, which follows from its source and its identity there."""
    return uuid5(IDS, f"item/{source_id}/{external_id}")
