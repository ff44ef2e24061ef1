"""The settings of fetching: environment variables, like those of the queue."""

from __future__ import annotations

from pydantic import Field, field_validator

from zeke_queue.system.settings import Variables
from zeke_tasks.fetch.client import WebOptions
from zeke_tasks.fetch.guard import Guard


class FetchSettings(Variables):
    """Settings of fetching. Durations are seconds.

    Attributes:
        zeke_fetch_allow: internal servers that may be fetched, separated by commas: hosts, addresses and
            networks; a host or an address may have a port.
        zeke_fetch_gap: time between the starts of two requests to one host; those to internal servers on the
            list are not spaced.
    """

    zeke_fetch_allow: str | None = None
    zeke_fetch_gap: float = Field(default=1.0, ge=0, le=3600)

    @property
    def options(self) -> WebOptions:
        """The limits of fetching with these settings.

        >>> FetchSettings(zeke_fetch_allow="wiki.internal:8080, 10.1.0.0/16").options.allow
        ('wiki.internal:8080', '10.1.0.0/16')
        """
        return WebOptions(gap=self.zeke_fetch_gap, allow=_entries(self.zeke_fetch_allow), allowed_gap=0.0)

    @field_validator("zeke_fetch_allow")
    @classmethod
    def _has_valid_entries(cls, text: str | None) -> str | None:
        Guard(_entries(text))
        return text


def _entries(text: str | None) -> tuple[str, ...]:
    return tuple(entry for part in (text or "").split(",") if (entry := part.strip()))
