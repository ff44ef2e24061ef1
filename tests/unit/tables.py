"""Tables of calls: what each returns, and which are rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from tests.cases import check_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def check_gives(
    call: Callable[..., Any], cases: Mapping[str, tuple[Any, ...]] | Iterable[tuple[Any, ...]]
) -> None:
    """Call with all values of each case but the last, and compare the result with the last."""

    def check(*case: Any) -> None:
        *arguments, expected = case
        assert call(*arguments) == expected

    check_each(cases, check)


def check_refused(
    call: Callable[[Any], object], error: type[Exception], values: Iterable[Any], match: str | None = None
) -> None:
    """Call with each value, which must raise the error, with a message that matches."""

    def check(value: object) -> None:
        with pytest.raises(error, match=match):
            call(value)

    check_each([(value,) for value in values], check)
