"""What is changed from the pages: one job, many jobs, queues, sending, and schedules."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.web.conftest import Web, on_both_storages
from tests.web.dashboard.conftest import Browser
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.model import CatchUp, Job, JobPage, JobQuery, RowState, Schedule
from zeke_queue.storage.access import Scope
from zeke_queue.web import WebSettings
from zeke_queue.web.dashboard import jobs as many


def hidden(page: str, name: str) -> str:
    found = re.search(f'name="{name}" value="([^"]*)"', page)
    assert found
    return found[1]


def shown(page: str) -> list[str]:
    return re.findall(r'data-job="([^"]+)"', page)


# One job


@on_both_storages
async def test_job_is_cancelled_resumed_and_retried(admin: Browser, jobs: Driver) -> None:
    job_id = await jobs.send()
    assert 'data-confirm="Cancel this job?"' in await admin.see(f"/jobs/{job_id}")
    assert await admin.note(f"/jobs/{job_id}/cancel") == "The job is cancelled"
    assert (await jobs.look(job_id)).row_state is RowState.CANCELLED
    assert "has already ended" in await admin.note(f"/jobs/{job_id}/cancel")
    assert 'id="resume"' in await admin.see(f"/jobs/{job_id}")
    assert await admin.note(f"/jobs/{job_id}/resume") == "The job is queued again"
    assert (await jobs.look(job_id)).row_state is RowState.CREATED
    failed = await jobs.ended(RowState.FAILED, "errand")
    assert await admin.note(f"/jobs/{failed}/retry") == "The job is queued again"
    assert (await jobs.look(failed)).row_state is RowState.RETRY
    assert "has not failed" in await admin.note(f"/jobs/{failed}/retry")


@on_both_storages
async def test_retry_names_the_job_that_has_the_key(admin: Browser, jobs: Driver) -> None:
    job_id = await jobs.ended(RowState.FAILED, singleton_key="a")
    other = await jobs.send(singleton_key="a")
    assert f"job {other} has its key" in await admin.note(f"/jobs/{job_id}/retry")
    assert (await jobs.look(job_id)).row_state is RowState.FAILED


# Many


async def test_ticked_jobs_are_changed_and_the_others_counted(admin: Browser, jobs: Driver) -> None:
    waiting, ended = await jobs.send(), await jobs.ended(RowState.COMPLETED, "errand")
    left = await jobs.send()
    ids = [str(waiting), str(ended)]
    page = (await admin.send("/jobs/confirm", 200, operation="cancel", id=ids)).text
    assert "Cancel 2 jobs?" in page
    assert "1 of them can be cancelled" in page
    assert (await jobs.look(waiting)).row_state is RowState.CREATED
    note = await admin.note("/jobs/change", operation="cancel", ids=hidden(page, "ids"))
    assert note == "1 job cancelled; 1 not: 1 already ended."
    states = await jobs.states([waiting, ended, left])
    assert states == [RowState.CANCELLED, RowState.COMPLETED, RowState.CREATED]


async def test_jobs_are_retried_or_resumed_together(admin: Browser, jobs: Driver) -> None:
    async def check(action: str, state: RowState, note: str, becomes: RowState) -> None:
        ids = [await jobs.ended(state) for _ in range(2)]
        assert await admin.note("/jobs/change", operation=action, ids=" ".join(map(str, ids))) == note
        assert await jobs.states(ids) == [becomes, becomes]
        await jobs.storage.cancel(ids)

    cases = [
        ("retry", RowState.FAILED, "2 jobs retried.", RowState.RETRY),
        ("retry", RowState.EXPIRED, "2 jobs retried.", RowState.RETRY),
        ("resume", RowState.CANCELLED, "2 jobs resumed.", RowState.CREATED),
    ]
    await check_each_async(cases, check)


@on_both_storages
async def test_reasons_why_jobs_are_not_changed_are_counted(admin: Browser, jobs: Driver) -> None:
    archived = await jobs.ended(RowState.FAILED)
    jobs.clock.advance(10)
    assert await jobs.storage.archive(5, 10)
    kept_out = await jobs.ended(RowState.FAILED, singleton_key="a")
    await jobs.send(singleton_key="a", delay=60)
    completed = await jobs.ended(RowState.COMPLETED, "errand")
    ids = " ".join(map(str, [archived, kept_out, completed]))
    note = await admin.note("/jobs/change", operation="retry", ids=ids)
    assert note.startswith("0 jobs retried; 3 not: ")
    for reason in ("1 already archived", "1 blocked by another job", "1 not failed"):
        assert reason in note


async def test_cancelled_children_are_counted_apart(admin: Browser, jobs: Driver) -> None:
    parent = await jobs.running()
    assert await jobs.wait_for(await jobs.insert_child(parent), parent)
    note = await admin.note("/jobs/change", operation="cancel", ids=str(parent.id))
    assert note == "1 job cancelled, and 1 that they wait for."


async def test_all_matching_jobs_are_changed_across_pages(admin: Browser, jobs: Driver) -> None:
    matching = [await jobs.send(data='{"to": "ann"}') for _ in range(30)]
    other = await jobs.send(data='{"to": "bob"}')
    page = (await admin.send("/jobs/confirm", 200, operation="cancel", every="1", text="ANN")).text
    assert "Cancel 30 jobs?" in page
    late = await jobs.send(data='{"to": "ann"}')
    await admin.send("/jobs/change", operation="cancel", ids=hidden(page, "ids"), text="ANN", every="1")
    assert set(await jobs.states(matching)) == {RowState.CANCELLED}
    assert await jobs.states([other, late]) == [RowState.CREATED] * 2


async def test_all_matching_jobs_are_those_of_the_filters(admin: Browser, jobs: Driver) -> None:
    early = await jobs.running("break")
    jobs.clock.advance(60)
    begin = f"{jobs.clock.now():%Y-%m-%dT%H:%M:%S}"
    match = await jobs.send("mail")

    async def check(**filters: Any) -> None:
        page = (await admin.send("/jobs/confirm", 200, operation="cancel", every="1", **filters)).text
        assert "Cancel 1 job?" in page
        await admin.send("/jobs/change", operation="cancel", ids=hidden(page, "ids"), every="1", **filters)
        assert await jobs.states([match, early.id]) == [RowState.CANCELLED, RowState.ACTIVE]
        await jobs.storage.resume([match])

    cases: list[dict[str, Any]] = [
        {"task": "mail"},
        {"status": "QUEUED"},
        {"from": begin},
        {"task": "mail", "status": ["QUEUED", "EXECUTING"], "from": begin},
    ]
    await check_each_async(cases, lambda filters: check(**filters))
    page = (await admin.send("/jobs/confirm", 200, operation="cancel", every="1", to=begin)).text
    assert (str(early.id) in page, str(match) in page) == (True, False)


@on_both_storages
async def test_changing_many_jobs_reads_no_payloads(
    admin: Browser, jobs: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "MOST_AT_ONCE", 5)
    sent = [str(await jobs.send("mail", data='"large"')) for _ in range(7)]
    read: list[Job] = []
    find = jobs.storage.find

    async def found(query: JobQuery) -> JobPage:
        answer = await find(query)
        read.extend(answer.jobs)
        return answer

    async def got(ids: Sequence[UUID]) -> dict[UUID, Job]:
        raise AssertionError(f"{len(ids)} jobs are read whole")

    with monkeypatch.context() as patched:
        patched.setattr(jobs.storage, "find", found)
        patched.setattr(jobs.storage, "get", got)
        confirm = (await admin.send("/jobs/confirm", 200, operation="cancel", every="1")).text
        assert [job for job in sent if job in confirm] == sent[2:], "those are not the newest five"
        await admin.send("/jobs/change", operation="cancel", ids=" ".join(sent[2:]))
    assert read
    assert all(job.data is None for job in read)
    states = await jobs.states([UUID(job) for job in sent])
    assert states == [RowState.CREATED] * 2 + [RowState.CANCELLED] * 5


async def test_malformed_bulk_change_changes_nothing(admin: Browser, jobs: Driver) -> None:
    job_id = await jobs.send()
    assert "Select jobs first" in (await admin.send("/jobs/confirm", 422, operation="cancel")).text

    async def check(form: dict[str, str]) -> None:
        await admin.send("/jobs/change", 422, **form)
        assert (await jobs.look(job_id)).row_state is RowState.CREATED

    await check_each_async(
        [{"operation": "drop"}, {"operation": ""}, {"operation": "cancel", "ids": "1' or 1=1"}], check
    )


# Finding them


@on_both_storages
async def test_jobs_are_filtered(browser: Browser, jobs: Driver, clock: FrozenClock) -> None:
    old = await jobs.ended(RowState.FAILED, "mail", data='{"to": "ann"}')
    clock.advance(3600)
    new = await jobs.send("break", singleton_key="k-9")

    async def check(query: str, *expected: UUID) -> None:
        assert set(shown(await browser.see(f"/jobs{query}"))) == set(map(str, expected))

    cases = [
        ("", old, new),
        ("?task=mail", old),
        ("?status=FAILED", old),
        ("?status=QUEUED&status=FAILED", old, new),
        ("?status=nonsense", old, new),
        ("?text=ANN", old),
        ("?text=k-9", new),
        (f"?text={new}", new),
        ("?from=2026-01-05T12:30", new),
        ("?to=2026-01-05T12:30:00", old),
        ("?from=2026-01-05T13:30%2B01:00", new),
        ("?archived=1",),
    ]
    await check_each_async(cases, check)


async def test_invalid_filter_is_reported_at_its_field(browser: Browser) -> None:
    async def check(query: str) -> None:
        field = query.partition("=")[0]
        assert f'id="wrong-{field}"' in await browser.see(f"/jobs?{query}")

    cases = [
        "from=yesterday",
        "to=99999999-01-01T00:00",
        "from=0001-01-01T00:00%2B14:00",
        "text=" + "x" * 300,
        "text=a%00b",
        "task=" + "x" * 600,
    ]
    await check_each_async(cases, check)


@on_both_storages
async def test_pages_follow_each_other(browser: Browser, jobs: Driver) -> None:
    sent = [str(await jobs.send()) for _ in range(60)]
    seen: list[str] = []
    path: str | None = "/jobs?status=QUEUED"
    while path is not None:
        page = await browser.see(path)
        seen += shown(page)
        following = re.search(r'href="/dashboard([^"]+)" id="next"', page)
        path = following[1].replace("&amp;", "&") if following else None
    assert seen == sent[::-1]


async def test_cursor_that_is_malformed_or_of_another_list_is_rejected(
    browser: Browser, jobs: Driver
) -> None:
    for _ in range(30):
        await jobs.send()
    page = await browser.see("/jobs")
    cursor = re.search(r'cursor=([\w-]+)" id="next"', page)
    assert cursor
    await browser.see(f"/jobs?cursor={cursor[1]}")

    async def check(query: str) -> None:
        assert "start at the first page" in await browser.see(f"/jobs?{query}", 422)

    malformed = ("nonsense", "A" * 32, "../..", "%00", "' or 1=1")
    others = ("task=mail", "status=QUEUED", "text=a", "from=2026-01-01T00:00", "archived=1")
    await check_each_async([f"cursor={one}" for one in malformed], check)
    await check_each_async([f"{other}&cursor={cursor[1]}" for other in others], check)


async def test_columns_are_chosen(browser: Browser, jobs: Driver) -> None:
    await jobs.send(data='{"to": "ann"}', priority=42)
    page = await browser.see("/jobs?column=priority")
    assert 'data-label="Priority"' in page
    assert 'data-label="Payload"' not in page


# Queues


@on_both_storages
async def test_queue_is_paused_and_resumed(admin: Browser, queue: Queue) -> None:
    assert "waiting jobs are not started" in await admin.note("/queues", name="mail", do="pause")
    (mail,) = [one for one in await parts_of(queue).storage.queues() if one.name == "mail"]
    assert mail.paused_on is not None
    assert "Paused" in await admin.see("/queues")
    assert await admin.note("/queues", name="mail", do="resume") == "mail is resumed"
    await admin.send("/queues", 404, name="nobody", do="pause")


# Sending


@on_both_storages
async def test_form_sent_twice_sends_one_job(admin: Browser, queue: Queue) -> None:
    page = await admin.see("/trigger?task=mail")
    form: dict[str, Any] = {"task": "mail", "payload": '{"to": "ann"}', "once": hidden(page, "once")}
    first = (await admin.send("/trigger", **form)).headers["location"]
    assert (await admin.send("/trigger", **form)).headers["location"] == first
    (job,) = (await queue.find(JobQuery())).jobs
    assert (str(job.id), job.data) == (first.rpartition("/")[2], {"to": "ann", "copies": 1})


async def test_invalid_payload_is_reported_and_not_sent(admin: Browser, queue: Queue) -> None:
    async def check(payload: str, *reasons: str) -> None:
        page = (await admin.send("/trigger", 422, task="mail", payload=payload)).text
        assert all(reason in page for reason in reasons)
        assert (await queue.find(JobQuery())).jobs == []

    cases = [
        ('{"to": 1, "copies": 0}', 'data-field="to"', 'data-field="copies"', "greater than or equal to 1"),
        ("{", "Line 1, column 2"),
        ('{"to": NaN}', "NaN is not JSON"),
        ("[" * 10_000, "Must be JSON that can be stored"),
        ("", 'data-field="to"'),
    ]
    await check_each_async(cases, check)
    assert 'id="wrong-task"' in (await admin.send("/trigger", 422, task="nobody", payload="")).text


async def test_sending_counts_against_the_limit_of_the_key(call: Web) -> None:
    key = await call.key(Scope.ADMIN)
    limited = call.with_app(WebSettings(api_trigger_limit=2))
    async with limited.client() as client:
        browser = Browser(client)
        await browser.sign_in(key)
        await browser.send("/trigger", task="break")
        answer = await limited("POST", "/trigger", key, json={"taskId": "break"})
        assert answer.headers["ratelimit-remaining"] == "0"
        assert "Too many requests" in (await browser.send("/trigger", 422, task="break")).text


async def test_job_is_sent_again_unless_parts_are_redacted(admin: Browser, jobs: Driver) -> None:
    plain = await jobs.ended(RowState.COMPLETED, "mail", data='{"to": "ann"}')
    assert "&#34;to&#34;: &#34;ann&#34;" in await admin.see(f"/trigger?like={plain}")
    redacted = await jobs.ended(RowState.COMPLETED, "login", data='{"user": "ann", "password": "s3cret"}')
    page = await admin.see(f"/trigger?like={redacted}")
    assert "can&#39;t be sent again" in page
    assert "redacted" not in page
    assert "s3cret" not in page
    await admin.see("/trigger?like=42", 404)


# Schedules

EVERY_MORNING: dict[str, Any] = {
    "name": "mail",
    "task": "mail",
    "cron": "0 7 * * *",
    "zone": "Europe/Berlin",
    "payload": '{"to": "ann"}',
    "catch_up": "skip",
    "description": "Each morning",
}


async def stored(queue: Queue) -> Schedule:
    (schedule,) = await queue.schedules.list()
    return schedule


def edit_of(name: str, **change: str) -> dict[str, Any]:
    """Return the form that edits a schedule of a task of the same name."""
    return {"edits": name, "name": name, "task": name, "cron": "0 2 * * *", "zone": "UTC", **change}


@on_both_storages
async def test_schedule_is_created_and_shown_in_both_zones(admin: Browser, queue: Queue) -> None:
    await admin.send("/schedules/edit", **EVERY_MORNING)
    made = await stored(queue)
    assert (made.cron, made.zone, made.catch_up) == ("0 7 * * *", "Europe/Berlin", CatchUp.SKIP)
    assert made.data is not None
    assert json.loads(made.data) == {"to": "ann", "copies": 1}
    page = await admin.see("/schedules")
    assert "2026-01-06 06:00:00" in page
    assert "2026-01-06 07:00:00 CET" in page
    again = (await admin.send("/schedules/edit", 422, **EVERY_MORNING | {"cron": "* * * * *"})).text
    assert "name exists" in again
    assert (await stored(queue)).cron == "0 7 * * *"


async def test_invalid_schedule_is_reported_at_its_field(admin: Browser, queue: Queue) -> None:
    async def check(field: str, value: str) -> None:
        page = (await admin.send("/schedules/edit", 422, **EVERY_MORNING | {field: value})).text
        assert f'id="wrong-{field}"' in page
        assert await queue.schedules.list() == []

    wrong = {
        "cron": ["every day", "0 0 31 2 *"],
        "zone": ["Mars/Base", "../../etc/passwd", ""],
        "payload": ["{", '{"copies": 0}'],
        "task": ["nobody"],
        "name": ["a b\n"],
        "description": ["\0"],
    }
    await check_each_async([(field, value) for field, values in wrong.items() for value in values], check)


@on_both_storages
async def test_edit_keeps_what_the_form_does_not_show(admin: Browser, queue: Queue) -> None:
    await queue.schedules.put("login", "0 1 * * *", payload={"user": "a", "password": "s3cret"}, priority=9)
    page = await admin.see("/schedules/edit?name=login")
    assert "s3cret" not in page + await admin.see("/schedules")
    await admin.send("/schedules/edit", **edit_of("login", payload=""))
    edited = await stored(queue)
    assert edited.cron == "0 2 * * *"
    assert edited.options == {"priority": 9}
    assert json.loads(edited.data or "") == {"user": "a", "password": "s3cret"}


async def test_redacted_payload_is_not_handed_to_another_task(admin: Browser, queue: Queue) -> None:
    @queue.catalog.task("anything")
    async def anything(payload: dict[str, str]) -> None: ...

    await queue.schedules.put("login", "0 1 * * *", payload={"user": "a", "password": "s3cret"})
    edit = edit_of("login", task="anything")
    page = (await admin.send("/schedules/edit", 422, payload=" ", **edit)).text
    assert 'id="wrong-payload"' in page
    assert "s3cret" not in page + await admin.see("/schedules")
    assert (await stored(queue)).task == "login"
    await admin.send("/schedules/edit", payload="{}", **edit)
    assert "s3cret" not in await admin.see("/schedules")


async def test_schedule_of_another_program_is_edited(admin: Browser, queue: Queue) -> None:
    await queue.schedules.put("theirs", "0 1 * * *", payload={"a": 1}, external=True)
    await admin.send("/schedules/edit", **edit_of("theirs", payload='{"a": 2}'))
    edited = await stored(queue)
    assert (edited.cron, json.loads(edited.data or "")) == ("0 2 * * *", {"a": 2})


async def test_schedule_is_paused_resumed_run_and_deleted(admin: Browser, queue: Queue) -> None:
    await queue.schedules.put("break", "0 0 * * *")
    await admin.send("/schedules", name="break", do="pause")
    assert (await stored(queue)).paused
    await admin.send("/schedules", name="break", do="resume")
    assert not (await stored(queue)).paused
    ran = await admin.send("/schedules", name="break", do="run")
    (job,) = (await queue.find(JobQuery())).jobs
    assert job.id == UUID(ran.headers["location"].rpartition("/")[2])
    assert "Delete break?" in await admin.see("/schedules/delete?name=break")
    await admin.send("/schedules", name="break", do="delete")
    assert await queue.schedules.list() == []
    await admin.send("/schedules", 404, name="break", do="run")
