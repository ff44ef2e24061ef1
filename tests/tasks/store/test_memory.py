"""What the store in memory promises besides what Postgres does, for those whose transaction ends unseen."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from tests.tasks.domain import Domain
from zeke_queue.errors import StorageError
from zeke_tasks.store.model import NewItem, item_id


class Ending:
    """A transaction that its server ends."""

    connection = None

    def __init__(self) -> None:
        self.committed: list[Callable[[], None]] = []
        self.rolled_back: list[Callable[[], None]] = []

    def on_commit(self, apply: Callable[[], None]) -> None:
        self.committed.append(apply)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        self.rolled_back.append(undo)

    def roll_back(self) -> None:
        for undo in self.rolled_back:
            undo()


@pytest.fixture
async def source(in_memory: Domain) -> UUID:
    return (await in_memory.source()).id


async def test_rolled_back_transaction_cannot_write_and_locks_nothing(
    in_memory: Domain, source: UUID
) -> None:
    ending = Ending()
    rows = in_memory.repository.within(ending)
    ending.roll_back()
    with pytest.raises(StorageError, match="ended"):
        await rows.put_items(source, [NewItem("one")])
    with pytest.raises(StorageError, match="ended"):
        await rows.take_up_forgotten_items(source, 0.0)
    assert await in_memory.verbs.put_items(source, [NewItem("one")]) == [item_id(source, "one")]


async def test_rows_of_an_unreferenced_transaction_stay_invisible(in_memory: Domain, source: UUID) -> None:
    for _ in range(50):
        left = Ending()
        await in_memory.repository.within(left).put_items(source, [NewItem(f"by {id(left)}")])
        del left
    rows = in_memory.repository.within(Ending())
    assert await rows.items_of(source) == []
