"""Logging: lines in JSON for machines, or readable text on a terminal.

A JSON line begins with ``timestamp, level, message``, then ``taskId, jobId`` for a line about a job, then the
rest. A library must not take over the logging of its application. So until ``configure_logging`` is called
(the command line does), only warnings and errors of the runtime are written, and the settings of structlog
and the standard library are not changed.

A line that is filtered out costs a method call; ``enabled`` saves the hottest paths even that.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TextIO, cast

import structlog
from pydantic_core import to_json
from structlog.contextvars import merge_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import format_exc_info

from zeke_queue.errors import InvalidOptionError
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.terminal import JOINERS, LINES, escaped, harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, MutableMapping, Sequence

    from structlog.typing import ExcInfo, FilteringBoundLogger, Processor

    from zeke_queue.system.clock import Clock

    Event = MutableMapping[str, Any]
    Keep = Callable[[str, str, Mapping[str, Any]], None]
    """Receives level, message and fields of a job's line for watchers."""

Format = Literal["auto", "json", "text"]
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

HTTP_LIBRARIES: Final = frozenset({"httpcore", "httpcore2", "httpx", "httpx2", "openai", "urllib3"})
"""Libraries whose lines are written only at warning and above, at any log level.

Below that they log each request with its whole URL, which may hold a secret: an API key, or the token of a
private feed.
"""


_OF_LINES: Final = frozenset({"event", "exception", "stack"})
"""Fields whose line breaks are kept in lines as text."""


class _Setup(NamedTuple):
    """The logging settings; replaced as a whole."""

    format: Format
    level: int
    processors: Sequence[Processor]
    lines: _Lines


class _Lines:
    """The stream for lines: the given one, or the current standard error."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        stream = self._stream or sys.stderr
        try:
            # One call per line, so that lines of threads and processes that share the stream do not mix.
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            # The pipe's reader has gone, or the stream is closed: a job must not fail because of logging.
            return

    debug = info = warning = error = critical = exception = msg = write

    def is_terminal(self) -> bool:
        stream = self._stream or sys.stderr
        return stream.isatty()


def configure_logging(
    format: Format = "auto",  # noqa: A002 - the option's name
    level: str = "info",
    *,
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> None:
    """Take over the logging of this process: the runtime, structlog and the standard library.

    Of HTTP clients (`HTTP_LIBRARIES`) only warnings and errors are written.

    Args:
        format: ``json``, ``text``, or ``auto`` for text on a terminal and JSON elsewhere.
        level: the lowest level that is written: debug, info, warning, error or critical.
        stream: the output; standard error by default, to keep a command's output clean.
        clock: the source of timestamps.

    Raises:
        InvalidOptionError: the format or the level is unknown.
    """
    if format not in {"auto", "json", "text"}:
        raise InvalidOptionError(f"format: must be auto, json or text, got {format!r}")
    if level.lower() not in LEVELS:
        raise InvalidOptionError(f"level: must be one of {', '.join(LEVELS)}, got {level!r}")
    setup = _make_setup(format, LEVELS[level.lower()], stream, clock or SystemClock())
    _current[0] = setup
    structlog.configure(
        processors=[merge_contextvars, *setup.processors],
        wrapper_class=structlog.make_filtering_bound_logger(setup.level),
        logger_factory=lambda *_: setup.lines,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Bridge)]
    root.addHandler(_Bridge())
    root.setLevel(setup.level)


def get_logger(**fields: Any) -> FilteringBoundLogger:
    """Return a logger with the present settings, bound to fields."""
    setup = _current[0]
    return _bound(setup, setup.level, setup.processors, fields)


def job_logger(keep: Keep, **fields: Any) -> FilteringBoundLogger:
    """Return a logger for a handler; ``keep`` also gets lines at info and above, written or not."""
    setup = _current[0]

    def kept(_logger: Any, method: str, event: Event) -> Event:
        level = LEVELS.get(method, LEVELS["error"])
        if level >= LEVELS["info"]:
            own = {k: v for k, v in event.items() if k not in fields and k not in {"event", "exc_info"}}
            keep(method, str(event.get("event", "")), own)
        if level < setup.level:
            raise structlog.DropEvent
        return event

    processors: list[Processor] = [merge_contextvars, kept, *setup.processors]
    return _bound(setup, min(setup.level, LEVELS["info"]), processors, fields)


def settings() -> dict[str, str]:
    """Return the present format and level, so that a child process can use the same."""
    setup = _current[0]
    return {"format": setup.format, "level": next(name for name, n in LEVELS.items() if n == setup.level)}


@contextmanager
def silenced() -> Generator[None]:
    """Suppress the runtime's lines in the block: a simulation has a history instead."""
    before = _current[0]
    _current[0] = before._replace(level=LEVELS["critical"])
    try:
        yield
    finally:
        _current[0] = before


def enabled(level: str) -> bool:
    """Return whether lines of this level are written."""
    return LEVELS[level] >= _current[0].level


def _bound(
    setup: _Setup, level: int, processors: Sequence[Processor], fields: dict[str, Any]
) -> FilteringBoundLogger:
    # Made directly: structlog's lazy proxies use the global configuration, possibly the application's.
    made = structlog.make_filtering_bound_logger(level)
    return cast("FilteringBoundLogger", cast("Any", made)(setup.lines, processors, fields))


def _make_setup(format_: Format, level: int, stream: TextIO | None, clock: Clock) -> _Setup:
    lines = _Lines(stream)

    def stamped(_logger: Any, method: str, event: Event) -> Event:
        event["timestamp"] = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event["level"] = "error" if method == "exception" else method
        return event

    if format_ == "text" or (format_ == "auto" and lines.is_terminal()):
        return _Setup(format_, level, (stamped, _as_text(colors=lines.is_terminal())), lines)
    return _Setup(format_, level, (format_exc_info, stamped, _as_json), lines)


def _as_json(_logger: Any, _method: str, event: Event) -> str:
    ordered: dict[str, Any] = {
        "timestamp": event.pop("timestamp"),
        "level": event.pop("level"),
        "message": event.pop("event", ""),
    }
    for key in ("taskId", "jobId"):
        if key in event:
            ordered[key] = event.pop(key)
    ordered |= event
    try:
        return _json(ordered)
    except Exception:  # noqa: BLE001 - see _writable
        return _json({_clean(key): _writable(value, _json) for key, value in ordered.items()})


def _as_text(*, colors: bool) -> Processor:
    console = ConsoleRenderer(colors=colors, exception_formatter=_traceback)

    def readable(logger: Any, method: str, event: Event) -> str:
        return console(logger, method, {harmless(key): _readable(key, event[key]) for key in event})

    return readable


def _readable(key: str, value: Any) -> Any:
    """Return a field of a line as text that is safe on a terminal."""
    if key == "exc_info":
        return value  # _traceback writes it
    written = _writable(value, repr)
    text = written if isinstance(written, str) else repr(written)
    return harmless(text, LINES if key in _OF_LINES else JOINERS)


def _traceback(stream: TextIO, error: ExcInfo) -> None:
    """Write a traceback without control characters, which its message and code may contain."""
    written = StringIO()
    plain_traceback(written, error)
    stream.write(harmless(written.getvalue(), LINES))


def _json(value: Any) -> str:
    return escaped(to_json(value, serialize_unknown=True, inf_nan_mode="strings").decode())


def _writable(value: Any, write: Callable[[Any], str]) -> Any:
    """Return a value that can be written: itself, its text, or the name of its type.

    Values come from an application, and so does some of the code that writes them. Neither an exception of
    that code nor a character without an encoding may fail the job that logs it.
    """
    try:
        write(value)
    except Exception:  # noqa: BLE001 - see the docstring
        try:
            return _clean(value if isinstance(value, str) else repr(value))
        except Exception:  # noqa: BLE001 - see the docstring
            return f"<{type(value).__name__}>"
    return value


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


class _Bridge(logging.Handler):
    """Forwards records of the standard library's logging, which drivers use, to the runtime's lines."""

    def emit(self, record: logging.LogRecord) -> None:
        # Check here instead of on their loggers, since a level set there by other code would undo it.
        if record.levelno < LEVELS["warning"] and record.name.partition(".")[0] in HTTP_LIBRARIES:
            return
        logger = get_logger(logger=record.name)
        method = "critical" if record.levelno >= LEVELS["critical"] else record.levelname.lower()
        try:
            getattr(logger, method if method in LEVELS else "info")(
                record.getMessage(), exc_info=record.exc_info or None
            )
        except Exception:  # noqa: BLE001 - as in the standard library, logging errors go to stderr
            self.handleError(record)


_current: Final = [_make_setup("auto", LEVELS["warning"], None, SystemClock())]
