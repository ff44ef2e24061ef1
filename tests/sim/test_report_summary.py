"""The first paragraph of a failure: which process ran the job, where it was killed, and what it repeated."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.cases import check_each
from tests.sim.report_samples import JOB, Script, claim, failure, overlap
from zeke_queue.model import RowState
from zeke_sim.history.events import Affected, Began, Effect, Ended, Event, Fault, Line, Lived, Violation
from zeke_sim.report import story
from zeke_sim.report.summary import SENTENCES, summary
from zeke_sim.world.faults import KINDS

OTHER = UUID(int=7)
CALL = "Bank.charge(order='3')"


def described(events: list[Event], decisions: dict[str, Any], job: UUID | None = JOB, at: float = 9.0) -> str:
    shown = failure(
        events=events, decisions=decisions, violation=Violation("unique", "twice", job=job, since=1.0, at=at)
    )
    return summary(shown, story.read(shown.outcome.events, shown.outcome.nodes))


def killed(fault: Fault, *, called: bool = True, line: Line | None = None) -> list[Event]:
    """A worker calls a bank, and is killed; another one does it again."""
    script = Script()
    script.insert(JOB, "charge-card")
    claim(script, "w1", JOB)
    script.events += [
        Began(0.1, "w1", "charge-card", JOB, 1),
        Effect(0.5, "w1", JOB, 1, CALL, alive=True, called=called, line=line),
        fault,
        Lived(1.0, "w1", "killed"),
    ]
    script.at = 8.0
    script.change(JOB, RowState.RETRY)
    claim(script, "w2", JOB)
    script.events += [
        Began(8.0, "w2", "charge-card", JOB, 2),
        Effect(9.0, "w2", JOB, 2, CALL, alive=True, called=called, line=line),
    ]
    return script.history()


def test_kill_is_described_with_what_was_done_before_and_again() -> None:
    fault = Fault(1.0, "w1", "handler/charge-card/0/1", "kill_handler", None)
    assert described(killed(fault), {fault.address: {"fault": "kill_handler"}}) == (
        f"charge-card ran on w1 and was killed at 1.0 s, after it had called {CALL}; "
        f"w2 ran it again 7.0 s later and called {CALL} again."
    )
    assert "after it had caused the effect" in described(
        killed(fault, called=False), {fault.address: {"fault": "kill_handler"}}
    )


def test_kill_is_described_with_its_line() -> None:
    def check(kind: str, after: bool, place: str) -> None:  # noqa: FBT001 - a column of the table
        line = Line("shop.py", "charge", 18, "await bank.record(order)", after=after)
        others = Affected("charge-card", OTHER, 1, Line("other.py", "other", 1, ""))
        hit = Affected("charge-card", JOB, 1, line)
        fault = Fault(1.0, "w1", "handler/charge-card/0/1", kind, None, None, (hit, others))
        said = described(killed(fault), {fault.address: {"fault": kind}})
        assert f"was killed {place} shop.py:18 (`await bank.record(order)`), after it had called" in said

    check_each(
        [("kill_handler", False, "at"), ("kill_line", True, "at"), ("kill_line", False, "before")], check
    )


def test_kill_after_the_handler_is_not_described_by_the_last_line() -> None:
    line = Line("shop.py", "charge", 18, "bank.record(order)")
    hit = Affected("charge-card", JOB, 1, line, returned=True)
    fault = Fault(1.0, "w1", "line/charge-card/0/1", "kill_line", None, None, (hit,))
    said = described(killed(fault), {fault.address: {"fault": "kill_line"}})
    assert "was killed before its result was stored, after it had called" in said


def test_repeated_effect_is_described_with_its_line() -> None:
    fault = Fault(1.0, "w1", "handler/charge-card/0/1", "kill_handler", None)
    line = Line("shop.py", "charge", 17, "await bank.charge(order)")
    assert described(killed(fault, line=line), {fault.address: {"fault": "kill_handler"}}).endswith(
        f"called {CALL} again at shop.py:17."
    )


def test_kill_by_a_statement_names_the_statement() -> None:
    fault = Fault(1.0, "w1", "w1/claim/14", "kill_before", None)
    said = described(killed(fault), {fault.address: {"fault": "kill_before"}})
    assert "was killed as it sent a claim, which did not arrive, after it had called" in said


def test_run_that_goes_on_without_its_lease_is_described_in_order() -> None:
    assert described(overlap(), dict(failure().decisions), at=4.7) == (
        "mail.send ran on w1; at 0.9 s, w1 was suspended for 3.7 s; at 3.0 s, s1 had the fault latency; "
        "w2 began it too, 3.1 s after w1, and caused the effect 'mail ann@example.org' and returned; "
        "at 3.9 s, a settlement of w2 was applied, but w2 got no answer; "
        "w1 then caused the effect 'mail ann@example.org' again."
    )


def test_other_job_with_the_same_effect_is_described() -> None:
    script = Script()
    for at, job in ((0.0, OTHER), (5.0, JOB)):
        script.at = at
        script.insert(job, "charge-card")
        claim(script, "w1", job)
        script.events += [
            Began(at + 0.1, "w1", "charge-card", job, 1),
            Effect(at + 1.0, "w1", job, 1, CALL, alive=True, called=True),
            Ended(at + 2.0, "w1", "charge-card", job, 1, "raised", "TimeoutError: no answer\nat all"),
        ]
    assert described(script.history(), {}, at=6.0) == (
        f"charge-card 000007 ran on w1 and called {CALL} and raised TimeoutError: no answer; "
        f"charge-card 91c2e4 ran on w1 and called {CALL} again and raised TimeoutError: no answer."
    )


def test_jobs_that_faults_hit_are_described_if_the_violation_names_none() -> None:
    fault = Fault(1.0, "w1", "handler/charge-card/0/1", "kill_handler", None)
    decisions = {fault.address: {"fault": "kill_handler"}}
    assert described(killed(fault), decisions, job=None) == described(killed(fault), decisions)
    assert described(killed(fault), {}, job=None) == ""


def test_each_kind_of_fault_has_a_sentence() -> None:
    def check(kind: str) -> None:
        fault = Fault(1.0, "w1", "call/mail.send/0/1/Bank.charge/1", kind, 3.0)
        said = described([fault], {fault.address: {"fault": kind}})
        assert said.startswith("at 1.0 s, ")
        assert kind in SENTENCES
        assert "{" not in said

    check_each(list(KINDS), check)
