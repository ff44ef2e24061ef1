"""Values that the store refuses, and what the one in memory promises besides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.cases import each
from tests.tasks.domain import Domain
from tests.tasks.store.samples import BRIEF, EVENT, MODELS, PLAYBOOK, SCORE, SPENDING, STEPS, VECTOR
from zeke_queue.errors import InvalidOptionError, SerializationError, StorageError
from zeke_tasks.store.analysis import AnalysisState
from zeke_tasks.store.highlights import HighlightKind, NewHighlight
from zeke_tasks.store.model import NewItem, NewSource, SourceType, item_id

SOURCE = NewSource(SourceType.RSS, "a", None)
HIGHLIGHT = NewHighlight(UUID(int=7), None, HighlightKind.QUOTE, "summary", 0.5)


@each(
    (SOURCE, "url", "https://a.example/" + "x" * 2048),
    (SOURCE, "authority_score", 1.01),
    *((SOURCE, "check_frequency_hours", hours) for hours in (0, 8761)),
    *((SOURCE, "metadata", {"a": value}) for value in (math.nan, object())),
    *((MODELS, "chili", chili) for chili in (6, -1)),
    *((MODELS, "confidence", confidence) for confidence in (1.01, math.nan)),
    *((value, "state", AnalysisState.PENDING) for value in (MODELS, BRIEF)),
    *((VECTOR, "vector", vector) for vector in ((), (math.nan,), (math.inf,), (1e39,), (0.0,) * 16_001)),
    *((SPENDING, tokens, -1) for tokens in ("input_tokens", "output_tokens")),
    *((SPENDING, "cost_usd", cost) for cost in (-0.1, math.nan)),
    *((HIGHLIGHT, "confidence", confidence) for confidence in (-0.01, 1.01, math.nan)),
    (SCORE, "value", 1.01),
    (PLAYBOOK, "steps", [STEPS[1], *STEPS], "'pull' names 2 steps"),
    (STEPS[0], "name", "\x00", "name .* empty"),
    (STEPS[0], "task", "", "task .* empty"),
    (STEPS[0], "name", "x" * 513, "513"),
    (EVENT, "kind", "run.paused", r"run\.paused"),
)
def test_value_out_of_range_is_refused_by_field(value: Any, field: str, wrong: object, *said: str) -> None:
    with pytest.raises(InvalidOptionError, match=said[0] if said else field):
        replace(value, **{field: wrong})


def test_values_without_json_form_are_refused() -> None:
    with pytest.raises(SerializationError, match="object"):
        replace(MODELS, citations=[{"a": object()}])
    with pytest.raises(SerializationError, match="a"):
        replace(SCORE, breakdown={"a": math.inf})


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
