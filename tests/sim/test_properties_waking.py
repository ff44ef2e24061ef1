"""Who sleeps is woken: histories in which workers look at once, and in which they may wait or must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sim.histories import CANCELLED, RETRY, WORKERS, History
from zeke_queue.model import Completed, Want
from zeke_sim.faults import WAKE
from zeke_sim.history import Began, Fault
from zeke_sim.properties import by_name

WOKEN = "who sleeps is woken"
RESTS = "who finds nothing rests"


def _look(h: History, node: str = "w1", *names: str, outcome: Any = "ok") -> None:
    """Let a worker ask for jobs of some queues, and get none."""
    wants = tuple(Want(name, 1) for name in names or ("a",))
    h.answer(h.invoke("claim", node, worker=WORKERS[node], wants=wants, limit=1), [], outcome)


def _asleep(*nodes: str) -> History:
    """Workers looked twice, and have slept for two seconds since."""
    h = History()
    for node in nodes or ("w1",):
        h.lived(node, "started")
        h.wait(0.01)
        _look(h, node)
    h.wait(2.0)
    for node in nodes or ("w1",):
        _look(h, node)
    h.wait(2.0)
    return h


def _missed(h: History) -> History:
    """Send a job for which nobody looks, until something else happens."""
    h.send()
    h.wait(0.5)
    h.queue("unrelated")
    return h


def test_a_worker_that_looks_when_a_job_comes() -> None:
    h = _asleep()
    job = h.send()
    h.wait(0.1)
    h.complete(job)
    h.wait(1.0)
    assert h.verdict() is None


def test_a_worker_that_is_not_woken() -> None:
    assert _missed(_asleep()).breaks(WOKEN) == "w1 slept at 4.015 s, and has not looked by 4.517 s"


def test_a_worker_that_looks_too_late_before_anything_else_happens() -> None:
    h = _asleep()
    h.send()
    h.wait(1.5)
    _look(h)
    assert h.breaks(WOKEN) == "w1 slept at 4.015 s, and has not looked by 5.517 s"


def test_a_worker_that_has_not_looked_when_the_run_ends() -> None:
    h = _asleep()
    h.send()
    h.wait(1.0)
    assert h.breaks(WOKEN).endswith(f"has not looked by {h.at:.3f} s")


def test_every_worker_that_sleeps_looks() -> None:
    h = _asleep("w1", "w2")
    h.send()
    _look(h, "w2")
    h.wait(1.0)
    assert h.breaks(WOKEN).startswith("w1 slept at ")


def test_a_job_that_comes_back_wakes_as_a_new_one_does() -> None:
    h = _asleep("w1", "w2")
    job = h.send()
    _look(h, "w1")
    _look(h, "w2")
    h.complete(job)
    h.wait(2.0)
    _look(h, "w1")
    _look(h, "w2")
    h.wait(2.0)
    h.by_hand("retry", job, RETRY)
    h.wait(1.0)
    assert h.breaks(WOKEN).startswith("w1 slept at ")


@pytest.mark.parametrize("kind", sorted(WAKE))
def test_a_wait_that_met_a_fault(kind: str) -> None:
    h = _asleep()
    h.events.append(Fault(h.at, "w1", "w1/wake/2", kind, None))
    assert _missed(h).verdict(by_name(WOKEN)) is None


def test_a_wait_that_met_a_fault_is_over_when_the_worker_has_looked_twice() -> None:
    for looks, holds in ((1, True), (2, False)):
        h = _asleep()
        h.events.append(Fault(h.at, "w1", "w1/wake/2", "deaf", None))
        for _ in range(looks):
            h.wait(2.0)
            _look(h)
        h.wait(2.0)
        assert (_missed(h).verdict(by_name(WOKEN)) is None) is holds


def test_a_wait_of_another_worker_that_met_a_fault() -> None:
    h = _asleep("w1", "w2")
    h.events.append(Fault(h.at, "w2", "w2/wake/2", "deaf", None))
    assert _missed(h).breaks(WOKEN).startswith("w1 slept at ")


def test_a_database_that_went_away() -> None:
    for ago, holds in ((0.1, True), (1.0, False)):
        h = _asleep()
        h.events.append(Fault(h.at, "db", "db/0", "restart", h.at + 1.0))
        h.wait(1.0 + ago)
        assert (_missed(h).verdict(by_name(WOKEN)) is None) is holds


def test_a_worker_pauses_after_an_outage_until_it_looks_again() -> None:
    for looked, holds in ((False, True), (True, False)):
        h = _asleep()
        _look(h, outcome="failed")
        h.wait(1.0)
        if looked:
            _look(h)
        h.wait(1.0)
        assert (_missed(h).verdict(by_name(WOKEN)) is None) is holds


@pytest.mark.parametrize("setting", [{"paused": True}, {"limit": 3}])
def test_a_queue_that_is_paused_or_limited(setting: dict[str, Any]) -> None:
    h = _asleep()
    h.queue("a", **setting)
    assert _missed(h).verdict(by_name(WOKEN)) is None


def test_a_queue_that_is_neither_paused_nor_limited_any_more() -> None:
    h = _asleep()
    h.queue("a", limit=3, paused=True)
    h.queue("a")
    assert _missed(h).breaks(WOKEN).startswith("w1 slept at ")


def test_a_worker_of_other_queues() -> None:
    h = History()
    h.lived("w1", "started")
    for _ in range(2):
        h.wait(2.0)
        _look(h, "w1", "b", "c")
    h.wait(2.0)
    assert _missed(h).verdict(by_name(WOKEN)) is None


def test_a_job_that_is_due_later() -> None:
    h = _asleep()
    h.send(delay=60.0)
    h.wait(1.0)
    assert h.verdict(by_name(WOKEN)) is None


def _looked_a_moment_ago(h: History) -> None:
    _look(h)
    h.wait(0.4)


def _holds_a_job(h: History) -> None:
    job = h.send()
    _look(h)
    h.claim(job)
    h.wait(2.0)


def _runs_one_of_two_handlers(h: History) -> None:
    """Both jobs were taken from the worker; one of its handlers goes on, and the other has ended long ago."""
    jobs = h.send(), h.send()
    h.claim(*jobs)
    for job in jobs:
        h.events.append(Began(h.at, "w1", "a", job, 1))
    h.run(jobs[0])
    for job in jobs:
        h.by_hand("cancel", job, CANCELLED)
    h.wait(2.0)
    _look(h)
    h.wait(2.0)


def _has_just_settled_a_job(h: History) -> None:
    job = h.send()
    h.claim(job)
    h.run(job)
    h.wait(1.0)
    h.settle(job, Completed(job, 1, None))
    h.wait(0.1)


def _has_just_ended_a_handler(h: History) -> None:
    """Its job was taken from the worker before."""
    job = h.send()
    h.claim(job)
    h.by_hand("cancel", job, CANCELLED)
    h.run(job)
    h.wait(0.1)


def _waits_for_an_answer(h: History) -> None:
    h.invoke("beat", "w1", worker=None)


def _was_replaced(h: History) -> None:
    """The process is killed, and the one after it has a worker of its own, which serves another queue."""
    h.lived("w1", "killed")
    h.lived("w1", "started")
    for _ in range(2):
        h.wait(1.0)
        args = {"worker": WORKERS["w2"], "wants": (Want("b", 1),), "limit": 1}
        h.answer(h.invoke("claim", "w1", **args), [])
    h.wait(1.0)


def _ends(h: History) -> None:
    h.lived("w1", "stopping")


def _stands_still(h: History) -> None:
    h.lived("w1", "paused")


def _is_cut_off(h: History) -> None:
    h.lived("w1", "cut")


@pytest.mark.parametrize(
    "state",
    [
        _looked_a_moment_ago,
        _holds_a_job,
        _runs_one_of_two_handlers,
        _has_just_settled_a_job,
        _has_just_ended_a_handler,
        _waits_for_an_answer,
        _was_replaced,
        _ends,
        _stands_still,
        _is_cut_off,
    ],
)
def test_a_worker_that_does_not_sleep(state: Callable[[History], None]) -> None:
    h = _asleep()
    state(h)
    assert _missed(h).verdict(by_name(WOKEN)) is None


@pytest.mark.parametrize("state", [_has_just_settled_a_job, _has_just_ended_a_handler])
def test_a_worker_sleeps_when_it_has_had_nothing_to_do_for_a_while(state: Callable[[History], None]) -> None:
    h = _asleep()
    state(h)
    h.wait(1.0)
    assert _missed(h).breaks(WOKEN).startswith("w1 slept at ")


@pytest.mark.parametrize(
    "what", [("killed",), ("paused",), ("cut",), ("stopping",), ("killed", "started"), ("cut", "joined")]
)
def test_a_worker_that_meets_a_misfortune_before_it_looks(what: tuple[str, ...]) -> None:
    h = _asleep()
    h.send()
    for one in what:
        h.wait(0.1)
        h.lived("w1", one)
    h.wait(1.0)
    assert h.verdict(by_name(WOKEN)) is None


@pytest.mark.parametrize(("pause", "rests"), [(0.0, False), (0.01, True)])
def test_a_worker_that_never_rests(pause: float, *, rests: bool) -> None:
    h = History()
    for _ in range(500):
        _look(h)
        h.wait(pause)
    assert (h.verdict(by_name(RESTS)) is None) is rests
    if not rests:
        assert h.breaks(RESTS).startswith("w1 asked 200 times since")


def test_a_worker_that_finds_something_now_and_then_may_ask_at_once() -> None:
    h = History()
    for _ in range(4):
        for _ in range(150):
            _look(h)
        h.claim(h.send())
    assert h.verdict(by_name(RESTS)) is None
