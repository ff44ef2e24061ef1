"""The records of each process: one line per event, on disk before the recorded action continues.

A line is one write to a file that is opened for appending, so a process that is killed leaves whole lines.
Times are seconds on the machine's monotonic clock, which all processes share, since the run began.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg

from zeke_queue import model
from zeke_queue.errors import StorageError, StorageUnavailableError, UsageError
from zeke_queue.storage.forwarding import forward
from zeke_queue.system.clock import SystemClock
from zeke_sim.history import events
from zeke_sim.history.events import Answered, Began, Ended, Invoked, Notified, Received

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from zeke_queue.storage import Storage
    from zeke_queue.storage.forwarding import Call
    from zeke_queue.task.context import JobContext
    from zeke_sim.history.events import Event

PASSED_ON: Final = frozenset(
    {"close", "find", "now", "queue_stats", "wait_for_jobs"}
    | {"begin", "rollback", "subscribe", "unsubscribe", "add", "discard", "wait"}
    | {"create_key", "keys", "valid_keys", "touch_key"}
)
"""Calls that are not recorded: reads that no property uses, waits, blocks, and those of API keys."""

CALLS_OF_ONE: Final = 1_000_000
"""Calls that one process may make before its numbers run into its next life's."""

LIVES_OF_ONE: Final = 1_000

_TYPES: Final = {
    name: value
    for module in (model, events)
    for name, value in vars(module).items()
    if isinstance(value, type) and value.__module__ == module.__name__
}


def dumps(value: Any) -> str:
    """Return an event, or any value of ``zeke_queue.model`` in it, as one line of JSON."""
    return json.dumps(_packed(value), separators=(",", ":"))


def loads(line: str) -> Any:
    return _unpacked(json.loads(line))


def _packed(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [_packed(one) for one in value]
    if is_dataclass(value):
        inside: Any = {field.name: _packed(getattr(value, field.name)) for field in fields(value)}
    else:
        pack = next((pack for kind, pack in _PACKERS if isinstance(value, kind)), None)
        if pack is None:
            return {"$": "other", "v": repr(value)}
        inside = pack(value)
    # A program whose clock is frozen has times of another class, which read as times all the same.
    name = "datetime" if isinstance(value, datetime) else type(value).__name__
    return {"$": name, "v": inside}


_PACKERS: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (Enum, lambda value: value.value),
    (UUID, str),
    (datetime, str),
    (bytes, bytes.decode),
    (set, lambda value: sorted(map(_packed, value), key=repr)),
    (tuple, lambda value: [_packed(one) for one in value]),
    (dict, lambda value: [[_packed(key), _packed(one)] for key, one in value.items()]),
)

_PLAIN: Final[dict[str, Callable[[Any], Any]]] = {
    "UUID": UUID,
    "datetime": datetime.fromisoformat,
    "bytes": str.encode,
    "set": lambda found: {_unpacked(one) for one in found},
    "tuple": lambda found: tuple(_unpacked(one) for one in found),
    "dict": lambda found: {_unpacked(key): _unpacked(one) for key, one in found},
    "other": str,
}


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(one) for one in value]
    if not isinstance(value, dict):
        return value
    name, found = value["$"], value["v"]
    if name in _PLAIN:
        return _PLAIN[name](found)
    made = _TYPES[name]
    if isinstance(found, dict):
        return made(**{key: _unpacked(one) for key, one in found.items()})
    if isinstance(found, list):
        return made(*(_unpacked(one) for one in found))
    return made(found)


class Journal:
    """What one process writes down; ``place`` and ``life`` make the numbers of its calls unique."""

    def __init__(self, path: Path, node: str, epoch: float, place: int, life: int = 0) -> None:
        self.node = node
        self.clock = SystemClock()
        self._epoch = epoch
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._numbers = itertools.count((place * LIVES_OF_ONE + life) * CALLS_OF_ONE + 1)

    def close(self) -> None:
        os.close(self._file)

    def number(self) -> int:
        return next(self._numbers)

    def at(self) -> float:
        return self.clock.monotonic() - self._epoch

    def write(self, event: Event) -> None:
        os.write(self._file, (dumps(event) + "\n").encode())

    def told(self, watch: int, news: model.Job | model.JobEvent) -> None:
        """Record what a watcher received."""
        if isinstance(news, model.Job):
            event: Event = Notified(self.at(), self.node, watch, news.id, news.status, news.attempt)
        else:
            event = Received(self.at(), self.node, watch, news.job_id, news.attempt, news.seq)
        self.write(event)

    @contextmanager
    def attempt(self, job: JobContext) -> Iterator[list[Any]]:
        """Record an attempt of a handler, which appends its result to the list."""
        returned: list[Any] = []
        self.write(Began(self.at(), self.node, job.task, job.id, job.attempt))
        try:
            yield returned
        except BaseException as error:
            how = "cancelled" if isinstance(error, asyncio.CancelledError) else "raised"
            text = f"{type(error).__name__}: {error}"
            self.write(Ended(self.at(), self.node, job.task, job.id, job.attempt, how, text))
            raise
        value = returned[0] if returned else None
        self.write(Ended(self.at(), self.node, job.task, job.id, job.attempt, "returned", value))

    async def call(
        self, verb: str, args: dict[str, Any], made: Callable[[], Any], transaction: int | None
    ) -> Any:
        """Make a call of a storage, with a line before it is made and one after it was answered."""
        call, issued = self.invoked(verb, args, transaction)
        try:
            result = await made()
        except BaseException as error:
            self.failed(call, verb, error, issued)
            raise
        self.write(Answered(self.at(), self.node, call, verb, "ok", result, issued))
        return result

    def invoked(self, verb: str, args: dict[str, Any], transaction: int | None) -> tuple[int, datetime]:
        """Write down that a call begins; returns its number, and a time before which it can't be served."""
        call, issued = self.number(), self.clock.now()
        self.write(Invoked(self.at(), self.node, call, verb, args, transaction))
        return call, issued

    def failed(self, call: int, verb: str, error: BaseException, issued: datetime) -> None:
        """Write down that a call raised."""
        outcome = "failed" if nothing_was_done(error) else "unknown"
        text = f"{type(error).__name__}: {error}"
        self.write(Answered(self.at(), self.node, call, verb, outcome, text, issued))


def nothing_was_done(error: BaseException) -> bool:
    """Return whether an error of a call proves that the storage is unchanged.

    A refusal by the server is such an error; that no answer came, or was awaited, is not.
    """
    if isinstance(error, StorageUnavailableError):
        return False
    if isinstance(error, psycopg.Error):
        return error.sqlstate is not None
    return isinstance(error, UsageError | StorageError)


def recording(storage: Storage, journal: Journal) -> Storage:
    """Return a storage whose calls are written down, with the commit of each transaction of its own.

    Where a block raises no commit is asked for, so none is written down; of a joined one it is the caller's.
    """
    numbers: dict[int | None, int] = {}
    joined: set[int | None] = set()

    async def invoke(call: Call, do: Callable[[], Awaitable[Any]]) -> Any:
        number = call.transaction
        if call.verb == "begin":
            numbers[number] = journal.number()
            if call.arguments["connection"] is not None:
                joined.add(number)
        if call.verb in PASSED_ON or (call.verb == "commit" and number in joined):
            return await do()
        arguments = {} if call.verb == "commit" else dict(call.arguments)
        return await journal.call(call.verb, arguments, do, numbers.get(number))

    return forward(storage, invoke)
