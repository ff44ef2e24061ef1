"""Workloads of simulated worlds: attempts follow their script, and programs their plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cases import check_each
from tests.sim.worlds import catalog_of, simulated
from tests.workloads import RESULTS, UNSAID, Known, Script, Step, act, doing, script, sending, tending
from zeke_queue.core.options import SendOptions
from zeke_sim.history.events import Began, Ended, Invoked
from zeke_sim.loop.decisions import Decisions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.workloads import Action
    from zeke_sim.history.events import Event


def happened(*actions: tuple[float, Action], expire_in: float = 1.0) -> Sequence[Event]:
    """Return the history of a calm world in which a program does some actions."""
    catalog = catalog_of(act, retry_limit=2, retry_delay=1, expire_in=expire_in)
    return simulated(catalog, doing(actions), decisions={}, phase=20.0).events


def attempts(*steps: Step, expire_in: float = 1.0) -> list[tuple[float, Ended]]:
    """Run a job; return how long each attempt took, and how it ended."""
    events = happened((1.0, sending(Known(), 0, "look", Script(steps=list(steps)))), expire_in=expire_in)
    began = {event.attempt: event.at for event in events if isinstance(event, Began)}
    return [(event.at - began[event.attempt], event) for event in events if isinstance(event, Ended)]


def test_attempt_returns_the_result_of_its_script() -> None:
    def check(result: Any) -> None:
        ((took, ended),) = attempts(Step(seconds=0.5, result=result))
        assert took == pytest.approx(0.5, abs=0.01)
        assert (ended.how, ended.value) == ("returned", {"attempt": 1} if result == UNSAID else result)

    check_each(RESULTS, check)


def test_each_attempt_ends_by_its_step() -> None:
    ends = [ended for _, ended in attempts(Step(end="raise"), Step(end="retry", after=2.0))]
    assert [(end.how, end.asked) for end in ends] == [("raised", None), ("raised", 2.0), ("returned", None)]
    (failed,) = attempts(Step(end="fail"), Step())
    assert failed[1].how == "raised"
    assert [end.asked for _, end in attempts(Step(end="snooze", after=3.0))] == [3.0, None]


def test_attempt_heeds_its_deadline_by_its_script() -> None:
    def check(step: Step, took: float, how: str) -> None:
        (first, *_) = attempts(step)
        assert first[0] == pytest.approx(took, abs=0.05)
        assert first[1].how == how

    check_each(
        {
            "at once": (Step(seconds=9.0), 1.0, "cancelled"),
            "after it cleaned up": (Step(seconds=9.0, cleanup=2.0), 3.0, "cancelled"),
            "a while later": (Step(seconds=9.0, swallow=2.0), 3.0, "returned"),
            "never": (Step(seconds=4.0, swallow=60.0), 4.0, "returned"),
            "moved its deadline": (Step(seconds=2.0, extend=5.0), 2.0, "returned"),
        },
        check,
    )


def test_actions_are_done_in_order_of_time() -> None:
    known = Known()
    actions = [
        (6.0, tending(known, 1, "cancel")),
        (7.0, tending(known, 9, "cancel")),
        (4.0, sending(known, 1, "look", Script(), SendOptions(delay=60.0))),
        (2.0, sending(known, 0, "look", Script())),
    ]
    calls = [(event.verb, event.at) for event in happened(*actions) if isinstance(event, Invoked)]
    mine = [(verb, at) for verb, at in calls if verb in {"insert", "cancel"}]
    assert [verb for verb, _ in mine] == ["insert", "insert", "cancel"], "nobody was sent as number 9"
    assert [at for _, at in mine] == pytest.approx([2.0, 4.0, 6.0], abs=0.05)


def test_scripts_are_drawn_by_their_options() -> None:
    draws = Decisions(1).stream("scripts")

    def steps(**how: Any) -> list[Step]:
        return [step for _ in range(200) for step in script(draws, longest=3.0, **how).steps]

    slow, usual, stubborn = steps(hasty=0), steps(), steps(stubborn=0.5)
    assert sum(0 < step.seconds <= 3.0 for step in slow) / len(slow) > 0.99
    assert sum(not step.seconds for step in usual) / len(usual) == pytest.approx(2 / 3, abs=0.1)
    assert not any(step.swallow or step.cleanup for step in usual)
    assert sum(bool(step.cleanup) for step in stubborn) / len(stubborn) == pytest.approx(0.5, abs=0.1)
    assert {step.extend for step in usual} == {0.0, 20.0}
    assert {step.end for step in usual} == {"return", "raise", "retry", "fail", "snooze"}


def test_program_omits_actions_of_the_plan() -> None:
    known = Known()
    sends = [(1.0 + number, sending(known, number, "look", Script())) for number in range(3)]
    outcome = simulated(catalog_of(act), doing(sends), decisions={"action/c1/1": True}, phase=5.0)
    assert outcome.actions == ("action/c1/0", "action/c1/1", "action/c1/2")
    sent = [event.at for event in outcome.events if isinstance(event, Invoked) and event.verb == "insert"]
    assert sent == [1.0, 3.0]
