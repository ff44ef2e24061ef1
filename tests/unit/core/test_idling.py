"""The waits of a worker that finds nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zeke_queue.core.poll_backoff import IDLE_LADDER, idle_wait

polls = st.floats(0.001, 60)


@given(poll=polls, n=st.integers(0, 100))
def test_waits_grow_up_to_the_poll_interval(poll: float, n: int) -> None:
    assert idle_wait(n, poll) <= idle_wait(n + 1, poll) <= poll


@given(poll=polls)
def test_wait_reaches_the_poll_interval(poll: float) -> None:
    assert idle_wait(len(IDLE_LADDER), poll) == idle_wait(10_000, poll) == poll


def test_first_polls_of_an_idle_worker_come_soon() -> None:
    assert [idle_wait(n, 2.0) for n in range(4)] == [0.05, 0.2, 1.0, 2.0]
