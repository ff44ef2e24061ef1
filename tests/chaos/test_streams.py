"""The check of streams: what one showed is compared with what is stored, value by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from uuid import UUID

from tests.cases import check_each
from tests.chaos.checker import ALL, Disturbance, Verdict
from tests.chaos.experiment import check_streams
from tests.chaos.load import Load
from tests.chaos.tasks import make_catalog
from zeke_queue.client.queue import Queue
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock

JOB = UUID(int=1)
AT = 100.0
NOW = Disturbance("server restarted", ALL, AT - 1, AT, loses=False)
LONG_AGO = Disturbance("server restarted", ALL, 1, 2, loses=False)


def broken(load: Load) -> None:
    load.broken[JOB] = "the stream did not end"


def unshown(load: Load) -> None:
    load.unshown[JOB] = AT


def repeated(load: Load) -> None:
    load.repeated[JOB] = Counter({0.5: 2, 1.0: 1}), AT


def test_streams_are_excused_only_by_a_fault_at_that_time() -> None:
    def check(
        happened: Callable[[Load], None],
        stored: dict[float | None, int],
        disturbance: Disturbance,
        known: set[UUID] | None,
        complaint: str | None,
    ) -> None:
        load = Load(Queue(make_catalog(None), MemoryStorage(SystemClock())), "", "", [])
        happened(load)
        verdict = Verdict()
        check_streams(load, {JOB: stored}, [disturbance], verdict, known)
        assert list(verdict.unexplained) == [complaint] * (complaint is not None)

    once, twice = {0.5: 1, 1.0: 1}, {0.5: 2, 1.0: 1}
    cases = {
        "broken": (broken, once, NOW, None, "the stream did not end"),
        "of a job that is stored": (broken, once, NOW, {JOB}, "the stream did not end"),
        "of a job that the database lost": (broken, once, NOW, set(), None),
        "not shown, in a fault": (unshown, once, NOW, None, None),
        "not shown": (unshown, once, LONG_AGO, None, "its stream ended before its last progress"),
        "not stored": (unshown, {0.5: 1}, NOW, None, "its last progress was lost"),
        "lost by a database": (unshown, {0.5: 1}, NOW, {JOB}, None),
        "lost by a database that lost nothing then": (
            unshown,
            {0.5: 1},
            LONG_AGO,
            {JOB},
            "its last progress was lost",
        ),
        "stored twice, in a fault": (repeated, twice, NOW, None, None),
        "stored twice": (repeated, twice, LONG_AGO, None, "its progress was stored twice"),
        "shown twice": (repeated, once, NOW, None, "its stream showed a progress twice"),
        "shown twice, and another value not": (
            repeated,
            {0.5: 1, 0.6: 1, 1.0: 1},
            NOW,
            None,
            "its stream showed a progress twice",
        ),
        "shown twice, by a database that lost commits": (repeated, once, NOW, {JOB}, None),
    }
    check_each(cases, check)
