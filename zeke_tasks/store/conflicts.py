"""Conflicts of transactions on the newsroom's tables, and their repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self, TypeVar

from zeke_queue.errors import StorageUnavailableError, TimeLimitError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

TRIES: Final = 3
"""Tries of a transaction that conflicts with others, for example in a deadlock."""


class ConflictError(StorageUnavailableError):
    """The server rolled a transaction back because of a concurrent one; nothing has changed."""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Return the error for the driver's."""
        reason = str(error).partition("\n")[0]
        return cls(f"The transaction was rolled back because of a conflict; repeat it: {reason}")


async def repeated(once: Callable[[], Awaitable[T]]) -> T:
    """Run a function that opens and ends a transaction; try at most ``TRIES`` times after conflicts.

    Raises:
        StorageUnavailableError: each try met a conflict, or the database does not answer.
    """
    for _ in range(TRIES - 1):
        try:
            return await once()
        except TimeLimitError:
            raise  # it has waited for long enough
        except StorageUnavailableError:
            continue
    return await once()
