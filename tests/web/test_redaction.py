"""Redacted values are in no run, list, event, stream or schedule, and are not found by searching."""

from __future__ import annotations

import json
from typing import Any

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.web.conftest import Web, new_web, on_both_storages
from zeke_queue.client.queue import Queue
from zeke_queue.model import JobQuery

SECRETS = ("hunter2", "t0k3n")
LOGIN = {"user": "ada", "password": "hunter2"}


@on_both_storages
async def test_secrets_are_in_no_answer(call: Web) -> None:
    async def check(user: str, output: object) -> None:
        run_id = await call.trigger("login", {**LOGIN, "user": user})
        before = (await call("GET", f"/trigger/runs/{run_id}")).json()
        assert before["data"] == {"user": user, "password": "[redacted]"}
        await call.work()
        of_job = ("", "/detail", "/events")
        paths = [f"/trigger/runs/{run_id}{part}" for part in of_job]
        for path in (*paths, f"/jobs/stream/{run_id}", "/trigger/runs", "/metrics"):
            answer = await call("GET", path)
            assert answer.status_code == 200
            assert not any(secret in answer.text for secret in SECRETS), path
        assert (await call("GET", f"/trigger/runs/{run_id}")).json()["output"] == output

    await check_each_async([("ada", {"token": "[redacted]", "user": "ada"}), ("nobody", "[redacted]")], check)


async def test_secrets_are_in_no_answer_of_a_change_or_of_trpc() -> None:
    async def check(user: str) -> None:
        async with new_web() as call:
            run_id = await call.trigger("login", {**LOGIN, "user": user})
            for change in ("cancel", "resume"):
                answer = await call("POST", f"/trigger/runs/{run_id}/{change}")
                assert (answer.status_code, "hunter2" in answer.text) == (200, False)
            await call.work()
            if user == "nobody":
                retried = await call("POST", f"/trigger/runs/{run_id}/retry")
                assert retried.status_code == 200
                assert not any(secret in retried.text for secret in SECRETS)
            query = json.dumps({"json": {"runId": run_id}})
            run = await call("GET", "/trpc/trigger.run", params={"input": query})
            assert run.json()["result"]["data"]["json"]["taskId"] == "login"
            assert not any(secret in run.text for secret in SECRETS)

    await check_each_async(["ada", "nobody"], check)


@on_both_storages
async def test_redacted_values_are_not_searched(call: Web) -> None:
    hidden = await call.trigger("login", LOGIN)
    shown = await call.trigger("mail", {"to": "hunter2"})
    await call.work()
    await call.trigger("login", LOGIN)
    for text, expected in (("hunter2", [shown]), ("t0k3n", []), ("hunter3", []), (hidden, [hidden])):
        # A shorter page, or one more page, would reveal something.
        page = (await call("GET", "/trigger/runs", params={"text": text, "limit": 1})).json()
        assert [run["id"] for run in page["runs"]] == expected, text
        assert page["nextCursor"] is None


async def test_output_that_looks_like_an_error_is_redacted(call: Web, clock: FrozenClock) -> None:
    run_id = await call.trigger("twice")
    await call.work()
    clock.advance(60)
    await call.work()
    run = (await call("GET", f"/trigger/runs/{run_id}")).json()
    assert run["status"] == "COMPLETED"
    assert run["output"] == {"type": "card", "message": "stored", "token": "[redacted]"}


async def test_payload_of_a_schedule_or_an_error_is_redacted(call: Web, queue: Queue) -> None:
    await queue.schedules.put("login", "0 0 * * *", payload=LOGIN)
    for path in ("/schedules", "/schedules/login"):
        assert "hunter2" not in (await call("GET", path)).text
    rejected = {"taskId": "login", "payload": {"user": ["hunter2"], "password": "hunter2"}}
    answer = await call("POST", "/trigger", json=rejected)
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


# A schedule is edited from its read form: redacted values are kept, and all errors reported


HIDDEN = "[redacted]"


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
