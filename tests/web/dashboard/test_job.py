"""The page of one job: what holds it up, what can be done with it, and the order of its events."""

from __future__ import annotations

import re
from uuid import UUID

from fastapi import FastAPI

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.web.conftest import on_both_storages
from tests.web.dashboard.conftest import Browser
from tests.web.dashboard.test_live import read
from tests.web.live.tab import Tab
from zeke_queue.model import JobEvent, RowState


def held(page: str) -> str:
    """Return why a job does not start, from its page; empty if nothing blocks it."""
    (said,) = re.findall(r'<div id="held"[^>]*>(.*?)</div>', page, re.DOTALL) or [""]
    return said.strip()


# What holds it up


async def test_waiting_job_of_a_paused_queue_shows_the_reason(browser: Browser, jobs: Driver) -> None:
    await jobs.heartbeat()
    job_id = await jobs.send()
    assert held(await browser.see(f"/jobs/{job_id}")) == ""
    await jobs.storage.pause_queue("mail", paused=True)
    page = await browser.see(f"/jobs/{job_id}")
    assert 'href="/dashboard/queues">paused</a>' in held(page)
    assert "No worker" not in page
    await jobs.storage.pause_queue("mail", paused=False)
    assert held(await browser.see(f"/jobs/{job_id}")) == ""


@on_both_storages
async def test_waiting_job_without_a_worker_shows_the_reason(browser: Browser, jobs: Driver) -> None:
    job_id, other = await jobs.send(), await jobs.send("errand")
    assert "No live worker serves this queue" in held(await browser.see(f"/jobs/{job_id}"))
    await jobs.heartbeat()
    assert held(await browser.see(f"/jobs/{job_id}")) == ""
    assert "No live worker serves this queue" in held(await browser.see(f"/jobs/{other}"))
    jobs.clock.advance(60)
    assert 'href="/dashboard/workers"' in held(await browser.see(f"/jobs/{job_id}"))


async def test_job_that_will_be_retried_shows_it(browser: Browser, jobs: Driver) -> None:
    job = await jobs.running()
    await jobs.fail(job, 60.0)
    await jobs.storage.pause_queue("mail", paused=True)
    said = held(await browser.see(f"/jobs/{job.id}"))
    assert "paused" in said
    assert "No live worker serves this queue" in said


async def test_running_or_ended_job_is_held_up_by_nothing(browser: Browser, jobs: Driver) -> None:
    ended, runs = await jobs.running(), await jobs.running()
    await jobs.complete(ended)
    await jobs.storage.pause_queue("mail", paused=True)
    for job in (ended, runs):
        page = await browser.see(f"/jobs/{job.id}")
        assert 'id="held"' not in page
        assert "No live worker serves" not in page


async def test_reason_of_waiting_is_streamed_and_polled(app: FastAPI, jobs: Driver, browser: Browser) -> None:
    job_id = await jobs.send()
    await jobs.storage.pause_queue("mail", paused=True)
    async with Tab(app, f"/dashboard/jobs/{job_id}/live") as tab:
        (state,) = await read(tab, jobs.clock, "state")
        assert "paused" in held(state.data)
    # A change of its queue is no change of the job, so the page polls while the job waits.
    page = await browser.see(f"/jobs/{job_id}")
    (asks,) = re.findall(r'<div id="held"([^>]*)>', page)
    assert f'hx-get="/dashboard/jobs/{job_id}/held"' in asks
    answer = await browser.see(f"/jobs/{job_id}/held")
    assert answer.startswith('<div id="held"')
    assert "paused" in held(answer)
    await jobs.storage.pause_queue("mail", paused=False)
    await jobs.claim_one("mail")
    assert (await browser.see(f"/jobs/{job_id}/held")).strip() == ""


# What can be done with it


def again(page: str) -> str:
    (found,) = re.findall(r'<(?:a|button) [^>]*id="again"[^>]*>', page)
    return found


async def test_job_is_offered_to_be_sent_again(admin: Browser, jobs: Driver) -> None:
    job_id = await jobs.ended(RowState.COMPLETED, "mail", data='{"to": "ann"}')
    offered = again(await admin.see(f"/jobs/{job_id}"))
    assert offered.startswith(f'<a class="button" href="/dashboard/trigger?like={job_id}"')
    # So is one whose output alone is redacted.
    job_id = await jobs.ended(RowState.COMPLETED, "twice")
    assert again(await admin.see(f"/jobs/{job_id}")).startswith("<a ")


async def test_job_that_can_not_be_sent_again_says_why(admin: Browser, jobs: Driver) -> None:
    async def check(task: str, data: str | None, why: str) -> None:
        job = await jobs.running(task, data=data)
        offered = again(await admin.see(f"/jobs/{job.id}"))
        assert offered.startswith(f'<button disabled title="{why}')

    hidden = "Parts of the job&#39;s payload are hidden"
    cases = [
        ("login", '{"user": "ann", "password": "s3cret"}', hidden),
        ("errand", None, "This task is not in the catalog"),
    ]
    await check_each_async(cases, check)


async def test_actions_are_streamed(app: FastAPI, clock: FrozenClock, jobs: Driver) -> None:
    job = await jobs.running("login", data='{"user": "ann", "password": "s3cret"}')
    async with Tab(app, f"/dashboard/jobs/{job.id}/live") as tab:
        (actions,) = await read(tab, clock, "actions")
        assert again(actions.data).startswith("<button disabled")


@on_both_storages
async def test_attempts_and_retries_are_counted_apart(browser: Browser, jobs: Driver) -> None:
    job_id = await jobs.send("break", retry_limit=0)
    assert attempts(await browser.see(f"/jobs/{job_id}")) == "none yet; retries 0 of 0"
    job = await jobs.claim_one("break")
    await jobs.release(job)
    job = await jobs.claim_one("break")
    await jobs.fail(job)
    assert attempts(await browser.see(f"/jobs/{job_id}")) == "2; retries 0 of 0"
    # A retry by hand adds one to the limit.
    assert await jobs.storage.retry([job_id]) == {job_id}
    await jobs.claim_one("break")
    assert attempts(await browser.see(f"/jobs/{job_id}")) == "3; retries 1 of 1"
    assert "3 of 3" in await browser.see("/jobs")


def attempts(page: str) -> str:
    (said,) = re.findall(r"<dt>Attempt</dt><dd>(.*?)</dd>", page)
    return re.sub(r"<.*?>", "", said)


# Its lines


@on_both_storages
async def test_events_are_streamed_in_order(app: FastAPI, clock: FrozenClock, jobs: Driver) -> None:
    job = await jobs.running()
    said = ["log one", "progress 0.1", "log two", "progress 0.2", "log three"]
    await jobs.storage.append_events([event(job.id, one) for one in said])
    async with Tab(app, f"/dashboard/jobs/{job.id}/live") as tab:
        await read(tab, clock, "log", count=3)
        seen = [(one.name, one.id) for one in tab.named("log", "progress")]
    seqs = [str(one.seq) for one in await jobs.storage.events({job.id: 0})]
    # Of simultaneous progress events only the last is sent, at its position.
    assert seen == [("log", seqs[0]), ("log", seqs[2]), ("progress", seqs[3]), ("log", seqs[4])]


async def test_stream_resumed_after_a_log_line_sends_later_progress(app: FastAPI, jobs: Driver) -> None:
    job = await jobs.running()
    said = ["log one", "progress 0.1"]
    await jobs.storage.append_events([event(job.id, one) for one in said])
    seq = str((await jobs.storage.events({job.id: 0}))[0].seq)
    async with Tab(app, f"/dashboard/jobs/{job.id}/live", last_event_id=seq) as tab:
        (progress,) = await read(tab, jobs.clock, "progress")
        assert "10 %" in progress.data
        assert tab.named("log") == []


def event(job_id: UUID, said: str) -> JobEvent:
    kind, _, value = said.partition(" ")
    if kind == "progress":
        return JobEvent(job_id, 1, "progress", f'{{"value": {value}}}')
    return JobEvent(job_id, 1, "log", f'{{"message": "{value}"}}')
