"""The stored options of a schedule's jobs: JSON, in this package's spelling or pg-boss's.

A row written by pg-boss has the arguments of its ``schedule()``: durations in several units, and a debounce
as a flag on a throttle. Only options that jobs here can have are read: priority, retries, expiry, singleton
key and slots. The rest (``tz``, which has its own column, ``startAfter``, ``onComplete``, retention) is
ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, Final, cast

from zeke_queue.core.options import OptionLayer, merge
from zeke_queue.errors import InvalidOptionError

_OURS: Final = frozenset(field.name for field in fields(OptionLayer)) - {"delay", "start_at"}

# Source: pg-boss 9, which uses the first of these units that it finds.
_EXPIRY: Final = {"expireInHours": 3_600, "expireInMinutes": 60, "expireInSeconds": 1}
_SLOT: Final = {"singletonHours": 3_600, "singletonMinutes": 60, "singletonSeconds": 1}
_SAME: Final = {
    "priority": "priority",
    "retryLimit": "retry_limit",
    "retryDelay": "retry_delay",
    "retryBackoff": "retry_backoff",
    "retryDelayMax": "retry_delay_max",
    "singletonKey": "singleton_key",
}


def write(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a row stores them: those that are set, with durations in seconds.

    Raises:
        InvalidOptionError: a schedule's jobs can't have one of them, such as a start time.
    """
    for name in options:
        if name not in _OURS:
            raise InvalidOptionError(
                f"{name}: a schedule's jobs have no such option; they start at its ticks"
            )
    return {
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in options.items()
        if value is not None
    }


def read(stored: object) -> OptionLayer:
    """Return the job options of a row; where it has both spellings, this package's wins.

    Raises:
        InvalidOptionError: it is not a JSON object.
    """
    if not isinstance(stored, Mapping):
        raise InvalidOptionError(
            f"options: must be a JSON object, got {type(stored).__name__}; store one such as {{}}"
        )
    options = {name: value for name, value in cast("Mapping[str, Any]", stored).items() if value is not None}
    ours = OptionLayer(**{name: value for name, value in options.items() if name in _OURS})
    return merge(ours, _read_theirs(options))


def _read_theirs(options: Mapping[str, Any]) -> OptionLayer:
    slot = "debounce" if options.get("singletonNextSlot") else "throttle"
    return OptionLayer(
        **{ours: options[theirs] for theirs, ours in _SAME.items() if theirs in options},
        expire_in=_seconds(options, _EXPIRY),
        # A slot of length 0 means no slot.
        **{slot: _seconds({name: value for name, value in options.items() if value != 0}, _SLOT)},
    )


def _seconds(options: Mapping[str, Any], units: Mapping[str, int]) -> Any:
    """Return the first of these durations in seconds.

    A non-number is returned unchanged, and refused later.
    """
    for name, unit in units.items():
        if name in options:
            value = options[name]
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return value * unit if is_number else value
    return None
