"""All mutants of the runtime, and those of the simulator itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.mutants import catalog, core, duties, locks, memory, upkeep, waiting, worker

if TYPE_CHECKING:
    from tests.mutants.patching import Mutant

TABLE: Final[tuple[Mutant, ...]] = (
    *core.MUTANTS,
    *memory.MUTANTS,
    *upkeep.MUTANTS,
    *worker.MUTANTS,
    *duties.MUTANTS,
    *locks.MUTANTS,
    *waiting.MUTANTS,
    *catalog.MUTANTS,
)
"""Each is a bug of the runtime's that the search has to find."""
