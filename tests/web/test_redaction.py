"""What a task hides is shown nowhere: in no run, list, event, stream or schedule, nor by searching for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.clocks import FrozenClock
    from tests.web.conftest import Web
    from zeke_queue.queue import Queue

SECRETS = ("hunter2", "t0k3n")
LOGIN = {"user": "ada", "password": "hunter2"}


@pytest.mark.parametrize("user", ["ada", "nobody"])
async def test_secrets_are_in_no_answer(call: Web, user: str) -> None:
    run_id = await call.trigger("login", {**LOGIN, "user": user})
    before = (await call("GET", f"/trigger/runs/{run_id}")).json()
    assert before["data"] == {"user": user, "password": "[redacted]"}
    await call.work()
    paths = [
        f"/trigger/runs/{run_id}",
        f"/trigger/runs/{run_id}/detail",
        f"/trigger/runs/{run_id}/events",
        f"/jobs/stream/{run_id}",
        "/trigger/runs",
        "/metrics",
    ]
    for path in paths:
        answer = await call("GET", path)
        assert answer.status_code == 200
        assert not any(secret in answer.text for secret in SECRETS), path
    run = (await call("GET", f"/trigger/runs/{run_id}")).json()
    output = {"token": "[redacted]", "user": "ada"} if user == "ada" else "[redacted]"
    assert run["output"] == output


@pytest.mark.parametrize("user", ["ada", "nobody"])
async def test_secrets_are_in_no_answer_of_a_change_nor_of_trpc(call: Web, user: str) -> None:
    run_id = await call.trigger("login", {**LOGIN, "user": user})
    asked = json.dumps({"json": {"runId": run_id}})
    for what in ("cancel", "resume"):
        answer = await call("POST", f"/trigger/runs/{run_id}/{what}")
        assert (answer.status_code, "hunter2" in answer.text) == (200, False)
    await call.work()
    if user == "nobody":
        retried = await call("POST", f"/trigger/runs/{run_id}/retry")
        assert retried.status_code == 200
        assert not any(secret in retried.text for secret in SECRETS)
    told = await call("GET", "/trpc/trigger.run", params={"input": asked})
    assert told.json()["result"]["data"]["json"]["taskId"] == "login"
    assert not any(secret in told.text for secret in SECRETS)


async def test_what_is_hidden_can_not_be_found_by_trying(call: Web) -> None:
    hidden = await call.trigger("login", LOGIN)
    shown = await call.trigger("mail", {"to": "hunter2"})
    await call.work()
    await call.trigger("login", LOGIN)
    for text, expected in (("hunter2", [shown]), ("t0k3n", []), ("hunter3", []), (hidden, [hidden])):
        # Nothing is told by a page that is shorter, or by one more that there is.
        page = (await call("GET", "/trigger/runs", params={"text": text, "limit": 1})).json()
        assert [run["id"] for run in page["runs"]] == expected, text
        assert page["nextCursor"] is None


async def test_an_output_that_looks_like_an_error_hides_its_secrets_after_a_failed_attempt(
    call: Web, clock: FrozenClock
) -> None:
    run_id = await call.trigger("twice")
    await call.work()
    clock.advance(60)
    await call.work()
    run = (await call("GET", f"/trigger/runs/{run_id}")).json()
    assert run["status"] == "COMPLETED"
    assert run["output"] == {"type": "card", "message": "stored", "token": "[redacted]"}


async def test_a_schedules_payload_hides_what_its_jobs_do(call: Web, queue: Queue) -> None:
    await queue.schedule("login", "0 0 * * *", payload=LOGIN)
    for path in ("/schedules", "/schedules/login"):
        assert "hunter2" not in (await call("GET", path)).text


async def test_a_payload_that_is_refused_is_not_repeated(call: Web) -> None:
    answer = await call(
        "POST", "/trigger", json={"taskId": "login", "payload": {"user": ["hunter2"], "password": "hunter2"}}
    )
    assert answer.status_code == 422
    assert "hunter2" not in answer.text
