"""The findings of doctor in a survey: one fault each, with its advice."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from tests.cases import check_each
from zeke_queue.cli.checks import Finding, Grade, Survey, examine
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


def test_every_fault_comes_with_advice() -> None:
    everything = wrong(
        workers=[SILENT],
        queues=[QueueSettings("mail", None, NOW)],
        counts={"mail": {RowState.CREATED: 1, RowState.FAILED: 1}},
        schedules=[replace(DAILY, cron="nonsense", next_tick=NOW - timedelta(hours=1))],
        overdue=[overdue_by("lease")],
        pgboss=PgBoss(5.0, 30.0),
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


# Workers


def test_jobs_waiting_without_a_worker_are_a_problem() -> None:
    finding = only(workers=[], schedules=[])
    assert (finding.grade, finding.found) == (Grade.PROBLEM, "no workers are running; 1 job waits")
    assert "zeke worker --app" in str(finding.advice)


def test_schedule_without_a_worker_is_a_problem() -> None:
    assert only(workers=[], counts={}).grade is Grade.PROBLEM


def test_missing_worker_without_jobs_is_a_warning() -> None:
    assert only(workers=[], counts={}, schedules=[]).grade is Grade.WARNING


def test_dead_worker_without_jobs_is_not_a_problem() -> None:
    assert wrong(workers=[WORKER, SILENT]) == []
    told = "1 worker died earlier or can't reach the database, and holds no jobs"
    assert told in [finding.found for finding in examine(replace(HEALTHY, workers=[WORKER, SILENT]))]


def test_worker_silent_beyond_its_lease_with_jobs_is_named() -> None:
    finding = wrong(workers=[WORKER, SILENT], overdue=[overdue_by("lease")])[0]
    assert finding.grade is Grade.WARNING
    assert finding.found == f"worker {SILENT.id} (pid 42 on host) has been silent for 3 min"


def test_worker_is_alive_for_the_length_of_its_lease() -> None:
    def check(seconds: int, alive: bool) -> None:  # noqa: FBT001
        late = replace(WORKER, beat_on=NOW - timedelta(seconds=seconds))
        assert (replace(HEALTHY, workers=[late]).living() == [late]) == alive

    check_each([(15, True), (16, False)], check)


def test_maintenance_that_only_a_lost_worker_has_is_missing() -> None:
    alone = replace(WORKER, id=UUID(int=3), duties=())
    assert wrong(workers=[alone, WORKER]) == []
    finding = only(workers=[alone, SILENT])
    assert (finding.grade, finding.about) == (Grade.WARNING, "workers")
    assert "no live worker runs maintenance" in finding.found


# Queues


def test_jobs_of_a_task_without_a_live_worker_are_a_problem() -> None:
    finding = only(counts={"mial": {RowState.RETRY: 2}})
    assert finding.grade is Grade.PROBLEM
    assert finding.found == "2 jobs of 'mial' wait, and no live worker serves that queue"
    assert "whose catalog has that task" in str(finding.advice)


def test_task_of_a_silent_worker_is_not_served() -> None:
    silent = replace(SILENT, queues=("mial",))
    assert Grade.PROBLEM in {
        f.grade for f in wrong(workers=[WORKER, silent], counts={"mial": {RowState.CREATED: 1}})
    }


def test_queue_may_be_served_by_pgboss() -> None:
    finding = only(counts={"theirs": {RowState.CREATED: 1}}, pgboss=PgBoss(60.0, None))
    assert finding.grade is Grade.WARNING
    assert "a pg-boss may serve it" in str(finding.advice)


def test_internal_queues_of_pgboss_are_ignored() -> None:
    assert wrong(counts={"__pgboss__maintenance": {RowState.CREATED: 1}}) == []


def test_worker_without_tasks_serves_no_queue() -> None:
    finding = only(workers=[replace(WORKER, queues=())], schedules=[])
    assert finding.grade is Grade.PROBLEM
    assert finding.found == "1 job of 'mail' waits, and no live worker serves that queue"


def test_ended_jobs_of_an_unserved_task_are_not_a_problem() -> None:
    assert wrong(counts={"gone": {RowState.COMPLETED: 3}}) == []


def test_paused_queue_is_a_warning() -> None:
    finding = only(queues=[QueueSettings("mail", None, NOW - timedelta(hours=2))])
    assert finding.grade is Grade.WARNING
    assert finding.found == "'mail' has been paused for 2 h; waiting jobs: 1"
    assert "zeke queue resume mail" in str(finding.advice)


def test_queue_at_its_limit_is_reported_without_a_problem() -> None:
    survey = replace(HEALTHY, counts={"mail": {RowState.ACTIVE: 2, RowState.CREATED: 9}})
    assert "'mail' is at its limit: 2 of at most 2 jobs run, 9 wait" in [f.found for f in examine(survey)]
    assert wrong(counts=survey.counts) == []


# Jobs


def test_jobs_that_should_have_ended_are_counted_by_reason() -> None:
    finding = only(overdue=[overdue_by("deadline"), overdue_by("lease"), overdue_by("lease")])
    assert finding.found.endswith("1 past the deadline, 2 without a live worker")
    assert finding.advice == "maintenance rescues them within seconds"
    advice = {one.advice for one in wrong(overdue=[overdue_by("lease")], workers=[SILENT])}
    assert "start a worker: its maintenance rescues them within seconds" in advice


def test_failed_jobs_are_counted_by_queue() -> None:
    finding = only(counts={"mail": {RowState.FAILED: 2, RowState.EXPIRED: 1}, "ok": {RowState.COMPLETED: 1}})
    assert finding.grade is Grade.WARNING
    assert finding.found == "failed or expired permanently: 3 of 'mail'"


# Schedules


def test_tick_unserved_for_a_minute_is_a_problem() -> None:
    def check(seconds: int, problems: int) -> None:
        late = replace(DAILY, next_tick=NOW - timedelta(seconds=seconds))
        found = wrong(schedules=[late])
        assert len(found) == problems
        assert all("--no-schedules" in str(finding.advice) for finding in found)

    check_each([(61, 1), (59, 0)], check)


def test_paused_schedule_is_not_late() -> None:
    assert wrong(schedules=[replace(DAILY, next_tick=NOW - timedelta(hours=1), paused=True)]) == []


def test_unreadable_schedule_is_a_problem() -> None:
    finding = only(schedules=[replace(DAILY, zone="Europe/Atlantis")])
    assert finding.grade is Grade.PROBLEM
    assert finding.found.startswith("'sweep' never fires: ")


def test_schedule_of_an_unserved_task_is_a_warning() -> None:
    finding = only(schedules=[replace(DAILY, task="sweeep")])
    assert finding.found == "'sweep' sends 'sweeep', which no live worker serves"
    assert str(finding.advice).endswith(": zeke schedule rm sweep")


def test_unserved_ticks_are_reported_with_the_command_that_stops_them() -> None:
    finding = only(schedules=[replace(DAILY, task="sweeep")], counts={"sweeep": {RowState.CREATED: 3}})
    assert finding.about == "queues"
    assert str(finding.advice).endswith(": zeke schedule rm sweep")


def test_pgboss_that_serves_schedules_is_reported() -> None:
    def check(age: float, found: int) -> None:
        findings = wrong(pgboss=PgBoss(None, age))
        assert len(findings) == found
        assert all("noScheduling: true" in str(finding.advice) for finding in findings)

    check_each([(119.0, 1), (121.0, 0)], check)
