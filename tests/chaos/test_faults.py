"""Faults: one that has no effect ends the run, since the row of its table would show nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest

from tests.cases import check_each_async
from tests.chaos.__main__ import ONLY_FULL, SHORT_SETS
from tests.chaos.faults import FAULTS, FaultContext, NoEffectError, kill, pause
from tests.chaos.servers import CONNECTIONS, AsynchronousPair, Pooled, SmallDisk
from tests.clocks import FrozenClock
from zeke_queue.system.entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Quick(FrozenClock):
    """A clock that a sleep moves."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


class Unmoved(Pooled, SmallDisk, AsynchronousPair):
    """A database of every kind on which no fault has an effect."""

    def __init__(self) -> None: ...

    async def _nothing(self, *_: Any, **__: Any) -> Any:
        return False

    restart = terminate = become_standby = fill = fail_over = execute = fall_behind = promote = _nothing

    def nearly_fill(self) -> None: ...

    def kill_primary(self) -> None: ...

    def restart_pooler(self) -> bool:
        return False

    async def fetch(self, *_: object, **__: object) -> list[tuple[Any, ...]]:
        return [("off",)]

    async def hold(self) -> psycopg.AsyncConnection:
        raise psycopg.OperationalError

    async def admin(self) -> Any:
        return Connection()


class Connection:
    """A connection whose statements meet no rows."""

    rowcount = 0

    async def execute(self, *_: object) -> Connection:
        return self

    async def fetchone(self) -> tuple[float]:
        return (0.5,)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        yield


class Gone:
    """A process that does not run."""

    name = "w1"
    starts = 1

    def look(self) -> None: ...

    async def kill(self) -> bool:
        return False

    async def pause(self) -> bool:
        return False

    async def start(self) -> None: ...


def unmoved() -> FaultContext:
    node: Any = Gone()
    draw = SeededEntropy(1).stream("faults")
    return FaultContext(Unmoved(), [node], node, 15.0, 23.0, 5.0, Quick(), draw)


async def test_fault_without_an_effect_is_an_error() -> None:
    async def check(name: str) -> None:
        with pytest.raises(NoEffectError):
            await FAULTS[name].inject(unmoved())

    await check_each_async(FAULTS.keys() - {"none"}, check)


async def test_fault_may_have_no_effect_beside_another_that_has_one() -> None:
    context = unmoved()
    context.beside_others = True
    await kill(context)
    assert context.done == []
    await FAULTS["none"].inject(unmoved())


class Process:
    """A process that can be killed and paused."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = 1
        self.starts = 1
        self.runs = True

    def look(self) -> None: ...

    async def kill(self) -> bool:
        killed, self.runs = self.runs, False
        return killed

    async def start(self) -> None:
        self.starts += not self.runs
        self.runs = True

    async def pause(self) -> bool:
        return self.runs

    def resume(self) -> None: ...


async def test_run_of_kill_kills_each_process_once() -> None:
    async def check(seed: int) -> None:
        context = unmoved()
        names = ("w1", "w2", "w3", "api")
        workers: list[Any] = [Process(name) for name in names]
        context.workers, context.api = workers[:3], workers[3]
        context.draw = SeededEntropy(seed).stream("faults")
        for _ in range(FAULTS["kill"].times):
            await FAULTS["kill"].inject(context)
        assert {one.node for one in context.done} == {*names}

    await check_each_async(range(8), check)


async def test_process_that_holds_no_jobs_is_paused_again() -> None:
    async def check(answers: list[bool]) -> None:

        class Holding(Unmoved):
            async def fetch(self, *_: object, **__: object) -> list[tuple[Any, ...]]:
                return [(answers.pop(0) if answers else False,)]

        context = unmoved()
        process: Any = Process("w1")
        context.workers, context.database = [process], Holding()
        await pause(context)
        (one,) = context.done
        # From the pause that lasted; the question takes a moment.
        assert round(one.until - one.since, 6) == context.silence + 3.2

    await check([True])
    await check([False, False, True])
    with pytest.raises(NoEffectError):
        await check([])


async def test_pause_of_a_process_that_is_killed_meanwhile_excuses_nothing() -> None:
    context = unmoved()
    process: Any = Process("w1")
    context.workers, context.beside_others = [process], True

    class Killing(Quick):
        async def sleep(self, seconds: float) -> None:
            await process.kill()
            await process.start()
            await super().sleep(seconds)

    await pause(context)
    assert [one.until - one.since for one in context.done] == [context.silence + 3.2]
    context.done.clear()
    context.clock = Killing()
    await pause(context)
    assert context.done == []


async def test_connections_are_taken_for_longer_than_the_outage_on_a_busy_machine() -> None:
    """A slow program gets them one by one, and keeps them for the whole outage then."""

    class Slow(Unmoved):
        def __init__(self, clock: Quick) -> None:
            self.moments = clock
            self.used = 0
            self.free = 0

        async def hold(self) -> Any:
            await self.moments.sleep(0.1)
            if not self.free:
                raise psycopg.OperationalError
            self.free -= 1
            self.used += 1
            return Held()

        async def terminate(self, *_: object) -> bool:
            self.free = min(1, CONNECTIONS - self.used)
            return True

    context = unmoved()
    clock = Quick()
    context.clock, context.database = clock, Slow(clock)
    await FAULTS["no-connections"].inject(context)
    (one,) = context.done
    assert one.until - one.since > 2 * context.seconds


class Held:
    """A connection."""

    async def close(self) -> None: ...


async def test_only_an_outage_longer_than_a_lease_takes_jobs_away() -> None:
    async def check(seconds: float, *, cuts: bool, loses: bool) -> None:
        context = unmoved()

        async def work() -> bool:
            await context.clock.sleep(seconds)
            return True

        await context.during("server crashed", work(), cuts=cuts)
        assert [one.loses for one in context.done] == [loses]

    cases = [
        partial(check, 16, cuts=True, loses=True),
        partial(check, 14, cuts=True, loses=False),
        partial(check, 16, cuts=False, loses=False),
    ]
    await check_each_async(cases, lambda one: one())


async def test_lost_connection_of_a_fault_is_an_error_unless_another_ends_it() -> None:
    async def lost() -> bool:
        raise psycopg.OperationalError

    context = unmoved()
    with pytest.raises(psycopg.OperationalError):
        await context.during("rows locked", lost())
    context.beside_others = True
    await context.during("rows locked", lost())
    assert [one.what for one in context.done] == ["rows locked"] * 2


def test_short_runs_take_each_fault_once_but_for_those_left_out() -> None:
    assert sorted(name for names in SHORT_SETS for name in names) == sorted(FAULTS.keys() - set(ONLY_FULL))
