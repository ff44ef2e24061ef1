"""The kill table: mutants that a programmer could have made, each of which the simulator has to find.

A mutant is a patch of one module, applied as the module is imported. Nothing of ``zeke_queue`` is imported
here, so that a process can be patched first.
"""

from tests.mutants.patching import DoesNotApply, Mutant, install
from tests.mutants.table import TABLE

__all__ = ["TABLE", "DoesNotApply", "Mutant", "install"]
