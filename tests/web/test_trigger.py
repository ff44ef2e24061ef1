"""Sending a job and reading one: routes, shapes and messages as clients of the earlier system know them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.web.conftest import Web, on_both_storages
from zeke_queue.client.queue import Queue
from zeke_queue.web import send_job

NOBODY = "01a216ee-4f1a-7197-80f3-387a0e206cbc"
MAIL = {"to": "ada@example.org"}


@on_both_storages
async def test_trigger_answers_with_the_id_of_a_queued_job(call: Web, queue: Queue) -> None:
    answer = await call("POST", "/trigger", json={"taskId": "mail", "payload": MAIL})
    assert answer.status_code == 200
    body = answer.json()
    assert body == {"id": body["id"], "status": "created", "taskId": "mail"}
    job = await queue.get(UUID(body["id"]))
    assert job is not None
    assert (job.name, job.data) == ("mail", {"to": "ada@example.org", "copies": 1})


async def test_payload_is_optional_and_unknown_fields_are_ignored(call: Web) -> None:
    for body in ({"taskId": "break"}, {"taskId": "mail", "payload": MAIL, "options": {"priority": 3}}):
        assert (await call("POST", "/trigger", json=body)).status_code == 200, body


async def test_alias_is_answered_as_requested(call: Web, queue: Queue) -> None:
    body = (await call("POST", "/trigger", json={"taskId": "old-mail", "payload": MAIL})).json()
    assert body["taskId"] == "old-mail"
    job = await queue.get(UUID(body["id"]))
    assert job is not None
    assert job.name == "mail"


async def test_invalid_payload_is_rejected_with_its_fields(call: Web, queue: Queue) -> None:
    answer = await call("POST", "/trigger", json={"taskId": "mail", "payload": {"copies": 0}})
    assert answer.status_code == 422
    assert [field["path"] for field in answer.json()["fields"]] == ["payload.to", "payload.copies"]
    assert "payload does not fit task 'mail'" in answer.json()["error"]
    assert await queue.stats() == []


async def test_unknown_task_is_not_found(call: Web) -> None:
    answer = await call("POST", "/trigger", json={"taskId": "nope"})
    assert (answer.status_code, answer.json()) == (404, {"error": "Unknown task nope"})


@on_both_storages
async def test_run_has_the_shape_that_clients_know(call: Web, clock: FrozenClock) -> None:
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


async def test_missing_job_is_not_found(call: Web) -> None:
    async def check(path: str, run_id: str, error: str = "Job run not found") -> None:
        answer = await call("GET", path.format(run_id))
        assert (answer.status_code, answer.json()) == (404, {"error": error})

    paths = ["/trigger/runs/{}", "/trigger/runs/{}/detail", "/trigger/runs/{}/events"]
    ids = [NOBODY, "123", "{0}", "%00", "'; drop table job;--"]
    cases: list[Any] = [(path, run_id) for path in paths for run_id in ids]
    streams = [("/jobs/stream/{}", run_id, "Job not found") for run_id in (NOBODY, "123")]
    await check_each_async([*cases, *streams], check)


async def test_send_job_needs_no_key(queue: Queue) -> None:
    sent = await send_job(queue, "mail", MAIL, priority=3)
    assert (sent.status, sent.task_id) == ("created", "mail")
    job = await queue.get(sent.id)
    assert job is not None
    assert job.priority == 3
