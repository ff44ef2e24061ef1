"""The payloads of the tasks, as clients of the original send them: camelCase names, ids as UUIDs.

Code may use Python's names as well; what is stored has the camelCase ones. Keys that a task doesn't know are
dropped, as the original did, so that a newer client can talk to an older worker.
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Payload(BaseModel):
    """What all payloads have in common."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class IngestPull(Payload):
    """``ingest-pull``: a scheduled pull takes the sources that are due, a manual one all of them."""

    reason: Literal["schedule", "manual"] = "schedule"


class IngestSource(Payload):
    """``ingest-source``.

    Attributes:
        cursor: where to go on, for sources that are read in parts; feeds have no parts.
    """

    source_id: UUID
    reason: Literal["schedule", "manual", "retry"]
    cursor: str | None = None


class FetchContent(Payload):
    """``fetch-content``."""

    raw_item_ids: Annotated[list[UUID], Field(min_length=1)]
