"""The page of one job: what holds it up, what can be done with it, and the order in which it is told of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.web.dashboard.test_live import read
from tests.web.live.tab import Tab
from zeke_queue.model import JobEvent, JobState

if TYPE_CHECKING:
    from uuid import UUID

    from fastapi import FastAPI

    from tests.clocks import FrozenClock
    from tests.conformance.driver import Driver
    from tests.web.dashboard.conftest import Browser
    from zeke_queue.storage.store import Storage


def held(page: str) -> str:
    """Return what a job's page says of why its job does not begin; empty if nothing does."""
    (said,) = re.findall(r'<div id="held"[^>]*>(.*?)</div>', page, re.DOTALL) or [""]
    return said.strip()


# What holds it up


async def test_a_job_that_waits_in_a_paused_queue_says_so(browser: Browser, jobs: Driver) -> None:
    await jobs.beat()
    job_id = await jobs.send()
    assert held(await browser.see(f"/jobs/{job_id}")) == ""
    await jobs.storage.pause_queue("mail", paused=True)
    page = await browser.see(f"/jobs/{job_id}")
    assert 'href="/dashboard/queues">paused</a>' in held(page)
    assert "No worker" not in page
    await jobs.storage.pause_queue("mail", paused=False)
    assert held(await browser.see(f"/jobs/{job_id}")) == ""


async def test_a_job_whose_queue_no_living_worker_serves_says_so(browser: Browser, jobs: Driver) -> None:
    job_id, other = await jobs.send(), await jobs.send("errand")
    assert "No living worker serves this queue" in held(await browser.see(f"/jobs/{job_id}"))
    await jobs.beat()
    assert held(await browser.see(f"/jobs/{job_id}")) == ""
    assert "No living worker serves this queue" in held(await browser.see(f"/jobs/{other}"))
    jobs.clock.advance(60)
    assert 'href="/dashboard/workers"' in held(await browser.see(f"/jobs/{job_id}"))


async def test_a_job_that_will_be_retried_is_held_up_as_well(browser: Browser, jobs: Driver) -> None:
    job = await jobs.running()
    await jobs.fail(job, 60.0)
    await jobs.storage.pause_queue("mail", paused=True)
    said = held(await browser.see(f"/jobs/{job.id}"))
    assert "paused" in said
    assert "No living worker serves this queue" in said


@pytest.mark.parametrize("state", ["runs", "has ended"])
async def test_a_job_that_does_not_wait_is_held_up_by_nothing(
    browser: Browser, jobs: Driver, state: str
) -> None:
    job = await jobs.running()
    if state == "has ended":
        await jobs.complete(job)
    await jobs.storage.pause_queue("mail", paused=True)
    page = await browser.see(f"/jobs/{job.id}")
    assert 'id="held"' not in page
    assert "No living worker serves" not in page


async def test_what_holds_a_job_up_is_in_its_stream_and_looked_for_anew(
    app: FastAPI, clock: FrozenClock, jobs: Driver, browser: Browser
) -> None:
    job_id = await jobs.send()
    await jobs.storage.pause_queue("mail", paused=True)
    async with Tab(app, f"/dashboard/jobs/{job_id}/live") as tab:
        (state,) = await read(tab, clock, "state")
        assert "paused" in held(state.data)
    # No change of a job tells of that of its queue, so the page asks from time to time while its job waits.
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
    """Return the element that offers to send a job again."""
    (found,) = re.findall(r'<(?:a|button) [^>]*id="again"[^>]*>', page)
    return found


async def test_a_job_is_sent_again_where_that_can_be_done(admin: Browser, jobs: Driver) -> None:
    job_id = await jobs.ended(JobState.COMPLETED, "mail", data='{"to": "ann"}')
    offered = again(await admin.see(f"/jobs/{job_id}"))
    assert offered.startswith(f'<a class="button" href="/dashboard/trigger?like={job_id}"')


@pytest.mark.parametrize(
    ("task", "data", "why"),
    [
        ("login", '{"user": "ann", "password": "s3cret"}', "Parts of that job&#39;s payload are hidden"),
        ("errand", None, "This program knows no task of that name"),
    ],
)
async def test_a_job_that_can_not_be_sent_again_says_why(
    admin: Browser, jobs: Driver, task: str, data: str | None, why: str
) -> None:
    job = await jobs.running(task, data=data)
    shown = again(await admin.see(f"/jobs/{job.id}"))
    assert shown.startswith(f'<button disabled title="{why}')


async def test_what_may_be_sent_again_is_in_its_stream(
    app: FastAPI, clock: FrozenClock, jobs: Driver
) -> None:
    job = await jobs.running("login", data='{"user": "ann", "password": "s3cret"}')
    async with Tab(app, f"/dashboard/jobs/{job.id}/live") as tab:
        (actions,) = await read(tab, clock, "actions")
        assert again(actions.data).startswith("<button disabled")


async def test_a_job_of_a_task_that_hides_its_output_alone_is_sent_again(
    admin: Browser, jobs: Driver
) -> None:
    job_id = await jobs.ended(JobState.COMPLETED, "twice")
    assert again(await admin.see(f"/jobs/{job_id}")).startswith("<a ")


async def test_attempts_are_told_apart_from_retries(browser: Browser, jobs: Driver, storage: Storage) -> None:
    job_id = await jobs.send("break", retry_limit=0)
    assert attempts(await browser.see(f"/jobs/{job_id}")) == "none yet; retries 0 of 0"
    job = await jobs.claim_one("break")
    await jobs.release(job)
    job = await jobs.claim_one("break")
    await jobs.fail(job)
    assert attempts(await browser.see(f"/jobs/{job_id}")) == "2; retries 0 of 0"
    # Somebody lets it run once more than it might.
    assert await storage.retry([job_id]) == {job_id}
    await jobs.claim_one("break")
    assert attempts(await browser.see(f"/jobs/{job_id}")) == "3; retries 1 of 1"
    assert '<span title="retries: 1 of 1">3</span>' in await browser.see("/jobs")


def attempts(page: str) -> str:
    """Return what a job's page says of its attempts."""
    (said,) = re.findall(r"<dt>Attempt</dt><dd>(.*?)</dd>", page)
    return re.sub(r"<.*?>", "", said)


# Its lines


async def test_progress_and_log_lines_are_streamed_in_the_order_in_which_they_were_said(
    app: FastAPI, clock: FrozenClock, jobs: Driver
) -> None:
    job = await jobs.running()
    said = ["log one", "progress 0.1", "log two", "progress 0.2", "log three"]
    await jobs.storage.note([event(job.id, one) for one in said])
    async with Tab(app, f"/dashboard/jobs/{job.id}/live") as tab:
        await read(tab, clock, "log", count=3)
        seen = [(one.name, one.id) for one in tab.named("log", "progress")]
    seqs = [str(one.seq) for one in await jobs.storage.events(job.id)]
    # Of progress that comes at once the last is told, where it stands.
    assert seen == [("log", seqs[0]), ("log", seqs[2]), ("progress", seqs[3]), ("log", seqs[4])]


async def test_who_comes_back_behind_a_log_line_is_told_of_the_progress_that_followed(
    app: FastAPI, clock: FrozenClock, jobs: Driver
) -> None:
    job = await jobs.running()
    said = ["log one", "progress 0.1"]
    await jobs.storage.note([event(job.id, one) for one in said])
    seq = str((await jobs.storage.events(job.id))[0].seq)
    async with Tab(app, f"/dashboard/jobs/{job.id}/live", last_event_id=seq) as tab:
        (progress,) = await read(tab, clock, "progress")
        assert "10 %" in progress.data
        assert tab.named("log") == []


def event(job_id: UUID, said: str) -> JobEvent:
    """Make an event of a kind and what it says."""
    kind, _, value = said.partition(" ")
    if kind == "progress":
        return JobEvent(job_id, 1, "progress", f'{{"value": {value}}}')
    return JobEvent(job_id, 1, "log", f'{{"message": "{value}"}}')
