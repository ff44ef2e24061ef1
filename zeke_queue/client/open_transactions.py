"""The transactions that the running code has open, so that changes of jobs outside of them can be refused.

A change outside an open transaction of the same storage takes another connection, and may fail because of a
singleton key or a slot that the transaction has taken. A task inherits the open transactions of the code
that created it; once they have ended, they no longer matter.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from zeke_queue.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator


class _Block:
    __slots__ = ("storage",)

    def __init__(self, storage: object) -> None:
        # None once the block has ended: a task that inherited the block must not keep its storage in memory.
        self.storage: object | None = storage


# A tuple, since transactions of two storages may nest.
OPEN: ContextVar[tuple[_Block, ...]] = ContextVar("zeke_open_transactions", default=())


@contextmanager
def inside(storage: object) -> Generator[None]:
    """Mark a block as one in which a transaction of the storage is open."""
    block = _Block(storage)
    OPEN.set((*OPEN.get(), block))
    try:
        yield
    finally:
        block.storage = None
        # Blocks may end in another order than they began, and in another context, such as
        # an exit stack's, where the variable may lack this one.
        opened = OPEN.get()
        if block in opened:
            OPEN.set(tuple(one for one in opened if one is not block))


@contextmanager
def outside() -> Generator[None]:
    """Allow sends in the block that are not part of an open transaction."""
    token = OPEN.set(())
    try:
        yield
    finally:
        with suppress(ValueError):  # the block ended in another context than it began
            OPEN.reset(token)


def check_outside(storage: object, call: str) -> None:
    """Check that no transaction of the storage is open.

    Args:
        call: the call to check, for the message.

    Raises:
        UsageError: one is.
    """
    for block in OPEN.get():
        if block.storage is storage:
            raise UsageError(
                f"{call} inside a transaction of the same storage is not part of it, and may fail because "
                "of its locks: call the transaction's own method, or wait for the block's end, or use "
                "`queue.outside_transaction()` for what must not be part of it"
            )
