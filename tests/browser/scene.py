"""A server with samples of all data, and the addresses of all pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.client.parts import parts_of
from zeke_queue.web.dashboard.list_query import COLUMNS

if TYPE_CHECKING:
    from tests.browser.house import House


def furnish(house: House) -> dict[str, str]:
    """Fill a house; returns where each page is."""
    house.work()
    house.press.jammed = True
    ended = [house.send("letter", {"to": "Ada Lovelace", "copies": n}) for n in range(1, 8)]
    failed = house.send("page")
    running = house.send("book", {"steps": ["set", "print", "bind", "pack"]})
    house.let(2)
    waiting = [house.send("parcel") for _ in range(4)]
    cancelled = waiting.pop()
    assert house.do(house.queue.cancel(cancelled))
    for one in (*ended, failed):
        house.ended(one)
    _schedules(house)
    house.do(parts_of(house.queue).storage.pause_queue("letterhead", paused=True))
    columns = "&".join(f"column={name}" for name in COLUMNS)
    return {
        "overview": "",
        "jobs": "jobs",
        "jobs-all-columns": f"jobs?{columns}",
        "jobs-none": "jobs?text=nothing-has-this",
        "jobs-wrong": "jobs?from=yesterday",
        "job-waiting": f"jobs/{waiting[0]}",
        "job-running": f"jobs/{running}",
        "job-completed": f"jobs/{ended[0]}",
        "job-failed": f"jobs/{failed}",
        "job-cancelled": f"jobs/{cancelled}",
        "queues": "queues",
        "schedules": "schedules",
        "schedule-new": "schedules/edit",
        "schedule-edit": "schedules/edit?name=morning-letter",
        "schedule-delete": "schedules/delete?name=morning-letter",
        "workers": "workers",
        "trigger": "trigger",
        "trigger-task": "trigger?task=letter",
        "not-found": "jobs/00000000-0000-7000-8000-000000000000",
    }


def _schedules(house: House) -> None:
    told: dict[str, Any] = {"task": "letter", "payload": {"to": "Ada Lovelace"}}
    queue = house.queue
    house.do(
        queue.schedules.put(
            "morning-letter", "0 7 * * *", timezone="Europe/Berlin", description="Daily", **told
        )
    )
    house.do(queue.schedules.put("evening-letter", "30 18 * * mon-fri", paused=True, **told))
