"""The rate limit: calls per minute, concurrent calls, and deferral of calls that would wait long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clocks import START, FrozenClock
from tests.tasks.ai.samples import PROMPT, TEXT
from zeke_queue.system.clock import Clock, SystemClock
from zeke_sim.loop.clock import VirtualClock
from zeke_sim.loop.event_loop import VirtualLoop
from zeke_tasks.ai import (
    AIError,
    AIRateLimited,
    AIUnavailable,
    Analysis,
    Answer,
    Briefs,
    Embedded,
    Limited,
    M,
    Prompt,
    StubClient,
)
from zeke_tasks.testing.ai import ScriptedAI

T = TypeVar("T")

FOREVER = 1e9


class Timed:
    """A client that takes its time, and keeps when each call began and how many there were at once."""

    def __init__(self, clock: Clock, durations: Sequence[float]) -> None:
        self.began: list[float] = []
        self.most = 0
        self._now = 0
        self._clock = clock
        self._durations = list(durations)

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        await self._call()
        return await StubClient().ask(prompt, text, answer)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        await self._call()
        return await StubClient().embed(texts)

    async def _call(self) -> None:
        self.began.append(self._clock.monotonic())
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await self._clock.sleep(self._durations.pop(0))
        finally:
            self._now -= 1


def in_virtual_time(work: Callable[[VirtualClock], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(work(VirtualClock(loop, START)))
    finally:
        loop.leave()
        loop.close()


def limited(inner: Timed | ScriptedAI, clock: Clock, **limits: Any) -> Limited:
    return Limited(
        inner, clock, **{"requests_per_minute": 100, "at_once": 100, "patience": FOREVER, **limits}
    )


def on_frozen_clock(durations: Sequence[float], **limits: Any) -> tuple[FrozenClock, Timed, Limited]:
    clock = FrozenClock()
    inner = Timed(clock, durations)
    return clock, inner, limited(inner, clock, **limits)


def scripted(*answers: Analysis | Briefs | AIError) -> ScriptedAI:
    ai = ScriptedAI()
    ai.put(PROMPT.name, *answers)
    return ai


async def settle() -> None:
    """Run every task until it waits for something."""
    for _ in range(50):
        await SystemClock().sleep(0)


async def at_once(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    await settle()
    if not task.done():
        task.cancel()
        pytest.fail("it waits")
    return await task


seconds = st.floats(0, 50, allow_subnormal=False)
calls = st.lists(st.tuples(seconds, seconds, st.none() | seconds, st.booleans()), min_size=1, max_size=30)
"""Of each: seconds since the one before, how long it takes, when its caller is cancelled, whether it asks."""


@given(calls=calls, per_minute=st.integers(1, 5), most=st.integers(1, 4))
@settings(deadline=None, max_examples=100)
def test_limits_are_never_exceeded(
    calls: list[tuple[float, float, float | None, bool]], per_minute: int, most: int
) -> None:
    async def check(clock: VirtualClock) -> None:
        inner = Timed(clock, [duration for _, duration, _, _ in calls])
        ai = limited(inner, clock, requests_per_minute=per_minute, at_once=most)
        callers: list[asyncio.Task[Any]] = []
        for pause, _, cancelled_after, asks in calls:
            await clock.sleep(pause)
            caller = asyncio.ensure_future(ai.ask(PROMPT, TEXT, Briefs) if asks else ai.embed([TEXT]))
            if cancelled_after is not None:
                asyncio.get_running_loop().call_later(cancelled_after, caller.cancel)
            callers.append(caller)
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert inner.most <= most
        for first, beyond in zip(inner.began, inner.began[per_minute:], strict=False):
            assert beyond - first >= 60 - 1e-6
        kept = [
            outcome
            for (_, _, cancelled, _), outcome in zip(calls, outcomes, strict=True)
            if cancelled is None
        ]
        assert [outcome for outcome in kept if isinstance(outcome, BaseException)] == [], "nobody is left out"

    in_virtual_time(check)


def test_calls_begin_in_order_as_early_as_allowed() -> None:
    async def check(clock: VirtualClock) -> None:
        inner = Timed(clock, [1.0] * 5)
        ai = limited(inner, clock, requests_per_minute=2)
        await asyncio.gather(*(ai.embed([f"text {number}"]) for number in range(5)))
        assert inner.began == pytest.approx([0, 0, 60, 60, 120])

    in_virtual_time(check)


async def test_limit_is_kept_after_a_stalled_process() -> None:
    clock, inner, ai = on_frozen_clock([0.0] * 5, requests_per_minute=1)
    callers = [asyncio.create_task(ai.embed([TEXT])) for _ in range(3)]
    await settle()
    clock.advance(300.0)
    await settle()
    assert inner.began == [0.0, 300.0]
    clock.advance(60.0)
    await settle()
    assert inner.began == [0.0, 300.0, 360.0]
    await asyncio.gather(*callers)


async def test_call_that_would_wait_too_long_is_refused() -> None:
    clock, inner, ai = on_frozen_clock([0.0] * 9, requests_per_minute=2, patience=70.0)
    patient = [asyncio.create_task(ai.embed([TEXT])) for _ in range(4)]
    await settle()
    with pytest.raises(AIRateLimited) as caught:
        await at_once(ai.embed([TEXT]))
    assert caught.value.retry_after == 120.0
    clock.advance(60.0)
    await asyncio.gather(*patient)
    assert inner.began == [0.0, 0.0, 60.0, 60.0]


async def test_cancelled_caller_leaves_its_turn_to_the_next() -> None:
    clock, inner, ai = on_frozen_clock([0.0] * 3, requests_per_minute=1)
    await ai.embed([TEXT])
    gone, next_one = (asyncio.create_task(ai.embed([TEXT])) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    clock.advance(60.0)
    await next_one
    assert inner.began == [0.0, 60.0]


async def test_calls_are_refused_until_the_rate_limit_ends() -> None:
    clock = FrozenClock()
    inner = scripted(AIRateLimited(40.0), Briefs(one_liner="a", two_liner="b", elevator="c"))
    ai = limited(inner, clock)
    with pytest.raises(AIRateLimited):
        await ai.ask(PROMPT, TEXT, Briefs)
    clock.advance(10.0)
    with pytest.raises(AIRateLimited) as caught:
        await ai.ask(PROMPT, TEXT, Briefs)
    assert caught.value.retry_after == 30.0
    assert len(inner.asked) == 1
    clock.advance(30.0)
    assert (await ai.ask(PROMPT, TEXT, Briefs)).value.one_liner == "a"


class Overrun(Timed):
    """A client that reports after a while that its limit is reached."""

    async def embed(self, texts: Sequence[str]) -> Embedded:  # noqa: ARG002 - a client
        await self._call()
        raise AIRateLimited(500.0)


async def test_waiting_callers_are_refused_after_a_rate_limit() -> None:
    clock = FrozenClock()
    inner = Overrun(clock, [5.0, 5.0])
    ai = limited(inner, clock, at_once=1)
    callers = [asyncio.create_task(ai.embed([TEXT])) for _ in range(2)]
    await settle()
    for _ in callers:
        clock.advance(5.0)
        await settle()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [outcome.retry_after for outcome in outcomes if isinstance(outcome, AIRateLimited)] == [500, 500]
    assert inner.began == [0.0]


class Limits(Timed):
    """A client whose calls report after a while that a limit is reached, each for another time."""

    async def embed(self, texts: Sequence[str]) -> Embedded:  # noqa: ARG002 - a client
        seconds = 10.0 if self.began else 500.0
        await self._call()
        raise AIRateLimited(seconds)


async def test_longer_of_two_rate_limits_counts() -> None:
    clock = FrozenClock()
    ai = limited(Limits(clock, [5.0, 6.0]), clock, at_once=2)
    callers = [asyncio.create_task(ai.embed([TEXT])) for _ in range(2)]
    await settle()
    for _ in range(6):
        clock.advance(1.0)
        await settle()
    await asyncio.gather(*callers, return_exceptions=True)
    with pytest.raises(AIRateLimited) as caught:
        await ai.embed([TEXT])
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 400


def test_new_caller_waits_behind_waiting_callers() -> None:
    async def check(clock: VirtualClock) -> None:
        inner, order = Timed(clock, [0.0] * 3), list[str]()
        ai = limited(inner, clock, requests_per_minute=1)

        async def call(name: str, after: float) -> None:
            await clock.sleep(after)
            await ai.embed([TEXT])
            order.append(name)

        await asyncio.gather(call("late", 60.0), call("first", 0.0), call("second", 1.0))
        assert order == ["first", "second", "late"]

    in_virtual_time(check)


class EarlyWakingClock(FrozenClock):
    async def sleep(self, seconds: float) -> None:
        self.advance(max(seconds / 2, 1.0))


async def test_early_wakeup_does_not_start_a_call_early() -> None:
    clock = EarlyWakingClock()
    inner = Timed(clock, [0.0, 0.0])
    ai = limited(inner, clock, requests_per_minute=1)
    await ai.embed([TEXT])
    await ai.embed([TEXT])
    assert inner.began[1] - inner.began[0] >= 60


async def test_call_after_a_rate_limit_is_refused_at_once() -> None:
    ai = limited(scripted(AIRateLimited(500.0)), FrozenClock(), requests_per_minute=1)
    with pytest.raises(AIRateLimited):
        await ai.ask(PROMPT, TEXT, Briefs)
    with pytest.raises(AIRateLimited):
        await at_once(ai.ask(PROMPT, TEXT, Briefs))


async def test_cancelled_callers_do_not_count_as_waiting() -> None:
    clock, inner, ai = on_frozen_clock([5.0, 0.0], requests_per_minute=2, at_once=1, patience=10.0)
    first, *gone = (asyncio.create_task(ai.embed([TEXT])) for _ in range(3))
    await settle()
    for caller in gone:
        caller.cancel()
    last = asyncio.create_task(ai.embed([TEXT]))
    await settle()
    clock.advance(5.0)
    await asyncio.gather(first, last)
    assert inner.began == [0.0, 5.0]


async def test_other_failures_do_not_block_later_calls() -> None:
    inner = scripted(AIUnavailable(retry_after=500.0), Analysis(why_it_matters=["a"], chili=1, confidence=1))
    ai = limited(inner, FrozenClock(), at_once=1)
    with pytest.raises(AIUnavailable):
        await ai.ask(PROMPT, TEXT, Analysis)
    assert (await ai.ask(PROMPT, TEXT, Analysis)).value.chili == 1
