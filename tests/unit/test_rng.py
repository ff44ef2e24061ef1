"""Ids sort by time and never repeat; seeded streams can be replayed and don't disturb each other."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import RFC_4122

from hypothesis import example, given
from hypothesis import strategies as st

from zeke_queue.system.entropy import Ids, SeededEntropy, SystemEntropy

START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class StepClock:
    """A clock that shows given times in order, and then stops."""

    def __init__(self, *milliseconds: int) -> None:
        self.times = [START + timedelta(milliseconds=ms) for ms in milliseconds] or [START]

    def now(self) -> datetime:
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def seeds() -> st.SearchStrategy[int]:
    return st.integers(0, 2**64)


@given(seed=seeds(), times=st.lists(st.integers(0, 100), max_size=50))
def test_ids_of_one_maker_grow_whatever_its_clock_does(seed: int, times: list[int]) -> None:
    ids = Ids(StepClock(*times), SeededEntropy(seed))
    made = [ids() for _ in range(60)]
    assert made == sorted(set(made))


def test_ids_grow_beyond_the_counter_of_a_millisecond() -> None:
    ids = Ids(StepClock(), SeededEntropy(1))
    made = [ids() for _ in range(20_000)]
    assert made == sorted(set(made))


@example(seed=0, ms=428_893_264_430)  # its seconds, as a float, are a hair less
@given(seed=seeds(), ms=st.integers(0, 10**12))
def test_id_is_a_version_7_uuid_of_its_time(seed: int, ms: int) -> None:
    made = Ids(StepClock(ms), SeededEntropy(seed))()
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == round(START.timestamp() * 1000) + ms


@given(seed=seeds())
def test_equal_seeds_give_equal_ids(seed: int) -> None:
    first, second = (Ids(StepClock(0, 1, 1, 5), SeededEntropy(seed)) for _ in range(2))
    assert [first() for _ in range(9)] == [second() for _ in range(9)]


def test_makers_of_different_seeds_give_different_ids() -> None:
    assert len({Ids(StepClock(), SeededEntropy(seed))() for seed in range(1_000)}) == 1_000


def test_stream_is_the_same_object_at_each_call() -> None:
    for entropy in (SeededEntropy(1), SystemEntropy()):
        assert entropy.stream("retry") is entropy.stream("retry")
        assert entropy.stream("retry") is not entropy.stream("id")


@given(seed=seeds(), extra=st.integers(0, 20))
def test_draws_from_one_stream_do_not_affect_others(seed: int, extra: int) -> None:
    quiet, busy = SeededEntropy(seed), SeededEntropy(seed)
    for _ in range(extra):
        busy.stream("id").random()
    assert quiet.stream("retry").random() == busy.stream("retry").random()


@given(seed=seeds())
def test_streams_of_different_names_draw_differently(seed: int) -> None:
    entropy = SeededEntropy(seed)
    assert entropy.stream("retry").random() != entropy.stream("id").random()


def test_streams_of_the_system_differ_from_process_to_process() -> None:
    assert SystemEntropy().stream("id").random() != SystemEntropy().stream("id").random()


FORKING = """
import os
from zeke_queue.system.entropy import SystemEntropy
stream = SystemEntropy().stream("id")
stream.random()
if child := os.fork():
    os.waitpid(child, 0)
print(stream.getrandbits(62))
"""


def test_streams_of_the_system_differ_after_a_fork() -> None:
    # Else two servers that a parent loaded and forked would make the same ids, and one job would be lost.
    done = subprocess.run([sys.executable, "-c", FORKING], check=True, capture_output=True, text=True)
    first, second = done.stdout.split()
    assert first != second


def test_seeded_draw_is_the_same_on_every_machine_and_version() -> None:
    assert SeededEntropy(42).stream("retry").random() == 0.47893804165934895
