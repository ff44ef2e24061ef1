"""The load of ``bench_live``, a process of its own: tabs that follow jobs, callers, and a writer.

It prints one JSON object. All of it runs on one core beside the server and the database, and its own delay
is part of the latencies.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import resource
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import psycopg

from benchmarks.database import open_storage
from zeke_queue.model import Completed, JobEvent, NewJob, QueueCapacity
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import Ids, SystemEntropy

if TYPE_CHECKING:
    from zeke_queue.storage.postgres import PostgresStorage

WORKER: Final = UUID(int=7)
RUNS_FOR: Final = 2.0
"""Seconds that a job is active."""

new_id = Ids(SystemClock(), SystemEntropy())


class Measured:
    """The recorded observations."""

    def __init__(self) -> None:
        self.changed: dict[tuple[str, str], float] = {}
        self.latencies: defaultdict[str, list[float]] = defaultdict(list)
        self.counts: defaultdict[str, int] = defaultdict(int)

    def change(self, job_id: UUID, what: str) -> None:
        """Note that a statement which changes a job is about to be sent."""
        self.changed[str(job_id), what] = time.monotonic()

    def receive(self, job_id: str, what: str) -> None:
        """Record that a tab got the change."""
        began = self.changed.pop((job_id, what), None)
        if began is not None:
            self.latencies[what].append(time.monotonic() - began)
        self.counts[what] += 1


class Tab(asyncio.Protocol):
    """A tab that follows one job after the other."""

    def __init__(self, tabs: Tabs, job_id: str) -> None:
        self._tabs = tabs
        self.job_id = job_id
        self._rest = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Ask for the stream."""
        self.transport = transport
        transport.write(
            f"GET /jobs/stream/{self.job_id} HTTP/1.1\r\nhost: {self._tabs.host}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Record the received event."""
        told = self._rest + data
        said, end, self._rest = told.rpartition(b"\n\n")
        if not end:
            self._rest = told
            return
        for block in said.split(b"\n\n"):
            if b"event: status" in block:
                status = block.rpartition(b'"status":"')[2].partition(b'"')[0].decode()
                self._tabs.measured.receive(self.job_id, status)
            elif b"event: progress" in block:
                self._tabs.measured.receive(self.job_id, "progress")
            elif b"event: close" in block:
                self._tabs.over(self)
            elif b"HTTP/1.1 200" not in block and block.startswith(b"HTTP/1.1"):
                self._tabs.measured.counts["refused"] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Count those that were not over."""
        del exc
        self._tabs.lost(self)


class Tabs:
    """All tabs."""

    def __init__(self, url: str, measured: Measured) -> None:
        self.host = urlsplit(url).netloc
        self.measured = measured
        self.ended: asyncio.Queue[None] = asyncio.Queue()
        self._open: set[Tab] = set()

    async def open(self, job_id: UUID) -> None:
        """Follow a job."""
        host, port = self.host.split(":")
        tab = Tab(self, str(job_id))
        self._open.add(tab)
        await asyncio.get_running_loop().create_connection(lambda: tab, host, int(port))

    def over(self, tab: Tab) -> None:
        """Close a tab whose job has ended."""
        self._open.discard(tab)
        tab.transport.close()
        self.ended.put_nowait(None)

    def lost(self, tab: Tab) -> None:
        """Count a tab that was closed on it."""
        if tab in self._open:
            self._open.discard(tab)
            self.measured.counts["lost"] += 1

    async def all_told(self, number: int) -> None:
        """Wait until the given number of tabs has its first status."""
        while self.measured.counts["QUEUED"] < number:  # noqa: ASYNC110 - a beat is good enough here
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Close all."""
        for tab in list(self._open):
            self._open.discard(tab)
            tab.transport.close()


async def send(storage: PostgresStorage, number: int) -> list[UUID]:
    """Send jobs to be followed."""
    jobs = [NewJob(new_id(), "followed", fresh=True) for _ in range(number)]
    await storage.insert(jobs)
    return [job.id for job in jobs]


async def change(storage: PostgresStorage, rate: float, measured: Measured) -> None:
    """Start jobs at a rate, report progress, and complete each after a while."""
    began = time.monotonic()
    running: list[tuple[float, UUID, int]] = []
    for number in itertools.count():
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        at = time.monotonic()
        for claimed in await storage.claim(WORKER, [QueueCapacity("followed", 1)], 1):
            measured.changed[str(claimed.id), "EXECUTING"] = at
            running.append((time.monotonic(), claimed.id, claimed.attempt))
            measured.change(claimed.id, "progress")
            await storage.append_events([JobEvent(claimed.id, 1, "progress", '{"value":0.5,"message":null}')])
        while running and running[0][0] + RUNS_FOR < time.monotonic():
            _, job_id, attempt = running.pop(0)
            measured.change(job_id, "COMPLETED")
            await storage.settle(completed=[Completed(job_id, attempt, '{"sent":1}')])


async def follow_on(storage: PostgresStorage, tabs: Tabs) -> None:
    """Make each tab whose job has ended follow another one."""
    while True:
        await tabs.ended.get()
        for job_id in await send(storage, 1):
            await tabs.open(job_id)


async def call(url: str, rate: float, callers: int, measured: Measured) -> None:
    """Trigger jobs and ask for them, half and half."""
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(_call(url, rate / callers, number / rate, measured))


async def _call(url: str, rate: float, phase: float, measured: Measured) -> None:
    host, port = urlsplit(url).netloc.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began, known = time.monotonic() + phase, ""
    body = b'{"taskId":"hello","payload":{"name":"x"}}'
    try:
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            post = number % 2 == 0 or not known
            line = "POST /trigger" if post else f"GET /trigger/runs/{known}"
            head = f"{line} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
            at = time.monotonic()
            writer.write(
                f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
                if post
                else f"{head}\r\n".encode()
            )
            headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(headers.partition("content-length: ")[2].partition("\r\n")[0])
            answer = json.loads(await reader.readexactly(length))
            measured.latencies["POST" if post else "GET"].append(time.monotonic() - at)
            measured.counts["requests"] += 1
            measured.counts["failed requests"] += "200 ok" not in headers
            known = answer.get("id", "")
    finally:
        writer.close()


async def lag(measured: Measured) -> None:
    """Note how late this process itself is, which is in all that it times."""
    while True:
        at = time.monotonic()
        await asyncio.sleep(0.02)
        measured.latencies["lag of the load itself"].append(time.monotonic() - at - 0.02)


def memory(pid: int) -> float:
    """Return MiB that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def processor(pid: int) -> float:
    """Return seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def commits(dsn: str) -> int:
    """Return how many transactions the database has committed, this one included."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute(
            "select xact_commit from pg_stat_database where datname = current_database()"
        ).fetchone()
    assert found is not None  # noqa: S101 - the database is there
    return found[0]


async def phase(dsn: str, pid: int, seconds: float) -> tuple[float, float]:
    """Measure for a while; returns transactions per second and the share of a core that the server used."""
    begun, used, at = commits(dsn), processor(pid), time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - at
    return (commits(dsn) - begun) / took, (processor(pid) - used) / took


async def main(given: dict[str, Any]) -> dict[str, Any]:
    """Open the tabs, be quiet for a while, then load the server."""
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # an event cut off at the end does not matter
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    dsn, url, pid, seconds = given["dsn"], given["url"], given["pid"], given["seconds"]
    measured = Measured()
    tabs = Tabs(url, measured)
    found: dict[str, Any] = {"memory, no tab": memory(pid)}
    async with open_storage(dsn) as storage:
        ids, at = await send(storage, given["tabs"]), time.monotonic()
        for first in range(0, len(ids), 50):
            await asyncio.gather(*(tabs.open(job_id) for job_id in ids[first : first + 50]))
        await tabs.all_told(len(ids))
        found["opening"] = time.monotonic() - at
        await asyncio.sleep(given["settle"])  # an idle connection reports its statistics after 10 s
        found["quiet transactions"], found["quiet core"] = await phase(dsn, pid, given["quiet"])
        found["memory, start"] = memory(pid)
        busy = [
            asyncio.ensure_future(work)
            for work in (
                change(storage, given["changes"], measured),
                follow_on(storage, tabs),
                call(url, given["requests"], 20, measured),
                lag(measured),
            )
        ]
        first, core = await phase(dsn, pid, seconds / 2)
        found["memory, half"] = memory(pid)
        second, core_again = await phase(dsn, pid, seconds / 2)
        found["memory, end"] = memory(pid)
        found |= {"transactions": (first + second) / 2, "core": (core + core_again) / 2}
        for one in busy:
            if one.done():
                one.result()
            one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*busy)
        tabs.close()
    return found | {"latencies": measured.latencies, "counts": measured.counts}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
