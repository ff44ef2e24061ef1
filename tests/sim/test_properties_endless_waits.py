"""Waits that would never end: histories in which they are refused or pause, and ones that break a rule."""

from __future__ import annotations

from uuid import UUID

from tests.cases import check_each
from tests.sim.histories import History
from tests.sim.test_properties_parents import ASKED, completes
from zeke_queue.model import Failed, Suspensions, Waiting

CYCLE, ENDLESS = "no job waits in a cycle", "a wait is refused only if it would not end"


def test_jobs_that_wait_for_each_other_are_found() -> None:
    def check(number: int) -> None:
        h = History()
        jobs = [h.send_claimed("parents") for _ in range(number)]
        for job, other in zip(jobs, [*jobs[1:], jobs[0]], strict=True):
            h.suspend(job, other)
        chain = " -> ".join(map(str, [jobs[-1], *jobs[:-1]]))
        assert h.breaks(CYCLE) == f"it waits for itself, by {chain}"

    check_each([1, 2, 3], check)


def refuses(h: History, job: UUID, child: UUID, chain: tuple[UUID, ...], attempt: int = 1) -> None:
    """Refuse the wait of a running job."""
    h.run(job, "raised", f"Wait: Waits for job {child}")
    call = h.invoke("suspend", "w1", waiting=(Waiting(job, attempt, child),), repeated=False)
    h.answer(call, Suspensions(set(), {job: chain}))


def test_endless_wait_is_refused_and_fails() -> None:
    def check(error: str) -> None:
        h = History()
        first, second = h.send_claimed("parents"), h.send_claimed("parents")
        output = f'{{"type": "{error}", "message": "never"}}'
        if error == "Wait":
            h.suspend(first, second)
            refuses(h, second, first, (first, second))
            h.settle(second, Failed(second, 1, None, output), wakes=(first,), output=output)
        else:
            refuses(h, second, UUID(int=999), ())
            h.settle(second, Failed(second, 1, 1.0, output), output=output)
        assert h.verdict() is None

    check_each(["Wait", "JobNotFoundError"], check)


def test_refusal_of_a_wait_that_would_end_is_found(h: History) -> None:
    parent, child = h.send_claimed("parents"), h.send()
    refuses(h, parent, child, ())
    assert h.breaks(ENDLESS) == f"it may not wait for {child}, which exists"
    h = History()
    parent, child = h.send_claimed("parents"), h.send()
    refuses(h, parent, child, (child, parent))
    assert h.breaks(ENDLESS) == f"it may not wait for {child}, which does not wait for it"


def test_wait_for_a_job_that_does_not_exist_must_be_refused(h: History) -> None:
    parent, unknown = h.send_claimed("parents"), UUID(int=999)
    h.suspend(parent, unknown, waits_for=None)
    assert h.breaks(ASKED) == f"{unknown} does not exist, so the wait must be refused"


def due_again() -> tuple[History, UUID, UUID]:
    """Return a history with the second attempt of a job that was due because another one had ended."""
    h = History()
    parent, child = h.send_claimed("parents"), h.send()
    completes(h, child)
    h.suspend(parent, child, waits_for=None)
    h.claim(parent)
    return h, parent, child


def test_second_wait_for_an_end_must_be_refused() -> None:
    h, parent, child = due_again()
    refuses(h, parent, child, (child,), attempt=2)
    assert h.verdict() is None
    h, parent, child = due_again()
    h.suspend(parent, child, waits_for=None)
    assert h.breaks(ASKED) == f"it waits again for {child}, which had ended, and must be refused"


def test_wait_is_refused_only_for_an_end_that_both_calls_could_recognise() -> None:
    def check(*ahead: tuple[float, float]) -> None:
        h = History()
        parent, child = h.send_claimed("parents"), h.send()
        completes(h, child)
        for seconds, pause in ahead:
            h.jump = -seconds  # the clock of the storage, since that end
            h.suspend(parent, child, waits_for=None, pause=pause)
            h.wait(pause)
            h.claim(parent)
            h.wait(5.0)
        assert h.verdict() is None

    check_each({"not the first": ((1.5, 0.0), (0.0, 0.0)), "not the second": ((0.0, 0.0), (7.5, 1.0))}, check)


def test_refusal_of_a_first_wait_for_an_end_is_found() -> None:
    h = History()
    parent, child = h.send_claimed("parents"), h.send()
    completes(h, child)
    refuses(h, parent, child, (child,))
    message = f"it may not wait for {child}, and has not been due for its end"
    assert h.breaks(ENDLESS) == message
    h, parent, child = due_again()
    other = h.send()
    completes(h, other)
    refuses(h, parent, other, (other,), attempt=2)
    assert h.breaks(ENDLESS) == message.replace(str(child), str(other))


def test_waits_for_ended_jobs_in_turn_need_a_pause() -> None:
    def check(*, in_turn: bool, pause: float) -> None:
        h = History()
        parent, first, second = h.send_claimed("parents"), h.send(), h.send()
        completes(h, first)
        if in_turn:
            completes(h, second)
        h.suspend(parent, first, waits_for=None)
        h.claim(parent)
        if not in_turn:
            completes(h, second)
        h.suspend(parent, second, waits_for=None, pause=pause)
        if in_turn == bool(pause):
            assert h.verdict() is None
        else:
            assert h.breaks(ASKED).startswith("nothing is left to wait for, and it starts at ")

    check_each(
        [(in_turn, pause) for in_turn in (False, True) for pause in (0.0, 1.0)],
        lambda in_turn, pause: check(in_turn=in_turn, pause=pause),
    )
