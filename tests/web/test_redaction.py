"""Redacted values are in no run, list, event, stream or schedule, and are not found by searching."""

from __future__ import annotations

import json

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.web.conftest import Web, new_web, on_both_storages
from zeke_queue.client.queue import Queue

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
