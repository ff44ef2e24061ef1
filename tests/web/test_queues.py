"""Tasks, queues, schedules, workers, metrics and health."""

from __future__ import annotations

from uuid import UUID

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.web.conftest import Web, on_both_storages
from tests.web.live.tab import Tab
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.model import QueueCapacity, WorkerInfo
from zeke_queue.storage.access import Scope

MAIL = {"to": "ada@example.org"}
WORKER = UUID(int=7)


async def figures(call: Web) -> dict[tuple[str, ...], float]:
    """Return the samples that Prometheus reads, by name and labels."""
    answer = await call("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def queue_of(call: Web, name: str) -> dict[str, object]:
    queues = (await call("GET", "/queues")).json()["queues"]
    return next(one for one in queues if one["name"] == name)


async def test_tasks_are_listed_with_the_schema_of_their_payloads(call: Web) -> None:
    tasks = {task["id"]: task for task in (await call("GET", "/tasks")).json()["tasks"]}
    assert list(tasks) == ["break", "login", "mail", "ticket", "twice"]
    assert (tasks["mail"]["aliases"], tasks["mail"]["concurrencyLimit"]) == (["old-mail"], 5)
    assert tasks["mail"]["description"] == "Send a mail."
    assert tasks["mail"]["payloadSchema"]["required"] == ["to"]
    assert tasks["break"]["payloadSchema"] is None


@on_both_storages
async def test_queues_show_counts_and_lag(call: Web, queue: Queue, clock: FrozenClock) -> None:
    await parts_of(queue).declare()
    await call.trigger("mail", MAIL)
    await queue.send("mail", MAIL, delay=3600)
    clock.advance(30)
    shown = await queue_of(call, "mail")
    others = ("retry", "active", "completed", "expired", "cancelled", "failed")
    assert shown["counts"] == {"created": 2, **dict.fromkeys(others, 0)}
    assert (shown["lag"], shown["paused"]) == (30.0, False)
    assert (await queue_of(call, "break"))["lag"] is None


async def test_name_may_contain_a_slash(call: Web, queue: Queue) -> None:
    await queue.send("mail/in/bulk", {}, external=True)
    assert (await call("POST", "/queues/mail%2Fin%2Fbulk/pause")).json()["paused"] is True
    assert (await call("POST", "/queues/mail/in/bulk/resume")).json()["paused"] is False
    name = "/schedules/break/at%2Fnight"
    made = await call("PUT", name, json={"cron": "0 0 * * *", "task": "break"})
    assert made.status_code == 200
    assert (await call("GET", "/schedules")).json() == {"schedules": [made.json()]}
    for method, path in (("GET", ""), ("POST", "/pause"), ("POST", "/resume")):
        assert (await call(method, f"{name}{path}")).status_code == 200, path
    assert (await call("POST", f"{name}/run")).headers["ratelimit-remaining"] == "99"
    assert (await call("DELETE", name)).status_code == 204


async def test_unknown_queue_is_not_found_and_not_created(call: Web, queue: Queue) -> None:
    async def check(name: str) -> None:
        answer = await call("POST", f"/queues/{name}/pause")
        assert (answer.status_code, answer.json()) == (404, {"error": "Queue not found"})
        assert await parts_of(queue).storage.queues() == []

    await check_each_async(["nope", "'; drop table pgboss.queue; --", "%00", "x" * 600], check)


async def test_invalid_schedule_is_rejected_and_not_stored(call: Web, queue: Queue) -> None:
    async def check(edit: dict[str, object], reason: str) -> None:
        answer = await call("PUT", "/schedules/mail", json=edit)
        assert answer.status_code in (404, 422)
        assert reason in answer.text
        assert await queue.schedules.list() == []

    daily = {"cron": "0 9 * * *"}
    cases = [
        ({"cron": "61 * * * *"}, "61"),
        ({"cron": "* * *"}, "* * *"),
        ({"cron": "0 0 30 2 *"}, "0 0 30 2 *"),
        ({**daily, "zone": "Mars/Olympus"}, "Mars/Olympus"),
        ({**daily, "task": "nope"}, "nope"),
        ({**daily, "payload": {"to": 7}}, "payload.to"),
        ({**daily, "payload": MAIL, "catchUp": "never"}, "catchUp"),
        ({**daily, "payload": MAIL, "crom": 1}, "crom"),
        ({}, "cron"),
    ]
    await check_each_async(cases, check)
    unnamed = await call("PUT", "/schedules/%27%3B--", json={**daily, "task": "break"})
    assert unnamed.status_code == 422


async def test_unknown_schedule_is_not_found(call: Web) -> None:
    async def check(method: str, path: str, name: str) -> None:
        answer = await call(method, f"/schedules/{name}{path}")
        if (path, "%00" in name) == ("/run", True):
            assert answer.status_code == 422  # as a job of that name would be
        else:
            assert (answer.status_code, answer.json()) == (404, {"error": "Schedule not found"})

    requests = [("GET", ""), ("DELETE", ""), ("POST", "/run"), ("POST", "/pause"), ("POST", "/resume")]
    names = ["nope", "%00", "a%00b", "<b>"]
    await check_each_async([(*request, name) for request in requests for name in names], check)


@on_both_storages
async def test_last_tick_is_null_before_the_first(call: Web, queue: Queue, clock: FrozenClock) -> None:
    await queue.schedules.put("break", "*/30 * * * *")
    scheduler = Scheduler(parts_of(queue))
    clock.advance(1)
    await scheduler.tick()
    assert (await call("GET", "/schedules/break")).json()["lastTick"] is None
    clock.advance(1800)
    await scheduler.tick()
    assert (await call("GET", "/schedules/break")).json()["lastTick"] == "2026-01-05T12:30:00.000Z"


async def test_next_tick_is_shown_before_a_scheduler_ran(call: Web, queue: Queue, clock: FrozenClock) -> None:
    put = (await call("PUT", "/schedules/break", json={"cron": "*/30 * * * *"})).json()
    assert put["nextTick"] == put["nextTicks"][0] == "2026-01-05T12:30:00.000Z"
    await Scheduler(parts_of(queue)).tick()
    clock.advance(1801)
    late = (await call("GET", "/schedules/break")).json()
    expected = ("2026-01-05T12:30:00.000Z", "2026-01-05T13:00:00.000Z")
    assert (late["nextTick"], late["nextTicks"][0]) == expected
    paused = (await call("POST", "/schedules/break/pause")).json()
    assert (paused["nextTick"], paused["nextTicks"]) == (None, [])
    resumed = (await call("POST", "/schedules/break/resume")).json()
    assert resumed["nextTick"] == "2026-01-05T13:00:00.000Z"


@on_both_storages
async def test_workers_show_what_they_hold(call: Web, queue: Queue, clock: FrozenClock) -> None:
    await call.trigger("mail", MAIL)
    await parts_of(queue).storage.heartbeat(
        WorkerInfo(WORKER, "box", 42, ("mail",), 15.0, duties=("maintenance",))
    )
    await parts_of(queue).storage.claim(WORKER, [QueueCapacity("mail", 1)], 1)
    (worker,) = (await call("GET", "/workers")).json()["workers"]
    assert worker == {
        "id": str(WORKER),
        "host": "box",
        "pid": 42,
        "queues": ["mail"],
        "alive": True,
        "asleep": False,
        "duties": ["maintenance"],
        "startedOn": "2026-01-05T12:00:00.000Z",
        "beatOn": "2026-01-05T12:00:00.000Z",
        "holds": 1,
    }
    clock.advance(16)
    assert (await call("GET", "/workers")).json()["workers"][0]["alive"] is False


@on_both_storages
async def test_metrics_are_read_by_prometheus(call: Web, queue: Queue, clock: FrozenClock) -> None:
    await parts_of(queue).declare()
    await queue.schedules.put("break", "0 0 * * *")
    await queue.schedules.put("twice", "0 0 * * *")
    await Scheduler(parts_of(queue)).tick()
    await call("POST", "/schedules/twice/pause")
    await call.trigger("mail", MAIL)
    await call.trigger("break")
    await call("POST", "/queues/break/pause")
    await parts_of(queue).storage.heartbeat(WorkerInfo(UUID(int=8), "box", 41, ("mail",), 15.0))
    clock.advance(30)
    await parts_of(queue).storage.heartbeat(WorkerInfo(WORKER, "box", 42, ("mail",), 15.0))
    await queue.send("mail", MAIL, priority=1)
    await parts_of(queue).storage.claim(WORKER, [QueueCapacity("mail", 1)], 1)
    samples = await figures(call)
    assert samples["zeke_jobs", "created", "mail"] == 1
    assert samples["zeke_jobs", "failed", "mail"] == 0
    assert samples["zeke_queue_lag_seconds", "mail"] == 30
    assert samples["zeke_queue_paused", "break"] == 1
    assert samples["zeke_queue_paused", "mail"] == 0
    # The five of the task, which the queue of its alias shares.
    assert (samples["zeke_queue_limit", "mail"], samples["zeke_queue_limit", "old-mail"]) == (5, 5)
    assert ("zeke_queue_limit", "break") not in samples
    assert samples["zeke_schedule_late_seconds", "break"] == 0
    assert samples["zeke_workers",] == 1
    assert samples["zeke_workers_holding",] == 1
    assert samples["zeke_streams",] == 0
    clock.advance(43_200)  # 30 s past midnight, and no scheduler has looked
    late = await figures(call)
    assert late["zeke_schedule_late_seconds", "break"] == 30
    assert late["zeke_schedule_late_seconds", "twice"] == 0


async def test_open_streams_are_counted(app: FastAPI, call: Web) -> None:
    run_id = await call.trigger("mail", MAIL)
    for _ in range(2):
        async with Tab(app, f"/jobs/stream/{run_id}") as one, Tab(app, f"/jobs/stream/{run_id}") as other:
            for tab in (one, other):
                await tab.until(lambda tab: bool(tab.named("status")))
            assert (await figures(call))["zeke_streams",] == 2
        assert (await figures(call))["zeke_streams",] == 0


@on_both_storages
async def test_health_and_readiness_need_no_key(call: Web) -> None:
    await call.key()
    for path in ("/healthz", "/readyz"):
        answer = await call("GET", path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_probes_may_use_head(call: Web, monkeypatch: pytest.MonkeyPatch, queue: Queue) -> None:
    async def away() -> None:
        raise StorageUnavailableError("away")

    key = await call.key(Scope.READ)
    for path, shown in (("/healthz", None), ("/readyz", None), ("/metrics", key)):
        asked, read = await call("HEAD", path, shown), await call("GET", path, shown)
        assert asked.status_code == 200
        assert asked.headers["content-type"] == read.headers["content-type"]
        refused = await call("POST", path, key)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert (await call("HEAD", "/metrics")).status_code == 401
    monkeypatch.setattr(parts_of(queue).storage, "now", away)
    assert (await call("HEAD", "/readyz")).status_code == 503
