"""What is thought of a story, as values: its overlay with the briefs, its embedding, and what the AI cost.

Text is made storable where a value that is to be written is made, as in ``zeke_tasks.store.model``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from struct import pack, unpack
from typing import Any, Final
from uuid import UUID

from zeke_queue.core import jsonb
from zeke_queue.errors import InvalidOptionError
from zeke_tasks.store.model import storable, two_decimals

CHILI_MAX: Final = 5
DIMENSIONS_MAX: Final = 16_000
"""What a column of pgvector's holds at most."""


class AnalysisState(enum.StrEnum):
    """Who analysed a story, or wrote its brief: nobody yet, a model, or the stub where there is no key."""

    PENDING = "pending"
    COMPLETED = "completed"
    STUB = "stub"


@dataclass(frozen=True, slots=True)
class Analysis:
    """An analysis to be written.

    Attributes:
        why_it_matters: one bullet a line.
        chili: how hot the story is, 0 to 5.
        confidence: 0 to 1, kept to two decimals.
        citations: objects that can be written as JSON.
        state: ``completed`` or ``stub``.
        model: which model said so.
        prompt_version: of the prompt that it was asked with.
        analysed_by: the job that had it made; None if none had.

    Raises:
        InvalidOptionError: one of them is out of its range.
    """

    why_it_matters: str
    chili: int
    confidence: float
    state: AnalysisState
    model: str
    prompt_version: str
    citations: Sequence[Mapping[str, Any]] = ()
    analysed_by: UUID | None = None

    def __post_init__(self) -> None:
        for name in ("why_it_matters", "model", "prompt_version"):
            object.__setattr__(self, name, storable(getattr(self, name)))
        if not 0 <= self.chili <= CHILI_MAX:
            raise InvalidOptionError(f"chili is {self.chili}; it goes from 0 to {CHILI_MAX}.")
        if not 0 <= self.confidence <= 1:
            raise InvalidOptionError(f"confidence is {self.confidence}; it goes from 0 to 1.")
        if self.state is AnalysisState.PENDING:
            raise InvalidOptionError("state is pending; an analysis that is written is completed or stub.")
        object.__setattr__(self, "confidence", two_decimals(self.confidence))
        citations = jsonb.loads(jsonb.normalise(jsonb.dumps([dict(one) for one in self.citations])))
        object.__setattr__(self, "citations", tuple(citations))


@dataclass(frozen=True, slots=True)
class Brief:
    """The three variants of a brief, and what reading one in place of the story saves.

    Attributes:
        state: ``completed`` if a model wrote it, or ``stub``.
        briefed_by: the job that had it written; None if none had.
        prompt_version: of the prompt that it was asked for with; None if nobody knows.

    Raises:
        InvalidOptionError: the state is ``pending``.
    """

    one_liner: str
    two_liner: str
    elevator: str
    time_saved_seconds: int
    state: AnalysisState = AnalysisState.COMPLETED
    briefed_by: UUID | None = None
    prompt_version: str | None = None

    def __post_init__(self) -> None:
        for name in ("one_liner", "two_liner", "elevator"):
            object.__setattr__(self, name, storable(getattr(self, name)))
        if self.prompt_version is not None:
            object.__setattr__(self, "prompt_version", storable(self.prompt_version))
        if self.state is AnalysisState.PENDING:
            raise InvalidOptionError("state is pending; a brief that is written is completed or stub.")


@dataclass(frozen=True, slots=True)
class Overlay:
    """What was thought of a story, one row a story; of what is not there yet, None.

    Attributes:
        analysed_at: when the analysis last changed, or another job made it, by the store's clock; likewise
            ``briefed_at``.
        brief_state: who wrote the briefs, ``completed`` or ``stub``; None before there are any.
        analysed_by: the job that had the analysis made, and asks nobody again; likewise ``briefed_by``.
        prompt_version: of the analysis's prompt; ``brief_prompt_version`` is that of the briefs, and None for
            those that were written before it was kept.
    """

    story_id: UUID
    why_it_matters: str | None
    chili: int | None
    confidence: float | None
    citations: tuple[Mapping[str, Any], ...]
    analysis_state: AnalysisState
    model: str | None
    prompt_version: str | None
    brief_one_liner: str | None
    brief_two_liner: str | None
    brief_elevator: str | None
    time_saved_seconds: int | None
    analysed_at: datetime | None
    briefed_at: datetime | None
    brief_state: AnalysisState | None = None
    analysed_by: UUID | None = None
    briefed_by: UUID | None = None
    brief_prompt_version: str | None = None


@dataclass(frozen=True, slots=True)
class Embedding:
    """Where a model places a text; unique by story, model and number of dimensions.

    Attributes:
        vector: kept in single precision, so it is rounded to that here; 1 to 16,000 finite numbers.

    Raises:
        InvalidOptionError: the vector is empty, too long, or has a number that is none.
    """

    model: str
    vector: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.vector) <= DIMENSIONS_MAX:
            raise InvalidOptionError(
                f"vector has {len(self.vector)} dimensions; 1 to {DIMENSIONS_MAX} can be kept."
            )
        try:
            form = f"{len(self.vector)}f"
            vector = unpack(form, pack(form, *self.vector))
        except OverflowError:
            vector = (math.inf,)
        if not all(map(math.isfinite, vector)):
            raise InvalidOptionError("vector has a number that single precision can't hold.")
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "model", storable(self.model))

    @property
    def dimensions(self) -> int:
        """How many numbers the vector has."""
        return len(self.vector)


@dataclass(frozen=True, slots=True)
class Spending:
    """What one call of the AI took; unique by job, attempt and purpose.

    Attributes:
        purpose: what was asked, such as ``analysis`` or ``embedding``.
        cost_usd: None where the model's price is not known.

    Raises:
        InvalidOptionError: a number is less than zero, or the cost is not finite.
    """

    job_id: UUID
    attempt: int
    purpose: str
    task: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None

    def __post_init__(self) -> None:
        for name in ("purpose", "task", "model"):
            object.__setattr__(self, name, storable(getattr(self, name)))
        for name in ("attempt", "input_tokens", "output_tokens", "cost_usd"):
            number = getattr(self, name)
            if number is not None and not 0 <= number < math.inf:
                raise InvalidOptionError(f"{name} is {number}; it is a number from 0 on.")
