"""Text of jobs, schedules, keys and forms is escaped on every page; redacted values are on none."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from urllib.parse import quote

from tests.cases import check_each_async
from tests.conformance.driver import Driver
from tests.web.conftest import Web, on_both_storages
from tests.web.dashboard.conftest import Browser
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.model import JobEvent, Schedule
from zeke_queue.storage.access import Scope

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}'; drop table pgboss.job; --"
BROKEN_OUT = ("<script>alert(1)", "<img src=x", "49'; drop")


def is_clean(page: str) -> bool:
    """Return whether EVIL is shown, and is nothing but text."""
    assert "alert(1)" in page, "it is not shown at all"
    return not any(evil in page for evil in BROKEN_OUT)


@on_both_storages
async def test_text_of_a_job_is_escaped(browser: Browser, jobs: Driver) -> None:
    name = "a" + EVIL.replace("/", "")
    job = await jobs.running(name, data=json.dumps({EVIL: EVIL}), singleton_key=EVIL)
    line = {"level": EVIL, "message": EVIL, EVIL: EVIL}
    await jobs.storage.append_events(
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


async def test_output_of_any_shape_is_escaped(browser: Browser, jobs: Driver) -> None:
    for output in (EVIL, [EVIL], {EVIL: [EVIL]}):
        job = await jobs.running()
        await jobs.complete(job, json.dumps(output))
        assert is_clean(await browser.see(f"/jobs/{job.id}"))


async def test_output_error_and_events_of_any_shape_are_shown(browser: Browser, jobs: Driver) -> None:
    async def check(kind: str, data: str) -> None:
        job = await jobs.running()
        if kind == "output":
            await jobs.complete(job, data)
        elif kind == "error":
            await jobs.fail(job, output=data)
        else:
            await jobs.storage.append_events([JobEvent(job.id, 1, one, data) for one in ("log", "progress")])
            await jobs.complete(job)
        for path in (f"/jobs/{job.id}", "/", "/jobs?column=output"):
            await browser.see(path)

    odd = '{"type": 1, "message": {"a": []}}'
    outputs = ["7", "[]", "null", '"x"', odd, "{}"]
    errors = [odd, "{}", '{"message": null}']
    events = ["{}", '{"value": "x", "level": 7, "message": [1]}', '{"value": 7}']
    cases = [("output", data) for data in outputs] + [("error", data) for data in errors]
    await check_each_async([*cases, *(("events", data) for data in events)], check)


@on_both_storages
async def test_text_of_a_schedule_is_escaped(browser: Browser, queue: Queue) -> None:
    await parts_of(queue).storage.put_schedule(
        Schedule(name="x" + EVIL, cron=EVIL, task=EVIL, zone=EVIL, data=json.dumps(EVIL), description=EVIL)
    )
    name = quote("x" + EVIL)
    for path in ("/schedules", f"/schedules/edit?name={name}", f"/schedules/delete?name={name}"):
        assert is_clean(await browser.see(path)), path


async def test_name_of_a_key_is_escaped(call: Web) -> None:
    async with call.client() as client:
        browser = Browser(client)
        await browser.sign_in(await call.key(Scope.ADMIN, name=EVIL[:90]))
        assert is_clean(await browser.see("/"))


async def test_filter_is_escaped(browser: Browser, jobs: Driver) -> None:
    await jobs.send()
    for field in ("task", "text"):
        assert is_clean(await browser.see(f"/jobs?{field}={quote(EVIL)}")), field


async def test_values_of_a_form_are_escaped(browser: Browser) -> None:
    for path, form in {
        "/trigger": {"task": "mail", "payload": json.dumps({EVIL: EVIL})},
        "/schedules/edit": dict.fromkeys(("name", "task", "cron", "zone", "payload", "description"), EVIL),
        "/jobs/confirm": {"operation": "cancel", "text": EVIL, "task": EVIL},
    }.items():
        assert is_clean((await browser.send(path, 422, **form)).text), path
    assert "alert" not in await browser.see(f"/sign-in?next={quote(EVIL)}")


async def test_forged_note_is_ignored(browser: Browser) -> None:
    deep = urlsafe_b64encode(b"[" * 20_000).decode()
    for forged in ("nonsense", "W10=", "eyJ0ZXh0IjogMX0=", "%00", deep):
        browser.client.cookies.set("zeke_note", forged)
        assert 'id="note"' not in await browser.see("/")
        assert 'id="note"' not in await browser.see("/sign-in")


# Redaction


async def test_redacted_values_are_shown_nowhere(browser: Browser, call: Web) -> None:
    failed = await call.trigger("login", {"user": "nobody", "password": "s3cret"})
    done = await call.trigger("login", {"user": "ann", "password": "s3cret"})
    await call.work()
    for path in ("/", "/jobs?column=payload&column=output", f"/jobs/{failed}", f"/jobs/{done}"):
        page = await browser.see(path)
        assert "s3cret" not in page, path
        assert "t0k3n" not in page, path
    assert "[redacted]" in await browser.see(f"/jobs/{failed}")


@on_both_storages
async def test_redacted_values_are_not_searched(browser: Browser, call: Web) -> None:
    job_id = await call.trigger("login", {"user": "ann", "password": "s3cret"})
    assert job_id not in (await browser.see("/jobs?text=s3cret")).partition('id="jobs"')[2]
    assert job_id not in (await browser.see("/jobs?text=ann")).partition('id="jobs"')[2]
    assert job_id in await browser.see(f"/jobs?text={job_id}")
    chosen = await browser.send("/jobs/confirm", 422, operation="cancel", every="1", text="s3cret")
    assert job_id not in chosen.text
