"""Slips in the simulator itself: in a property, or in what injects faults.

Each names mutants of the runtime of which one at least has to go unfound when it is made. What can be broken
unnoticed is dead weight, and goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zeke_sim.mutants.patching import Mutant


@dataclass(frozen=True, slots=True)
class Sabotage:
    """A slip in the simulator.

    Attributes:
        breaks: the slip, as a patch of a module of ``zeke_sim``.
        blinds: names of runtime mutants of which one at least goes unfound.
    """

    breaks: Mutant
    blinds: tuple[str, ...]


SABOTAGES: Final[tuple[Sabotage, ...]] = ()
"""One for each property and each kind of fault."""
