"""A table of cases reports every failing case, and refuses to check nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cases import check_each, check_each_async, each


def is_even(number: int) -> None:
    assert number % 2 == 0


def test_every_failing_case_is_reported_and_only_those() -> None:
    checked: list[int] = []

    def check(number: int) -> None:
        checked.append(number)
        is_even(number)

    with pytest.raises(ExceptionGroup) as caught:
        check_each([1, 2, 3, 4], check)
    assert checked == [1, 2, 3, 4]
    assert [error.__notes__ for error in caught.value.exceptions] == [["case 0: 1"], ["case 2: 3"]]
    assert "2 cases fail: case 0: 1; case 2: 3" in str(caught.value)


def test_tuples_are_arguments_and_keys_are_labels() -> None:
    def check(left: int, right: int) -> None:
        assert left == right

    check_each([(1, 1), (2, 2)], check)
    with pytest.raises(ExceptionGroup, match="1 cases fail: case unlike"):
        check_each({"alike": (1, 1), "unlike": (1, 2)}, check)


def test_pytest_failure_of_one_case_does_not_hide_the_others() -> None:
    def check(number: int) -> None:
        with pytest.raises(ZeroDivisionError):
            _ = 1 // number

    with pytest.raises(ExceptionGroup) as caught:
        check_each([0, 1, 2], check)
    assert len(caught.value.exceptions) == 2


def test_empty_table_of_cases_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        check_each([], is_even)


async def test_async_checks_report_every_failing_case() -> None:
    async def check(number: int) -> None:
        is_even(number)

    with pytest.raises(ExceptionGroup) as caught:
        await check_each_async([1, 2, 3], check)
    assert len(caught.value.exceptions) == 2


async def test_each_makes_a_test_that_reports_every_failing_case() -> None:
    @each(1, 2, 3)
    def is_two(number: int) -> None:
        assert number == 2

    @each(1, 2, 3)
    async def is_two_in_the_end(number: int) -> None:
        assert number == 2

    with pytest.raises(ExceptionGroup, match="2 cases fail"):
        is_two()
    awaited: Any = is_two_in_the_end
    with pytest.raises(ExceptionGroup, match="2 cases fail"):
        await awaited()
    assert (is_two.__name__, awaited.__module__) == ("is_two", __name__)
