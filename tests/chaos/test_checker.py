"""The checker of execution logs: each planted loss is found, and each mistake that the checker could make."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from uuid import UUID

from tests.cases import check_each
from tests.chaos import checker as real
from tests.chaos.checker import ALL, Disturbance, Forgot, Row
from tests.chaos.executions import Execution

JOB: Final = UUID(int=1)


@dataclass
class Case:
    """What happened to one job, and in which column it is counted."""

    executed: list[Execution]
    row: Row | None
    column: str
    disturbances: tuple[Disturbance, ...] = ()
    forgot: Forgot | None = None
    acknowledged: float | None = None


def ran(
    attempt: int,
    began: float,
    ended: float | None,
    how: str | None = "returned",
    node: str = "w1",
    *,
    asked: float = 0.0,
) -> Execution:
    return Execution(JOB, attempt, "plain", node, began, ended, how, asked)


def completed(attempt: int) -> Row:
    return Row("plain", "completed", attempt, attempt)


def killed(at: float, node: str = "w1") -> Disturbance:
    return Disturbance("killed", node, at, at, loses=True)


def outage(since: float, until: float) -> Disturbance:
    return Disturbance("outage", ALL, since, until, loses=False)


FORGOT: Final = Forgot(since=20, killed=21, promoted=24)

CASES: Final = {
    "executed once": Case([ran(1, 1, 2)], completed(1), "once"),
    "executed once, at its second claim": Case([ran(2, 1, 2)], completed(2), "once"),
    "sent, and neither stored nor executed": Case([], None, "lost"),
    "executed, and not stored": Case([ran(1, 1, 2)], None, "lost"),
    "completed without an execution": Case([], completed(1), "lost"),
    "completed by an attempt that did not return": Case([ran(1, 1, None, None)], completed(1), "lost"),
    "completed by an attempt that raised": Case([ran(1, 1, 2, "raised")], completed(1), "lost"),
    "completed by another attempt": Case([ran(1, 1, 2)], completed(2), "lost"),
    "waiting": Case([], Row("plain", "created", 0, None), "stuck"),
    "waiting for a retry": Case([ran(1, 1, 2, "raised")], Row("plain", "retry", 1, None), "stuck"),
    "active at a worker that has gone": Case([ran(1, 1, 2)], Row("plain", "active", 1, None), "stuck"),
    "failed": Case([ran(1, 1, 2, "raised")], Row("plain", "failed", 1, None), "unexplained"),
    "resumed after a wait": Case([ran(1, 1, 2, "waits"), ran(2, 3, 4)], completed(2), "once"),
    "executed again": Case([ran(1, 1, 2), ran(2, 3, 4)], completed(2), "unexplained"),
    "one attempt twice": Case([ran(1, 1, 2), ran(1, 3, 4, node="w2")], completed(1), "unexplained"),
    "one attempt twice, at a worker that was killed": Case(
        [ran(1, 1, 2), ran(1, 3, 4, node="w2")], completed(1), "unexplained", (killed(2.5),)
    ),
    "killed in the middle": Case(
        [ran(1, 1, None, None), ran(2, 5, 6, node="w2")], completed(2), "again", (killed(3),)
    ),
    "killed before its outcome was stored": Case(
        [ran(1, 1, 2), ran(2, 5, 6, node="w2")], completed(2), "again", (killed(2.1),)
    ),
    "killed long after its outcome must have been stored": Case(
        [ran(1, 1, 2), ran(2, 25, 26, node="w2")], completed(2), "unexplained", (killed(20),)
    ),
    "killed after an outage in which its outcome could not be stored": Case(
        [ran(1, 1, 2), ran(2, 25, 26, node="w2")], completed(2), "again", (outage(1.5, 19), killed(20))
    ),
    "killed long after an outage": Case(
        [ran(1, 1, 2), ran(2, 45, 46, node="w2")], completed(2), "unexplained", (outage(1.5, 19), killed(40))
    ),
    "another worker was killed": Case(
        [ran(1, 1, None, None), ran(2, 5, 6, node="w2")], completed(2), "unexplained", (killed(3, "w2"),)
    ),
    "killed before it began": Case([ran(1, 5, 6), ran(2, 7, 8)], completed(2), "unexplained", (killed(3),)),
    "killed after the next attempt began": Case(
        [ran(1, 1, 2), ran(2, 3, 4, node="w2")], completed(2), "unexplained", (killed(3.5),)
    ),
    "an outage shorter than the lease": Case(
        [ran(1, 1, 9), ran(2, 8, 12, node="w2")], completed(2), "unexplained", (outage(2, 6),)
    ),
    "its handler was cancelled in an outage shorter than the lease": Case(
        [ran(1, 1, 5, "cancelled"), ran(2, 8, 12)], completed(2), "unexplained", (outage(2, 6),)
    ),
    "its own call failed in an outage": Case(
        [ran(1, 1, 5, "raised"), ran(2, 8, 12)], completed(2), "again", (outage(2, 6),)
    ),
    "it raised before the outage": Case(
        [ran(1, 1, 2, "raised"), ran(2, 8, 12)], completed(2), "unexplained", (outage(4, 6),)
    ),
    "it raised long after the outage": Case(
        [ran(1, 31, 32, "raised"), ran(2, 38, 42)], completed(2), "unexplained", (outage(4, 6),)
    ),
    "a second reason is missing": Case(
        [ran(1, 1, None, None), ran(2, 5, 6), ran(3, 7, 8)], completed(3), "unexplained", (killed(3),)
    ),
    "its call failed in the next life of a process that was killed": Case(
        [ran(1, 4, 5, "raised"), ran(2, 7, 8)], completed(2), "unexplained", (killed(3),)
    ),
    "its handler failed by itself, and then its worker was killed": Case(
        [ran(1, 1, 2, "failed"), ran(2, 5, 6)], completed(2), "unexplained", (killed(3),)
    ),
    "it was another's in an outage shorter than the lease": Case(
        [ran(1, 1, 5, "lost"), ran(2, 8, 12)], completed(2), "unexplained", (outage(2, 6),)
    ),
    "completed by an attempt before its last claim": Case(
        [ran(1, 1, 2)], Row("plain", "completed", 2, 1), "unexplained"
    ),
}
FORGOTTEN: Final = {
    "lost with a primary": Case([], None, "again", forgot=FORGOT, acknowledged=20.5),
    "acknowledged before the standby fell behind": Case([], None, "lost", forgot=FORGOT, acknowledged=5),
    "acknowledged by the new primary": Case([], None, "lost", forgot=FORGOT, acknowledged=25),
    "lost, and no client sent it": Case([], None, "lost", forgot=FORGOT),
    "given out by both primaries": Case(
        [ran(1, 20.6, 20.8, asked=20.5), ran(1, 26, 27, node="w2", asked=25)],
        completed(1),
        "again",
        forgot=FORGOT,
    ),
    "given out by both, and the old one's began last": Case(
        [ran(1, 26, 27, node="w2", asked=25), ran(1, 26.5, 28, asked=20.5)],
        completed(1),
        "again",
        forgot=FORGOT,
    ),
    "given out by both, of which the new one gave the next number, too": Case(
        [ran(1, 25.5, 28, asked=20.5), ran(2, 26, 27, node="w2", asked=25)],
        completed(2),
        "again",
        forgot=FORGOT,
    ),
    "given out twice by the new primary": Case(
        [ran(1, 25.5, 27, asked=25), ran(1, 26, 27, node="w2", asked=25)],
        completed(1),
        "unexplained",
        forgot=FORGOT,
    ),
    "given out twice by the new primary, beside the old one": Case(
        [ran(1, 25.5, 27, asked=25), ran(1, 26, 27, asked=20.5), ran(1, 26.5, 27, node="w2", asked=25)],
        completed(1),
        "unexplained",
        forgot=FORGOT,
    ),
    "given out twice by the old primary": Case(
        [ran(1, 20.6, 20.8, asked=20.5), ran(1, 20.7, 20.8, node="w2", asked=20.5)],
        completed(1),
        "unexplained",
        forgot=FORGOT,
    ),
    "given out again although its claim was not lost": Case(
        [ran(1, 4, 20.8, asked=3), ran(1, 26, 27, asked=25)], completed(1), "unexplained", forgot=FORGOT
    ),
    "its outcome was lost": Case(
        [ran(1, 4, 20.8, asked=3), ran(2, 26, 27, asked=25)], completed(2), "again", forgot=FORGOT
    ),
    "its outcome was stored long before": Case(
        [ran(1, 4, 5, asked=3), ran(2, 26, 27, asked=25)], completed(2), "unexplained", forgot=FORGOT
    ),
    "its outcome was the new primary's": Case(
        [ran(1, 4, 22, asked=3), ran(2, 26, 27, asked=25)], completed(2), "unexplained", forgot=FORGOT
    ),
    "its call failed while there was no primary": Case(
        [ran(1, 4, 22, "raised", asked=3), ran(2, 26, 27, asked=25)],
        completed(2),
        "again",
        (outage(21, 24),),
        forgot=FORGOT,
    ),
    "two claims and a wait were lost": Case(
        [
            *(ran(1, 20.2, 20.3, "waits", asked=20.1), ran(2, 20.6, 20.8, asked=20.5)),
            *(ran(1, 26, 27, "waits", asked=25), ran(2, 28, 29, asked=27)),
        ],
        completed(2),
        "again",
        forgot=FORGOT,
    ),
    "one claim was lost, and one before it was not": Case(
        [
            *(ran(1, 4, 5, "waits", asked=3), ran(2, 20.6, 20.8, asked=20.5)),
            *(ran(1, 26, 27, "waits", asked=25), ran(2, 28, 29, asked=27)),
        ],
        completed(2),
        "unexplained",
        forgot=FORGOT,
    ),
    "the same attempt of the old primary ended it first": Case(
        [
            *(ran(1, 20.6, 22, "waits", asked=20.5), ran(1, 26, 27, node="w2", asked=25)),
            ran(2, 28, 29, asked=27),
        ],
        completed(2),
        "again",
        forgot=FORGOT,
    ),
    "the same attempt of the old primary had no outcome": Case(
        [
            *(ran(1, 20.6, None, None, asked=20.5), ran(1, 26, 27, node="w2", asked=25)),
            ran(2, 28, 29, asked=27),
        ],
        completed(2),
        "unexplained",
        forgot=FORGOT,
    ),
    "another attempt of the old primary ended it first": Case(
        [
            *(ran(1, 20.6, 22, "waits", asked=20.5), ran(2, 26, 27, node="w2", asked=25)),
            ran(3, 28, 29, asked=27),
        ],
        completed(3),
        "unexplained",
        forgot=FORGOT,
    ),
    "a claim waited for the new primary": Case(
        [ran(1, 20.6, 20.8, asked=20.5), ran(1, 25, 26, node="w2", asked=20.9)],
        completed(1),
        "again",
        forgot=FORGOT,
    ),
    "a claim waited for the new primary, and so did its outcome": Case(
        [ran(1, 20.6, 20.8, asked=20.5), ran(1, 25, 26, node="w2", asked=20.9), ran(2, 27, 28, asked=26)],
        completed(2),
        "again",
        forgot=FORGOT,
    ),
    "a claim waited for the new primary for too long": Case(
        [ran(1, 20.6, 20.8, asked=20.5), ran(1, 25, 26, node="w2", asked=14)],
        completed(1),
        "unexplained",
        forgot=FORGOT,
    ),
    "what its handler had sent was lost": Case(
        [ran(1, 20.6, 25, "failed", asked=20.5), ran(1, 26, 27, node="w2", asked=25)],
        completed(1),
        "again",
        forgot=FORGOT,
    ),
    "its handler failed before a failover": Case(
        [ran(1, 20.6, 20.8, "failed", asked=20.5), ran(1, 26, 27, node="w2", asked=25)],
        completed(1),
        "unexplained",
        forgot=FORGOT,
    ),
    "its handler failed after a failover": Case(
        [ran(1, 25.6, 26, "failed", asked=25.5), ran(2, 28, 29, node="w2", asked=27)],
        completed(2),
        "unexplained",
        (killed(26.5),),
        forgot=FORGOT,
    ),
    "it waited for longer than the failover": Case(
        [ran(1, 4, 5, "waits", asked=3), ran(2, 26, 27, asked=25)], completed(2), "once", forgot=FORGOT
    ),
}
CASES.update(FORGOTTEN)
COLUMNS: Final = ("once", "again", "lost", "stuck", "unexplained")

MISTAKES: Final = {
    "a missing row is fine": ("verdict.lost += 1\n                v", "v"),
    "completed means executed": ('one.how == "returned" and one.attempt == row.output', "True"),
    "any attempt completes": (" and one.attempt == row.output", ""),
    "an attempt without an end completes": ('one.how == "returned" and ', ""),
    "a retry is an end": ('("created", "retry", "active")', '("created", "active")'),
    "an active job has ended": ('("created", "retry", "active")', '("created", "retry")'),
    "an attempt may be executed twice": ("disturbances) if is_later else None", "disturbances)"),
    "an attempt may complete after others": ("elif row.output != row.attempt:", "elif False:"),
    "a handler may fail": ('one.how == "failed"', "False"),
    "a call fails in the next life": ("if it.node == ALL else one.began", ""),
    "an outage takes jobs away": ("if it.loses and ", "if "),
    "a fault disturbs every process": ("self.node in (node, ALL) and ", ""),
    "a fault disturbs before it begins": (" and self.until >= since", ""),
    "a fault disturbs after its end": ("self.since <= until and ", ""),
    "only the first pair counts": ("*pairwise(new),", "*list(pairwise(new))[:1],"),
    "outcomes are never stored": ("return stored_by >= it.since", "return True"),
    "outages keep no outcome": ("max(stored_by, other.until + SETTLED_WITHIN)", "stored_by"),
    "an outage cancels handlers": ('if one.how == "raised" and ', "if "),
    "a wait is an execution": ('one.how == "waits"', 'one.how == "wait"'),
    "a database forgets no job": ("at is not None and forgot.may_miss(at)", "False"),
    "a database forgets any job": (" and forgot.may_miss(at)", ""),
    "a database forgets ticks": ("forgot is not None and at is not None and forgot.may_miss(at)", "forgot"),
    "a database forgets old jobs": ("self.since - SETTLED_WITHIN <= at", "at"),
    "a new primary forgets": (" <= self.promoted", " < 99"),
    "a database forgets no claim": ("if _are_lost(old, following.attempt, forgot) else reason", ""),
    "a database forgets old claims": ("if any(one.asked < since", "if any(False"),
    "only the last claim counts": (
        "< since for one in old if",
        "< since for one in old[-1:] if",
    ),
    "every outcome was lost": ("since <= last.ended <= forgot.killed", "True"),
    "a worker's own outcomes are lost": ("<= last.ended <= forgot.killed", "<= last.ended"),
    "outcomes outlast a primary": ("last.asked >= since or (", "last.asked >= since or (False and "),
    "a claim that was lost leaves no outcome": ("last.asked >= since or (", "("),
    "the old primary gives attempts out twice": ("(*pairwise(old), ", "("),
    "claims do not wait": ("range(len(either[:_EITHER_MAX]) + 1)", "range(1)"),
    "claims wait for ever": ("early <= one.asked <", "one.asked <"),
    "a primary gives out claims after its end": (" and one.began > forgot.promoted", ""),
    "no attempt is ended by another": ("it.attempt == one.attempt and (it.ended", "False and (it.ended"),
    "any attempt ends another": ("it.attempt == one.attempt and (it.ended", "(it.ended"),
    "an attempt without an outcome ends another": ("(it.ended or 0.0) >= since", "True"),
    "nothing that was sent is lost": ("and not _misses(one, forgot)", ""),
    "handlers fail before it is lost": (" and (one.ended or 0.0) >= forgot.killed", ""),
    "handlers fail long after it was lost": ("one.began <= forgot.promoted and (one", "(one"),
    "nothing is between the primaries": (", *zip(old[-1:], new[:1], strict=False))", ")"),
}
"""Mistakes of the checker, as text and replacement, each of which a case finds."""


def column_of(case: Case, checker: Any = real) -> str:
    """Return the one column in which a job is counted."""
    rows = {} if case.row is None else {JOB: case.row}
    disturbances = [checker.Disturbance(*one) for one in case.disturbances]
    acknowledged = {} if case.acknowledged is None else {JOB: case.acknowledged}
    forgot = case.forgot and checker.Forgot(*case.forgot)
    happened = {"acknowledged": acknowledged, "forgot": forgot}
    verdict = checker.check([JOB], rows, {JOB: case.executed}, disturbances, **happened)
    assert verdict.sent == 1
    counts = {name: getattr(verdict, name) for name in COLUMNS}
    totals = {name: one if isinstance(one, int) else one.total() for name, one in counts.items()}
    column = ", ".join(name for name, total in totals.items() if total)
    assert sum(totals.values()) <= 1
    assert verdict.is_passed == (column in ("once", "again", ""))
    return column


def test_every_job_is_counted_in_its_column() -> None:
    def check(case: Case) -> None:
        assert column_of(case) == case.column

    check_each(CASES, check)


def test_every_mistake_of_the_checker_is_found_by_a_case() -> None:
    source = Path(real.__file__).read_text()

    def check(old: str, new: str) -> None:
        assert source.count(old) == 1
        mistaken = ModuleType("mistaken_checker")
        sys.modules[mistaken.__name__] = mistaken
        exec(compile(source.replace(old, new), "mistaken_checker", "exec"), mistaken.__dict__)  # noqa: S102
        assert any(column_of(case, mistaken) != case.column for case in CASES.values())

    check_each(MISTAKES, check)
    del sys.modules["mistaken_checker"]


def test_reason_that_explains_a_repetition_is_counted() -> None:
    case = CASES["killed in the middle"]
    verdict = real.check([JOB], {JOB: completed(2)}, {JOB: case.executed}, case.disturbances)
    assert verdict.again == {"killed": 1}
