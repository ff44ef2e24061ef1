"""The findings of doctor in a survey: one fault each, with its advice."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal
from uuid import UUID

from tests.cases import check_each
from zeke_queue.cli.checks import Finding, Grade, Pools, Survey, examine
from zeke_queue.model import ExpiredJob, QueueSettings, RowState, Schedule, WorkerInfo
from zeke_queue.storage.postgres.server_info import PgBoss

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WORKER = WorkerInfo(
    UUID(int=1),
    "host",
    42,
    ("mail", "sweep"),
    15.0,
    NOW,
    NOW - timedelta(seconds=4),
    duties=("maintenance", "schedules"),
)
DAILY = Schedule(
    "sweep", "0 3 * * *", "sweep", last_tick=NOW - timedelta(hours=9), next_tick=NOW + timedelta(hours=15)
)
LATE = replace(DAILY, next_tick=NOW - timedelta(seconds=61))
HEALTHY = Survey(
    now=NOW,
    workers=[WORKER],
    queues=[QueueSettings("mail", 2), QueueSettings("sweep")],
    counts={"mail": {RowState.CREATED: 1, RowState.ACTIVE: 1, RowState.COMPLETED: 5}},
    schedules=[DAILY],
    overdue=[],
    pgboss=PgBoss(None, None),
)
SILENT = replace(WORKER, id=UUID(int=2), beat_on=NOW - timedelta(minutes=3))
IDLE = replace(WORKER, id=UUID(int=3), duties=())


def wrong(**changes: Any) -> list[Finding]:
    """Return the faults in a survey that is healthy except for some changes."""
    return [one for one in examine(replace(HEALTHY, **changes)) if one.grade is not Grade.OK]


def overdue_by(reason: Literal["deadline", "lease"]) -> ExpiredJob:
    """Return a job that should no longer be active."""
    return ExpiredJob(
        id=UUID(int=9),
        name="mail",
        attempt=1,
        retry_count=0,
        retry_limit=3,
        retry_delay=1,
        retry_backoff=True,
        retry_delay_max=None,
        reason=reason,
        worker=SILENT.id,
    )


def only(**changes: Any) -> Finding:
    (finding,) = wrong(**changes)
    return finding


def test_healthy_system_has_no_findings() -> None:
    assert wrong() == []
    assert [finding.found for finding in examine(HEALTHY)] == [
        "1 worker alive, 1 job running",
        "1 schedule, none late",
    ]


def test_pools_that_exceed_what_the_server_admits_are_reported() -> None:
    def check(workers: list[WorkerInfo], admitted: int | None, needed: int | None) -> None:
        pools = None if admitted is None else Pools(12, 11, admitted)
        found = [one for one in wrong(workers=workers, pools=pools) if "admits" in one.found]
        assert [f"may open {needed}, " in one.found for one in found] == [True] * (needed is not None)

    same = replace(WORKER, id=UUID(int=7))
    other = replace(WORKER, id=UUID(int=8), pid=43)
    check_each(
        {
            "enough": ([WORKER, same], 23, None),
            "two workers of a process": ([WORKER, same], 22, 23),
            "two processes": ([WORKER, other], 34, 35),
            "a silent one": ([WORKER, replace(SILENT, pid=44)], 23, None),
            "none yet": ([], 22, 23),
            "behind a pooler": ([WORKER, other], None, None),
        },
        check,
    )


def test_every_fault_comes_with_advice() -> None:
    everything = wrong(
        workers=[SILENT],
        queues=[QueueSettings("mail", None, NOW)],
        counts={"mail": {RowState.CREATED: 1, RowState.FAILED: 1}},
        schedules=[replace(DAILY, cron="nonsense", next_tick=NOW - timedelta(hours=1))],
        overdue=[overdue_by("lease")],
        pgboss=PgBoss(5.0, 30.0, ["sweep"]),
    )
    assert len(everything) == 8
    assert [finding.found for finding in everything if not finding.advice] == []


def test_advice_names_the_database_that_was_examined() -> None:
    def check(embedded: bool) -> None:  # noqa: FBT001
        lost = replace(DAILY, name="a b", task="gone")
        faults: list[dict[str, Any]] = [
            {"workers": []},
            {"queues": [QueueSettings("mail", None, NOW)]},
            {"counts": {"mail": {RowState.FAILED: 1}}},
            {"schedules": [replace(DAILY, cron="nonsense")]},
            {"schedules": [lost]},
            {"schedules": [lost, replace(lost, name="c")], "counts": {"gone": {RowState.CREATED: 1}}},
        ]
        advice = [one.advice or "" for fault in faults for one in wrong(embedded=embedded, **fault)]
        commands = [command for one in advice for command in re.findall(r"zeke (?!-)[^;]+", one)]
        assert len(commands) == 9
        assert [command for command in commands if command.endswith(" --embedded") != embedded] == []

    check_each([True, False], check)


# Findings


def test_fault_is_one_finding_with_its_grade_and_advice() -> None:
    def check(grade: Grade, found: str, advice: str, changes: dict[str, Any]) -> None:
        finding = only(**changes)
        assert finding.grade is grade
        assert fnmatchcase(f"{finding.about}: {finding.found}", found)
        assert fnmatchcase(str(finding.advice), advice)

    problem, warning = Grade.PROBLEM, Grade.WARNING
    paused = QueueSettings("mail", None, NOW - timedelta(hours=2))
    overdue = [overdue_by("deadline"), overdue_by("lease"), overdue_by("lease")]
    failed = {"mail": {RowState.FAILED: 2, RowState.EXPIRED: 1}, "ok": {RowState.COMPLETED: 1}}
    theirs = {"counts": {"theirs": {RowState.CREATED: 1}}, "pgboss": PgBoss(60.0, None)}
    odd, misspelt = replace(DAILY, zone="Europe/Atlantis"), replace(DAILY, task="sweeep")
    start, remove = "*zeke worker --app*", "*: zeke schedule rm sweep"
    unserved = "queues: 2 jobs of 'mial' wait, and no live worker serves that queue"
    taskless = "queues: 1 job of 'mail' waits, and no live worker serves that queue"
    gone = "schedules: 'sweep' sends 'sweeep', which no live worker serves"
    resting = "queues: 'mail' has been paused for 2 h; waiting jobs: 1"
    rescue = "maintenance rescues them within half a minute"
    check_each(
        [
            (problem, "*: no workers are running; 1 job waits", start, {"workers": [], "schedules": []}),
            (problem, "*", "*", {"workers": [], "counts": {}}),
            (warning, "*", "*", {"workers": [], "counts": {}, "schedules": []}),
            (warning, "workers: *no live worker runs maintenance*", "*", {"workers": [IDLE, SILENT]}),
            (problem, unserved, "*whose catalog has that task*", {"counts": {"mial": {RowState.RETRY: 2}}}),
            (warning, "*", "*a pg-boss may serve it*", theirs),
            (problem, taskless, "*", {"workers": [replace(WORKER, queues=())], "schedules": []}),
            (warning, resting, "*zeke queue resume mail*", {"queues": [paused]}),
            (warning, "*1 past the deadline, 2 without a live worker", rescue, {"overdue": overdue}),
            (warning, "*: failed or expired permanently: 3 of 'mail'", "*", {"counts": failed}),
            (problem, "*: 'sweep' never fires: *", "*", {"schedules": [odd]}),
            (problem, "*", "*--no-schedules*", {"schedules": [LATE]}),
            (
                *(
                    warning,
                    "schedules: *whose names *have too: 'sweep'",
                    "*unschedule(name)",
                ),
                {"pgboss": PgBoss(None, 119.0, ["sweep"])},
            ),
            (warning, gone, remove, {"schedules": [misspelt]}),
            (
                *(problem, "queues: *", remove),
                {"schedules": [misspelt], "counts": {"sweeep": {RowState.CREATED: 3}}},
            ),
        ],
        check,
    )


def test_harmless_difference_has_no_finding() -> None:
    def check(changes: dict[str, Any]) -> None:
        assert wrong(**changes) == []

    check_each(
        [
            {"workers": [IDLE, WORKER]},
            {"counts": {"__pgboss__maintenance": {RowState.CREATED: 1}}},
            {"counts": {"gone": {RowState.COMPLETED: 3}}},
            {"schedules": [replace(DAILY, next_tick=NOW - timedelta(hours=1), paused=True)]},
            {"schedules": [replace(DAILY, next_tick=NOW - timedelta(seconds=59))]},
            {"pgboss": PgBoss(None, 119.0), "schedules": [replace(LATE, of_pgboss=True)]},
        ],
        check,
    )


def test_finding_names_the_scheduler_of_the_schedules_of_pgboss() -> None:
    theirs = replace(LATE, name="theirs", of_pgboss=True)

    def found(cron: float | None) -> list[str]:
        survey = replace(HEALTHY, schedules=[DAILY, theirs], pgboss=PgBoss(None, cron))
        return [finding.found for finding in examine(survey) if finding.about == "schedules"]

    silent = "pg-boss 9 stored 'theirs'; its cron does not run, so Zeke's workers fire them"
    late = "ticks of 'theirs' are overdue"
    assert found(119.0) == ["1 schedule, none late", "pg-boss 9 fires its own: 'theirs'"]
    assert found(121.0) == found(None) == [late, silent]


def test_dead_worker_and_a_queue_at_its_limit_are_reported_without_a_fault() -> None:
    def check(found: str, **changes: Any) -> None:
        assert found in [finding.found for finding in examine(replace(HEALTHY, **changes))]
        assert wrong(**changes) == []

    dead = "1 worker died earlier or can't reach the database, and holds no jobs"
    check(dead, workers=[WORKER, SILENT])
    full = "'mail' is at its limit: 2 of at most 2 jobs run, 9 wait"
    check(full, counts={"mail": {RowState.ACTIVE: 2, RowState.CREATED: 9}})


def test_worker_silent_beyond_its_lease_with_jobs_is_named() -> None:
    first, *rest = wrong(workers=[WORKER, SILENT], overdue=[overdue_by("lease")])
    assert first.grade is Grade.WARNING
    assert first.found == f"worker {SILENT.id} (pid 42 on host) has been silent for 3 min"
    assert rest
    advice = {one.advice for one in wrong(overdue=[overdue_by("lease")], workers=[SILENT])}
    assert "start a worker: its maintenance rescues them within half a minute" in advice


def test_task_of_a_silent_worker_is_not_served() -> None:
    silent = replace(SILENT, queues=("mial",))
    found = wrong(workers=[WORKER, silent], counts={"mial": {RowState.CREATED: 1}})
    assert Grade.PROBLEM in {one.grade for one in found}


def test_worker_is_alive_until_its_lease_ends() -> None:
    def check(seconds: int, alive: bool) -> None:  # noqa: FBT001
        late = replace(WORKER, beat_on=NOW - timedelta(seconds=seconds))
        assert (replace(HEALTHY, workers=[late]).living() == [late]) == alive

    check_each([(15, True), (16, False)], check)
