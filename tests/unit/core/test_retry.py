"""Retry verdicts: how often, how long, and that they can be replayed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tables import check_gives
from zeke_queue.core.retry import verdict
from zeke_queue.model import RetryPolicy

INT4_MAX = 2**31 - 1

draws = st.floats(0, 1, exclude_max=True)
counts = st.integers(0, 100)
policies = st.builds(
    RetryPolicy,
    limit=st.integers(0, 100),
    delay=st.one_of(st.integers(0, 3600), st.integers(0, INT4_MAX)),
    backoff=st.booleans(),
    delay_max=st.none() | st.integers(0, 100_000) | st.integers(0, INT4_MAX),
)


@given(policy=policies, count=counts, draw=draws)
def test_job_is_retried_while_it_has_retries_left(policy: RetryPolicy, count: int, draw: float) -> None:
    assert (verdict(policy, count, draw) is not None) == (count < policy.limit)


@given(policy=policies, count=counts, draw=draws)
def test_delay_lies_within_its_bounds(policy: RetryPolicy, count: int, draw: float) -> None:
    wait = verdict(policy, count, draw)
    if wait is not None:
        window = policy.delay * 2 ** min(16, count + 1) if policy.backoff else policy.delay
        cap = min(window, INT4_MAX if policy.delay_max is None else policy.delay_max)
        assert min(window / 2, cap) <= wait <= (cap if policy.backoff else window)


@given(delay=st.integers(0, INT4_MAX), cap=st.none() | st.integers(0, 10), count=counts, draw=draws)
def test_delay_without_backoff_is_constant(delay: int, cap: int | None, count: int, draw: float) -> None:
    policy = RetryPolicy(limit=count + 1, delay=delay, backoff=False, delay_max=cap)
    assert verdict(policy, count, draw) == delay


@given(first=draws, second=draws, count=st.integers(0, 30))
def test_greater_draw_never_shortens_the_delay(first: float, second: float, count: int) -> None:
    policy = RetryPolicy(limit=100, delay=3, delay_max=5_000)
    less, more = sorted([first, second])
    shorter, longer = verdict(policy, count, less), verdict(policy, count, more)
    assert shorter is not None
    assert longer is not None
    assert shorter <= longer


def test_window_doubles_with_each_retry_at_most_sixteen_times() -> None:
    check_gives(
        lambda count, draw: verdict(RetryPolicy(limit=20, delay=5), count, draw),
        [
            (0, 0.0, 5.0),
            (0, 0.5, 7.5),
            (1, 0.0, 10.0),
            (2, 0.75, 35.0),
            (14, 0.0, 81_920.0),
            (15, 0.0, 163_840.0),
            (16, 0.0, 163_840.0),
        ],
    )


def test_cap_limits_the_drawn_wait_and_not_the_window() -> None:
    check_gives(
        lambda draw: verdict(RetryPolicy(limit=9, delay=1, delay_max=10), 3, draw),
        [(0.0, 8.0), (0.25, 10.0), (0.5, 10.0), (0.99, 10.0)],
    )


def test_delay_fits_into_a_timestamp() -> None:
    policy = RetryPolicy(limit=100, delay=INT4_MAX)
    assert verdict(policy, 50, 0.5) == INT4_MAX


def test_limit_of_zero_fails_at_once() -> None:
    assert verdict(RetryPolicy(limit=0), 0, 0.0) is None


def test_delay_of_zero_does_not_wait() -> None:
    assert verdict(RetryPolicy(delay=0), 0, 0.9) == 0.0


def test_negative_values_of_other_programs_count_as_none() -> None:
    check_gives(
        lambda count, delay, cap: verdict(RetryPolicy(limit=3, delay=delay, delay_max=cap), count, 0.0),
        [(-(2**31), 5, None, 5.0), (0, -(2**31), None, 0.0), (0, 5, -1, 0.0), (0, 5, 0, 0.0)],
    )
    assert verdict(RetryPolicy(limit=3, delay=-1, backoff=False), 0, 0.0) == 0.0
