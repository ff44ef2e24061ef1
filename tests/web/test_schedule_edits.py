"""A schedule is edited by what was read of it: what is not shown is kept, and all that is wrong is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from zeke_queue.model import JobFilter

if TYPE_CHECKING:
    from tests.web.conftest import Web
    from zeke_queue.queue import Queue

HIDDEN = "[redacted]"
LOGIN = {"user": "ada", "password": "hunter2"}


async def put(call: Web, name: str, **edit: Any) -> Any:
    return await call("PUT", f"/schedules/{name}", json=edit)


async def stored(queue: Queue, name: str) -> Any:
    (schedule,) = [one for one in await queue.schedules() if one.name == name]
    return json.loads(schedule.data or "null")


async def test_what_was_read_can_be_put_back_with_another_cron(call: Web, queue: Queue) -> None:
    await queue.schedule("login", "0 0 * * *", payload=LOGIN, priority=7, retry_limit=3)
    (before,) = await queue.schedules()
    read = (await call("GET", "/schedules/login")).json()
    assert read["payload"] == {"user": "ada", "password": HIDDEN}
    edit = {name: read[name] for name in ("task", "zone", "payload", "catchUp", "description", "paused")}
    answer = await put(call, "login", cron="30 6 * * *", **edit)
    assert (answer.status_code, answer.json()["cron"]) == (200, "30 6 * * *")
    assert "hunter2" not in answer.text
    assert await stored(queue, "login") == LOGIN
    (after,) = await queue.schedules()
    assert after.options == before.options != {}


async def test_a_part_that_is_shown_is_edited_beside_one_that_is_not(call: Web, queue: Queue) -> None:
    await queue.schedule("login", "0 0 * * *", payload=LOGIN)
    answer = await put(call, "login", cron="0 0 * * *", payload={"user": "bob", "password": HIDDEN})
    assert answer.status_code == 200
    assert await stored(queue, "login") == {"user": "bob", "password": "hunter2"}
    answer = await put(call, "login", cron="0 0 * * *", payload={"user": "bob", "password": "s3same"})
    assert answer.status_code == 200
    assert await stored(queue, "login") == {"user": "bob", "password": "s3same"}


async def test_a_value_that_is_not_there_is_not_taken_from_elsewhere(call: Web, queue: Queue) -> None:
    await queue.schedule("break", "0 0 * * *")
    refused = {
        "path": "payload.password",
        "message": "it is hidden, and none is kept here; give the value itself",
    }
    payload = {"user": "ada", "password": HIDDEN}
    for name, task in (("login", None), ("break", "login")):
        answer = await put(call, name, cron="0 0 * * *", task=task, payload=payload)
        assert (answer.status_code, answer.json()["fields"]) == (422, [refused])
    assert [one.task for one in await queue.schedules()] == ["break"]


async def test_what_is_kept_goes_to_no_other_task(call: Web, queue: Queue) -> None:
    await queue.schedule("nightly", "0 0 * * *", task="login", payload=LOGIN)
    answer = await put(call, "nightly", cron="0 0 * * *", task="mail", payload={"to": HIDDEN})
    assert answer.status_code == 200
    assert await stored(queue, "nightly") == {"to": HIDDEN, "copies": 1}


@pytest.mark.parametrize("how", ["trigger", "trpc"])
async def test_a_job_is_not_sent_with_what_stands_for_a_hidden_value(
    call: Web, queue: Queue, how: str
) -> None:
    asked = {"taskId": "login", "payload": {"user": "ada", "password": HIDDEN}}
    if how == "trigger":
        answer = await call("POST", "/trigger", json=asked)
    else:
        answer = await call("POST", "/trpc/trigger.trigger", json={"json": asked})
    assert answer.status_code == 422
    assert "payload.password" in answer.text
    assert "give the value itself" in answer.text
    assert await queue.find(JobFilter(names=("login",))) == []


async def test_all_that_is_wrong_with_a_schedule_is_told_at_once(call: Web, queue: Queue) -> None:
    answer = await put(call, "mail", cron="61 * * * *", zone="Mars/Olympus", payload={"to": 7})
    assert answer.status_code == 422
    assert [field["path"] for field in answer.json()["fields"]] == ["cron", "zone", "payload.to"]
    for part in ("61", "Mars/Olympus", "task 'mail': to:"):
        assert part in answer.json()["error"]
    assert await queue.schedules() == []
