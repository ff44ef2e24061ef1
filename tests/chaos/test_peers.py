"""The checks of other job systems: each job is in one column, and one that is merely left is not lost."""

from __future__ import annotations

from uuid import UUID

from tests.cases import check_each
from tests.chaos.checker import Disturbance
from tests.chaos.executions import Execution
from tests.chaos.peers.__main__ import checked

KILLED = Disturbance("worker killed", "w1", 3, 3, loses=True)


def ran(number: int, *times: tuple[float, float | None]) -> list[Execution]:
    return [
        Execution(UUID(int=number + 1), 1, "plain", "w1", began, ended, "returned" if ended else None)
        for began, ended in times
    ]


def test_each_job_is_in_one_column() -> None:
    def check(
        executed: list[Execution], left: set[int], disturbances: list[Disturbance], column: str
    ) -> None:
        verdict = checked({0}, executed, disturbances, left)
        counts = {
            "once": verdict.once,
            "again": verdict.again.total(),
            "lost": verdict.lost,
            "stuck": verdict.stuck,
            "unexplained": verdict.unexplained.total(),
        }
        assert counts == {**dict.fromkeys(counts, 0), column: 1}

    cases = {
        "returned": (ran(0, (1, 2)), set(), [], "once"),
        "executed again after a kill": (ran(0, (1, None), (4, 5)), set(), [KILLED], "again"),
        "executed again": (ran(0, (1, 2), (8, 9)), set(), [], "unexplained"),
        "never executed": ([], set(), [], "lost"),
        "not returned": (ran(0, (1, None)), set(), [KILLED], "lost"),
        "never executed, and others are left": ([], {1, 2}, [], "lost"),
        "left": ([], {0}, [], "stuck"),
        "returned, and left": (ran(0, (1, 2)), {0}, [], "stuck"),
    }
    check_each(cases, check)
