"""Queues on the command line, and the list of schedules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Zeke
from zeke_queue.errors import ReadTimeoutError
from zeke_queue.model import JobStatus
from zeke_queue.storage.postgres.overview import PostgresOverview

LETTER = '{"to": "ann"}'


def test_queues_are_listed_with_their_jobs_and_limits(zeke: Zeke) -> None:
    zeke.send("mail", LETTER)
    zeke.send("refuse")
    zeke.work()
    zeke.send("mail", LETTER)
    heading, *lines = zeke.good("queues").splitlines()
    words = ["queue", "queued", "executing", "completed", "failed", "cancelled", "lag", "limit"]
    assert heading.split() == words
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["mail"][:5] == ["1", "0", "1", "0", "0"]
    assert rows["mail"][5] != "–"
    assert rows["mail"][-1] == "2"
    assert rows["refuse"] == ["0", "0", "0", "1", "0", "–", "–"]


def test_queue_counts_of_each_status_are_json(zeke: Zeke) -> None:
    zeke.send("mail", LETTER)
    (queue,) = zeke.json("queues")
    assert queue.pop("lag") >= 0
    counts = {**dict.fromkeys(JobStatus, 0), "QUEUED": 1}
    assert queue == {
        "name": "mail",
        "concurrency_limit": None,
        "paused_on": None,
        "limited_with": [],
        "counts": counts,
    }


def test_empty_list_of_queues_is_reported(zeke: Zeke) -> None:
    assert zeke.good("queues").startswith("No queues yet")
    assert zeke.json("queues") == []


def test_paused_queue_starts_no_job_until_resumed(zeke: Zeke) -> None:
    job_id = zeke.send("mail", LETTER)
    assert "until `zeke queue resume mail`" in zeke.good("queue", "pause", "mail")
    assert zeke.good("queues").splitlines()[1].endswith("paused 0 s")
    zeke.work()
    assert zeke.json("job", "show", job_id)["status"] == "QUEUED"
    assert zeke.json("queue", "resume", "mail") == {"name": "mail", "paused": False}
    zeke.work()
    assert zeke.json("job", "show", job_id)["status"] == "COMPLETED"


def test_unknown_queue_is_paused_only_with_force(zeke: Zeke) -> None:
    zeke.send("mail", LETTER)
    said = zeke.fails("queue", "pause", "maill", code=1)
    assert "'maill' was not paused" in said
    assert "did you mean 'mail'?" in said
    assert [one["name"] for one in zeke.json("queues")] == ["mail"]
    zeke.good("queue", "pause", "maill", "--force")
    assert {one["name"]: one["paused_on"] is None for one in zeke.json("queues")} == {
        "mail": True,
        "maill": False,
    }


def test_unknown_queue_is_not_resumed_or_created(zeke: Zeke) -> None:
    zeke.good("queue", "pause", "mail", "--force")
    said = zeke.fails("queue", "resume", "mial", code=1)
    assert "'mial' was not resumed" in said
    assert "did you mean 'mail'?" in said
    assert [(one["name"], one["paused_on"] is None) for one in zeke.json("queues")] == [("mail", False)]


def test_queue_served_by_a_worker_is_paused_without_jobs(zeke: Zeke) -> None:
    zeke.work()
    zeke.good("queue", "pause", "mail")


def put(zeke: Zeke, name: str, cron: str, **options: Any) -> None:
    zeke.on_queue(lambda queue: queue.schedules.put(name, cron, **options))


def test_schedules_are_listed_with_their_ticks(zeke: Zeke) -> None:
    put(zeke, "refuse", "0 3 * * *", timezone="Europe/Berlin", description="Say no")
    heading, line = zeke.good("schedules").splitlines()
    assert heading.split() == ["schedule", "cron", "zone", "next", "tick", "(UTC)", "last", "description"]
    assert line.startswith("refuse    0 3 * * *  Europe/Berlin")
    assert line.endswith("Say no")
    assert zeke.json("schedules")[0]["cron"] == "0 3 * * *"


def test_schedule_shows_only_unusual_settings(zeke: Zeke) -> None:
    put(zeke, "nightly", "0 3 * * *", task="refuse", catch_up="all", paused=True)
    heading, line = zeke.good("schedules").splitlines()
    assert "task" in heading
    assert "catch up" in heading
    assert line.split()[-3:] == ["refuse", "all", "–"]
    assert "paused" in line


def test_schedule_is_one_fitting_line_on_a_terminal(zeke: Zeke) -> None:
    zone = "America/Indiana/Indianapolis"
    put(zeke, "refuse", "*/5 * * * *", timezone=zone, description="no " * 40)
    for width in [80, 120]:
        terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": str(width)}
        lines = zeke.good("schedules", **terminal).splitlines()
        assert len(lines) == 2
        assert len(lines[1]) <= width


def test_empty_list_of_schedules_is_reported(zeke: Zeke) -> None:
    assert zeke.good("schedules").startswith("No schedules yet")


def test_queue_is_paused_and_listed_where_counting_takes_too_long(
    zeke: Zeke, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: object) -> Any:
        raise ReadTimeoutError("The query took longer than 5 s")

    zeke.send("mail", LETTER)
    monkeypatch.setattr(PostgresOverview, "queue_stats", slow)
    assert "mail is paused" in zeke.good("queue", "pause", "mail")
    misspelt = zeke("queue", "pause", "mial")
    assert misspelt.exit_code == 1
    assert "add --force" in misspelt.output
    listed = zeke("queues")
    assert (listed.exit_code, listed.stdout.splitlines()[1].split()[:6]) == (0, ["mail", *["–"] * 5])
    assert "Jobs are not counted: The query took longer than 5 s" in listed.stderr
    assert zeke.json("queues")[0]["counts"] is None
    zeke.good("queue", "resume", "mail")
