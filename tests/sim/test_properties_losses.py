"""A killed job does what it does without a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cases import check_each
from tests.sim.histories import ERROR, History
from zeke_queue.model import Completed, Failed, Released
from zeke_sim.history.events import Affected, Ended, Fault
from zeke_sim.properties.losses import Done, nothing_lost, observed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

WHOLE = ("mail 1", "mail 2", "pay at 2026-03-02T09:00:00.5Z", "Bank.charge(to='ann')", "a job of b")
LATER = ("pay at 2026-03-02T09:01:00Z", "Bank.charge(to='bob')", "a job of b")


class Run(History):
    """A run with a job, whose attempts have effects and send jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.job = self.send()

    def attempt(self, *done: str, ends: str) -> None:
        self.claim(self.job)
        self.begin(self.job)
        number = self.rows[self.job].attempt
        for one in done:
            self._do(self.job, one)
        if ends == "completed":
            self.settle(self.job, Completed(self.job, number, None))
            return
        if ends == "snoozed":
            self.events.append(Ended(self.at, "w1", "a", self.job, number, "raised", "Snooze", 1.0))
            self.settle(self.job, Released(self.job, number, 1.0))
            return
        if ends == "waits":
            self.suspend(self.job, self.send("c"))
            self.wake(self.job)
            return
        if ends == "killed":
            affected = Affected("a", self.job, number, None)
            self.events.append(Fault(self.at, "w1", "line/a/0/1", "kill_line", None, None, (affected,)))
        self.settle(self.job, Failed(self.job, number, None if ends == "failed" else 1.0, ERROR))
        self.wait(1.0)

    def _do(self, job: UUID, one: str) -> None:
        if one == "another job":
            other = self.send_claimed("c")
            for text in WHOLE:
                self._do(other, text)
        elif one == "a job of b":
            self.send("b", parent=job)
        elif one == "a refused job of b":
            self.answer(self.invoke("insert", jobs=(self.new("b", parent=job),)), [None])
        elif one == "a lost job of b":
            self.invoke("insert", jobs=(self.new("b", parent=job),))
        else:
            self.effect(job, one, called=one.startswith("Bank."))


def done_by(run: Run) -> Done:
    done: list[Done] = []
    assert run.verdict(observed(done)) is None
    return done[0]


def whole() -> Done:
    run = Run()
    run.attempt("log 1", ends="retried")
    run.attempt("ask 1", "ask 2", ends="snoozed")
    run.attempt("greet", "mail 5", ends="waits")
    run.attempt(*WHOLE, ends="completed")
    return done_by(run)


def test_killed_job_that_completes_does_what_it_does_without_a_kill() -> None:
    asks = ("ask 7", "greet")
    cases: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str], str | None]] = (
        (asks, WHOLE, (), None),
        ((*asks, *WHOLE), (), (), None),
        ((*asks, *WHOLE[:2]), ("mail 3", *LATER), (), None),
        (asks, (*WHOLE[:4], "a refused job of b"), (), None),
        (asks, WHOLE[1:], (), "'mail 1' is missing: 'mail #' happens 2 times without a kill, and here 1"),
        (asks, WHOLE[1:], ["mail 1"], None),
        (asks, WHOLE[1:], ["mail 2"], "'mail 1' is missing: it happens without a kill"),
        (asks, WHOLE[2:], (), "'mail 1' is missing: it happens without a kill"),
        (asks, WHOLE[2:], ["mail"], None),
        (asks, (*WHOLE[2:], "mail"), ["pay", "Bank"], "'mail 1' is missing: it happens without a kill"),
        (asks, (*WHOLE[:3], WHOLE[4]), (), "\"Bank.charge(to='ann')\" is missing: it happens without a kill"),
        (asks, WHOLE[:4], (), "'a job of b' is missing: it happens without a kill"),
        (asks, (*WHOLE[:4], "a lost job of b"), (), "'a job of b' is missing: it happens without a kill"),
        ((*asks, "another job"), WHOLE[:4], (), "'a job of b' is missing: it happens without a kill"),
        ((*asks, "another job"), WHOLE[2:], (), "'mail 1' is missing: it happens without a kill"),
        (("greet",), WHOLE, (), "'ask 1' is missing: it happens without a kill"),
        (("ask 7",), WHOLE, (), "'greet' is missing: it happens without a kill"),
    )

    def check(first: Sequence[str], second: Sequence[str], may_lose: Sequence[str], said: str | None) -> None:
        assert _lost(first, second, may_lose) == said

    check_each(cases, check)


def _lost(first: Sequence[str], second: Sequence[str], may_lose: Sequence[str]) -> str | None:
    """Return what a run has lost whose first attempt is killed."""
    run = Run()
    run.attempt(*first, ends="killed")
    run.attempt(*second, ends="completed")
    found = run.verdict(nothing_lost(whole(), may_lose))
    assert found is None or found.job == run.job
    return None if found is None else found.text.partition(";")[0]


def test_job_that_fails_or_was_not_killed_may_do_less() -> None:
    for first, second in (("killed", "failed"), ("retried", "completed")):
        run = Run()
        run.attempt(ends=first)
        run.attempt(ends=second)
        assert run.holds(nothing_lost(whole(), ())), second
