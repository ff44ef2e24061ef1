"""Halving of batches, to find the rows that prevent the others from being stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


def halve(parts: list[Sequence[T]], part: Sequence[T]) -> bool:
    """Push the halves of a part on a stack, the first on top; return False for a part of one row.

    >>> parts = [[4, 5]]
    >>> halve(parts, [1, 2, 3])
    True
    >>> parts
    [[4, 5], [2, 3], [1]]
    """
    middle = len(part) // 2
    if middle:
        parts += [part[middle:], part[:middle]]
    return middle > 0
