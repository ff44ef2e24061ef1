"""The verdict on a run: each job was executed once, or again for a reason that a fault gives.

An attempt may follow another one if the process that ran it was killed, was suspended beyond its lease or met
the fault in a call of its own, and only while that can have kept its outcome from being stored. A
re-execution without such a reason is unexplained, and so is a second execution of one attempt, which fencing
excludes. Only a database that forgets commits can give one attempt out twice: once before, and once after.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
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


class Forgot(NamedTuple):
    """What an asynchronous standby never got from the primary whose place it took.

    Attributes:
        since: when the standby stopped getting commits.
        killed: when the old primary was: a claim that was asked for later was given by the new one.
        promoted: when the standby began to be promoted: what was acknowledged later, the new one has.
    """

    since: float
    killed: float
    promoted: float

    def may_miss(self, at: float) -> bool:
        """Return whether what was acknowledged at this time may be forgotten."""
        return self.since - SETTLED_WITHIN <= at <= self.promoted


class Row(NamedTuple):
    """A job as it is stored at the end.

    Attributes:
        task: its queue.
        state: of the row.
        attempt: its last claim.
        output: of the attempt that completed it, the attempt's number; None if it has none.
        parent: the job that sent it.
    """

    task: str
    state: str
    attempt: int
    output: int | None
    parent: UUID | None = None


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

_LOST: Final = "its claim or outcome was lost with the old primary"
_TWICE: Final = "the same attempt, given out by the old primary, ended first"

_EITHER_MAX: Final = 6
"""Executions of a job that either primary may have given out, of which all divisions are tried."""


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
    acknowledged: Mapping[UUID, float] | None = None,
    forgot: Forgot | None = None,
) -> Verdict:
    """Check the jobs of one workload.

    Args:
        sent: the acknowledged jobs, and others that must have been executed.
        rows: all stored jobs.
        executed: all executions by job.
        disturbances: what the faults did.
        acknowledged: when the jobs of clients were.
        forgot: what the database itself lost. Of the missing jobs, only those that a client had an answer for
            at that time are no loss of ours: the ticks of a lost second are served again.
    """
    verdict = Verdict()
    for job in sent:
        row, ran = rows.get(job), sorted(executed.get(job, ()), key=lambda one: (one.attempt, one.began))
        verdict.sent += 1
        if row is None:
            at = (acknowledged or {}).get(job)
            if forgot is not None and at is not None and forgot.may_miss(at):
                verdict.again["the job itself was lost with the old primary"] += 1
            else:
                verdict.lost += 1
                verdict.examples.append(f"lost: job {job}")
        elif row.state != "completed":
            _check_open(verdict, job, row)
        elif not any(one.how == "returned" and one.attempt == row.output for one in ran):
            verdict.lost += 1
            verdict.examples.append(f"completed by attempt {row.output}, which was not executed: job {job}")
        elif row.output != row.attempt:
            verdict.complain("completed by an attempt before its last claim", job)
        else:
            _check_completed(verdict, job, ran, disturbances, forgot)
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
    forgot: Forgot | None,
) -> None:
    if any(one.how == "failed" and not _misses(one, forgot) for one in ran):
        verdict.complain("its handler failed by itself", job)
        return
    trials = [_explain(old, new, disturbances, forgot) for old, new in _divisions(ran, forgot)]
    complaint, why = next((trial for trial in trials if trial[0] is None), trials[0])
    if complaint is not None:
        verdict.complain(complaint, job)
    elif why:
        verdict.again[why.most_common(1)[0][0]] += 1
    else:
        verdict.once += 1


def _misses(one: Execution, forgot: Forgot | None) -> bool:
    """Return whether a handler may have failed since what it had sent was forgotten."""
    return forgot is not None and one.began <= forgot.promoted and (one.ended or 0.0) >= forgot.killed


def _divisions(
    ran: Sequence[Execution], forgot: Forgot | None
) -> Iterator[tuple[list[Execution], list[Execution]]]:
    """Yield the executions that the old primary, and that the new one may have given out.

    A claim that was asked for just before the old one was killed may have waited for the new one.
    """
    if forgot is None:
        yield [], list(ran)
        return
    early = forgot.killed - SETTLED_WITHIN
    either = [one for one in ran if early <= one.asked < forgot.killed and one.began > forgot.promoted]
    for count in range(len(either[:_EITHER_MAX]) + 1):
        for waited in combinations(either[:_EITHER_MAX], count):
            new = [one for one in ran if one.asked >= forgot.killed or one in waited]
            yield [one for one in ran if one not in new], new


def _explain(
    old: Sequence[Execution],
    new: Sequence[Execution],
    disturbances: Sequence[Disturbance],
    forgot: Forgot | None,
) -> tuple[str | None, Counter[str]]:
    """Return what is not explained, or None, and the reasons of the rest."""
    why: Counter[str] = Counter()
    for one, following in (*pairwise(old), *pairwise(new), *zip(old[-1:], new[:1], strict=False)):
        if one.how == "waits" and following.attempt > one.attempt:
            continue
        is_later = one.attempt < following.attempt
        reason = reason_of(one, following, disturbances) if is_later else None
        if forgot is not None and one in old and following in new:
            reason = _LOST if _are_lost(old, following.attempt, forgot) else reason
        elif forgot is not None and is_later and _is_displaced(one, old, new, forgot):
            reason = _TWICE
        if reason is None:
            return "executed again" if is_later else "one attempt twice", why
        why[reason] += 1
    return None, why


def _is_displaced(one: Execution, old: Sequence[Execution], new: Sequence[Execution], forgot: Forgot) -> bool:
    """Return whether the same attempt, which the old primary had given out, may have ended it."""
    since = forgot.killed - SETTLED_WITHIN
    return one in new and any(it.attempt == one.attempt and (it.ended or 0.0) >= since for it in old)


def _are_lost(old: Sequence[Execution], attempt: int, forgot: Forgot) -> bool:
    """Return whether the claims from an attempt on, and the last claim or its outcome, may be forgotten."""
    since, last = forgot.since - SETTLED_WITHIN, old[-1]
    if any(one.asked < since for one in old if one.attempt >= attempt):
        return False
    return last.asked >= since or (last.ended is not None and since <= last.ended <= forgot.killed)


def reason_of(one: Execution, following: Execution, disturbances: Sequence[Disturbance]) -> str | None:
    """Return which disturbance explains that an attempt was followed by another; None if there is none."""
    for it in disturbances:
        if it.loses and it.meets(one.node, one.began, following.began) and _unsettled(one, it, disturbances):
            return it.what
    if one.how == "raised" and one.ended is not None:
        for it in disturbances:
            # A call may take a while to fail, but not in a process that was killed or suspended.
            since = one.began - SETTLED_WITHIN if it.node == ALL else one.began
            if it.meets(one.node, since, one.ended):
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
