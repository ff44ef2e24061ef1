"""Slips in the simulator itself: a property that is not asked, or a kind of fault that never happens.

Each names mutants of the runtime of which one at least has to go unfound when it is made. What can be broken
unnoticed is dead weight, and goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zeke_sim.mutants.patching import Mutant

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Sabotage:
    """A slip in the simulator.

    Attributes:
        breaks: the slip, as a patch of a module of ``zeke_sim``.
        blinds: names of runtime mutants of which one at least goes unfound.
    """

    breaks: Mutant
    blinds: tuple[str, ...]


PROPERTIES: Final[Mapping[str, tuple[str, ...]]] = {
    "only legal transitions": ("cancel-takes-completed", "retry-takes-completed"),
    "no two leases overlap": ("claim-reads-then-writes",),
    "a job stays what it is": ("insert-replaces",),
    "attempts are numbered by claims": ("attempt-counted-twice",),
    "only failures use retries": ("claims-count-as-retries",),
    "each failed attempt is kept": ("only-the-last-failure-kept",),
    "active jobs within the limit": ("limit-off-by-one", "limit-forgets-retried"),
    "nothing starts before its time": ("start-after-ignored",),
    "claims go in order": ("priority-ignored", "last-in-first-out"),
    "a claim gives what it took": ("priority-per-queue-only",),
    "nothing is claimed from a paused queue": ("pause-ignored",),
    "a settlement is of the current attempt": ("complete-without-fence", "output-not-written"),
    "no retry is skipped": ("expiry-straight-to-failed", "retry-limit-off-by-one"),
    "retries wait as the policy says": ("backoff-cap-ignored", "retry-without-delay"),
    "a snoozed job waits as asked": ("snooze-without-delay",),
    "answers tell what was done": ("cancel-only-acknowledged",),
    "a rolled-back send is never seen": ("rollback-commits", "sent-before-the-commit"),
    "a row is what was sent": ("delay-dropped", "debounced-before-its-slot"),
    "a job is sent once": ("insert-forgets-archived",),
    "one job per key and slot": ("singleton-forgets-retry", "completed-frees-its-slot"),
    "a refusal has a reason": ("debounce-stays-in-its-slot",),
    "reads tell the truth": ("archived-not-found",),
    "nothing is overdue before its time": ("expires-early", "living-workers-reaped"),
    "nobody's time is cut short": ("extension-unheeded",),
    "an extension counts from now": ("extended-from-the-start",),
    "nothing is lost on the way to the archive": ("archive-loses-rows",),
    "archived and purged not too early": ("archive-early", "purge-early"),
    "archived and purged in time": ("archive-late", "sweeps-stay-slow"),
    "ticks are served by the policy": ("once-catches-up-on-nothing", "last-tick-of-a-batch-lost"),
    "due jobs are picked up": ("poll-hardly-ever",),
    "what nobody runs is given back": ("dead-workers-unnoticed",),
}
"""Of each property mutants that nothing else sees."""

FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "pause": ("complete-without-fence", "failure-without-fence"),
}
"""Of each kind of fault mutants that nothing else brings to light."""


def _never_asked(name: str) -> Mutant:
    return Mutant(
        f"unasked: {name}",
        "zeke_sim.properties",
        '    if isinstance(value, Property) and not name.startswith("_")\n',
        f'    if isinstance(value, Property) and not name.startswith("_") and value.name != {name!r}\n',
        f"Nobody asks whether it holds that {name}.",
    )


def _never_happens(kind: str) -> Mutant:
    return Mutant(
        f"never: {kind}",
        "zeke_sim.plan",
        "    allowed = tuple(kind for kind in KINDS if kinds is None or kind in kinds)\n",
        "    allowed = tuple(\n"
        f"        kind for kind in KINDS if kind != {kind!r} and (kinds is None or kind in kinds)\n"
        "    )\n",
        f"The fault {kind!r} never happens.",
    )


SABOTAGES: Final[tuple[Sabotage, ...]] = (
    *(Sabotage(_never_asked(name), blinds) for name, blinds in PROPERTIES.items()),
    *(Sabotage(_never_happens(kind), blinds) for kind, blinds in FAULTS.items()),
)
"""One for each property and each kind of fault."""
