"""The session settings that statements rely on, whatever the database and the role have as defaults.

They are sent when a connection is opened. Where a pooler does not pass them on, each transaction sets them,
in the same round trip. An application's transaction gets the defaults back, and the settings in the
connection string's ``options``, which reach the server in the same two ways. Time limits among these have
precedence over those of this package.

``default_transaction_read_only`` is left alone: an operator sets it on a full disk, or on a replaced server.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from psycopg import AsyncConnection, Error, OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from zeke_queue.core.timeouts import IDLE_SECONDS, LOCK_SECONDS, SILENCE_SECONDS, STATEMENT_SECONDS
from zeke_queue.errors import SettingsError
from zeke_queue.storage.postgres.error_mapping import check_server, translated
from zeke_queue.storage.postgres.pooler import is_pooled, loses_prepared_statements
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import LiteralString

_DEFAULTS: Final = {
    "connect_timeout": "10",
    "application_name": "zeke",
    # Detect a silently lost server within a minute, also on a connection that only listens.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}

LIMITS: Final[Mapping[str, str]] = {
    "lock_timeout": f"{LOCK_SECONDS * 1000:.0f}",
    "statement_timeout": f"{STATEMENT_SECONDS * 1000:.0f}",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS * 1000:.0f}",
    # Connections of a pool, and the one that listens, are idle for long.
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
"""Time limits in milliseconds, which the connection string may change."""

RELIED_ON: Final[Mapping[str, str]] = {
    # Formats of values.
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "standard_conforming_strings": "on",
    # Claims are expensive to plan, so plans are generic and kept. A plan made while the table was empty may
    # meet a million rows a moment later, and must not scan them all then. Nor may the cost of a disabled
    # scan, where there is no alternative, trigger JIT compilation.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_bitmapscan": "on",
    "enable_tidscan": "on",
    "enable_nestloop": "on",
    "jit": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
}
"""Settings that statements, their plans, and the reading of their results depend on."""

_SINCE: Final = {"transaction_timeout": 170_000}
"""Settings that servers before this version do not have."""

_SIGNS: Final = ("plan_cache_mode", "enable_seqscan", "jit")
_NEEDED_BY_VERBS: Final = ("array_nulls",)
"""Settings that stay ours in an application's transaction, since verbs in it pass arrays with nulls."""

_UNSETTABLE: Final = (
    "options: must be settings that a transaction can set, since a pooler drops them, got {}: {}; set it for"
    " the role or the database instead (alter role …, alter database …)"
)
_TRY: Final = "select current_setting(%(name)s, true), set_config(%(name)s, %(value)s, true)"
_REFUSED: Final = ("22", "42", "55")
"""Classes of errors of a setting: its value, its name or a right, and that it can't be changed."""

_READ: Final = "select name, current_setting(name) from unnest(%s::text[]) as name"
SET_LOCAL: Final = (
    "select set_config(name, value, true)"
    " from unnest(%(names)s::text[], %(values)s::text[]) as given (name, value)"
)
"""Sets parameters until the transaction ends; see ``local_parameters``."""

_OWN_LIMITS: Final = (
    f"(values ('lock_timeout', '{LOCK_SECONDS:g}s'), ('statement_timeout', '{STATEMENT_SECONDS:g}s'))"
)
LIMIT_READS: Final = cast(
    "LiteralString",
    f"select set_config(name, value, true) from {_OWN_LIMITS} as given (name, value)"  # noqa: S608 - numbers
    " where current_setting(name) = '0'",
)
"""Limits the rest of a transaction on a connection that has none of our settings, unless it has limits."""

PLAN_FOR_VALUES: Final[tuple[LiteralString, ...]] = (
    "set local plan_cache_mode = force_custom_plan",
    "set local enable_seqscan = on",
)
"""Makes the rest of a transaction plan for the actual values, without taking its snapshot."""


class Session(NamedTuple):
    """How connections are opened, and their settings.

    Attributes:
        conninfo: the parameters of a connection.
        kept: whether a connection opened with them has the settings; else each transaction sets them.
        prepares: whether statements may be prepared.
        ours: the settings, by name.
        elsewhere: those to change in an application's transaction, by name: the server's defaults.
        timeout: seconds after which a statement has no answer because the server hangs.
    """

    conninfo: str
    kept: bool
    prepares: bool
    ours: Mapping[str, str]
    elsewhere: Mapping[str, str]
    timeout: float = math.inf


def options(settings: Mapping[str, str]) -> str:
    """Return settings as libpq's ``options``."""
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())


def parse_options(text: str) -> tuple[dict[str, str], list[str]]:
    r"""Return the settings in libpq's ``options``, and the words that set nothing.

    >>> parse_options(r"-c lock_timeout=5s --search-path=a,\ b -d 1")
    ({'lock_timeout': '5s', 'search_path': 'a, b'}, ['-d', '1'])
    """
    settings: dict[str, str] = {}
    others: list[str] = []
    words = iter([re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|[^\\\s])+", text)])
    for word in words:
        setting = next(words, "") if word == "-c" else word[2:] if word[:2] in ("-c", "--") else ""
        name, given, value = setting.partition("=")
        if given:
            settings[name.replace("-", "_").lower()] = value
        else:
            others.append(word)
    return settings, others


def given_options(dsn: str) -> str:
    """Return the ``options`` of a connection string, or those of ``PGOPTIONS``."""
    given = conninfo_to_dict(dsn).get("options")
    if given is None:
        given = next(one.val for one in Conninfo.get_defaults() if one.keyword == b"options") or b""
    return given.decode() if isinstance(given, bytes) else str(given)


async def accepted(dsn: str) -> str:
    """Return a connection string that can be used: without ``options``, if a pooler refuses them.

    Raises:
        SettingsError: they are more than settings, so that nothing else has the same effect.
    """
    with translated():
        if not (given := given_options(dsn)):
            return dsn
        try:
            async with await AsyncConnection.connect(make_conninfo(**_parameters(dsn)), autocommit=True):
                return dsn
        except OperationalError as error:
            if "startup parameter" not in str(error):
                raise
    if others := parse_options(given)[1]:
        raise SettingsError(
            f"options: must be `-c name=value` behind a pooler, got {' '.join(others)!r}; remove it"
        )
    return make_conninfo(dsn, options="")


def local_parameters(settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of ``SET_LOCAL``."""
    return {"names": list(settings), "values": list(settings.values())}


async def find_session(dsn: str, *, keep: bool) -> Session:
    """Connect, and return how to open connections with these settings.

    Args:
        dsn: the database.
        keep: whether to send the settings when a connection is opened, which some poolers refuse and others
            ignore, and to prepare statements, which some poolers lose.
    """
    with translated():
        parameters = _parameters(dsn)
        whole, text = make_conninfo(**parameters), given_options(dsn)
        plain = await accepted(whole)
        given = parse_options(text)[0]
        async with await AsyncConnection.connect(plain, autocommit=True) as connection:
            check_server(connection.info.server_version)
            limits = {
                name: value
                for name, value in LIMITS.items()
                if connection.info.server_version >= _SINCE.get(name, 0) and name not in given
            }
            relied_on = dict(RELIED_ON)
            async with connection.transaction():
                # A pooler passes some options on, or none: each transaction sets all of them.
                dropped = plain != whole or (given and await is_pooled(connection))
                here = given if dropped else {}
                await _set(connection, here)
                timeout = await _answer_timeout(connection, given)
                found = await _read(connection, [*limits, *relied_on, "search_path"])
        # A path that names the catalog later makes a function of the same name precede the server's.
        relied_on["search_path"] = f"pg_catalog, {found['search_path']}"
        ours = limits | here | relied_on
        if keep:
            fitted = make_conninfo(
                **{**parameters, "options": f"{options(limits)} {text} {options(relied_on)}"}
            )
            try:
                async with await AsyncConnection.connect(fitted, autocommit=True) as connection:
                    kept = await _read(connection, list(found))
            except OperationalError as error:
                if "startup parameter" not in str(error):
                    raise
            else:
                # A pooler may ignore the settings, which only their effect shows.
                if all(kept[name] == RELIED_ON[name] for name in _SIGNS):
                    elsewhere = {
                        name: value
                        for name, value in found.items()
                        if value != kept[name] and name not in _NEEDED_BY_VERBS
                    }
                    return Session(
                        fitted, kept=True, prepares=True, ours=ours, elsewhere=elsewhere, timeout=timeout
                    )
        prepares = keep and not await loses_prepared_statements(plain)
    if keep and not prepares:
        get_logger().warning(
            "prepared_statements_impossible",
            reason="a pooler gives each transaction another connection, and tracks no prepared statements",
            consequence="statements are planned each time",
            hint="set JOBS_PREPARE=false, or max_prepared_statements of PgBouncer",
        )
    needed = {name: RELIED_ON[name] for name in _NEEDED_BY_VERBS if found[name] != RELIED_ON[name]}
    return Session(plain, kept=False, prepares=prepares, ours=ours, elsewhere=here | needed, timeout=timeout)


def _parameters(dsn: str) -> dict[str, str]:
    given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    return {**_DEFAULTS, **given, "client_encoding": "utf8"}


async def _read(connection: AsyncConnection[Any], names: list[str]) -> dict[str, str]:
    cursor = await connection.execute(_READ, [names], prepare=False)
    return dict(await cursor.fetchall())


async def _set(connection: AsyncConnection[Any], given: Mapping[str, str]) -> None:
    """Set the connection string's settings until the transaction ends.

    Raises:
        SettingsError: one can't be set in this way, or has no effect on a transaction that has begun.
    """
    for name, value in given.items():
        try:
            cursor = await connection.execute(_TRY, {"name": name, "value": value}, prepare=False)
            ((before, after),) = await cursor.fetchall()
        except Error as error:
            if not (error.sqlstate or "").startswith(_REFUSED):
                raise
            raise SettingsError(_UNSETTABLE.format(name, error.diag.message_primary)) from error
        if before != after and name.startswith("default_transaction_") and name not in RELIED_ON:
            raise SettingsError(_UNSETTABLE.format(name, "it has no effect within a transaction"))


async def _answer_timeout(connection: AsyncConnection[Any], given: Mapping[str, str]) -> float:
    """Return after how many seconds an unanswered statement means that the server hangs."""
    seconds = STATEMENT_SECONDS
    if "statement_timeout" in given:
        text = "select setting::float / 1000 from pg_settings where name = 'statement_timeout'"
        ((seconds,),) = await (await connection.execute(text, prepare=False)).fetchall()
    return seconds + SILENCE_SECONDS if seconds else math.inf


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
