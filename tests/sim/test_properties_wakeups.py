"""Sleeping workers are woken: histories in which they claim at once, may wait, or must not wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.cases import check_each
from tests.sim.histories import CANCELLED, CREATED, RETRY, WORKERS, History
from zeke_queue.model import Completed, Failed, QueueCapacity, Released
from zeke_sim.history.events import Fault
from zeke_sim.world.faults import WAKE

WOKEN = "idle workers are woken"
RESTS = "a worker that finds nothing rests"


def _look(h: History, node: str = "w1", *names: str, outcome: Any = "ok") -> None:
    """Ask for jobs of some queues from a worker, and get none."""
    capacity = tuple(QueueCapacity(name, 1) for name in names or ("a",))
    h.answer(h.invoke("claim", node, worker=WORKERS[node], capacity=capacity, limit=1), [], outcome)


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
    """Send a job that is not read, until something else happens."""
    h.send()
    h.wait(0.5)
    h.queue("unrelated")
    return h


def test_sleeping_worker_looks_when_a_job_comes() -> None:
    h = _asleep()
    job = h.send()
    h.wait(0.1)
    h.complete(job)
    h.wait(1.0)
    assert h.verdict() is None
    assert _missed(_asleep()).breaks(WOKEN) == "w1 slept at 4.015 s, and has not polled by 4.517 s"
    h = _asleep()
    h.send()
    h.wait(1.5)
    _look(h)
    assert h.breaks(WOKEN) == "w1 slept at 4.015 s, and has not polled by 5.517 s"
    h = _asleep()
    h.send()
    h.wait(1.0)
    assert h.breaks(WOKEN).endswith(f"has not polled by {h.at:.3f} s"), "the run ended before it looked"


def test_every_sleeping_worker_looks() -> None:
    h = _asleep("w1", "w2")
    h.send()
    _look(h, "w2")
    h.wait(1.0)
    assert h.breaks(WOKEN).startswith("w1 slept at ")


def test_requeued_job_wakes_workers() -> None:
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


def test_job_that_comes_due_before_its_commit_wakes_no_worker() -> None:
    """Its statement notified of what was due then."""
    for delay, holds in ((1.0, True), (0.0, False)):
        h = _asleep("w1", "w2")
        job = h.send()
        h.claim(job)
        _look(h, "w2")
        h.run(job)
        h.wait(2.0)
        released = Released(job, 1, delay)
        call = h.invoke("settle", "w1", transaction=1, completed=(), failed=(), released=(released,))
        due = h.now + timedelta(seconds=delay)
        h.answer(call, {job})
        h.wait(1.5)
        commit = h.invoke("commit", "w1", transaction=1)
        h.change(job, commit, state=CREATED, worker=None, start_after=due)
        h.answer(commit)
        h.wait(1.0)
        assert h.holds(WOKEN) is holds


def test_opened_queue_wakes_workers_if_jobs_are_due() -> None:
    def check(first: dict[str, Any], then: dict[str, Any], holds: bool, delay: float = 0.0) -> None:  # noqa: FBT001
        h = _asleep()
        h.queue("a", **first)
        h.send(delay=delay)
        _look(h)
        h.wait(2.0)
        _look(h)
        h.wait(2.0)
        h.queue("a", **then)
        h.wait(1.0)
        assert h.holds(WOKEN) is holds

    check_each(
        {
            "resumed": ({"paused": True}, {}, False),
            "raised": ({"limit": 1}, {"limit": 2}, False),
            "removed": ({"limit": 1}, {}, False),
            "lowered": ({"limit": 2}, {"limit": 1}, True),
            "without due jobs": ({"paused": True}, {}, True, 60.0),
        },
        check,
    )


def _meets_fault(h: History, kind: str, node: str = "w1") -> None:
    h.events.append(Fault(h.at, node, f"{node}/wake/2", kind, None))


def test_wait_that_met_a_fault_is_excused() -> None:
    def check(kind: str) -> None:
        h = _asleep()
        _meets_fault(h, kind)
        assert _missed(h).holds(WOKEN)

    check_each(sorted(WAKE), check)
    h = _asleep("w1", "w2")
    _meets_fault(h, "lost_wakeup", "w2")
    assert _missed(h).breaks(WOKEN).startswith("w1 slept at "), "it was another worker's"


def test_wait_that_met_a_fault_is_over_after_two_looks() -> None:
    for looks, holds in ((1, True), (2, False)):
        h = _asleep()
        _meets_fault(h, "lost_wakeup")
        for _ in range(looks):
            h.wait(2.0)
            _look(h)
        h.wait(2.0)
        assert _missed(h).holds(WOKEN) is holds


def test_restart_of_database_excuses_for_a_while() -> None:
    for ago, holds in ((0.1, True), (1.0, False)):
        h = _asleep()
        h.events.append(Fault(h.at, "db", "db/0", "restart", h.at + 1.0))
        h.wait(1.0 + ago)
        assert _missed(h).holds(WOKEN) is holds


def test_full_notification_queue_excuses_until_it_is_emptied() -> None:
    """Another fault of the database in the meantime does not end the first one."""
    for waits, holds in ((5.0, True), (11.0, False)):
        h = _asleep()
        h.events.append(Fault(h.at, "db", "db/0", "notify_full", h.at + 10.0))
        h.wait(1.0)
        h.events.append(Fault(h.at, "db", "db/1", "db_clock", None))
        h.wait(waits)
        assert _missed(h).holds(WOKEN) is holds


def test_worker_pauses_after_an_outage_until_its_next_look() -> None:
    for looked, holds in ((False, True), (True, False)):
        h = _asleep()
        _look(h, outcome="failed")
        h.wait(1.0)
        if looked:
            _look(h)
        h.wait(1.0)
        assert _missed(h).holds(WOKEN) is holds


def test_paused_queue_wakes_no_worker() -> None:
    def check(*settings: dict[str, Any]) -> None:
        h = _asleep()
        for setting in settings:
            h.queue("a", **setting)
        assert _missed(h).holds(WOKEN) is (len(settings) == 1)

    check_each({"paused": ({"paused": True},), "open again": ({"paused": True, "limit": 3}, {})}, check)


def test_room_in_a_limited_queue_wakes_workers() -> None:
    for limit, retry_in, holds in (
        (1, 60.0, False),
        (1, None, False),
        (None, 60.0, True),
        (None, None, True),
    ):
        h = _asleep("w1", "w2")
        h.queue("a", limit)
        job = h.send()
        _look(h, "w2")
        h.claim(job)
        h.wait(2.0)
        _look(h, "w2")
        h.wait(2.0)
        h.settle(job, Failed(job, 1, retry_in, "{}"))
        _look(h)
        h.wait(1.0)
        assert h.holds(WOKEN) is holds, (limit, retry_in)


def test_job_of_other_queue_or_later_wakes_no_worker(h: History) -> None:
    h.lived("w1", "started")
    for _ in range(2):
        h.wait(2.0)
        _look(h, "w1", "b", "c")
    h.wait(2.0)
    assert _missed(h).holds(WOKEN)
    h = _asleep()
    h.send(delay=60.0)
    h.wait(1.0)
    assert h.holds(WOKEN)


def _looked_a_moment_ago(h: History) -> None:
    _look(h)
    h.wait(0.4)


def _holds_a_job(h: History) -> None:
    job = h.send()
    _look(h)
    h.claim(job)
    h.wait(2.0)


def _runs_one_of_two_handlers(h: History) -> None:
    """Both jobs were taken from the worker, one of whose handlers still runs."""
    jobs = h.send(), h.send()
    h.claim(*jobs)
    for job in jobs:
        h.begin(job)
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
    h.invoke("heartbeat", "w1", worker=None)


def _was_replaced(h: History) -> None:
    """Return a history in which a process is killed, and its successor has a worker of another queue."""
    h.lived("w1", "killed")
    h.lived("w1", "started")
    for _ in range(2):
        h.wait(1.0)
        args = {"worker": WORKERS["w2"], "capacity": (QueueCapacity("b", 1),), "limit": 1}
        h.answer(h.invoke("claim", "w1", **args), [])
    h.wait(1.0)


AWAKE: list[Callable[[History], None]] = [
    _looked_a_moment_ago,
    _holds_a_job,
    _runs_one_of_two_handlers,
    _has_just_settled_a_job,
    _has_just_ended_a_handler,
    _waits_for_an_answer,
    _was_replaced,
    lambda h: h.lived("w1", "stopping"),
    lambda h: h.lived("w1", "paused"),
    lambda h: h.lived("w1", "partitioned"),
]


def test_worker_that_does_not_sleep_need_not_look() -> None:
    def check(happens: Callable[[History], None]) -> None:
        h = _asleep()
        happens(h)
        assert _missed(h).holds(WOKEN)

    check_each(AWAKE, check)


def test_worker_sleeps_some_time_after_its_last_job() -> None:
    def check(happens: Callable[[History], None]) -> None:
        h = _asleep()
        happens(h)
        h.wait(1.0)
        assert _missed(h).breaks(WOKEN).startswith("w1 slept at ")

    check_each([_has_just_settled_a_job, _has_just_ended_a_handler], check)


def test_worker_that_meets_a_fault_before_it_looks_is_excused() -> None:
    def check(*lived: str) -> None:
        h = _asleep()
        h.send()
        for what in lived:
            h.wait(0.1)
            h.lived("w1", what)
        h.wait(1.0)
        assert h.holds(WOKEN)

    single = ("killed", "paused", "partitioned", "stopping")
    check_each([*((one,) for one in single), ("killed", "started"), ("partitioned", "reconnected")], check)


def test_worker_that_finds_nothing_rests() -> None:
    for pause, rests in ((0.01, True), (0.0, False)):
        h = History()
        for _ in range(500):
            _look(h)
            h.wait(pause)
        assert h.holds(RESTS) is rests
    assert h.breaks(RESTS).startswith("w1 asked 200 times since")


def test_worker_that_finds_jobs_may_ask_at_once(h: History) -> None:
    for _ in range(4):
        for _ in range(150):
            _look(h)
        h.claim(h.send())
    assert h.holds(RESTS)
