"""When heartbeats are sent: by a stopped clock, with answers and errors that the test gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.place import turns
from zeke_queue.core.leases import reconnect_time
from zeke_queue.errors import StorageError, StorageUnavailableError
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.waiting import end
from zeke_queue.worker.heartbeat_sender import (
    KEPT_SECONDS,
    PAUSE_MAX,
    UNANSWERED_MAX,
    HeartbeatSender,
    answer_timeout,
)

INTERVAL = 5.0
STEP = 0.05


class Calls:
    """The heartbeats that were sent, and what they get.

    Attributes:
        sent: when each was sent.
        open: those without an answer.
        answer: "ok", "error", "not now" to send none, or "none" to leave them open until cancelled.
        seconds: how long each needs until its answer "ok".
    """

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.sent: list[float] = []
        self.open: list[asyncio.Future[None]] = []
        self.most = 0
        self.answer = "ok"
        self.seconds = 0.0
        self.answered = 0
        self.errors: list[StorageError] = []

    async def send(self) -> bool | None:
        self.sent.append(self.clock.monotonic())
        if self.answer == "not now":
            return False
        if self.answer == "error":
            raise StorageUnavailableError("away")
        if self.answer == "none":
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.open.append(waiting)
            self.most = max(self.most, len(self.open))
            try:
                await waiting
            finally:
                self.open.remove(waiting)
        if self.seconds:
            await self.clock.sleep(self.seconds)
        self.answered += 1
        return None

    async def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)
            await turns(6)


@asynccontextmanager
async def sending(interval: float) -> AsyncIterator[Calls]:
    calls = Calls()
    sender = HeartbeatSender(calls.send, calls.errors.append, interval, calls.clock, SeededEntropy(1))
    running = asyncio.ensure_future(sender.run())
    await turns()
    yield calls
    await end(running)
    assert calls.open == []


@pytest.fixture
async def calls() -> AsyncIterator[Calls]:
    async with sending(INTERVAL) as calls:
        yield calls


async def test_heartbeats_are_an_interval_apart(calls: Calls) -> None:
    await calls.advance(20.2)
    assert [round(at, 1) for at in calls.sent] == [5.0, 10.0, 15.0, 20.0]


async def test_time_until_an_answer_does_not_delay_the_next_heartbeat(calls: Calls) -> None:
    calls.answer = "none"
    await calls.advance(6)
    calls.answer = "ok"
    calls.open[0].set_result(None)
    await calls.advance(4.2)
    assert [round(at, 1) for at in calls.sent] == [5.0, 10.0]


@pytest.mark.parametrize("answer", ["error", "none"])
async def test_heartbeat_is_answered_in_time_after_an_outage(calls: Calls, answer: str) -> None:
    calls.answer = answer
    await calls.advance(60)
    calls.answer = "ok"
    await calls.advance(answer_timeout(INTERVAL) + STEP)
    assert calls.sent[-1] > 60
    assert calls.sent[-1] - 60 < reconnect_time(INTERVAL)


async def test_pauses_after_errors_are_short_and_grow(calls: Calls) -> None:
    calls.answer = "error"
    await calls.advance(30)
    pauses = [after - before for before, after in zip(calls.sent, calls.sent[1:], strict=False)]
    assert pauses[0] <= 0.1 + STEP < pauses[-1]
    assert max(pauses) <= PAUSE_MAX + STEP
    assert len(calls.errors) == len(calls.sent)


async def test_unanswered_heartbeats_are_limited(calls: Calls) -> None:
    calls.answer = "none"
    await calls.advance(60)
    assert calls.most == len(calls.open) == UNANSWERED_MAX
    assert len(calls.sent) >= 20


async def test_heartbeat_without_an_answer_is_abandoned(calls: Calls) -> None:
    calls.answer = "none"
    await calls.advance(5.5)
    (one,) = calls.open
    calls.answer = "ok"
    await calls.advance(KEPT_SECONDS - 1)
    assert calls.open == [one]
    await calls.advance(INTERVAL + 1)
    assert (calls.open, calls.errors) == ([], [])


@pytest.mark.parametrize(("interval", "seconds"), [(0.25, 0.5), (1, 2.5), (0.5, 4), (5, 8)])
async def test_connecting_may_take_longer_than_the_interval(interval: float, seconds: float) -> None:
    """The first host of a connection string is down, for example."""
    async with sending(interval) as calls:
        calls.seconds = seconds
        await calls.advance(interval + seconds + STEP)
        assert calls.answered >= 1
        assert calls.errors == []


async def test_late_error_of_an_abandoned_connection_is_not_reported(calls: Calls) -> None:
    calls.answer = "none"
    await calls.advance(6)
    calls.answer = "ok"
    await calls.advance(3)
    assert calls.answered == 1
    calls.open[0].set_exception(StorageUnavailableError("the server has closed it"))
    await turns()
    assert calls.errors == []
    calls.answer = "error"
    await calls.advance(5)
    assert calls.errors


async def test_answer_to_an_older_heartbeat_restores_the_interval(calls: Calls) -> None:
    calls.answer = "none"
    await calls.advance(8)
    assert len(calls.open) == 2
    calls.answer = "ok"
    calls.open[0].set_result(None)
    sent = len(calls.sent)
    await calls.advance(3.5)
    assert len(calls.sent) == sent
    await calls.advance(1)
    assert len(calls.sent) == sent + 1


async def test_heartbeat_that_may_not_be_sent_is_tried_again_soon(calls: Calls) -> None:
    """The lease may have ended by the time it may be sent again."""
    calls.answer = "not now"
    await calls.advance(20)
    assert (calls.answered, calls.errors) == (0, [])
    calls.answer = "ok"
    await calls.advance(PAUSE_MAX + STEP)
    assert calls.answered == 1
