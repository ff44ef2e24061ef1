"""A repeated send is the same job: histories in which it is, ones in which it is not, and look-alikes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.sim.histories import History
from zeke_queue.model import NewJob
from zeke_sim.properties import by_name

SAME = "a repeated send is the same job"


def _ours(number: int) -> UUID:
    """Return an id as the library makes it."""
    return UUID(int=(0x7 << 76) | (0x2 << 62) | number)


FIRST = NewJob(_ours(1), "a", data='{"n":1}', fresh=True)
AGAIN = replace(FIRST, fresh=False)
OTHER = replace(AGAIN, id=_ours(2))
OWN = UUID("0b5fbbc2-6c1c-4f0a-9d07-1f0a3d6b8a11")


def _tried(h: History, *jobs: NewJob, outcome: Any = "unknown", node: str = "c1") -> History:
    """Let a client send jobs; by default it hears nothing."""
    call = h.invoke("insert", node, jobs=jobs)
    h.answer(call, [job.id for job in jobs] if outcome == "ok" else "gone", outcome)
    return h


def _holds(h: History) -> bool:
    return h.verdict(by_name(SAME)) is None


def test_a_send_that_is_repeated_under_its_id() -> None:
    h = _tried(_tried(History(), FIRST), AGAIN)
    call = h.invoke("insert", jobs=(AGAIN,))
    h.insert(AGAIN, call)
    h.answer(call, [AGAIN.id])
    assert h.verdict() is None


@pytest.mark.parametrize("outcome", ["failed", "unknown"])
def test_a_send_that_is_repeated_under_another_id(outcome: str) -> None:
    h = _tried(_tried(History(), FIRST, outcome=outcome), OTHER)
    assert h.breaks(SAME) == f"it is sent again as {OTHER.id}, and was sent as {FIRST.id}"


def test_one_of_several_jobs_that_is_repeated_under_another_id() -> None:
    more = replace(FIRST, id=_ours(3), data='{"n":3}')
    h = _tried(_tried(History(), more, FIRST), replace(more, fresh=False), OTHER)
    assert h.breaks(SAME) == f"it is sent again as {OTHER.id}, and was sent as {FIRST.id}"


def test_a_send_that_was_repeated_and_then_gets_another_id() -> None:
    h = _tried(_tried(_tried(History(), FIRST), AGAIN), OTHER)
    assert h.breaks(SAME).startswith(f"it is sent again as {OTHER.id}")


def test_a_send_that_gets_another_id_after_others_have_come_between() -> None:
    h = _tried(History(), FIRST)
    _tried(h, replace(FIRST, id=_ours(3), data='{"n":3}'), outcome="ok")
    assert _tried(h, OTHER).breaks(SAME).startswith(f"it is sent again as {OTHER.id}")


def test_a_send_that_was_answered() -> None:
    assert _holds(_tried(_tried(History(), FIRST, outcome="ok"), OTHER))


def test_a_send_that_is_not_answered_yet() -> None:
    h = History()
    h.invoke("insert", jobs=(FIRST,))
    assert _holds(_tried(h, OTHER))


def test_the_same_content_in_a_new_send() -> None:
    assert _holds(_tried(_tried(History(), FIRST), replace(OTHER, fresh=True)))


def test_two_new_sends_of_the_same_content_of_which_each_is_repeated() -> None:
    second = replace(FIRST, id=_ours(2))
    h = _tried(_tried(History(), FIRST), second)
    assert _holds(_tried(_tried(h, AGAIN), replace(second, fresh=False)))


def test_an_id_of_an_applications_own() -> None:
    assert _holds(_tried(_tried(History(), FIRST), replace(OTHER, id=OWN)))


def test_the_same_content_from_another_client() -> None:
    assert _holds(_tried(_tried(History(), FIRST), OTHER, node="c2"))


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "b"},
        {"data": '{"n":2}'},
        {"data": None},
        {"priority": 1},
        {"singleton_key": "k"},
        {"delay": 1.0},
    ],
)
def test_other_content(changed: dict[str, Any]) -> None:
    assert _holds(_tried(_tried(History(), FIRST), replace(OTHER, **changed)))


def test_the_same_content_long_after() -> None:
    h = _tried(History(), FIRST)
    for number in range(10, 18):
        _tried(h, replace(FIRST, id=_ours(number), data=str(number)), outcome="ok")
    assert _holds(_tried(h, OTHER))
