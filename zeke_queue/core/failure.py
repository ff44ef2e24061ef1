"""Exceptions as JSON, for a job's output and history.

This code must not fail: a second error would hide the one that it describes. So every access to an exception
is guarded, and the text is capped, since a job's row should stay small.
"""

from __future__ import annotations

import traceback as tracebacks
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core import jsonb

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

MESSAGE_MAX: Final = 2_000
"""Characters of a message at most."""

TRACEBACK_MAX: Final = 8_000
"""Characters of a traceback at most."""

SHOWN_MAX: Final = 120
"""Characters of a value in a message at most."""

EXTRA_MAX: Final = 2_000
"""Characters of JSON of each extra value at most."""

_CUT: Final = "\n… {} characters left out …\n"
_CUT_ROOM: Final = 60
_OWN_KEYS: Final = frozenset({"type", "message", "traceback"})
_GROUP_WIDTH: Final = 10
_GROUP_DEPTH: Final = 5
_BEFORE_HANDLERS: Final = frozenset({"zeke_queue", "asyncio"})
"""Packages whose frames precede those of the handler in a traceback."""


def error_output(exc: BaseException, **extra: Any) -> str:
    """Return an exception as JSON, with its causes, its notes and, for a group, its members.

    Args:
        exc: any exception; one whose ``str`` raises is described by its type.
        extra: further keys; those that would replace the three standard ones are ignored. A large value, or
            one without a JSON form, is stored as text.

    Returns:
        JSON text of an object: ``type`` (with its module unless it is built in), ``message``,
        ``traceback``, and the extra keys. At most 2 000 characters of message and 8 000 of traceback; of
        longer ones head and tail are kept.
    """
    others = {key: value for key, value in extra.items() if key not in _OWN_KEYS}
    return error_record(_type_name(exc), _message(exc), _traceback(exc), **others)


def error_record(type_: str, message: str, traceback: str | None = None, **extra: Any) -> str:
    """Return a failure without an exception, such as a deadline that passed, in the same form.

    Returns:
        JSON text of an object with ``type``, ``message``, ``traceback`` (null if there is none) and the
        extra keys.
    """
    record: dict[str, Any] = {
        "type": clean(type_, MESSAGE_MAX),
        "message": clean(_text(message), MESSAGE_MAX),
        "traceback": None if traceback is None else clean(traceback, TRACEBACK_MAX),
    }
    return jsonb.dumps(
        record | {clean(k, MESSAGE_MAX): plain(v) for k, v in extra.items() if k not in record}
    )


def shown(value: object) -> str:
    """Return a value's ``repr`` for a message, in about one line, for any value."""
    text = _guarded(lambda: repr(value))
    if text is None:  # its own code raises, or it is an integer of more digits than Python prints
        return f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def _text(message: object) -> str:
    """Return an application's message of any type as text."""
    return message if isinstance(message, str) else shown(message)


def _type_name(exc: BaseException) -> str:
    cls = type(exc)
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def _message(exc: BaseException) -> str:
    text = _guarded(lambda: str(exc))
    return text if text is not None else f"<{type(exc).__name__}, text not available>"


def _traceback(exc: BaseException) -> str:
    """Format with causes and groups or, if the exception prevents that, the frames alone."""
    formatted = _guarded(
        lambda: "".join(
            tracebacks.TracebackException(
                type(exc),
                exc,
                _application_part(exc.__traceback__),
                compact=True,
                max_group_width=_GROUP_WIDTH,
                max_group_depth=_GROUP_DEPTH,
            ).format()
        )
    )
    if formatted is None:
        formatted = _guarded(lambda: "".join(tracebacks.format_tb(exc.__traceback__)))
    return formatted if formatted is not None else f"<{type(exc).__name__}, traceback not available>"


def _application_part(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the worker's frames before the first frame of the application.

    If there is no frame of the application, all frames stay: the error is the worker's own.
    """
    part = traceback
    while part is not None and _stands_before_handlers(part):
        part = part.tb_next
    return part or traceback


def _stands_before_handlers(part: TracebackType) -> bool:
    names = part.tb_frame.f_globals
    # Pytest hides frames with this marker; modules that wrap handlers set it.
    return str(names.get("__name__", "")).partition(".")[0] in _BEFORE_HANDLERS or (
        names.get("__tracebackhide__") is True
    )


def _guarded(get: Callable[[], str]) -> str | None:
    """Return the result of ``get``, or None if it raises, since it runs code of the exception."""
    try:
        got = get()
    except Exception:  # noqa: BLE001 - code of the described exception may raise anything; the caller notes that
        return None
    return got


def plain(value: Any) -> Any:
    """Return a value with a JSON form: itself, or its text."""
    try:
        text = jsonb.dumps(value)
    except Exception:  # noqa: BLE001 - code of the value may raise anything
        return clean(_guarded(lambda: repr(value)) or f"<{type(value).__name__}>", EXTRA_MAX)
    return jsonb.loads(text) if len(text) <= EXTRA_MAX else clean(text, EXTRA_MAX)


def clean(text: str, cap: int) -> str:
    """Cut out the middle, and replace characters that Postgres text can't hold: NUL and lone surrogates."""
    if len(text) > cap:
        keep = cap - _CUT_ROOM
        head, tail = keep - keep // 2, keep // 2
        text = text[:head] + _CUT.format(len(text) - keep) + text[len(text) - tail :]
    text = text.replace("\0", "\N{SYMBOL FOR NULL}")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
