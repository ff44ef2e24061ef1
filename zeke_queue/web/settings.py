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
    """What a deployment decides of its HTTP API. Durations are seconds.

    Attributes:
        api_host: the address that ``zeke api`` listens on; others than loopback need a key first.
        api_port: the port that it listens on; 0 for any that is free.
        api_trigger_limit: how many jobs one caller may trigger in a window; 0 for any number.
        api_trigger_window: the length of that window.
        api_body_max: bytes of a request's body at most.
        api_stream_timeout: how long one live stream lasts before its client has to open it again.
        api_stream_keep_alive: how often a stream on which nothing happens says that it is there.
        api_streams_max: live streams at once in this process.
        api_streams_of_one: live streams of one caller at once in this process, half of all by default; 0 for
            any number.
        api_session: how long somebody who signed in to the dashboard stays signed in.
        api_cors_origins: origins whose pages may call the API from a browser, separated by commas.
        api_secure_cookies: whether cookies are for https alone: ``always``, ``never``, or ``auto`` for those
            requests that came by https.
        api_trusted_proxies: addresses, separated by commas, whose X-Forwarded-For and -Proto count.
        api_dashboard: whether there is a dashboard.
    """

    api_host: str = "127.0.0.1"
    api_port: int = Field(default=3003, ge=0, le=65_535)
    api_trigger_limit: int = Field(default=100, ge=0, le=1_000_000_000)
    api_trigger_window: float = Field(default=600.0, ge=1, le=_DAY)
    api_body_max: int = Field(default=2_097_152, ge=1024, le=1_073_741_824)
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
        """How many live streams one caller may have; 0 for any number."""
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
                    f"{proxy!r} is neither an address nor a network; write 10.0.0.7 or 10.0.0.0/24"
                ) from None
        return proxies

    @field_validator("api_cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError(
                    f"{origin!r} is no origin; write scheme, host and port alone, as https://app.example.org,"
                    " and each one by itself, for there is no wildcard"
                )
        return tuple(origin.lower() for origin in origins)
