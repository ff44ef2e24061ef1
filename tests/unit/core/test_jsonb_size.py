"""The size of JSON as Postgres writes it, computed without writing it if possible."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zeke_queue.core import jsonb

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e300, 1e308, -1.7976931348623157e308, 5e-324, -1.234567890123456e-300, 1e16, 10**400]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.sampled_from(["1e5", "a,b:c", "\x01\x7f\u2028", "🙂"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text("ab,:ü1e2", max_size=4), inner)),
)


@given(VALUES, st.integers(-2, 2))
@example([sys.float_info.max] * 3, 0)
@example([1e308], -1)
@example([-5e-324], -1)
def test_size_is_exact_to_the_byte(value: Any, off: int) -> None:
    text = jsonb.dumps(value)
    size = len(jsonb.normalise(text).encode())
    assert jsonb.size_over(text, size + off) == (size if off < 0 else None)


@given(VALUES)
def test_size_over_agrees_with_the_exact_size(value: Any) -> None:
    text = jsonb.dumps(value)
    size = len(jsonb.normalise(text).encode())
    for cap in (len(text) * 64, len(text) * 64 - 1, 10**6):
        assert (jsonb.size_over(text, cap) is None) == (size <= cap)


def test_value_far_below_the_cap_is_not_serialized(monkeypatch: pytest.MonkeyPatch) -> None:
    def normalise(text: str) -> str:
        raise AssertionError(f"{text[:20]} was written out")

    monkeypatch.setattr(jsonb, "normalise", normalise)
    for value in [["plain"] * 100, {"id": "1e5" * 10}, [1e300] * 10]:
        assert jsonb.size_over(jsonb.dumps(value), 2**20) is None


def test_size_over_the_cap_is_exact_without_writing_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonb, "normalise", None)
    assert jsonb.size_over(jsonb.dumps([1e308] * 1000), 2**10) == 311_000
    assert jsonb.size_over(jsonb.dumps(["1e308"] * 1000), 2**10) == 9000
    assert jsonb.size_over(jsonb.dumps([-0.0, '-0.0,"', 1.5e-7, True] * 100), 2**10) == 3400


@given(st.lists(st.sampled_from(["x", "1" * 4299, "1" * 4300, "1" * 4301, "1" * 9000, "-", "y" * 5000])))
def test_long_number_is_found_wherever_it_is(parts: list[str]) -> None:
    text = "".join(parts)
    assert jsonb._has_long_number(text) == any(len(row) > 4300 for row in text.translate(_NO_DIGITS).split())


_NO_DIGITS = {ord(one): " " for one in "xy-"}
