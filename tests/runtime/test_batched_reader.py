"""Queries that several readers share: a reader does not wait for what others read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from tests.conformance.driver import soon
from zeke_queue.core import event_limits
from zeke_queue.model import JobEvent
from zeke_queue.system.clock import SystemClock
from zeke_queue.watch.batched_reader import BatchedReader

LONG, SHORT = UUID(int=1), UUID(int=2)


class Kept:
    """A storage of lines, numbered from 1, whose reads end when the test permits."""

    def __init__(self, **lengths: int) -> None:
        self.lengths = {UUID(name.removeprefix("job").zfill(32)): length for name, length in lengths.items()}
        self.looks: list[dict[UUID, int]] = []

    async def events(self, after: Mapping[UUID, int]) -> list[JobEvent]:
        self.looks.append(dict(after))
        share = event_limits.of_each(len(after))
        await SystemClock().sleep(0)
        return [
            JobEvent(job_id, 1, "log", "{}", seq)
            for job_id, seen in after.items()
            for seq in range(seen + 1, self.lengths.get(job_id, 0) + 1)[:share]
        ]


async def ask(kept: Kept, *questions: tuple[UUID, int]) -> list[tuple[list[int], bool]]:
    """Ask for lines, all at once; returns the numbers of those that came, and whether there may be more."""
    storage: Any = kept
    reader = BatchedReader(storage)
    told = await soon(asyncio.gather(*(reader.events(*question) for question in questions)))
    await reader.close()
    return [([line.seq for line in lines], more) for lines, more in told]


async def test_reader_with_all_lines_does_not_wait_for_readers_of_another_job() -> None:
    kept = Kept(job1=50_000, job2=3)
    told = await ask(kept, (LONG, 0), (SHORT, 3), (SHORT, 1))
    assert told[0] == (list(range(1, 501)), True)
    assert told[1] == ([], False)
    assert told[2] == ([2, 3], False)
    assert len(kept.looks) == 2  # its requests are all read first, and those of the other by the next query


async def test_reader_with_all_lines_is_answered_while_others_begin() -> None:
    kept = Kept(job1=50_000)
    told = await ask(kept, (LONG, 0), (LONG, 10_000), (LONG, 20_000), (LONG, 50_000))
    assert [numbers[:1] for numbers, _ in told] == [[1], [10_001], [20_001], []]
    assert [more for _, more in told] == [True, True, True, False]
    assert len(kept.looks) == 4


async def test_reader_with_more_to_come_gets_some_lines() -> None:
    kept = Kept(job1=1001)
    told = await ask(kept, (LONG, 0), (LONG, 1000), (LONG, 1001), (LONG, 999))
    assert told == [(list(range(1, 1001)), True), ([1001], False), ([], False), ([1000], True)]


async def test_readers_at_near_positions_share_a_query() -> None:
    kept = Kept(job1=900)
    told = await ask(kept, (LONG, 0), (LONG, 0), (LONG, 450), (LONG, 900))
    assert [len(numbers) for numbers, _ in told] == [900, 900, 450, 0]
    assert len(kept.looks) == 1


async def test_waiting_reader_is_not_overtaken_by_later_requests() -> None:
    kept = Kept(job1=50_000)
    storage: Any = kept
    reader = BatchedReader(storage)
    told: list[int] = []

    async def read(from_: int) -> None:
        at = from_
        while len(told) < 1:
            lines, _ = await reader.events(LONG, at)
            at = lines[-1].seq

    async def current() -> None:
        told.append(len((await reader.events(LONG, 50_000))[0]))

    reading = [asyncio.ensure_future(read(n)) for n in (0, 5_000, 10_000)]
    await soon(asyncio.gather(current(), *reading))
    await reader.close()
    assert told == [0]
    assert len(kept.looks) <= 8
