"""One test for a table of cases, which reports every case that fails and not only the first."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

LABEL_MAX = 200
"""Characters of a case that its label shows."""

# What pytest.raises and pytest.fail raise is a BaseException.
_FAILURES = (Exception, pytest.fail.Exception)


def check_each(cases: Mapping[str, Any] | Iterable[Any], check: Callable[..., object]) -> None:
    """Call ``check`` with every case and raise all failures together.

    State does not reset between cases as it does between tests: a check builds what it changes.

    Args:
        cases: the cases; a tuple is passed as positional arguments, anything else as the only one. The keys
            of a mapping label its cases; otherwise a case is labelled by its position and its text.
        check: raises for a case that fails, as a test does.

    Raises:
        ExceptionGroup: every failure, each with its case as a note.
        ValueError: there are no cases, so nothing would have been checked.
    """
    report = _Report()
    for label, arguments in _labelled(cases):
        try:
            check(*arguments)
        except _FAILURES as error:
            report.add(label, error)
    report.finish()


async def check_each_async(
    cases: Mapping[str, Any] | Iterable[Any], check: Callable[..., Awaitable[object]]
) -> None:
    """Do what ``check_each`` does, awaiting the checks one after the other."""
    report = _Report()
    for label, arguments in _labelled(cases):
        try:
            await check(*arguments)
        except _FAILURES as error:
            report.add(label, error)
    report.finish()


def each(*cases: Any) -> Callable[[Callable[..., object]], Callable[[], object]]:
    """Make a test of a check: it does what ``check_each`` does with these cases.

    They are made when the module is imported, so they are cheap; and a test that needs fixtures calls
    ``check_each`` itself.
    """

    def decorate(check: Callable[..., Any]) -> Callable[[], object]:
        async def each_in_turn() -> None:
            await check_each_async(cases, check)

        def each_one() -> None:
            check_each(cases, check)

        test = each_in_turn if iscoroutinefunction(check) else each_one
        test.__name__, test.__qualname__ = check.__name__, check.__qualname__
        test.__module__, test.__doc__ = check.__module__, check.__doc__
        return test

    return decorate


class _Report:
    """Collects the failures of one table."""

    def __init__(self) -> None:
        self._failures: list[Exception] = []

    def add(self, label: str, error: BaseException) -> None:
        failure = error if isinstance(error, Exception) else AssertionError(str(error))
        failure.add_note(f"case {label}")
        self._failures.append(failure.with_traceback(error.__traceback__))

    def finish(self) -> None:
        if self._failures:
            labels = "; ".join(error.__notes__[-1] for error in self._failures)
            raise ExceptionGroup(f"{len(self._failures)} cases fail: {labels}", self._failures)


def _labelled(cases: Mapping[str, Any] | Iterable[Any]) -> list[tuple[str, tuple[Any, ...]]]:
    if isinstance(cases, Mapping):
        named = [(str(label), case) for label, case in cases.items()]
    else:
        named = [(f"{index}: {_text(case)}", case) for index, case in enumerate(cases)]
    if not named:
        raise ValueError("cases: must not be empty, since a test without cases checks nothing")
    return [(label, case if isinstance(case, tuple) else (case,)) for label, case in named]


def _text(case: object) -> str:
    try:
        text = repr(case)
    except Exception:  # noqa: BLE001 - a case may be an object whose text cannot be had
        text = f"<{type(case).__name__}>"
    return text if len(text) <= LABEL_MAX else f"{text[:LABEL_MAX]}…"
