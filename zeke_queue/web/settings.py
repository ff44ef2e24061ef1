"""Settings of the HTTP API: a field in upper case is its variable, as in ``zeke_queue.system.settings``."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from zeke_queue.system.settings import Variables

_DAY: Final = 86_400.0
_ORIGIN: Final = re.compile(r"https?://[^/\s?#@,*]+", re.IGNORECASE)


class WebSettings(Variables):
    """The settings of the HTTP API. Durations are in seconds.

    Attributes:
        api_host: the address on which ``zeke api`` listens.
        api_port: the port on which it listens; 0 for any free port.
        api_trigger_limit: maximum number of jobs that a caller may trigger per window; 0 for no limit.
        api_trigger_window: the length of that window.
        api_body_max: maximum size of a request's body in bytes.
        api_header_timeout: how long a client may take to send the header of a request.
        api_body_timeout: how long a client may take to send a body, and a second more for each 4 KiB of it.
        api_connections_max: maximum number of connections of ``zeke api`` and ``zeke up``, and at most half
            of the process's files.
        api_pool_max: maximum number of connections of API and dashboard to the database, which a worker in
            the same process does not share; by default JOBS_POOL_MAX.
        api_stream_timeout: how long a live stream lasts before its client has to reconnect.
        api_stream_keep_alive: how long an idle stream waits before it sends a comment.
        api_streams_max: maximum number of live streams in this process.
        api_streams_of_one: maximum number of live streams of one caller in this process, by default half of
            all; 0 for no limit.
        api_session: how long a session of the dashboard lasts.
        api_cors_origins: origins whose pages may call the API from a browser, separated by commas.
        api_secure_cookies: whether cookies are limited to https: ``always``, ``never``, or ``auto`` for
            requests that arrived by https.
        api_trusted_proxies: addresses, separated by commas, whose X-Forwarded-For and -Proto are trusted.
        api_dashboard: whether the dashboard is served.
    """

    api_host: str = "127.0.0.1"
    api_port: int = Field(default=3003, ge=0, le=65_535)
    api_trigger_limit: int = Field(default=100, ge=0, le=1_000_000_000)
    api_trigger_window: float = Field(default=600.0, ge=1, le=_DAY)
    api_body_max: int = Field(default=2_097_152, ge=1024, le=1_073_741_824)
    api_header_timeout: float = Field(default=10.0, gt=0, le=3600)
    api_body_timeout: float = Field(default=30.0, gt=0, le=3600)
    api_connections_max: int = Field(default=10_000, ge=1, le=1_000_000)
    api_pool_max: int | None = Field(default=None, ge=2, le=1000)
    api_stream_timeout: float = Field(default=300.0, gt=0, le=_DAY)
    api_stream_keep_alive: float = Field(default=15.0, gt=0, le=3600)
    api_streams_max: int = Field(default=5000, ge=1, le=1_000_000)
    api_streams_of_one: int | None = Field(default=None, ge=0, le=1_000_000)
    api_session: float = Field(default=43_200.0, ge=60, le=30 * _DAY)
    api_cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    api_secure_cookies: Literal["auto", "always", "never"] = "auto"
    api_trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    api_dashboard: bool = True

    @property
    def streams_of_one(self) -> int:
        """The maximum number of live streams of one caller; 0 for no limit."""
        if self.api_streams_of_one is None:
            return -(-self.api_streams_max // 2)
        return self.api_streams_of_one

    @field_validator("api_cors_origins", "api_trusted_proxies", mode="before")
    @classmethod
    def _parts(cls, value: Any) -> Any:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("api_trusted_proxies")
    @classmethod
    def _are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ip_network(proxy)
            except ValueError:
                raise ValueError(
                    f"must be addresses or networks, got {proxy!r}; write 10.0.0.7 or 10.0.0.0/24"
                ) from None
        return proxies

    @field_validator("api_cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError(
                    f"must be origins, got {origin!r}; write scheme, host and port, such as"
                    " https://app.example.org, without a wildcard"
                )
        return tuple(origin.lower() for origin in origins)
