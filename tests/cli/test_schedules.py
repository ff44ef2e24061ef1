"""Removing, pausing and resuming schedules: ``zeke schedule rm | pause | resume``."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

from tests.cli.conftest import Zeke
from zeke_queue import Catalog
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.maintenance.scheduler import Scheduler


async def declare(queue: Queue) -> None:
    """Do what a program does at its start whose code has the schedule."""
    code = Catalog()
    code.task("refuse")(lambda: None)
    code.schedule("hourly", "0 * * * *", task="refuse", catch_up="all")
    await parts_of(Queue(code, parts_of(queue).storage)).declare()


async def tick(queue: Queue) -> list[Any]:
    return await Scheduler(parts_of(queue)).tick()


def long_ago(zeke: Zeke) -> None:
    """Set the last tick of the schedule to five hours ago, so that five ticks are due."""
    zeke.sql(
        "update pgboss.zeke_schedule set"
        " last_tick = now() - interval '5 h', next_tick = now() - interval '4 h'"
    )


def test_paused_schedule_does_not_fire_or_catch_up_and_a_removed_one_is_gone(zeke: Zeke) -> None:
    zeke.on_queue(declare)
    assert "until `zeke schedule resume hourly`" in zeke.good("schedule", "pause", "hourly")
    long_ago(zeke)
    zeke.on_queue(declare)  # as at a restart
    assert zeke.on_queue(tick) == []
    assert zeke.json("schedules")[0]["paused"]
    assert zeke.json("schedule", "resume", "hourly") == {"name": "hourly", "paused": False}
    assert zeke.on_queue(tick) == []
    (schedule,) = zeke.json("schedules")
    assert (schedule["paused"], schedule["catch_up"]) == (False, "all")
    long_ago(zeke)
    assert zeke.good("schedule", "rm", "hourly").startswith("hourly is removed.")
    assert zeke.on_queue(tick) == []
    assert zeke.json("schedules") == []


def test_resume_of_an_unpaused_schedule_keeps_its_catch_up(zeke: Zeke) -> None:
    zeke.on_queue(declare)
    long_ago(zeke)
    zeke.good("schedule", "resume", "hourly")
    assert len(zeke.on_queue(tick)) >= timedelta(hours=4) / timedelta(hours=1)


def test_unknown_schedule_is_a_failure(zeke: Zeke) -> None:
    zeke.on_queue(declare)
    for verb in ["rm", "pause", "resume"]:
        assert "did you mean 'hourly'?" in zeke.fails("schedule", verb, "hourli", code=1)


def test_listed_schedule_has_no_last_tick(zeke: Zeke) -> None:
    zeke.on_queue(declare)
    assert zeke.on_queue(tick) == []
    (schedule,) = zeke.json("schedules")
    assert (schedule["last_tick"], schedule["next_tick"] is None) == (None, False)
    assert re.split(" {2,}", zeke.good("schedules").splitlines()[1])[4] == "–"


def test_last_tick_is_shown(zeke: Zeke) -> None:
    zeke.on_queue(declare)
    long_ago(zeke)
    assert zeke.on_queue(tick)
    (schedule,) = zeke.json("schedules")
    assert schedule["last_tick"].endswith(":00:00+00:00")


def test_unreadable_schedule_is_listed_among_the_others(zeke: Zeke) -> None:
    zeke.on_queue(declare)
    zeke.sql(
        "insert into pgboss.schedule (name, cron, timezone, last_tick, data) values"
        " ('by-hand', 'every day', 'Mars', now(), '1e5000')"
    )
    # Python reads no integer that is this long.
    by_hand, hourly = json.loads(zeke.good("schedules", "--json"), parse_int=str)
    assert (by_hand["name"], by_hand["data"]) == ("by-hand", f"1{'0' * 5000}")
    assert hourly["name"] == "hourly"
    assert "every day" in zeke.good("schedules")


def test_payload_of_a_schedule_has_the_json_form_of_a_job(zeke: Zeke) -> None:
    async def declare_letter(queue: Queue) -> None:
        await queue.schedules.put("weekly", "0 8 * * mon", task="mail", payload={"to": "ann"})

    zeke.on_queue(declare_letter)
    assert [one["data"] for one in zeke.json("schedules")] == [{"to": "ann", "copies": 1}]
