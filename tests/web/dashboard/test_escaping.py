"""What strangers wrote stays text, wherever it is shown; what a task hides is shown nowhere."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.web.dashboard.conftest import Browser
from zeke_queue.callers import Scope
from zeke_queue.model import JobEvent, Schedule

if TYPE_CHECKING:
    from tests.conformance.driver import Driver
    from tests.web.conftest import Web
    from zeke_queue.queue import Queue

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}'; drop table pgboss.job; --"
BROKEN_OUT = ("<script>alert(1)", "<img src=x", "49'; drop")


def is_clean(page: str) -> bool:
    """Whether nothing that was written by strangers is anything but text; and whether it is there."""
    assert "alert(1)" in page, "it is not shown at all"
    return not any(evil in page for evil in BROKEN_OUT)


async def test_what_a_job_carries_stays_text(browser: Browser, jobs: Driver) -> None:
    name = "a" + EVIL.replace("/", "")
    job = await jobs.running(name, data=json.dumps({EVIL: EVIL}), singleton_key=EVIL)
    line = {"level": EVIL, "message": EVIL, EVIL: EVIL}
    await jobs.storage.note(
        [
            JobEvent(job.id, 1, "log", json.dumps(line)),
            JobEvent(job.id, 1, "progress", json.dumps({"value": 0.5, "message": EVIL})),
        ]
    )
    error = {"type": EVIL, "message": EVIL, "traceback": EVIL}
    await jobs.fail(job, output=json.dumps(error))
    columns = "&".join(f"column={name}" for name in ("key", "payload", "output"))
    for path in (f"/jobs/{job.id}", f"/jobs?{columns}", "/", "/queues"):
        assert is_clean(await browser.see(path)), path
    known = await jobs.send("mail", data=json.dumps({"to": EVIL}))
    assert is_clean(await browser.see(f"/trigger?like={known}"))


async def test_an_output_of_any_shape_stays_text(browser: Browser, jobs: Driver) -> None:
    for output in (EVIL, [EVIL], {EVIL: [EVIL]}):
        job = await jobs.running()
        await jobs.complete(job, json.dumps(output))
        assert is_clean(await browser.see(f"/jobs/{job.id}"))


@pytest.mark.parametrize("output", ["7", "[]", "null", '"x"', '{"type": 1, "message": {"a": []}}', "{}"])
async def test_an_output_of_any_kind_is_shown(browser: Browser, jobs: Driver, output: str) -> None:
    job = await jobs.running()
    await jobs.complete(job, output)
    for path in (f"/jobs/{job.id}", "/", "/jobs?column=output"):
        await browser.see(path)


@pytest.mark.parametrize("error", ['{"type": 1, "message": {"a": []}}', "{}", '{"message": null}'])
async def test_an_error_that_another_program_wrote_is_shown(
    browser: Browser, jobs: Driver, error: str
) -> None:
    job = await jobs.running()
    await jobs.fail(job, output=error)
    for path in (f"/jobs/{job.id}", "/", "/jobs?column=output"):
        await browser.see(path)


@pytest.mark.parametrize("data", ["{}", '{"value": "x", "level": 7, "message": [1]}', '{"value": 7}'])
async def test_a_line_of_any_shape_is_shown(browser: Browser, jobs: Driver, data: str) -> None:
    job = await jobs.running()
    await jobs.storage.note([JobEvent(job.id, 1, kind, data) for kind in ("log", "progress")])
    await browser.see(f"/jobs/{job.id}")


async def test_what_a_schedule_says_stays_text(browser: Browser, queue: Queue) -> None:
    await queue.storage.put_schedule(
        Schedule(name="x" + EVIL, cron=EVIL, task=EVIL, zone=EVIL, data=json.dumps(EVIL), description=EVIL)
    )
    name = quote("x" + EVIL)
    for path in ("/schedules", f"/schedules/edit?name={name}", f"/schedules/delete?name={name}"):
        assert is_clean(await browser.see(path)), path


async def test_a_key_name_stays_text(call: Web) -> None:
    async with call.client() as client:
        browser = Browser(client)
        await browser.sign_in(await call.key(Scope.ADMIN, name=EVIL[:90]))
        assert is_clean(await browser.see("/"))


@pytest.mark.parametrize("field", ["task", "text"])
async def test_a_filter_stays_text(browser: Browser, jobs: Driver, field: str) -> None:
    await jobs.send()
    assert is_clean(await browser.see(f"/jobs?{field}={quote(EVIL)}"))


async def test_what_a_form_said_stays_text(browser: Browser) -> None:
    for path, form in {
        "/trigger": {"task": "mail", "payload": json.dumps({EVIL: EVIL})},
        "/schedules/edit": dict.fromkeys(("name", "task", "cron", "zone", "payload", "description"), EVIL),
        "/jobs/confirm": {"deed": "cancel", "text": EVIL, "task": EVIL},
    }.items():
        assert is_clean((await browser.send(path, 422, **form)).text), path
    assert "alert" not in await browser.see(f"/sign-in?next={quote(EVIL)}")


async def test_a_note_that_was_forged_is_text_or_nothing(browser: Browser) -> None:
    deep = urlsafe_b64encode(b"[" * 20_000).decode()
    for forged in ("nonsense", "W10=", "eyJ0ZXh0IjogMX0=", "%00", deep):
        browser.client.cookies.set("zeke_note", forged)
        assert 'id="note"' not in await browser.see("/")
        assert 'id="note"' not in await browser.see("/sign-in")


# What is hidden


async def test_what_a_task_hides_is_shown_nowhere(browser: Browser, call: Web, queue: Queue) -> None:
    failed = await call.trigger("login", {"user": "nobody", "password": "s3cret"})
    done = await call.trigger("login", {"user": "ann", "password": "s3cret"})
    await call.work()
    for path in ("/", "/jobs?column=payload&column=output", f"/jobs/{failed}", f"/jobs/{done}"):
        page = await browser.see(path)
        assert "s3cret" not in page, path
        assert "t0k3n" not in page, path
    assert "[redacted]" in await browser.see(f"/jobs/{failed}")


async def test_what_is_hidden_is_not_found_either(browser: Browser, call: Web) -> None:
    job_id = await call.trigger("login", {"user": "ann", "password": "s3cret"})
    assert job_id not in (await browser.see("/jobs?text=s3cret")).partition('id="jobs"')[2]
    assert job_id not in (await browser.see("/jobs?text=ann")).partition('id="jobs"')[2]
    assert job_id in await browser.see(f"/jobs?text={job_id}")
    chosen = await browser.send("/jobs/confirm", 422, deed="cancel", every="1", text="s3cret")
    assert job_id not in chosen.text
