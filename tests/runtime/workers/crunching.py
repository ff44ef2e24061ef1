"""Tasks for processes, which import them from this module."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail, Retry, Snooze

catalog = Catalog()


class Order(BaseModel):
    what: str = "sum"
    path: str = ""


class _Odd(dict[str, Any]):
    def items(self) -> Any:
        raise LookupError("as it was looked at")


def _tell(order: Order, job: JobContext) -> Any:
    print("a handler may print")  # noqa: T201 - it must not end up between the messages
    job.logger.info("counting", upto=3)
    job.progress(0.5, "half")
    return {"pid": os.getpid(), "id": str(job.id), "attempt": job.attempt, "meta": dict(job.meta)}


def _raise(error: BaseException) -> Any:
    raise error


def _deep(levels: int = 1_000) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def _hang(order: Order, job: JobContext) -> None:
    # Reports its process id, so that a test knows that it runs and can check later.
    Path(order.path).write_text(str(os.getpid()), encoding="utf-8")
    threading.Event().wait()


_WAYS: dict[str, Callable[[Order, JobContext], Any]] = {
    "tell": _tell,
    "hang": _hang,
    "fail": lambda order, job: _raise(LookupError("not here")),
    "retry": lambda order, job: _raise(Retry(after=5, reason="busy")),
    "never": lambda order, job: _raise(Fail("never")),
    "snooze": lambda order, job: _raise(Snooze(60)),
    "exit": lambda order, job: sys.exit(3),
    "crash": lambda order, job: os.kill(os.getpid(), signal.SIGSEGV),
    "leave": lambda order, job: os._exit(9),
    "nan": lambda order, job: float("nan"),
    "send": lambda order, job: asyncio.run(job.send("crunch")),
    "never-half": lambda order, job: _raise(Fail("half \ud800")),
    "never-five": lambda order, job: _raise(Fail(cast("Any", 5))),
    "retry-half": lambda order, job: _raise(Retry(reason="half \ud800")),
    "retry-five": lambda order, job: _raise(Retry(reason=cast("Any", object()))),
    "half": lambda order, job: ["half \ud800"],
    "deep": lambda order, job: _deep(),
    "tell-half": lambda order, job: job.progress(0.5, "half \ud800") and None,
    "tell-long": lambda order, job: job.logger.info("long", long=10**5_000, deep=_deep(220)),
    "odd": lambda order, job: _Odd(a=object()),
    "sum": lambda order, job: sum(range(1000)),
}


@catalog.task("crunch", process=True, retry_limit=0)
def crunch(order: Order, job: JobContext) -> Any:
    """Do one of several things, well or badly."""
    return _WAYS[order.what](order, job)


@catalog.task("async-crunch", process=True)
async def async_crunch(order: Order) -> str:
    """Run a coroutine in a process."""
    await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.001)
    return order.what
