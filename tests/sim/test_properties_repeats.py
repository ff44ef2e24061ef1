"""A repeated send is the same job: histories in which it is, ones in which it is not, and look-alikes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.cases import check_each
from tests.sim.histories import History
from zeke_queue.model import NewJob

SAME = "a repeated send is the same job"


def _generated(number: int) -> UUID:
    """Return an id as the library makes it."""
    return UUID(int=(0x7 << 76) | (0x2 << 62) | number)


FIRST = NewJob(_generated(1), "a", data='{"n":1}', fresh=True)
AGAIN = replace(FIRST, fresh=False)
OTHER = replace(AGAIN, id=_generated(2))
SECOND = replace(FIRST, id=_generated(2))
MORE = replace(FIRST, id=_generated(3), data='{"n":3}')
OWN_ID = UUID("0b5fbbc2-6c1c-4f0a-9d07-1f0a3d6b8a11")

Send = tuple[tuple[NewJob, ...], str, str]


def _send(*jobs: NewJob, outcome: Any = "unknown", node: str = "c1") -> Send:
    """Describe a send by a client; by default it gets no answer."""
    return jobs, outcome, node


def _history(*sends: Send) -> History:
    h = History()
    for jobs, outcome, node in sends:
        call = h.invoke("insert", node, jobs=jobs)
        if outcome != "under way":
            h.answer(call, [job.id for job in jobs] if outcome == "ok" else "gone", outcome)
    return h


def test_repeated_send_keeps_its_id() -> None:
    h = _history(_send(FIRST), _send(AGAIN))
    call = h.invoke("insert", jobs=(AGAIN,))
    h.insert(AGAIN, call)
    h.answer(call, [AGAIN.id])
    assert h.verdict() is None


def test_repeated_send_under_another_id_is_found() -> None:
    def check(*sends: Send) -> None:
        assert _history(*sends).breaks(SAME) == f"it is sent again as {OTHER.id}, and was sent as {FIRST.id}"

    cases = {
        "after a failure": (_send(FIRST, outcome="failed"), _send(OTHER)),
        "after no answer": (_send(FIRST), _send(OTHER)),
        "one of several": (_send(MORE, FIRST), _send(replace(MORE, fresh=False), OTHER)),
        "after a right repetition": (_send(FIRST), _send(AGAIN), _send(OTHER)),
        "after another send": (_send(FIRST), _send(MORE, outcome="ok"), _send(OTHER)),
    }
    check_each(cases, check)


def test_other_sends_may_have_other_ids() -> None:
    def check(*sends: Send) -> None:
        assert _history(*sends).holds(SAME)

    others = [_send(replace(FIRST, id=_generated(n), data=str(n)), outcome="ok") for n in range(10, 18)]
    changes = [
        {"name": "b"},
        {"data": '{"n":2}'},
        {"data": None},
        {"priority": 1},
        {"singleton_key": "k"},
        {"delay": 1.0},
    ]
    cases = {
        "the first was answered": (_send(FIRST, outcome="ok"), _send(OTHER)),
        "the first is under way": (_send(FIRST, outcome="under way"), _send(OTHER)),
        "a new send": (_send(FIRST), _send(replace(OTHER, fresh=True))),
        "two sends, each repeated": (
            *(_send(FIRST), _send(SECOND)),
            *(_send(AGAIN), _send(replace(SECOND, fresh=False))),
        ),
        "an id of the application": (_send(FIRST), _send(replace(OTHER, id=OWN_ID))),
        "another client": (_send(FIRST), _send(OTHER, node="c2")),
        "long after": (_send(FIRST), *others, _send(OTHER)),
        **{str(change): (_send(FIRST), _send(replace(OTHER, **change))) for change in changes},
    }
    check_each(cases, check)
