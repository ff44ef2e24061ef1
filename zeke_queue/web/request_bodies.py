"""JSON bodies of requests; those of answers are the client's, in ``zeke_queue.api_client.model``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Text = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class RequestBody(BaseModel):
    """A JSON object whose members are in camel case; unknown members are an error."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", hide_input_in_errors=True
    )


class Trigger(RequestBody):
    """A job to send."""

    # Clients of the earlier system may send members that it ignored.
    model_config = ConfigDict(extra="ignore")

    task_id: Text
    payload: Any = Field(default_factory=dict)


class ScheduleEdit(RequestBody):
    """A schedule to create or replace."""

    cron: Text = Field(description="Five fields; an optional sixth is seconds.", examples=["*/5 * * * *"])
    task: Text | None = Field(default=None, description="By default the schedule's name.")
    zone: Text | None = Field(default=None, description="An IANA time zone; by default JOBS_CRON_TZ.")
    payload: Any = None
    catch_up: Literal["skip", "once", "all"] = "once"
    description: Annotated[str, StringConstraints(max_length=1000)] | None = None
    paused: bool = False
