"""Analyses of stories as values: the overlay with the briefs, the embedding, and the cost of the AI.

Text is made storable when a value to be written is created, as in ``zeke_tasks.store.model``.
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
VARIANTS: Final = ("one_liner", "two_liner", "elevator")
"""The names of a brief's variants, shortest first."""

DIMENSIONS_MAX: Final = 16_000
"""Maximum dimensions of a pgvector column."""


class AnalysisState(enum.StrEnum):
    """What analysed a story or wrote its brief: nothing yet, a model, or the stub if there is no key."""

    PENDING = "pending"
    COMPLETED = "completed"
    STUB = "stub"


@dataclass(frozen=True, slots=True)
class Analysis:
    """An analysis to write.

    Attributes:
        why_it_matters: one bullet per line.
        chili: importance of the story, 0 to 5.
        confidence: 0 to 1, rounded to two decimals.
        citations: objects, serializable as JSON.
        state: ``completed`` or ``stub``.
        model: the model that made it.
        prompt_version: of the prompt.
        analysed_by: the job that made it; None if no job did.

    Raises:
        InvalidOptionError: an attribute is out of range.
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
            raise InvalidOptionError(f"chili: must be from 0 to {CHILI_MAX}, got {self.chili}.")
        if not 0 <= self.confidence <= 1:
            raise InvalidOptionError(f"confidence: must be from 0 to 1, got {self.confidence}.")
        if self.state is AnalysisState.PENDING:
            raise InvalidOptionError("state: must be completed or stub for a written analysis, got pending.")
        object.__setattr__(self, "confidence", two_decimals(self.confidence))
        citations = jsonb.loads(jsonb.normalise(jsonb.dumps([dict(one) for one in self.citations])))
        object.__setattr__(self, "citations", tuple(citations))


@dataclass(frozen=True, slots=True)
class Brief:
    """The variants of a brief, and the time that reading one saves over the story.

    Attributes:
        one_liner, two_liner, elevator: None for a variant that the model did not write as requested.
        state: ``completed`` if a model wrote it, or ``stub``.
        briefed_by: the job that wrote it; None if no job did.
        prompt_version: of the prompt; None if unknown.

    Raises:
        InvalidOptionError: there is no variant, or the state is ``pending``.
    """

    one_liner: str | None
    two_liner: str | None
    elevator: str | None
    time_saved_seconds: int
    state: AnalysisState = AnalysisState.COMPLETED
    briefed_by: UUID | None = None
    prompt_version: str | None = None

    def __post_init__(self) -> None:
        for name in VARIANTS:
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, storable(text))
        if len(self.missing) == len(VARIANTS):
            raise InvalidOptionError("one_liner, two_liner, elevator: must not all be None.")
        if self.prompt_version is not None:
            object.__setattr__(self, "prompt_version", storable(self.prompt_version))
        if self.state is AnalysisState.PENDING:
            raise InvalidOptionError("state: must be completed or stub for a written brief, got pending.")

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the missing variants."""
        return tuple(name for name in VARIANTS if getattr(self, name) is None)


@dataclass(frozen=True, slots=True)
class BriefDraft:
    """Variants of a brief that is not complete yet, kept so that they are not requested again.

    Attributes:
        why_it_matters: the analysis from which they were written; with another one they are outdated.
        prompt_version: of the prompt, likewise.
        variants: the texts by the names of the variants.
    """

    why_it_matters: str
    prompt_version: str
    variants: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in ("why_it_matters", "prompt_version"):
            object.__setattr__(self, name, storable(getattr(self, name)))
        variants = {name: storable(self.variants[name]) for name in VARIANTS if name in self.variants}
        object.__setattr__(self, "variants", variants)


@dataclass(frozen=True, slots=True)
class Overlay:
    """The analysis and briefs of a story, one row per story; missing parts are None.

    Attributes:
        analysed_at: when the analysis last changed or was made by another job, by the store's clock; likewise
            ``briefed_at``.
        brief_state: what wrote the briefs, ``completed`` or ``stub``; None if there are none. Single variants
            may be None.
        analysed_by: the job that made the analysis and does not call the AI again; likewise ``briefed_by``.
        prompt_version: of the analysis's prompt; ``brief_prompt_version`` is that of the briefs, and None for
            those written before it was recorded.
        brief_draft: variants of a brief that is not complete.
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
    brief_draft: BriefDraft | None = None

    @property
    def brief(self) -> Brief | None:
        """The brief; None if there is none."""
        if self.brief_state is None:
            return None
        return Brief(
            self.brief_one_liner,
            self.brief_two_liner,
            self.brief_elevator,
            self.time_saved_seconds or 0,
            self.brief_state,
            self.briefed_by,
            self.brief_prompt_version,
        )


@dataclass(frozen=True, slots=True)
class Embedding:
    """The vector of a text by a model; unique by story, model and number of dimensions.

    Attributes:
        vector: 1 to 16,000 finite numbers, rounded to single precision in storage.

    Raises:
        InvalidOptionError: the vector is empty, too long, or has a number that is not finite.
    """

    model: str
    vector: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.vector) <= DIMENSIONS_MAX:
            raise InvalidOptionError(
                f"vector: must have 1 to {DIMENSIONS_MAX} dimensions, got {len(self.vector)}."
            )
        try:
            form = f"{len(self.vector)}f"
            vector = unpack(form, pack(form, *self.vector))
        except OverflowError:
            vector = (math.inf,)
        if not all(map(math.isfinite, vector)):
            raise InvalidOptionError("vector: must fit single precision, got a number that does not.")
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "model", storable(self.model))

    @property
    def dimensions(self) -> int:
        """The length of the vector."""
        return len(self.vector)


@dataclass(frozen=True, slots=True)
class Spending:
    """The usage of one AI call; unique by job, attempt and purpose.

    Attributes:
        purpose: the kind of call, such as ``analysis`` or ``embedding``.
        cost_usd: None if the model's price is unknown.
        team_id: the team for which the job runs; None for jobs of no team.

    Raises:
        InvalidOptionError: a number is negative, or the cost is not finite.
    """

    job_id: UUID
    attempt: int
    purpose: str
    task: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    team_id: UUID | None = None

    def __post_init__(self) -> None:
        for name in ("purpose", "task", "model"):
            object.__setattr__(self, name, storable(getattr(self, name)))
        for name in ("attempt", "input_tokens", "output_tokens", "cost_usd"):
            number = getattr(self, name)
            if number is not None and not 0 <= number < math.inf:
                raise InvalidOptionError(f"{name}: must be 0 or more, got {number}.")
