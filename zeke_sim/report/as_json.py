"""Events as JSON values, and as readable lines.

An event has the same JSON in every process: sets are sorted, and no memory addresses appear.
``zeke sim diff`` compares histories by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from zeke_sim.history import events as history

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHORT: Final = 6
"""Number of hex digits in an abbreviated UUID: its last ones, since a UUIDv7 begins with the time."""

LONG_TEXT: Final = 160
"""Maximum number of characters of a value in a line."""


def short(of: UUID) -> str:
    """Abbreviate a UUID to its last digits, which differ between jobs."""
    return of.hex[-SHORT:]


def value(of: object) -> Any:
    """Convert an argument or a result of a call to a JSON value.

    Named tuples and dataclasses become objects without fields that equal their defaults. Bytes are decoded as
    UTF-8, errors become ``Type: text``, and values without a JSON form become their type's name in ``<>``.
    """
    match of:
        case None | bool() | str() if not isinstance(of, Enum):
            shown: Any = of
        case Enum():
            shown = value(of.value)
        case int():
            shown = int(of)
        case float():
            shown = of if math.isfinite(of) else str(of)
        case UUID() | BaseException():
            shown = str(of) if isinstance(of, UUID) else f"{type(of).__name__}: {of}"
        case datetime() | date():
            shown = of.isoformat()
        case timedelta():
            shown = of.total_seconds()
        case bytes() | bytearray():
            shown = of.decode("utf-8", "backslashreplace")
        case _:
            shown = _compound(of)
    return shown


def _compound(of: object) -> Any:
    if (named := _record(of)) is not None:
        return {name: value(item) for name, item in named}
    if isinstance(of, Mapping):
        table = cast("Mapping[object, object]", of)
        return {key if isinstance(key, str) else str(value(key)): value(item) for key, item in table.items()}
    if isinstance(of, AbstractSet):
        return sorted((value(item) for item in cast("AbstractSet[object]", of)), key=str)
    if isinstance(of, Sequence):
        return [value(item) for item in cast("Sequence[object]", of)]
    return f"<{type(of).__name__}>"


def _record(of: object) -> list[tuple[str, object]] | None:
    """List the fields of a named tuple or dataclass that differ from their defaults; None for other types."""
    names: Iterable[str]
    defaults: Mapping[str, object]
    if hasattr(of, "_fields") and hasattr(of, "_field_defaults"):
        named = cast("Any", of)
        names, defaults = named._fields, named._field_defaults
    elif is_dataclass(of) and not isinstance(of, type):
        names = [field.name for field in fields(of)]
        defaults = {field.name: field.default for field in fields(of) if field.default is not MISSING}
    else:
        return None
    items = [(name, cast("object", getattr(of, name))) for name in names]
    return [(name, item) for name, item in items if name not in defaults or defaults[name] != item]


def kind_of(of: type[history.Event]) -> str:
    """Return the name of a kind of events: its class's, as in ``worker`` for ``WorkerRow``."""
    return of.__name__.removesuffix("Row").lower()


def event(of: history.Event) -> dict[str, Any]:
    """Convert an event to JSON: its ``kind``, ``at``, and its fields by name; a fault's kind is ``fault``.

    The change of a row contains the difference: ``row`` is a whole inserted or deleted row, without nulls;
    for an update, ``was`` and ``set`` contain the changed columns. ``job``, ``task``, ``state`` and
    ``attempt`` identify the row and its state.
    """
    kind = kind_of(type(of))
    if isinstance(of, history.Change):
        return {"kind": kind, **_change(of)}
    entry = {name: value(getattr(of, name)) for name in of._fields}
    if isinstance(of, history.Fault):
        entry["fault"] = entry.pop("kind")
    return {"kind": kind, **entry}


def _change(of: history.Change) -> dict[str, Any]:
    row = of.after or of.before
    entry: dict[str, Any] = {"at": of.at, "now": value(of.now), "table": of.table, "call": of.call}
    entry |= {"commit": of.commit}
    if row is None:
        return entry
    entry |= {"job": value(row.id), "task": row.name, "attempt": row.attempt}
    entry["state"] = value(row.state) if of.after else None
    if of.before is None or of.after is None:
        columns = {name: value(getattr(row, name)) for name in row._fields}
        entry["row"] = {name: column for name, column in columns.items() if column is not None}
        return entry
    differing = [name for name in row._fields if getattr(of.before, name) != getattr(of.after, name)]
    entry["was"] = {name: value(getattr(of.before, name)) for name in differing}
    entry["set"] = {name: value(getattr(of.after, name)) for name in differing}
    return entry


def events(of: Iterable[history.Event]) -> list[dict[str, Any]]:
    """Convert a history to JSON."""
    return [event(one) for one in of]


def ids(of: object) -> Iterator[UUID]:
    """Yield the UUIDs in an event or a value, at any depth, with duplicates."""
    if isinstance(of, UUID):
        yield of
    elif isinstance(of, (str, bytes, bytearray)):
        return
    elif isinstance(of, Mapping):
        for key, item in cast("Mapping[object, object]", of).items():
            yield from ids(key)
            yield from ids(item)
    elif isinstance(of, (Sequence, AbstractSet)):
        for item in cast("Iterable[object]", of):
            yield from ids(item)
    elif (named := _record(of)) is not None:
        for _, item in named:
            yield from ids(item)


def line(of: history.Event) -> str:
    """Format an event in one line, without its time and node, with abbreviated UUIDs."""
    match of:
        case history.Invoked(verb=verb, args=args):
            entry = f"{verb}({', '.join(f'{name}={_brief(item)}' for name, item in args.items())})"
        case history.Answered(verb=verb, outcome=outcome, result=result):
            entry = f"{verb} → {_brief(result)}" if outcome == "ok" else f"{verb} {outcome}: {_brief(result)}"
        case history.Began() | history.Ended() | history.Effect() | history.Wrote():
            entry = _handler_line(of)
        case history.Notified(job=job, status=status, attempt=attempt):
            entry = f"receives {status.value} of {short(job)}, attempt {attempt}"
        case history.Received(job=job, attempt=attempt, seq=seq):
            entry = f"receives line {seq} of {short(job)}, attempt {attempt}"
        case history.Lived(what=what):
            entry = what
        case history.Fault(address=address, kind=kind, until=until):
            entry = f"{kind} at {address}{'' if until is None else f', until {until:.3f} s'}"
        case history.Phase(phase=phase):
            entry = f"phase {phase} begins"
        case _:
            entry = _row_line(of)
    return _clipped(entry)


def _handler_line(of: history.Began | history.Ended | history.Effect | history.Wrote) -> str:
    match of:
        case history.Began(task=task, job=job, attempt=attempt):
            return f"{task} {short(job)} begins attempt {attempt}"
        case history.Ended(task=task, job=job, attempt=attempt, how=how, value=result):
            entry = "" if result is None else f" {_brief(result)}"
            return f"{task} {short(job)} attempt {attempt} {how}{entry}"
        case history.Effect(job=job, key=key, alive=alive):
            whose = "" if job is None else f" of {short(job)}"
            return f"effect {key}{whose}{'' if alive else ' OF A DEAD NODE'}"
        case history.Wrote(job=job, attempt=attempt, kind=kind, text=text):
            return f"writes {kind} {_brief(text)} of {short(job)}, attempt {attempt}"


def _row_line(of: history.Change | history.WorkerRow | history.QueueRow | history.ScheduleRow) -> str:
    match of:
        case history.Change():
            return _change_line(of)
        case history.WorkerRow(worker=worker, gone=gone):
            return f"worker {short(worker)} {'is gone' if gone else 'sends a heartbeat'}"
        case history.QueueRow(name=name, concurrency_limit=limit, paused_on=paused):
            return f"queue {name}: limit {'none' if limit is None else limit}{', paused' if paused else ''}"
        case history.ScheduleRow(name=name, before=before, after=after):
            if after is None:
                return f"schedule {name} dropped"
            how = "new" if before is None else "written"
            return f"schedule {name} {how}, next tick {_brief(after.next_tick)}"


def _change_line(of: history.Change) -> str:
    row = of.after or of.before
    if row is None:
        return f"{of.table}: nothing"
    name = f"{row.name} {short(row.id)}"
    if of.before is None:
        return f"{of.table} + {name} {row.state.value}"
    if of.after is None:
        return f"{of.table} − {name} {row.state.value}"  # noqa: RUF001 - a minus sign, as wide as the plus
    if of.before.state == of.after.state and of.before.attempt == of.after.attempt:
        entry = event(of)["set"]
        return f"{name} {row.state.value}: " + ", ".join(f"{k} = {_brief(v)}" for k, v in entry.items())
    attempt = f", attempt {row.attempt}"
    return f"{name} {of.before.state.value} → {row.state.value}{attempt}"


def _brief(of: object) -> str:
    """Format a value briefly: UUIDs abbreviated, objects as in Python but without quotes around keys."""
    match of:
        case UUID():
            entry = short(of)
        case None:
            entry = "none"
        case Enum():
            entry = _brief(of.value)
        case str():
            entry = of
        case Mapping():
            table = cast("Mapping[object, object]", of)
            entry = "{" + ", ".join(f"{_brief(k)}: {_brief(v)}" for k, v in table.items()) + "}"
        case _ if (named := _record(of)) is not None:
            entry = f"{type(of).__name__}({', '.join(f'{k}={_brief(v)}' for k, v in named)})"
        case Sequence() | AbstractSet() if not isinstance(of, (bytes, bytearray)):
            items = [_brief(item) for item in cast("Iterable[object]", of)]
            entry = f"[{', '.join(sorted(items) if isinstance(of, AbstractSet) else items)}]"
        case _:
            entry = str(value(of))
    return _clipped(entry)


def _clipped(text: str) -> str:
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= LONG_TEXT else text[: LONG_TEXT - 1] + "…"
