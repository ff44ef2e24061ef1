"""The verdict on a run: each job was executed once, or again for a reason that a fault gives.

An attempt may follow another one if the process that ran it was killed, stood still beyond its lease or met
the fault in a call of its own, and only while that can have kept its outcome from being stored. A
re-execution without such a reason is unexplained, and so is a second execution of one attempt, which fencing
excludes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from tests.chaos.executions import Execution

ALL: Final = "all"
"""The node of a disturbance that every process meets."""

SETTLED_WITHIN: Final = 5.0
"""Seconds within which an outcome is stored if no fault prevents it; what ended earlier than this before its
process was killed must not run again."""


class Disturbance(NamedTuple):
    """What a fault did.

    Attributes:
        what: the reason it gives, as printed.
        node: the process that met it; ``all``.
        since, until: when, by the monotonic clock.
        loses: whether it may take jobs from a process: it was killed, or was silent for longer than its
            lease. Another one delays outcomes, and makes calls fail.
    """

    what: str
    node: str
    since: float
    until: float
    loses: bool

    def meets(self, node: str, since: float, until: float) -> bool:
        return self.node in (node, ALL) and self.since <= until and self.until >= since


class Row(NamedTuple):
    """A job as it is stored at the end.

    Attributes:
        task: its queue.
        state: of the row.
        attempt: its last claim.
        output: of the attempt that completed it, the attempt's number; None if it has none.
    """

    task: str
    state: str
    attempt: int
    output: int | None


@dataclass
class Verdict:
    """The counts of one workload.

    Attributes:
        sent: jobs that must have been executed.
        once: completed, by one execution.
        again: completed, but executed more than once, by reason.
        lost: sent and acknowledged, but neither stored nor executed, or completed without an execution.
        stuck: not completed at the end.
        unexplained: what no fault explains, each with an example.
    """

    sent: int = 0
    once: int = 0
    again: Counter[str] = field(default_factory=Counter[str])
    lost: int = 0
    stuck: int = 0
    unexplained: Counter[str] = field(default_factory=Counter[str])
    examples: list[str] = field(default_factory=list[str])

    @property
    def is_passed(self) -> bool:
        return not (self.lost or self.stuck or self.unexplained)

    def complain(self, what: str, job: UUID) -> None:
        self.unexplained[what] += 1
        if self.unexplained[what] <= _EXAMPLES:
            self.examples.append(f"{what}: job {job}")


_EXAMPLES: Final = 3


def sum_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the counts of several runs together."""
    total = Verdict()
    for one in verdicts:
        total.sent += one.sent
        total.once += one.once
        total.again += one.again
        total.lost += one.lost
        total.stuck += one.stuck
        total.unexplained += one.unexplained
        total.examples += one.examples
    return total


def check(
    sent: Iterable[UUID],
    rows: Mapping[UUID, Row],
    executed: Mapping[UUID, Sequence[Execution]],
    disturbances: Sequence[Disturbance],
    *,
    forgetful: bool = False,
) -> Verdict:
    """Check the jobs of one workload.

    Args:
        sent: the acknowledged jobs, and others that must have been executed.
        rows: all stored jobs.
        executed: all executions by job.
        disturbances: what the faults did.
        forgetful: whether the database itself may have lost commits, as an asynchronous standby that was
            promoted has: a missing row is then none of our losses.
    """
    verdict = Verdict()
    for job in sent:
        row, ran = rows.get(job), sorted(executed.get(job, ()), key=lambda one: (one.attempt, one.began))
        verdict.sent += 1
        if row is None:
            if forgetful:
                verdict.again["the job itself was lost with the old primary"] += 1
            else:
                verdict.lost += 1
                verdict.examples.append(f"lost: job {job}")
        elif row.state != "completed":
            _check_open(verdict, job, row)
        elif not any(one.how == "returned" and one.attempt == row.output for one in ran):
            verdict.lost += 1
            verdict.examples.append(f"completed by attempt {row.output}, which was not executed: job {job}")
        else:
            _check_completed(verdict, job, ran, disturbances, forgetful=forgetful)
    return verdict


def _check_open(verdict: Verdict, job: UUID, row: Row) -> None:
    if row.state in ("created", "retry", "active"):
        verdict.stuck += 1
        verdict.examples.append(f"stuck: job {job} of {row.task} is {row.state} at attempt {row.attempt}")
    else:
        verdict.complain(f"it ended {row.state}", job)


def _check_completed(
    verdict: Verdict,
    job: UUID,
    ran: Sequence[Execution],
    disturbances: Sequence[Disturbance],
    *,
    forgetful: bool,
) -> None:
    why: Counter[str] = Counter()
    for one, following in pairwise(ran):
        if one.how == "waits" and following.attempt > one.attempt:
            continue
        reason = reason_of(one, following, disturbances, forgetful=forgetful)
        if reason is None:
            same = one.attempt == following.attempt
            verdict.complain("one attempt twice" if same else "executed again", job)
            return
        why[reason] += 1
    if why:
        verdict.again[why.most_common(1)[0][0]] += 1
    else:
        verdict.once += 1


def reason_of(
    one: Execution, following: Execution, disturbances: Sequence[Disturbance], *, forgetful: bool = False
) -> str | None:
    """Return which disturbance explains that an attempt was followed by another; None if there is none."""
    if one.attempt == following.attempt and not forgetful:
        return None
    for it in disturbances:
        if it.loses and it.meets(one.node, one.began, following.began) and _unsettled(one, it, disturbances):
            return it.what
    if one.how in ("raised", "cancelled") and one.ended is not None:
        for it in disturbances:
            # A handler's own call may take a while to fail.
            if one.how == "raised" and it.meets(one.node, one.began - SETTLED_WITHIN, one.ended):
                return f"its own call failed: {it.what}"
    return None


def _unsettled(one: Execution, it: Disturbance, disturbances: Sequence[Disturbance]) -> bool:
    """Return whether an attempt's outcome can have been unstored when a disturbance came."""
    if one.ended is None or one.ended >= it.since - SETTLED_WITHIN:
        return True
    # Others may have kept the outcome from being stored meanwhile: each extends the time.
    stored_by = one.ended + SETTLED_WITHIN
    for other in sorted(disturbances, key=lambda each: each.since):
        if other.meets(one.node, one.ended, stored_by):
            stored_by = max(stored_by, other.until + SETTLED_WITHIN)
    return stored_by >= it.since


def by_job(executed: Iterable[Execution]) -> Mapping[UUID, Sequence[Execution]]:
    found: defaultdict[UUID, list[Execution]] = defaultdict(list)
    for one in executed:
        found[one.job].append(one)
    return found
