"""Lists of jobs with their filters and cursors; cancel, retry and resume."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.runtime.workers.handler import logged
from tests.web.conftest import Web, on_both_storages
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.storage.access import Scope
from zeke_queue.web.rest.runs import _FILTERS


async def listed(call: Web, **filters: Any) -> list[str]:
    answer = await call("GET", "/trigger/runs", params=filters)
    assert answer.status_code == 200, answer.text
    return [run["id"] for run in answer.json()["runs"]]


@pytest.fixture
async def three(call: Web, clock: FrozenClock) -> list[str]:
    """A mail that was sent, a job that broke, and a mail that waits; a minute between each."""
    sent = await call.trigger("mail", {"to": "ada@example.org"})
    clock.advance(60)
    broken = await call.trigger("break")
    await call.work()
    clock.advance(60)
    return [sent, broken, await call.trigger("mail", {"to": "bob@example.org"})]


@on_both_storages
async def test_list_is_newest_first_and_filtered(call: Web, three: list[str]) -> None:
    sent, broken, waits = three

    async def check(filters: dict[str, Any], *expected: str) -> None:
        assert await listed(call, **filters) == list(expected)

    cases: list[Any] = [
        ({}, waits, broken, sent),
        ({"task": "mail"}, waits, sent),
        ({"task": ["mail", "break"]}, waits, broken, sent),
        ({"status": "QUEUED"}, waits),
        ({"status": ["COMPLETED", "FAILED"]}, broken, sent),
        ({"task": "mail", "status": "FAILED"},),
        ({"text": "BOB@example"}, waits),
        ({"text": "the glass"}, broken),
        ({"text": sent}, sent),
        ({"createdFrom": "2026-01-05T12:01:00Z"}, waits, broken),
        ({"createdTo": "2026-01-05T13:01:00+01:00"}, sent),
        ({"archived": "true"},),
        ({"parent": sent},),
    ]
    await check_each_async(cases, check)


@on_both_storages
async def test_archived_jobs_are_listed_apart(call: Web, queue: Queue, three: list[str]) -> None:
    assert await parts_of(queue).storage.archive(0.0, 10) == 2
    assert await listed(call, archived="true") == [three[1], three[0]]
    assert await listed(call) == [three[2]]


@on_both_storages
async def test_pages_follow_each_other_without_a_gap(call: Web, clock: FrozenClock) -> None:
    sent: list[str] = []
    for number in range(7):
        sent.append(await call.trigger("mail", {"to": f"{number}@example.org"}))
        if number % 2:
            clock.advance(1)
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        params = {"limit": 3, **({} if cursor is None else {"cursor": cursor})}
        page = (await call("GET", "/trigger/runs", params=params)).json()
        seen += [run["id"] for run in page["runs"]]
        cursor = page["nextCursor"]
        pages += 1
    assert (pages, sorted(seen)) == (3, sorted(sent))
    assert seen == await listed(call)


async def test_malformed_cursor_is_rejected(call: Web, three: list[str]) -> None:
    del three
    page = (await call("GET", "/trigger/runs", params={"limit": 1})).json()
    cursor = page["nextCursor"]
    other = ("B" if cursor[0] == "A" else "A") + cursor[1:]
    wrong = [other, cursor[:-2], "x", "%00", "' or 1=1 --", "é", cursor + "AAAA"]
    for given in wrong:
        answer = await call("GET", "/trigger/runs", params={"limit": 1, "cursor": given})
        assert answer.status_code == 422, given
        assert answer.json()["fields"][0]["path"] == "cursor"
    others = {
        "archived": "true",
        "createdFrom": "2020-01-01T00:00:00Z",
        "createdTo": "2030-01-01T00:00:00Z",
        "parent": str(UUID(int=1)),
        "status": "QUEUED",
        "task": "mail",
        "text": "a",
    }
    assert {*others, "cursor", "limit"} == _FILTERS
    for name, value in others.items():
        answer = await call("GET", "/trigger/runs", params={"limit": 1, "cursor": cursor, name: value})
        assert answer.status_code == 422, name
    assert (await call("GET", "/trigger/runs", params={"limit": 1, "cursor": cursor})).status_code == 200


@on_both_storages
async def test_page_is_shorter_where_its_jobs_are_large(
    call: Web, queue: Queue, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zeke_queue.web.inspect.BYTES_MOST", 250)
    sent = []
    for length in (10, 150, 10, 500, 10, 10):
        sent.append(await call.trigger("mail", {"to": "a" * length}))
        clock.advance(1)

    async def pages(archived: str) -> tuple[list[str], list[int]]:
        seen, cursor, lengths = [], None, []
        while cursor is not None or not seen:
            params = {"archived": archived, **({} if cursor is None else {"cursor": cursor})}
            page = (await call("GET", "/trigger/runs", params=params)).json()
            seen += [run["id"] for run in page["runs"]]
            cursor = page["nextCursor"]
            lengths.append(len(page["runs"]))
        return seen, lengths

    assert await pages("false") == (sent[::-1], [2, 1, 3])
    await parts_of(queue).storage.cancel([UUID(job_id) for job_id in sent])
    clock.advance(1)
    await parts_of(queue).storage.archive(0.0, 10)
    assert await pages("true") == (sent[::-1], [2, 1, 3])


async def test_status_takes_a_row_state_with_a_warning(call: Web, three: list[str]) -> None:
    async def check(word: str, status: str) -> None:
        with logged() as lines:
            found = await listed(call, status=word)
        assert found == await listed(call, status=status) != []
        assert lines.messages.count("status_deprecated") == 1

    await check_each_async([("retry", "QUEUED"), ("expired", "FAILED"), ("completed", "COMPLETED")], check)
    with logged() as lines:
        assert await listed(call, status="QUEUED") == three[2:]
        assert lines.messages == []
        await listed(call, status=["retry", "created"] * 1000)
    assert lines.messages == ["status_deprecated"]


async def test_invalid_filter_is_rejected_by_its_name(call: Web) -> None:
    async def check(name: str, value: Any) -> None:
        answer = await call("GET", "/trigger/runs", params={name: value})
        assert answer.status_code == 422
        assert [field["path"] for field in answer.json()["fields"]] == [name]

    wrong: dict[str, list[Any]] = {
        "limit": [0, 201, "x"],
        "status": ["DONE"],
        "parent": ["123"],
        "text": ["", "x" * 201],
        "createdFrom": ["9999-12-31T23:59:59-23:59"],
        "createdTo": ["0.5", "0001-01-01T00:00:00+23:59", "-1700000000"],
        "state": ["failed"],
        "archived": ["perhaps"],
    }
    await check_each_async([(name, value) for name, values in wrong.items() for value in values], check)
    assert (await call("GET", "/trigger/runs", params={"text": "\u0000"})).status_code == 422


@on_both_storages
async def test_job_is_cancelled_once_and_resumed(call: Web, three: list[str]) -> None:
    waits = three[2]
    cancelled = await call("POST", f"/trigger/runs/{waits}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "CANCELLED")
    again = await call("POST", f"/trigger/runs/{waits}/cancel")
    assert again.status_code == 409
    assert again.json()["error"] == f"Job {waits} stays CANCELLED: it has ended"
    back = await call("POST", f"/trigger/runs/{waits}/resume")
    assert (back.status_code, back.json()["status"]) == (200, "QUEUED")
    assert (await call("POST", f"/trigger/runs/{waits}/resume")).status_code == 409


async def test_failed_job_is_retried(call: Web, three: list[str]) -> None:
    sent, broken, _ = three
    back = (await call("POST", f"/trigger/runs/{broken}/retry")).json()
    # The task has no retries; the error is shown until it ends again.
    assert (back["status"], back["retryLimit"]) == ("QUEUED", 1)
    assert back["output"]["message"] == "the glass is broken"
    refused = await call("POST", f"/trigger/runs/{sent}/retry")
    assert (refused.status_code, refused.json()["id"]) == (409, sent)


@on_both_storages
async def test_resume_names_the_holder_of_the_key(call: Web, queue: Queue) -> None:
    first = (await queue.send("mail", {"to": "ada"}, singleton_key="one")).id
    assert first is not None
    await queue.cancel(first)
    second = (await queue.send("mail", {"to": "ada"}, singleton_key="one")).id
    answer = await call("POST", f"/trigger/runs/{first}/resume")
    assert (answer.status_code, answer.json()["id"]) == (409, str(second))


async def test_change_of_a_job_needs_the_admin_scope_and_a_job(call: Web) -> None:
    run_id = await call.trigger("break")
    key, admin = await call.key(Scope.TRIGGER), await call.key(Scope.ADMIN)

    async def check(change: str) -> None:
        assert (await call("POST", f"/trigger/runs/{run_id}/{change}", key)).status_code == 403
        for missing in ("123", "01a216ee-4f1a-7197-80f3-387a0e206cbc"):
            answer = await call("POST", f"/trigger/runs/{missing}/{change}", admin)
            assert (answer.status_code, answer.json()) == (404, {"error": "Job run not found"})

    await check_each_async(["cancel", "retry", "resume"], check)
