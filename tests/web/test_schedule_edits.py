"""A schedule is edited from its read form: redacted values are kept, and all errors reported."""

from __future__ import annotations

import json
from typing import Any

from tests.web.conftest import Web, on_both_storages
from zeke_queue.client.queue import Queue
from zeke_queue.model import JobQuery

HIDDEN = "[redacted]"
LOGIN = {"user": "ada", "password": "hunter2"}


async def put(call: Web, name: str, **edit: Any) -> Any:
    return await call("PUT", f"/schedules/{name}", json=edit)


async def stored(queue: Queue, name: str) -> Any:
    (schedule,) = [one for one in await queue.schedules.list() if one.name == name]
    return json.loads(schedule.data or "null")


@on_both_storages
async def test_schedule_that_was_read_is_put_back_with_another_cron(call: Web, queue: Queue) -> None:
    await queue.schedules.put("login", "0 0 * * *", payload=LOGIN, priority=7, retry_limit=3)
    (before,) = await queue.schedules.list()
    read = (await call("GET", "/schedules/login")).json()
    assert read["payload"] == {"user": "ada", "password": HIDDEN}
    edit = {name: read[name] for name in ("task", "zone", "payload", "catchUp", "description", "paused")}
    answer = await put(call, "login", cron="30 6 * * *", **edit)
    assert (answer.status_code, answer.json()["cron"]) == (200, "30 6 * * *")
    assert "hunter2" not in answer.text
    assert await stored(queue, "login") == LOGIN
    (after,) = await queue.schedules.list()
    assert after.options == before.options != {}


async def test_visible_part_is_edited_beside_a_redacted_one(call: Web, queue: Queue) -> None:
    await queue.schedules.put("login", "0 0 * * *", payload=LOGIN)
    answer = await put(call, "login", cron="0 0 * * *", payload={"user": "bob", "password": HIDDEN})
    assert answer.status_code == 200
    assert await stored(queue, "login") == {"user": "bob", "password": "hunter2"}
    answer = await put(call, "login", cron="0 0 * * *", payload={"user": "bob", "password": "s3same"})
    assert answer.status_code == 200
    assert await stored(queue, "login") == {"user": "bob", "password": "s3same"}


async def test_unknown_field_of_a_payload_is_dropped(call: Web, queue: Queue) -> None:
    payload = {"user": "ada", "password": "hunter2", "remember": True}
    answer = await put(call, "login", cron="0 0 * * *", payload=payload)
    assert answer.status_code == 200, answer.text
    assert await stored(queue, "login") == {"user": "ada", "password": "hunter2"}


async def test_missing_redacted_value_is_rejected(call: Web, queue: Queue) -> None:
    await queue.schedules.put("break", "0 0 * * *")
    refused = {
        "path": "payload.password",
        "message": "must be a value, got [redacted] where none is stored; send the value itself",
    }
    payload = {"user": "ada", "password": HIDDEN}
    for name, task in (("login", None), ("break", "login")):
        answer = await put(call, name, cron="0 0 * * *", task=task, payload=payload)
        assert (answer.status_code, answer.json()["fields"]) == (422, [refused])
    assert [one.task for one in await queue.schedules.list()] == ["break"]


async def test_redacted_value_is_not_handed_to_another_task(call: Web, queue: Queue) -> None:
    await queue.schedules.put("nightly", "0 0 * * *", task="login", payload=LOGIN)
    answer = await put(call, "nightly", cron="0 0 * * *", task="mail", payload={"to": HIDDEN})
    assert answer.status_code == 200
    assert await stored(queue, "nightly") == {"to": HIDDEN, "copies": 1}


async def test_job_is_not_sent_with_a_redaction_mark(call: Web, queue: Queue) -> None:
    trigger = {"taskId": "login", "payload": {"user": "ada", "password": HIDDEN}}
    for path, body in (("/trigger", trigger), ("/trpc/trigger.trigger", {"json": trigger})):
        answer = await call("POST", path, json=body)
        assert answer.status_code == 422, path
        assert "payload.password" in answer.text
        assert "send the value itself" in answer.text
        assert (await queue.find(JobQuery(names=("login",)))).jobs == []


async def test_all_errors_of_a_schedule_are_reported_at_once(call: Web, queue: Queue) -> None:
    answer = await put(call, "mail", cron="61 * * * *", zone="Mars/Olympus", payload={"to": 7})
    assert answer.status_code == 422
    assert [field["path"] for field in answer.json()["fields"]] == ["cron", "zone", "payload.to"]
    for part in ("61", "Mars/Olympus", "task 'mail': to:"):
        assert part in answer.json()["error"]
    assert await queue.schedules.list() == []
