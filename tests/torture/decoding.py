"""Row changes as the server logged them, in the order of their commits.

The server decodes its own log for us (the output plug-in ``test_decoding``), so no trigger and no statement
of the program under test has a hand in it. Each commit becomes a ``Commit``: its time, and its changes as the
plug-in prints them, which ``Tables`` reads into the events of ``zeke_sim.history.events``.

Source: contrib/test_decoding of PostgreSQL 15 to 18.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from zeke_queue.core import jsonb
from zeke_queue.model import CatchUp, RowState, Schedule
from zeke_sim.history.events import Change, Image, QueueRow, ScheduleRow, WorkerRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zeke_sim.history.events import Event

TABLES: Final = ("job", "archive", "worker", "queue", "zeke_schedule")
"""Whose changes make events; the harness has the server log their old rows as a whole."""

UNCHANGED: Final = "unchanged-toast-datum"
"""The printed text for a long unchanged value; the old row has the value."""

_CHANGE: Final = re.compile(r"table (?P<schema>\w+)\.(?P<table>\w+): (?P<what>INSERT|UPDATE|DELETE): ?")
_COLUMN: Final = re.compile(r'(?P<name>"(?:[^"]|"")+"|\w+)\[(?P<type>(?:[^\[\]]|\[\])+)\]:')
_QUOTED: Final = re.compile(r"B?'((?:[^']|'')*)'")
_COMMIT: Final = re.compile(r"COMMIT (?P<xid>\d+) \(at (?P<at>.+)\)")
_DURATION: Final = re.compile(
    r"(?P<sign>-?)P(?:(?P<Y>-?\d+)Y)?(?:(?P<M>-?\d+)M)?(?:(?P<D>-?\d+)D)?"
    r"(?:T(?:(?P<h>-?\d+)H)?(?:(?P<m>-?\d+)M)?(?:(?P<s>-?[\d.]+)S)?)?"
)
_LENGTHS: Final = {"Y": 365.25 * 86400, "M": 30 * 86400, "D": 86400, "h": 3600, "m": 60, "s": 1}

Row = dict[str, str | None]
"""A row's columns as text, None for null; a column that was not printed is absent."""


class Commit(NamedTuple):
    """A transaction that committed.

    Attributes:
        lsn: the position of its commit in the log, which increases.
        at: when it committed, by the server's clock.
        rows: its changes as printed, in their order.
    """

    lsn: int
    at: datetime
    rows: list[str]


class RowChange(NamedTuple):
    """A printed change of one row: ``old`` is None for a new row, ``new`` for a deleted one."""

    table: str
    old: Row | None
    new: Row | None


def read_change(text: str) -> RowChange | None:
    """Return the change of a line; None if it is of no table of ours."""
    begun = _CHANGE.match(text)
    if begun is None:
        raise ValueError(f"no change of a row: {text[:200]!r}")
    if begun["table"] not in TABLES:
        return None
    what, rest = begun["what"], text[begun.end() :]
    if what == "INSERT":
        return RowChange(begun["table"], None, _columns(rest))
    if what == "DELETE":
        return RowChange(begun["table"], _columns(rest), None)
    if not rest.startswith("old-key:"):
        raise ValueError(
            f"an update without its old row; the table's replica identity is not full: {text[:200]!r}"
        )
    place = _end_of_row(rest, len("old-key:"))
    old, new = _columns(rest[len("old-key:") : place]), _columns(rest[place + len(" new-tuple:") :])
    for name, value in new.items():
        if value == UNCHANGED:
            new[name] = old.get(name)
    return RowChange(begun["table"], old, new)


def _end_of_row(text: str, place: int) -> int:
    """Return where the old row ends and ``new-tuple:`` begins."""
    for _, _, end in _scan(text, place):
        if text.startswith(" new-tuple:", end):
            return end
    raise ValueError(f"an update without a new row: {text[:200]!r}")


def _columns(text: str) -> Row:
    return {name: value for name, value, _ in _scan(text, 0)}


def _scan(text: str, place: int) -> Iterator[tuple[str, str | None, int]]:
    """Yield name, value and end position of each column from a position on."""
    while place < len(text):
        if text[place] == " ":
            place += 1
        column = _COLUMN.match(text, place)
        if column is None:
            raise ValueError(f"no column at {text[place : place + 80]!r}")
        place = column.end()
        quoted = _QUOTED.match(text, place)
        if quoted is not None:
            value, place = quoted[1].replace("''", "'"), quoted.end()
        else:
            end = text.find(" ", place)
            end = len(text) if end < 0 else end
            value, place = text[place:end], end
        yield column["name"].strip('"'), None if quoted is None and value == "null" else value, place


def read_commit(text: str) -> datetime | None:
    """Return when a transaction committed; None if the line is no commit."""
    found = _COMMIT.fullmatch(text)
    return None if found is None else instant(found["at"])


def lsn(text: str) -> int:
    """Return a position in the log as a number.

    >>> lsn("1/10")
    4294967312
    """
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def seconds(text: str) -> float:
    """Return the length of an interval in ISO 8601 style; a month has 30 days."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"no interval: {text!r}")
    return sum(float(found[part]) * length for part, length in _LENGTHS.items() if found[part] is not None)


class Tables:
    """Turns commits into events."""

    def __init__(self, epoch: datetime) -> None:
        self._epoch = epoch
        self._commits = 0
        self._at = 0.0

    def events(self, commit: Commit) -> Iterator[Event]:
        self._commits += 1
        # The server reads its clock a moment before it gets a position in the log, so neighbours may be
        # swapped.
        self._at = max(self._at, (commit.at - self._epoch).total_seconds())
        for text in commit.rows:
            change = read_change(text)
            if change is not None:
                yield self._event(change, commit.at)

    def _event(self, change: RowChange, now: datetime) -> Event:
        last: Mapping[str, str | None] = change.new or change.old or {}
        name = last["name"] if change.table != "worker" else ""
        match change.table:
            case "job":
                return self._job("job", change, now)
            case "archive":
                return self._job("archive", change, now)
            case "worker":
                return self._worker(change, last, now)
            case "queue":
                limit, paused = last.get("concurrency_limit"), last.get("paused_on")
                return QueueRow(
                    self._at,
                    now,
                    name or "",
                    None if limit is None else int(limit),
                    None if paused is None else instant(paused),
                )
            case _:
                return ScheduleRow(self._at, now, name or "", _schedule(change.old), _schedule(change.new))

    def _worker(self, change: RowChange, row: Mapping[str, str | None], now: datetime) -> WorkerRow:
        beat = None if change.new is None else _maybe(instant, row["beat_on"])
        if beat is not None and (change.old is None or change.old["beat_on"] != row["beat_on"]):
            now = beat  # a heartbeat's row has the time of the statement, slightly before its commit
        length = seconds(row["lease"] or "")
        return WorkerRow(self._at, now, UUID(row["id"]), beat, length, change.new is None)

    def _job(self, table: Any, change: RowChange, now: datetime) -> Change:
        return Change(self._at, now, table, _image(change.old), _image(change.new), None, self._commits)


def _image(row: Row | None) -> Image | None:
    if row is None:
        return None
    get = row.get
    output, history = get("output"), get("history")
    singleton_on, cap = get("singletonon"), get("retrydelaymax")
    return Image(
        id=UUID(row["id"]),
        name=row["name"] or "",
        state=RowState(row["state"] or ""),
        priority=int(row["priority"] or 0),
        attempt=int(row["attempt"] or 0),
        retry_count=int(row["retrycount"] or 0),
        retry_limit=int(row["retrylimit"] or 0),
        retry_delay=int(row["retrydelay"] or 0),
        retry_backoff=row["retrybackoff"] == "true",
        retry_delay_max=None if cap is None else int(cap),
        start_after=instant(row["startafter"] or ""),
        started_on=_maybe(instant, get("startedon")),
        expire_in=seconds(row["expirein"] or ""),
        created_on=instant(row["createdon"] or ""),
        completed_on=_maybe(instant, get("completedon")),
        singleton_key=get("singletonkey"),
        # Without a zone, like the column and the model.
        singleton_on=None if singleton_on is None else datetime.fromisoformat(singleton_on),
        worker=_maybe(UUID, get("worker")),
        parent=_maybe(UUID, get("parent")),
        data=get("data"),
        output=output,
        archived_on=_maybe(instant, get("archivedon")),
        superseded=output is not None and _has_key(output, "superseded_by"),
        failures=0 if history is None else len(jsonb.loads(history)),
        waits_for=_maybe(UUID, get("waitsfor")),
        awaited=get("awaited") == "true",
    )


def _schedule(row: Row | None) -> Schedule | None:
    if row is None:
        return None
    get = row.get
    return Schedule(
        name=row["name"] or "",
        cron=row["cron"] or "",
        task=get("task") or row["name"] or "",
        zone=get("timezone") or "UTC",
        data=get("data"),
        options=jsonb.loads(get("options") or "{}"),
        catch_up=CatchUp(row["catch_up"]),
        description=get("description"),
        paused=row["paused"] == "true",
        last_tick=_maybe(instant, get("last_tick")),
        next_tick=_maybe(instant, get("next_tick")),
    )


def _has_key(text: str, key: str) -> bool:
    found = jsonb.loads(text) if key in text else None
    return isinstance(found, dict) and key in found


def _maybe(read: Any, text: str | None) -> Any:
    return None if text is None else read(text)
