"""Sending jobs and looking at one: routes, shapes and messages as clients of the earlier system know them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from zeke_queue.web import send_job

if TYPE_CHECKING:
    from tests.clocks import FrozenClock
    from tests.web.conftest import Web
    from zeke_queue.queue import Queue

NOBODY = "01a216ee-4f1a-7197-80f3-387a0e206cbc"
MAIL = {"to": "ada@example.org"}


async def test_a_trigger_answers_with_the_id_of_a_job_that_waits(call: Web, queue: Queue) -> None:
    answer = await call("POST", "/trigger", json={"taskId": "mail", "payload": MAIL})
    assert answer.status_code == 200
    body = answer.json()
    assert body == {"id": body["id"], "status": "created", "taskId": "mail"}
    job = await queue.get(UUID(body["id"]))
    assert job is not None
    assert (job.name, job.data) == ("mail", {"to": "ada@example.org", "copies": 1})


async def test_a_payload_may_be_left_out(call: Web) -> None:
    assert (await call("POST", "/trigger", json={"taskId": "break"})).status_code == 200


async def test_what_the_earlier_system_ignored_is_ignored(call: Web) -> None:
    body = {"taskId": "mail", "payload": MAIL, "options": {"priority": 3}}
    assert (await call("POST", "/trigger", json=body)).status_code == 200


async def test_an_alias_is_answered_as_it_was_asked_for(call: Web, queue: Queue) -> None:
    body = (await call("POST", "/trigger", json={"taskId": "old-mail", "payload": MAIL})).json()
    assert body["taskId"] == "old-mail"
    job = await queue.get(UUID(body["id"]))
    assert job is not None
    assert job.name == "mail"


async def test_a_payload_that_does_not_fit_is_refused_with_its_fields(call: Web, queue: Queue) -> None:
    answer = await call("POST", "/trigger", json={"taskId": "mail", "payload": {"copies": 0}})
    assert answer.status_code == 422
    assert [field["path"] for field in answer.json()["fields"]] == ["payload.to", "payload.copies"]
    assert "payload does not fit task 'mail'" in answer.json()["error"]
    assert await queue.count() == []


async def test_an_unknown_task_is_not_found(call: Web) -> None:
    answer = await call("POST", "/trigger", json={"taskId": "nope"})
    assert (answer.status_code, answer.json()) == (404, {"error": "Unknown task nope"})


async def test_a_place_that_is_taken_conflicts_and_names_its_holder(call: Web, queue: Queue) -> None:
    holder = await queue.send("mail", MAIL, singleton_key="one")
    await queue.schedule("mail", "0 0 * * *", payload=MAIL, singleton_key="one")
    answer = await call("POST", "/schedules/mail/run")
    assert answer.status_code == 409
    assert answer.json()["id"] == str(holder)


async def test_a_run_is_shown_as_clients_know_it(call: Web, clock: FrozenClock) -> None:
    run_id = await call.trigger("mail", MAIL)
    waiting = (await call("GET", f"/trigger/runs/{run_id}")).json()
    assert waiting == {
        "id": run_id,
        "status": "QUEUED",
        "taskId": "mail",
        "data": {"to": "ada@example.org", "copies": 1},
        "output": None,
        "startedOn": None,
        "completedOn": None,
        "createdOn": "2026-01-05T12:00:00.000Z",
        "retryCount": 0,
    }
    clock.advance(1.5)
    await call.work()
    ended = (await call("GET", f"/trigger/runs/{run_id}")).json()
    assert ended == {
        **waiting,
        "status": "COMPLETED",
        "output": {"sent": 1},
        "startedOn": "2026-01-05T12:00:01.500Z",
        "completedOn": "2026-01-05T12:00:01.500Z",
    }


async def test_a_failed_run_shows_why(call: Web) -> None:
    run_id = await call.trigger("break")
    await call.work()
    run = (await call("GET", f"/trigger/runs/{run_id}")).json()
    assert run["status"] == "FAILED"
    assert (run["output"]["type"], run["output"]["message"]) == ("RuntimeError", "the glass is broken")


@pytest.mark.parametrize("path", ["/trigger/runs/{}", "/trigger/runs/{}/detail", "/trigger/runs/{}/events"])
@pytest.mark.parametrize("run_id", [NOBODY, "123", "{0}", "%00", "'; drop table job;--"])
async def test_a_run_that_is_not_there_is_not_found_whatever_its_id(
    call: Web, path: str, run_id: str
) -> None:
    answer = await call("GET", path.format(run_id))
    assert (answer.status_code, answer.json()) == (404, {"error": "Job run not found"})


@pytest.mark.parametrize("run_id", [NOBODY, "123"])
async def test_a_stream_of_no_job_is_not_found_before_it_begins(call: Web, run_id: str) -> None:
    answer = await call("GET", f"/jobs/stream/{run_id}")
    assert (answer.status_code, answer.json()) == (404, {"error": "Job not found"})


async def test_a_job_is_shown_closely_with_its_failed_attempts(call: Web) -> None:
    run_id = await call.trigger("break")
    await call.work()
    detail = (await call("GET", f"/trigger/runs/{run_id}/detail")).json()
    assert (detail["state"], detail["attempt"], detail["retryLimit"]) == ("failed", 1, 0)
    (attempt,) = detail["history"]
    assert (attempt["attempt"], attempt["state"]) == (1, "failed")
    assert attempt["error"]["message"] == "the glass is broken"


async def test_progress_and_log_lines_are_listed_and_gone_on_with(call: Web) -> None:
    run_id = await call.trigger("mail", MAIL)
    await call.work()
    events = (await call("GET", f"/trigger/runs/{run_id}/events")).json()["events"]
    assert {(event["kind"], event["data"]["message"]) for event in events} == {
        ("progress", "half"),
        ("log", "sending"),
    }
    later = await call("GET", f"/trigger/runs/{run_id}/events?after={events[0]['seq']}")
    assert later.json()["events"] == events[1:]


async def test_code_of_the_application_sends_without_a_key(queue: Queue) -> None:
    sent = await send_job(queue, "mail", MAIL, priority=3)
    assert (sent.status, sent.task_id) == ("created", "mail")
    job = await queue.get(sent.id)
    assert job is not None
    assert job.priority == 3
