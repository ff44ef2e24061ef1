"""The payloads of the tasks, in the format of the original's clients: camelCase names, ids as UUIDs.

Code may use the Python names too; stored payloads have the camelCase ones. Unknown keys are dropped, as in
the original, so that a newer client works with an older worker.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from zeke_tasks.store.highlights import Origin, ReadingState
from zeke_tasks.store.playbooks import TriggerSource


class Payload(BaseModel):
    """Base of all payloads."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class ApplyRetention(Payload):
    """``apply-retention``: the settings say what is deleted."""


class IngestPull(Payload):
    """``ingest-pull``: a scheduled pull takes the sources that are due, a manual one all of them."""

    reason: Literal["schedule", "manual"] = "schedule"


class IngestSource(Payload):
    """``ingest-source``.

    Attributes:
        cursor: where to continue, for sources that are read in parts; feeds are not.
    """

    source_id: UUID
    reason: Literal["schedule", "manual", "retry"]
    cursor: str | None = None


class FetchContent(Payload):
    """``fetch-content``."""

    raw_item_ids: Annotated[list[UUID], Field(min_length=1)]


class IngestOneoff(Payload):
    """``ingest-oneoff``: a page that a user named; the priority is that of the jobs that read it."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    requested_by: UUID | None = None
    priority: Literal["normal", "high"] = "normal"


class UploadedItem(Payload):
    """An item of ``ingest-from-upload``: its text, or the url to fetch."""

    external_id: Annotated[str, Field(min_length=1)]
    url: str | None = None
    title: str | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = None


class IngestFromUpload(Payload):
    """``ingest-from-upload``."""

    source_id: UUID
    items: Annotated[list[UploadedItem], Field(min_length=1)]
    uploaded_by: UUID | None = None


class LinkSourceToStory(Payload):
    """``link-source-to-story``."""

    source_id: UUID
    story_id: UUID


class AnalyzeStory(Payload):
    """``analyze-story``: ``auto`` skips a story that a model has analysed already."""

    story_id: UUID
    trigger: Literal["auto", "manual", "retry"]


class SummarizeStory(Payload):
    """``summarize-story``: ``auto`` skips a story that has a summary."""

    story_id: UUID
    mode: Literal["auto", "force"]


class UpdateStoryStatus(Payload):
    """``update-story-status``: for one team, or for every team that subscribes to the story's source."""

    story_id: UUID
    team_id: UUID | None = None
    state: ReadingState


class ExtractHighlights(Payload):
    """``extract-highlights``: without a user for the system, without a team for all teams."""

    story_id: UUID
    user_id: UUID | None = None
    team_id: UUID | None = None


class ScoreRelevance(Payload):
    """``score-relevance``."""

    story_id: UUID


class Insight(Payload):
    """An insight that a person or an assistant wrote about a story."""

    title: str | None = None
    summary: Annotated[str, Field(min_length=1)]
    quote: str | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    origin: Origin


class DedupeInsights(Payload):
    """``dedupe-insights``: insights of a team, or global ones without a team."""

    story_id: UUID
    team_id: UUID | None = None
    created_by: UUID
    insights: Annotated[list[Insight], Field(min_length=1)]


class AttachInsightToStory(Payload):
    """``attach-insight-to-story``."""

    story_id: UUID
    team_id: UUID | None = None
    created_by: UUID
    insight: Insight


class GenerateBrief(Payload):
    """``generate-brief``: only ``regenerate`` and ``manual`` replace existing briefs."""

    story_id: UUID
    reason: Literal["new_story", "manual", "regenerate"]


class PlaybookRun(Payload):
    """``playbook-run``."""

    playbook_id: UUID
    team_id: UUID
    triggered_by: UUID | None = None
    trigger_source: TriggerSource
    metadata: dict[str, Any] | None = None
