"""Settings; the only module that reads the environment.

The variables of the earlier system (``DATABASE_PRIMARY_URL``, ``JOBS_CRON_TZ``, ``OPENAI_API_KEY``) keep
their names and defaults; the rest begin with ``JOBS_`` or ``LOG_``. A field's name in upper case is its
variable. An empty variable counts as not set, since compose files pass ``${NAME:-}`` on.

The connection string and the API key are secrets: they appear in no ``repr``, log line or error message.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from zeke_queue.errors import SettingsError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_DRIVER: Final = re.compile(r"(postgres(?:ql)?)\+\w+://")
_PORTS: Final = re.compile(r"\d*(,\d*)*", re.ASCII)
_LAST_PORT: Final = 65_535
INTERVAL_MIN: Final = 0.001
"""The shortest interval of polls and heartbeats, and the shortest lease of a worker, in seconds."""

PAYLOAD_BUDGET_MAX: Final = 2**40
"""The largest budget of payloads of a worker, in bytes."""

_DAY: Final = 86_400.0
CENTURY: Final = 36_525 * _DAY
"""Seconds for which jobs are kept at most."""

_UNREADABLE: Final = (
    "libpq can't read it; in a URL, write the characters @ : / ? # % and spaces of user and password as"
    " %40 %3A %2F %3F %23 %25 %20, and in key=value pairs put a value with spaces in single quotes"
)

_DATABASE_MISSING: Final = (
    "DATABASE_PRIMARY_URL is not set. Set it to the Postgres that stores the jobs, for instance"
    " DATABASE_PRIMARY_URL=postgresql://user:password@host:5432/dbname."
    " To try things out without a database of your own, run `zeke demo`, or pass --embedded"
    " to any command of zeke: it then uses a private one, which keeps its data"
)


class Variables(BaseSettings):
    """A class of settings, of which each package may have its own; fields in upper case are variables."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=False
    )

    @classmethod
    def load(cls, **values: Any) -> Self:
        """Read the settings from the environment.

        Args:
            **values: values from code or the command line, by field; they override the environment.

        Raises:
            SettingsError: a value is invalid or out of range; the message names the variable.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            # The chained error would expose the value, which may be a password.
            raise SettingsError("; ".join(_complaint(cls, detail) for detail in error.errors())) from None


def set_variable(name: str, value: str) -> None:
    """Set a variable of this process, for settings that are read later."""
    os.environ[name] = value


def known_variables() -> list[str]:
    """Return the variables of all classes of settings that are imported, sorted."""
    return sorted(name.upper() for kind in Variables.__subclasses__() for name in kind.model_fields)


class Settings(Variables):
    """The settings of a deployment. Durations are seconds.

    Attributes:
        database_primary_url: the Postgres that stores the jobs, as a URL or as libpq's ``key=value`` pairs.
        jobs_cron_tz: the IANA zone of schedules without one.
        jobs_schema: the schema of the tables.
        jobs_concurrency: jobs that one worker runs concurrently; 0 for maintenance and schedules alone.
        jobs_poll_interval: maximum time that an idle worker waits before it polls.
        jobs_lease: the longest outage of the database that cancels no handler; see ``core/leases.py``.
        jobs_heartbeat_interval: the interval of heartbeats; at most half of the lease.
        jobs_shutdown_timeout: how long running jobs may continue once a worker is stopped.
        jobs_payload_budget: maximum bytes of payloads that one worker holds, exceeded by at most one job.
        jobs_listen: whether to LISTEN for work and changes; False behind PgBouncer in transaction mode.
        jobs_prepare: whether to use prepared statements; False behind a PgBouncer that doesn't track them.
        jobs_pool_min: connections that are kept open.
        jobs_read_timeout: how long a search of jobs, or the counts of a chart, may take.
        jobs_pool_max: maximum connections, at least 2: transactions leave one to claims and outcomes.
        jobs_embedded_directory: folder of the private Postgres of ``--embedded`` and ``zeke up``; None for
            the user's data folder, which all projects of that user share.
        jobs_archive_after: how long an ended job stays in the job table; a century at most.
        jobs_delete_after: how long an archived job is kept after that; a century at most.
        log_format: ``json``, ``text``, or ``auto`` for text on a terminal only.
        log_level: the lowest level that is logged.
    """

    database_primary_url: SecretStr | None = None
    jobs_cron_tz: str = "UTC"
    jobs_schema: str = "pgboss"
    jobs_concurrency: int = Field(default=10, ge=0, le=10_000)
    jobs_poll_interval: float = Field(default=2.0, ge=INTERVAL_MIN, le=3600)
    jobs_lease: float = Field(default=15.0, ge=1, le=_DAY)
    jobs_heartbeat_interval: float = Field(default=5.0, ge=INTERVAL_MIN, le=_DAY)
    jobs_shutdown_timeout: float = Field(default=30.0, ge=0, le=_DAY)
    jobs_payload_budget: int = Field(default=64 * 2**20, ge=1, le=PAYLOAD_BUDGET_MAX)
    jobs_listen: bool = True
    jobs_prepare: bool = True
    jobs_pool_min: int = Field(default=1, ge=0, le=1000)
    jobs_pool_max: int = Field(default=10, ge=2, le=1000)
    jobs_read_timeout: float = Field(default=5.0, ge=INTERVAL_MIN, le=3600)
    jobs_embedded_directory: Path | None = None
    jobs_archive_after: float = Field(default=_DAY, ge=0, le=CENTURY)
    jobs_delete_after: float = Field(default=7 * _DAY, ge=0, le=CENTURY)
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def load(cls, **values: Any) -> Self:
        """Read the settings from the environment, and check that they are consistent.

        Raises:
            SettingsError: as for ``Variables.load``, or two settings contradict each other.
        """
        settings = super().load(**values)
        if settings.jobs_heartbeat_interval * 2 > settings.jobs_lease:
            raise SettingsError(
                "JOBS_HEARTBEAT_INTERVAL: must be at most half of the lease"
                f" ({settings.jobs_lease:g} s), got {settings.jobs_heartbeat_interval:g} s; lower it, or"
                " raise JOBS_LEASE"
            )
        if settings.jobs_pool_min > settings.jobs_pool_max:
            raise SettingsError(
                f"JOBS_POOL_MIN: must be at most JOBS_POOL_MAX ({settings.jobs_pool_max}), got"
                f" {settings.jobs_pool_min}; lower it, or raise JOBS_POOL_MAX"
            )
        return settings

    def require_database(self) -> str:
        """Return the connection string, password included.

        Raises:
            SettingsError: DATABASE_PRIMARY_URL is not set; no server is started in its place.
        """
        if self.database_primary_url is None:
            raise SettingsError(_DATABASE_MISSING)
        return self.database_primary_url.get_secret_value()

    def on_database(self, dsn: str) -> Settings:
        """Return these settings on another database.

        Raises:
            SettingsError: libpq can't read the connection string.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return Settings.load(**{**given, "database_primary_url": dsn})

    @field_validator("database_primary_url")
    @classmethod
    def _speaks_to_libpq(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        text = url.get_secret_value().strip()
        if driver := _DRIVER.match(text):
            raise ValueError(
                f"{driver.group()} names a driver, as SQLAlchemy does; write {driver.group(1)}://"
            )
        if "://" in text and not text.startswith(("postgresql://", "postgres://")):
            raise ValueError("must be a Postgres URL, which begins with postgresql://")
        if "://" not in text and "=" not in text:
            raise ValueError("must be a URL (postgresql://…) or key=value pairs (host=… dbname=…)")
        _check_conninfo(text)
        return SecretStr(text)

    @field_validator("jobs_cron_tz")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        return checked_zone(zone)

    @field_validator("log_format", "log_level", mode="before")
    @classmethod
    def _folds_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


def checked_zone(zone: str) -> str:
    """Return the name of a time zone.

    Raises:
        ValueError: there is no such zone.
    """
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, LookupError):
        raise ValueError(f"must be an IANA time zone such as Europe/Berlin or UTC, got {zone!r}") from None
    return zone


def _check_conninfo(text: str) -> None:
    """Refuse an invalid connection string before libpq does, whose errors quote parts of passwords.

    An unescaped ``@`` or ``/`` in the password shifts the rest of it to host and port, where errors and logs
    would show it.
    """
    # Imported here, since a program without a database, such as a test in memory, does not need the driver.
    from psycopg import ProgrammingError  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        parts = conninfo_to_dict(text)
    except ProgrammingError:
        raise ValueError(_UNREADABLE) from None
    ports, host = str(parts.get("port") or ""), str(parts.get("host") or "")
    if _PORTS.fullmatch(ports) is None or "@" in host.lstrip("@"):
        raise ValueError(_UNREADABLE)
    try:
        float(parts.get("connect_timeout") or 0)
    except ValueError:
        raise ValueError(
            f"connect_timeout must be a number of seconds, got {parts['connect_timeout']!r}"
        ) from None
    if any(port and not 1 <= int(port) <= _LAST_PORT for port in ports.split(",")):
        raise ValueError(f"a port must be 1 to {_LAST_PORT}")


def _complaint(settings: type[Variables], detail: ErrorDetails) -> str:
    """Return the error of one variable: pydantic's message, without the value."""
    variable = str(detail["loc"][0]).upper() if detail["loc"] else "The settings"
    reason = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = ", ".join(name.upper() for name in settings.model_fields)
        return f"{variable}: must be one of the settings {known}"
    field = settings.model_fields.get(variable.lower())
    advice = (
        "change it" if field is None or field.default is None else "change it, or unset it for the default"
    )
    return f"{variable}: {reason[0].lower()}{reason[1:]}; {advice}"
