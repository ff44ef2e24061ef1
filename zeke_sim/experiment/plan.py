"""Plans: JSON descriptions from which a run can be repeated."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_queue.core.failure import shown as value_shown
from zeke_sim.errors import SimulationError
from zeke_sim.world.faults import KINDS, NONE, Knobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from zeke_sim.loop.decisions import RandomStream

VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """A complete description of a run.

    Attributes:
        seed: the seed of all random decisions.
        strategy: the strategy by which the knobs were chosen.
        knobs: the fault rates.
        decisions: the decisions (faults, orders, delays) by address; None to draw them from the seed.
        example: the example of Hypothesis that the run belongs to, as a blob; empty if there is none.
    """

    scenario: str
    seed: int
    strategy: str
    knobs: Knobs
    decisions: Mapping[str, Any] | None = None
    example: str = ""

    def with_decisions(self, decisions: Mapping[str, Any] | None) -> Plan:
        """Return a copy of this plan with other decisions."""
        return replace(self, decisions=decisions)

    def dumps(self) -> str:
        """Return the plan as JSON text."""
        return json.dumps(
            {
                "version": VERSION,
                "scenario": self.scenario,
                "seed": self.seed,
                "strategy": self.strategy,
                "knobs": self.knobs.as_json(),
                "decisions": self.decisions,
                **({"example": self.example} if self.example else {}),
            },
            indent=1,
        )

    @classmethod
    def loads(cls, text: str, name: str = "the plan") -> Plan:
        """Parse a plan from JSON text.

        Raises:
            SimulationError: the text is not a valid plan.
        """
        try:
            fields = json.loads(text)
            version = fields["version"]
            if version != VERSION:
                raise SimulationError(
                    f"{name}: version: must be {VERSION}, got {value_shown(version)}, which names other"
                    " faults and storage methods; find the failure again with `zeke sim run` or pytest"
                )
            _check(fields)
            return cls(
                fields["scenario"],
                fields["seed"],
                fields.get("strategy", "given"),
                Knobs.from_json(fields["knobs"]),
                fields["decisions"],
                str(fields.get("example", "")),
            )
        except KeyError as error:
            raise SimulationError(
                f"{name}: must be a plan written by `zeke sim run`, got a file without {error}"
            ) from None
        except (ValueError, TypeError, AttributeError) as error:
            raise SimulationError(
                f"{name}: must be a plan written by `zeke sim run`: {type(error).__name__}: {error}"
            ) from None

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan from a file.

        Raises:
            SimulationError: the file does not exist or is not a valid plan.
        """
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise SimulationError(
                f"{path}: {error.strerror}; pass the plan of a failure, as its report names it"
            ) from None
        return cls.loads(text, str(path))


def of_faults(decisions: Mapping[str, Any]) -> Plan:
    """Return a plan for any scenario with these faults only."""
    return Plan("", 0, "given", NONE, dict(decisions))


def _check(fields: Any) -> None:
    """Check the types of a plan's values."""
    scenario, seed, decisions = fields["scenario"], fields["seed"], fields["decisions"]
    if not isinstance(scenario, str):
        raise ValueError(f"scenario: must be a name, got {scenario!r}")  # noqa: TRY004 - reported like the others
    if not isinstance(seed, int):
        raise ValueError(f"seed: must be an integer, got {seed!r}")  # noqa: TRY004
    if not isinstance(decisions, dict | None):
        raise ValueError(f"decisions: must be an object, got {type(decisions).__name__}")  # noqa: TRY004
    for address, one in cast("dict[str, Any]", decisions or {}).items():
        fault = cast("dict[str, Any]", one).get("fault") if isinstance(one, dict) else None
        if fault is not None and fault not in KINDS:
            raise ValueError(f"decisions: {address}: fault: must be a known kind, got {fault!r}")


STRATEGIES: Final = ("permuted", "storm", "swarm", "fifo", "faultless")
"""How runs vary, in this order: permuted task order with a few faults; all faults at once; some kinds only;
first-in-first-out order; and no faults, for properties that hold only then."""

SHARES: Final = (0.4, 0.7, 0.9, 0.95, 1.0)
"""The cumulative share of seeds of each strategy."""


def drawn(scenario: str, seed: int, draws: RandomStream, kinds: tuple[str, ...] | None = None) -> Plan:
    """Choose a strategy and its knobs for a seed."""
    share = draws.random()
    strategy = next(name for name, part in zip(STRATEGIES, SHARES, strict=True) if share < part)
    allowed = tuple(kind for kind in KINDS if kinds is None or kind in kinds)
    knobs = NONE.but(
        kinds=allowed,
        statement=draws.pick((0.02, 0.05, 0.1)),
        wake=draws.pick((0.0, 0.2, 0.5)),
        handler=draws.pick((0.0, 0.05, 0.2)),
        node=draws.pick((0.0, 1.0, 3.0)),
        database=draws.pick((0.0, 0.0, 2.0)),
        slow=draws.pick((0.1, 0.3)),
        latency=draws.pick((0.002, 0.02, 0.2)),
        skip=draws.pick((0.0, 0.05, 0.2)),
        order=draws.pick(("permuted", "priorities")),
        skip_time=not draws.chance(0.15),
    )
    if strategy == "storm":
        knobs = knobs.but(statement=0.06, wake=0.3, handler=0.2, node=3.0, database=2.0, slow=0.2, skip=0.1)
    elif strategy == "swarm":
        knobs = knobs.but(
            kinds=tuple(kind for kind in allowed if draws.chance(0.3)), statement=0.15, node=3.0, database=2.0
        )
    elif strategy == "fifo":
        knobs = knobs.but(order="turns")
    elif strategy == "faultless":
        knobs = NONE.but(order=knobs.order, skip_time=knobs.skip_time, skip=knobs.skip)
    if strategy != "faultless":
        knobs = knobs.but(call=draws.pick((0.0, 0.05, 0.2)))
    return Plan(scenario, seed, strategy, knobs)
