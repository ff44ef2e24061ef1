"""Mutants of the simulator itself: a property that is not checked, or faults that never happen.

Each names a bug, of the kill table or planted, that is found without the mutant and by nothing else under it.
A property for which there is no such bug is removed; so is a kind of fault, unless the reason to keep it
stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.mutants.patching import Mutant

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class SimulatorMutant:
    """A mutant of the simulator.

    Attributes:
        breaks: the mutant, as a patch of a module of ``zeke_sim``.
        blinds: the name of a bug that is found without the mutant, and goes unfound with it.
        asked: the property that is not checked; None if faults are left out.
        kinds: the kinds of faults that never happen.
    """

    breaks: Mutant
    blinds: str
    asked: str | None = None
    kinds: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The mutant's name."""
        return self.breaks.name


PROPERTIES: Final[Mapping[str, str]] = {
    "only legal transitions": "completed-and-cancelled",
    "no two leases overlap": "extension-begins-anew",
    "what was sent never changes": "retries-lower-the-priority",
    "attempts are numbered by claims": "attempt-counted-twice",
    "only failures use retries": "snoozes-use-retries-up",
    "each failed attempt is kept": "only-the-last-failure-kept",
    "each state has its columns": "brought-back-still-ended",
    "active jobs within the limit": "limit-off-by-one",
    "nothing starts before its time": "claimed-a-second-early",
    "a claim begins the attempt's time": "time-runs-while-it-waits",
    "claims go in order": "one-comes-due-at-a-time",
    "a claim returns what it took": "told-out-of-order",
    "nothing is claimed from a paused queue": "pause-ignored",
    "a settlement is of the current attempt": "expired-stored-as-failed",
    "retries within the limit": "revived-without-room",
    "no retry is skipped": "expiry-straight-to-failed",
    "retries wait as the policy says": "retry-without-delay",
    "a snoozed job waits as requested": "snooze-without-delay",
    "a settlement says what the handler did": "snooze-is-a-failure",
    "an output is what the handler returned": "releases-repeated-as-completed",
    "nothing changes without a request": "new-job-ousts-the-holder",
    "answers match what was done": "extension-only-acknowledged",
    "a repeated settlement is marked as repeated": "lost-answers-forgotten",
    "a repeated settlement names settled jobs": "repeated-completion-not-known",
    "a full notification queue fails no write": "full-notification-queue-fails-writes",
    "a row is what was sent": "delay-dropped",
    "a repeated send is the same job": "resent-as-another-job",
    "one job per key and slot": "singleton-free-while-active",
    "a rolled-back send is never seen": "rolled-back-ticks-stay",
    "a job is sent once": "insert-forgets-archived",
    "an acknowledged send is stored": "answers-in-another-order",
    "a refusal has a reason": "failed-keeps-its-slot",
    "reads tell the truth": "archived-not-found",
    "nothing expires before its time": "living-workers-rescued",
    "no lease ends right after an outage": "leases-end-right-after-an-outage",
    "a blocked event loop stops no heartbeats": "heartbeats-on-the-blocked-loop",
    "no attempt is cut short": "lost-called-expired",
    "an extension counts from now": "extensions-add-up",
    "no handler is interrupted without a reason": "given-up-before-the-deadline",
    "expired and lost handlers are interrupted": "beat-ignores-what-is-gone",
    "a dead process does nothing": "paused-process-goes-on",
    "each attempt runs once": "tried-again-in-place",
    "statuses never go back": "told-again-after-an-outage",
    "a stopping process starts nothing": "scheduler-goes-on",
    "a stopping process ends in time": "patient-for-ever-at-its-end",
    "no process ends without a request": "scheduler-ends-in-an-outage",
    "a worker that leaves holds nothing": "stop-drops-outcomes",
    "a worker with a free slot starts what it claimed": "interrupted-pool-task-lost",
    "claimed jobs are started or released": "unknown-jobs-kept-for-long",
    "a worker whose lease ended starts no job": "lease-from-the-answer",
    "a worker with a free slot claims jobs": "limit-leaks-lost-jobs",
    "a worker is registered until it leaves": "dead-workers-forgotten-at-once",
    "unstored events are sent again": "events-dropped-in-an-outage",
    "late lines stay those of their attempt": "late-lines-of-the-current-attempt",
    "watchers receive each line once": "the-end-precedes-its-last-lines",
    "lines are read as often as written": "repeated-lines-stored-again",
    "nothing is lost on the way to the archive": "archive-loses-rows",
    "archived and purged not too early": "archive-early",
    "archived and purged in time": "archive-late",
    "ticks are served by the policy": "once-catches-up-on-nothing",
    "no tick is decided on twice": "any-edit-starts-anew",
    "ticks are served in time": "stale-ticks-never-due",
    "a task's names share its limit": "aliases-add-to-the-limit",
    "a tick has its task's options": "tick-without-task-options",
    "a paused schedule serves nothing": "paused-schedule-fires",
    "an edit survives a deploy": "redeploy-undoes-edits",
    "one occurrence has one id": "ticks-have-any-id",
    "an edit takes effect soon": "new-schedules-unseen",
    "every process performs its duty": "housekeeping-an-hour-late",
    "due jobs are picked up": "poll-hardly-ever",
    "abandoned jobs are released": "dead-workers-unnoticed",
    "idle workers are woken": "no-wake-up",
    "a worker that finds nothing rests": "polls-without-a-pause",
    "a waiting job holds nothing": "cancelled-still-waits",
    "a wait is as requested": "late-for-nothing",
    "no job waits in a cycle": "waits-in-a-long-cycle",
    "a wait is refused only if it would not end": "wait-for-a-waiting-job-refused",
    "no parent continues too early": "wakes-at-a-retry",
    "the end of a job resumes those that wait for it": "cancel-wakes-nobody",
    "no job waits for an ended job": "sweep-wakes-nobody",
    "children end with their parent": "cancel-leaves-children",
    "children are resumed with their parent": "resume-leaves-children",
    "no held job is reported as lost": "fence-of-the-first-attempt",
    "a lost job has no more children": "child-of-a-lost-job",
    "a locked row delays only its own outcome": "locked-outcomes-wait-with-the-others",
    "a locked row delays no other claim": "locked-queue-stops-all-claims",
    "a locked key delays no other schedule": "blocked-schedule-stops-the-others",
}
"""For each property a bug that only it finds."""

FAULTS: Final[Mapping[tuple[str, ...], str]] = {
    (
        "refused",
        "lost",
        "hung",
        "pool",
        "conflict",
        "partition",
        "partition_out",
        "partition_in",
        "restart",
        "abandoned",
    ): ("scheduler-ends-in-an-outage"),
    (
        "hung",
        "late",
        "pool",
        "conflict",
        "partition",
        "partition_out",
        "partition_in",
        "pause",
    ): "lease-from-the-answer",
    ("lost_wakeup", "late_wakeup", "notify_full"): "watch-reads-once",
    ("abandoned",): "late-claim-kept",
    ("notify_full",): "full-notification-queue-fails-writes",
    ("foreign_lock",): "locked-queue-stops-all-claims",
    ("block",): "heartbeats-on-the-blocked-loop",
    ("clock",): "sweeps-by-the-wall-clock",
    ("call_refused",): "refused-charge-taken-for-paid",
    ("call_lost",): "charged-again-under-another-key",
    ("call_late", "pause"): "key-of-the-attempt",
}
"""For kinds of faults that do the same to the runtime a bug that only they bring to light."""

FAULTS_KEPT: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("kill", "kill_before", "kill_after", "kill_handler", "kill_line"),
        "`shutdown` ends workers while the storage is away, which leaves behind what a kill does, and a"
        " program in `cron` kills schedulers",
    ),
    "sigterm": "`deploy` and `shutdown` tell processes to stop by themselves",
    "spurious": "a wake-up for nothing is what all but one of those hear that are woken for one job",
    "freeze": "a moment's standstill does not end a lease; what comes late of it, slow statements show, too",
    "drift": "a clock that is a fiftieth wrong shows no bug but in properties that forget to allow for it",
    "db_clock": "it goes back by two seconds at most, in which what was due is hardly ever still there",
}
"""Kinds of faults that no mutant of the table needs; each is asked for, and none may raise a false alarm."""


def _never_asked(name: str) -> Mutant:
    return Mutant(
        f"unasked: {name}",
        "zeke_sim.properties",
        '    if isinstance(value, Property) and not name.startswith("_")\n',
        f'    if isinstance(value, Property) and not name.startswith("_") and value.name != {name!r}\n',
        f"Nobody asks whether it holds that {name}.",
    )


def _never_happens(kinds: tuple[str, ...]) -> Mutant:
    return Mutant(
        f"never: {', '.join(kinds)}",
        "zeke_sim.experiment.plan",
        "    allowed = tuple(kind for kind in KINDS if kinds is None or kind in kinds)\n",
        "    allowed = tuple(\n"
        f"        kind for kind in KINDS if kind not in {kinds!r} and (kinds is None or kind in kinds)\n"
        "    )\n",
        f"These faults never happen: {', '.join(kinds)}.",
    )


SIMULATOR_MUTANTS: Final[tuple[SimulatorMutant, ...]] = (
    *(SimulatorMutant(_never_asked(name), bug, asked=name) for name, bug in PROPERTIES.items()),
    *(SimulatorMutant(_never_happens(kinds), bug, kinds=kinds) for kinds, bug in FAULTS.items()),
)
"""One for each property, and for each set of kinds of faults."""
