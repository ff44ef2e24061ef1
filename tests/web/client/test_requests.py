"""Requests of the Python client: values, errors, and repeated requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.cases import check_each, check_each_async
from tests.clocks import START, FrozenClock
from tests.web.client.conftest import Hasty, Way
from tests.web.conftest import Mail, Web, on_both_storages
from zeke_queue import (
    JobConflictError,
    JobNotFoundError,
    JobQuery,
    JobStatus,
    PayloadTooLargeError,
    PayloadValidationError,
    UnknownTaskError,
)
from zeke_queue.api_client import (
    ApiResponseError,
    ForbiddenError,
    JobsClient,
    RateLimitedError,
    ServerUnavailableError,
    UnauthorizedError,
)
from zeke_queue.api_client.http import MOST_PAUSE
from zeke_queue.client.queue import Queue
from zeke_queue.errors import InvalidOptionError, ScheduleNotFoundError, SerializationError
from zeke_queue.storage.access import Scope
from zeke_queue.web import WebSettings

NOBODY = UUID("01a216ee-4f1a-7197-80f3-387a0e206cbc")
MAIL = {"to": "ada@example.org"}
WRONG = "mid_" + "0" * 64


def answer(status: int, body: Any = None, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json={"error": "no"} if body is None else body, headers=headers)


@on_both_storages
async def test_job_is_sent_and_read(jobs: JobsClient, call: Web) -> None:
    sent, broken = await jobs.trigger("mail", MAIL), await jobs.trigger("break")
    assert (sent.status, sent.task_id, sent.replayed) == ("created", "mail", False)
    run = await jobs.run(sent.id)
    assert (run.id, run.status, run.data) == (sent.id, JobStatus.QUEUED, {**MAIL, "copies": 1})
    assert (run.created_on, run.ended) == (START, False)
    await call.work()
    ended = await jobs.run(str(sent.id))
    assert (ended.status, ended.output, ended.ended) == (JobStatus.COMPLETED, {"sent": 1}, True)

    events = await jobs.events(sent.id)
    messages = {(event.kind, event.data["message"]) for event in events}
    assert messages == {("progress", "half"), ("log", "sending")}
    assert await jobs.events(sent.id, after=events[0].seq) == events[1:]

    output = (await jobs.run(broken.id)).output
    assert (output["type"], output["message"]) == ("RuntimeError", "the glass is broken")
    detail = await jobs.detail(broken.id)
    assert (detail.status, detail.state, detail.attempt, detail.expire_in) == ("FAILED", "failed", 1, 3600.0)
    (attempt,) = detail.history
    assert (attempt.attempt, attempt.state, detail.retry_limit) == (1, "failed", 0)
    assert attempt.error["message"] == "the glass is broken"


@dataclass
class MailAsDataclass:
    to: str
    copies: int = 3


async def test_payload_is_a_mapping_a_model_or_a_dataclass(jobs: JobsClient) -> None:
    for payload in ({"to": "a", "copies": 3}, Mail(to="a", copies=3), MailAsDataclass("a")):
        sent = await jobs.trigger("mail", payload)
        assert (await jobs.run(sent.id)).data == {"to": "a", "copies": 3}, payload


async def test_lists_follow_pages(jobs: JobsClient, clock: FrozenClock) -> None:
    sent: list[UUID] = []
    for number in range(5):
        sent.append((await jobs.trigger("mail", {"to": str(number)})).id)
        clock.advance(1)
    await jobs.trigger("break")
    assert [run.id async for run in jobs.runs(task="mail", limit=2)] == sent[::-1]
    page = await jobs.page(task=["mail"], limit=3)
    assert len(page.runs) == 3
    rest = await jobs.page(task=["mail"], limit=3, cursor=page.next_cursor)
    assert [run.id for run in rest.runs] == sent[1::-1]
    assert rest.next_cursor is None


@on_both_storages
async def test_lists_are_filtered(jobs: JobsClient, call: Web, clock: FrozenClock) -> None:
    first = await jobs.trigger("mail", {"to": "ada"})
    await call.work()
    clock.advance(60)
    second = await jobs.trigger("mail", {"to": "grace & co"})
    zone_later = (START + timedelta(seconds=30)).astimezone()

    async def found(**filters: Any) -> list[UUID]:
        return [run.id async for run in jobs.runs(**filters)]

    assert await found(status=JobStatus.QUEUED) == await found(status=[JobStatus.QUEUED]) == [second.id]
    assert await found(text="grace & co") == [second.id]
    assert await found(created_to=zone_later) == [first.id]
    assert await found(created_from=zone_later) == [second.id]
    assert await found(parent=NOBODY) == await found(archived=True) == []
    with pytest.raises(ApiResponseError) as refused:
        await found(created_from=datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake that is reported
    assert [field.path for field in refused.value.fields] == ["createdFrom"]


async def test_job_is_cancelled_resumed_and_retried(jobs: JobsClient, call: Web) -> None:
    sent = await jobs.trigger("break")
    assert (await jobs.cancel(sent.id)).status is JobStatus.CANCELLED
    with pytest.raises(ApiResponseError, match="it has ended") as refused:
        await jobs.cancel(sent.id)
    assert refused.value.status == 409
    assert (await jobs.resume(sent.id)).status is JobStatus.QUEUED
    await call.work()
    assert (await jobs.retry(sent.id)).status is JobStatus.QUEUED


async def test_queues_tasks_and_workers_are_listed_and_queues_paused(jobs: JobsClient, call: Web) -> None:
    await call.trigger("mail", MAIL)
    assert (await jobs.pause_queue("mail")).paused
    (mail,) = [queue for queue in await jobs.queues() if queue.name == "mail"]
    assert (mail.paused, mail.counts["created"]) == (True, 1)
    assert not (await jobs.resume_queue("mail")).paused
    tasks = {task.id: task for task in await jobs.tasks()}
    assert tasks["mail"].payload_schema is not None
    assert "to" in tasks["mail"].payload_schema["properties"]
    assert (tasks["mail"].aliases, tasks["mail"].concurrency_limit) == (("old-mail",), 5)
    assert await jobs.workers() == ()
    with pytest.raises(ApiResponseError, match="Queue not found"):
        await jobs.pause_queue("a?b")


@on_both_storages
async def test_schedules_are_created_paused_run_and_deleted(jobs: JobsClient) -> None:
    put = await jobs.put_schedule("at:noon+1@x", "0 12 * * *", task="mail", payload=MAIL, zone="Europe/Paris")
    assert (put.zone, put.catch_up, len(put.next_ticks)) == ("Europe/Paris", "once", 5)
    assert put.next_ticks[0] == datetime(2026, 1, 6, 11, tzinfo=UTC)
    assert await jobs.schedule("at:noon+1@x") == put
    assert await jobs.schedules() == (put,)
    assert (await jobs.pause_schedule("at:noon+1@x")).paused
    assert not (await jobs.resume_schedule("at:noon+1@x")).paused
    sent = await jobs.run_schedule("at:noon+1@x")
    assert (await jobs.run(sent.id)).data == {**MAIL, "copies": 1}
    await jobs.delete_schedule("at:noon+1@x")
    for call in (jobs.schedule, jobs.delete_schedule, jobs.run_schedule, jobs.pause_schedule):
        with pytest.raises(ScheduleNotFoundError):
            await call("at:noon+1@x")


async def test_invalid_payload_raises_what_a_queue_raises(jobs: JobsClient, queue: Queue) -> None:
    with pytest.raises(PayloadValidationError) as near:
        await queue.trigger("mail", {"copies": 0})
    with pytest.raises(PayloadValidationError) as far:
        await jobs.trigger("mail", {"copies": 0})
    assert (far.value.task, far.value.fields) == (near.value.task, near.value.fields)


async def test_missing_task_or_job_raises_its_own_error(jobs: JobsClient) -> None:
    with pytest.raises(UnknownTaskError, match="nope"):
        await jobs.trigger("nope")
    for call in (jobs.run, jobs.detail, jobs.events, jobs.cancel, jobs.retry, jobs.result):
        for run_id in (NOBODY, "123", "../healthz"):
            with pytest.raises(JobNotFoundError):
                await call(run_id)


async def test_conflict_names_the_holder_of_the_key(jobs: JobsClient, queue: Queue) -> None:
    holder = (await queue.send("mail", MAIL, singleton_key="one")).id
    await queue.schedules.put("mail", "0 0 * * *", payload=MAIL, singleton_key="one")
    with pytest.raises(JobConflictError) as refused:
        await jobs.run_schedule("mail")
    assert refused.value.holder == holder


async def test_too_large_body_raises(jobs: JobsClient) -> None:
    with pytest.raises(PayloadTooLargeError):
        await jobs.trigger("mail", {"to": "x" * 3_000_000})


async def test_invalid_key_raises_unauthorized(client: Callable[..., JobsClient], call: Web) -> None:
    await call.key()
    for token in (None, WRONG):
        async with client(token) as jobs:
            for asked in (jobs.trigger("mail", MAIL), jobs.queues(), jobs.result(NOBODY)):
                with pytest.raises(UnauthorizedError) as refused:
                    await asked
                assert refused.value.status == 401


async def test_missing_scope_is_named(client: Callable[..., JobsClient], call: Web) -> None:
    async with client(f"{await call.key(Scope.READ)}\n") as jobs:
        assert await jobs.schedules() == ()
        with pytest.raises(ForbiddenError, match=r"jobs\.trigger"):
            await jobs.trigger("mail", MAIL)


async def test_exceeded_limit_says_when_to_retry(
    client: Callable[..., JobsClient], call: Web, queue: Queue, hasty: Hasty
) -> None:
    limited = call.with_app(WebSettings.load(api_trigger_limit=1, api_trigger_window=60))
    async with client(transport=httpx2.ASGITransport(limited.app, client=("127.0.0.1", 1))) as jobs:
        await jobs.trigger("mail", MAIL)
        with pytest.raises(RateLimitedError) as refused:
            await jobs.trigger("mail", MAIL)
        assert refused.value.retry_after is not None
        assert 0 < refused.value.retry_after <= 60
        assert len((await queue.find(JobQuery())).jobs) == 1
    assert hasty.pauses == []


@on_both_storages
async def test_lost_answer_sends_no_second_job(jobs: JobsClient, way: Way, queue: Queue) -> None:
    way.lose_answer()
    sent = await jobs.trigger("mail", MAIL)
    assert sent.replayed
    assert [job.id for job in (await queue.find(JobQuery())).jobs] == [sent.id]


async def test_each_trigger_draws_a_key_unless_one_is_given(jobs: JobsClient, queue: Queue) -> None:
    first, second = await jobs.trigger("mail", MAIL), await jobs.trigger("mail", MAIL)
    assert first.id != second.id
    third = await jobs.trigger("mail", MAIL, idempotency_key="order 7")
    again = await jobs.trigger("mail", MAIL, idempotency_key="order 7")
    assert (again.id, again.replayed) == (third.id, True)
    with pytest.raises(JobConflictError, match="Idempotency-Key") as refused:
        await jobs.trigger("mail", {"to": "other"}, idempotency_key="order 7")
    assert refused.value.holder == third.id


async def test_safe_requests_are_repeated_while_the_server_is_away(
    jobs: JobsClient, way: Way, hasty: Hasty
) -> None:
    async def check(met: httpx2.Response | Exception) -> None:
        hasty.pauses.clear()
        for call in (jobs.queues(), jobs.trigger("mail", MAIL), jobs.pause_queue("mail")):
            way.meet(met, met)
            way.requests.clear()
            await call
            assert len(way.requests) == 3
        assert len(hasty.pauses) == 6

    await check_each_async([answer(503), answer(502), answer(504), httpx2.ReadError("reset")], check)


async def test_pauses_grow_and_follow_retry_after(jobs: JobsClient, way: Way, hasty: Hasty) -> None:
    way.meet(*[answer(503)] * 2, answer(503, **{"retry-after": "7"}), answer(503, **{"retry-after": "9999"}))
    await jobs.queues()
    for pause, longest in zip(hasty.pauses, [0.5, 1.0], strict=False):
        assert longest / 2 <= pause <= longest
    assert hasty.pauses[2:] == [7, MOST_PAUSE]


async def test_server_that_stays_away_raises(jobs: JobsClient, way: Way) -> None:
    way.meet(*[answer(503, {"error": "The database is unavailable"})] * 5)
    with pytest.raises(ServerUnavailableError, match="The database is unavailable"):
        await jobs.queues()
    assert len(way.requests) == 5


async def test_search_that_takes_too_long_is_not_repeated(jobs: JobsClient, way: Way) -> None:
    """Five times as much work of the database ends in the same answer."""
    way.meet(answer(503, {"error": "narrow it by task", "retry": False}))
    with pytest.raises(ApiResponseError, match="narrow it by task") as refused:
        await jobs.queues()
    assert (refused.value.status, len(way.requests)) == (503, 1)


async def test_unsafe_request_is_not_repeated(jobs: JobsClient, way: Way) -> None:
    for met in (answer(503), httpx2.ReadError("reset")):
        way.requests.clear()
        way.meet(met)
        with pytest.raises(ServerUnavailableError):
            await jobs.cancel(NOBODY)
        assert len(way.requests) == 1, met


async def test_request_that_was_not_sent_is_repeated(jobs: JobsClient, way: Way) -> None:
    sent = await jobs.trigger("mail", MAIL)
    way.meet(httpx2.ConnectError("refused"))
    assert (await jobs.cancel(sent.id)).status is JobStatus.CANCELLED


async def test_answers_of_another_server_are_reported(jobs: JobsClient, way: Way) -> None:
    async def check(met: httpx2.Response, message: str) -> None:
        way.meet(met)
        with pytest.raises(ApiResponseError, match=message) as refused:
            await jobs.run(NOBODY)
        assert refused.value.status == met.status_code

    cases = [
        (httpx2.Response(404, text="<h1>nginx</h1>"), "404"),
        (answer(404, {"error": "Nothing found at /x"}), "Nothing found at /x"),
        (httpx2.Response(200, text="<h1>Welcome</h1>"), "check base_url"),
        (httpx2.Response(200, json=[1]), "check base_url"),
        (httpx2.Response(200, json={"id": 1}), "check base_url"),
        (httpx2.Response(301, headers={"location": "https://else.example"}), "https://else.example"),
        (answer(500, {"error": "Internal server error"}), "Internal server error"),
    ]
    await check_each_async(cases, check)


def test_invalid_base_url_or_token_is_rejected() -> None:
    def check_url(url: Any) -> None:
        with pytest.raises(InvalidOptionError, match="base_url"):
            JobsClient(url)

    def check_token(token: str) -> None:
        with pytest.raises(InvalidOptionError, match="token") as refused:
            JobsClient("http://localhost", token)
        assert not token.strip() or token not in str(refused.value)

    urls = [
        "",
        "localhost:3003",
        "ftp://host",
        "http://",
        "http://u:p@host",
        "http://host?a=1",
        "http://[::1",
    ]
    check_each([*urls, None], check_url)
    check_each(["", " ", "a b", "a\nb", "schlüssel"], check_token)


async def test_payload_without_json_form_is_not_sent(jobs: JobsClient, way: Way) -> None:
    for payload in ({"to": object()}, {"to": float("nan")}):
        with pytest.raises(SerializationError, match="payload"):
            await jobs.trigger("mail", payload)
    assert way.requests == []


def test_repr_shows_the_url_and_no_key() -> None:
    assert repr(JobsClient("http://localhost:3003", WRONG)) == "<JobsClient http://localhost:3003>"
