"""Faults: one that has no effect ends the run, since the row of its table would show nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest

from tests.cases import check_each_async
from tests.chaos.__main__ import ONLY_FULL, SHORT_SETS
from tests.chaos.faults import FAULTS, FaultContext, NoEffectError
from tests.chaos.servers import AsynchronousPair, Pooled, SmallDisk
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

    restart = terminate = become_standby = fill = fail_over = execute = _nothing

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

    await check_each_async(FAULTS.keys() - {"none", "mixed"}, check)


async def test_fault_may_have_no_effect_beside_another() -> None:
    for _ in range(5):
        await FAULTS["mixed"].inject(unmoved())
    await FAULTS["none"].inject(unmoved())


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
