"""Signing in and out, who may do what, and requests that other sites forge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.web.dashboard.conftest import Browser
from zeke_queue.callers import Scope
from zeke_queue.model import JobState
from zeke_queue.web import Caller, WebSettings, create_app
from zeke_queue.web.dashboard import Page, View
from zeke_queue.web.dashboard.desk import local_path

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

    from tests.clocks import FrozenClock
    from tests.conformance.driver import Driver
    from tests.web.conftest import Web
    from zeke_queue.queue import Queue
    from zeke_queue.web.dashboard import Desk


async def test_who_is_not_signed_in_is_led_to_where_that_is_done_and_back(call: Web) -> None:
    key = await call.key(Scope.ADMIN)
    async with call.client() as client:
        led = await client.get("/dashboard/jobs?status=FAILED&text=a%20b")
        assert led.status_code == 303
        page = await client.get(led.headers["location"])
        assert 'value="/dashboard/jobs?status=FAILED&amp;text=a%20b"' in page.text
        onward = "/dashboard/jobs?status=FAILED&text=a%20b"
        back = await client.post("/dashboard/sign-in", data={"key": key, "next": onward})
        assert back.headers["location"] == onward
        assert (await client.get(onward)).status_code == 200


async def test_a_session_is_kept_as_browsers_should_keep_it(call: Web, clock: FrozenClock) -> None:
    key = await call.key(Scope.ADMIN)
    async with call.client() as client:
        answer = await client.post("/dashboard/sign-in", data={"key": key})
        cookie = answer.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=lax", "Path=/dashboard", "Max-Age=43200"):
            assert part in cookie
        assert "Secure" not in cookie
        assert key not in cookie
        clock.advance(43_201)
        assert (await client.get("/dashboard/")).status_code == 303


@pytest.mark.parametrize(
    ("setting", "scheme", "secure"), [("always", "http", 1), ("auto", "https", 1), ("never", "https", 0)]
)
async def test_cookies_are_for_https_alone_as_is_set(
    call: Web, queue: Queue, setting: str, scheme: str, secure: int
) -> None:
    key = await call.key(Scope.ADMIN)
    app = create_app(queue, WebSettings.model_validate({"api_secure_cookies": setting}))
    async with type(call)(app, queue).client() as client:
        client.base_url = f"{scheme}://localhost"
        answer = await client.post("/dashboard/sign-in", data={"key": key})
        assert answer.headers["set-cookie"].count("Secure") == secure


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "This is not an API key"),
        ("mid_12", "This is not an API key"),
        ("mid_" + "0" * 64, "Invalid API key"),
        ("mid_'; drop table pgboss.zeke_key; --", "This is not an API key"),
        ("mid_<script>alert(1)</script>", "This is not an API key"),
        ("mid_\u0000", "This is not an API key"),
        ("mid_" + "0" * 64 + "\r\nset-cookie: a=b", "This is not an API key"),
        ("x" * 9000, "This is not an API key"),
    ],
)
async def test_what_is_no_good_key_is_refused(call: Web, given: str, says: str) -> None:
    await call.key(Scope.ADMIN)
    async with call.client() as client:
        answer = await client.post("/dashboard/sign-in", data={"key": given})
        assert answer.status_code == 401
        assert says in answer.text
        assert "alert(1)" not in answer.text
        assert "set-cookie" not in answer.headers
        assert 'aria-invalid="true"' in answer.text


async def test_signing_out_ends_the_session_for_good(admin: Browser) -> None:
    kept = dict(admin.client.cookies)
    await admin.send("/sign-out")
    admin.client.cookies.update(kept)
    await admin.see("/", 303)


async def test_signing_in_again_ends_the_session_before(admin: Browser, call: Web) -> None:
    kept = dict(admin.client.cookies)
    await admin.sign_in(await call.key(Scope.READ, name="Rita"))
    admin.client.cookies.update(kept)
    await admin.see("/", 303)


async def test_a_key_that_is_no_good_leaves_the_session_as_it_is(admin: Browser) -> None:
    await admin.send("/sign-in", 401, key="mid_12")
    await admin.see("/")


async def test_revoking_a_key_ends_its_sessions(admin: Browser, queue: Queue) -> None:
    (key,) = await queue.storage.keys()
    assert await queue.storage.revoke_key(key.id)
    await admin.see("/", 303)


async def test_a_part_of_a_page_leads_the_whole_page_to_the_sign_in(call: Web) -> None:
    await call.key(Scope.ADMIN)
    async with call.client() as client:
        here = {"hx-request": "true", "hx-current-url": "http://localhost/dashboard/queues"}
        answer = await client.get("/dashboard/queues", headers=here)
        assert answer.status_code == 401
        assert answer.headers["hx-redirect"] == "/dashboard/sign-in?next=%2Fdashboard%2Fqueues"


@pytest.mark.parametrize(
    "onward",
    [
        "https://evil.example/dashboard/",
        "//evil.example/dashboard/",
        "/dashboard/\\evil.example",
        "/dashboard/../../evil",
        "/dashboard/%2e%2e//evil.example",
        "/dashboard/%252E%252e/%252fevil.example",
        "/dashboard/%2F/evil.example",
        "/dashboard/jobs/..",
        "/dashboard/..;/evil",
        "/dashboard/./..;/evil",
        "/dashboard/%5cevil.example",
        "/dashboard/jobs%2F..%2F..%2F..",
        "/dashboard/%0d%0aset-cookie: a=b",
        "/elsewhere",
        "javascript:alert(1)",
        "/dashboard/\r\nset-cookie: a=b",
        "/dashboardx/",
    ],
)
async def test_nobody_is_led_elsewhere(call: Web, onward: str) -> None:
    key = await call.key(Scope.ADMIN)
    async with call.client() as client:
        answer = await client.post("/dashboard/sign-in", data={"key": key, "next": onward})
        assert answer.headers["location"] == "/dashboard/"


def test_at_the_root_of_a_host_two_slashes_lead_elsewhere() -> None:
    assert local_path("//evil.example", "") is None
    assert local_path("/%2fevil.example", "") is None
    assert local_path("/jobs?text=//a", "") == "/jobs?text=//a"


@pytest.mark.parametrize("onward", ["/", "/jobs/1", "/jobs?text=../%2e%2e//a", "/schedules/edit?name=a%2Fb"])
def test_an_address_of_the_dashboard_stays_as_it_is(onward: str) -> None:
    for root in ("", "/dashboard", "/a%20b/c"):
        assert local_path(root + onward, root) == root + onward


async def test_without_a_key_others_are_told_how_to_get_in(call: Web) -> None:
    async with call.client(host="shop.example", peer="10.0.0.9") as client:
        answer = await client.get("/dashboard/")
        assert answer.status_code == 403
        assert "zeke keys create" in answer.text


# Scopes


async def test_what_a_key_may_not_is_not_offered(reader: Browser, jobs: Driver, queue: Queue) -> None:
    await queue.schedule("break", "0 0 * * *")
    failed = await jobs.ended(JobState.FAILED)
    for path, buttons in {
        f"/jobs/{failed}": ["retry", "again"],
        "/jobs": ["bulk-cancel", "bulk-retry", "bulk-resume"],
        "/schedules": ["new"],
        "/trigger?task=mail": ["send"],
    }.items():
        page = await reader.see(path)
        for button in buttons:
            tag = page.partition(f'id="{button}"')
            whole = tag[0].rpartition("<")[2] + tag[1] + tag[2].partition(">")[0]
            assert " disabled" in whole, (path, button, whole)
            assert "Your key may" in whole


JOB = "0190163d-8694-739b-aea5-966c26f8ad91"
CHANGES = [
    "/queues",
    "/schedules",
    "/schedules/edit",
    "/trigger",
    "/jobs/confirm",
    "/jobs/change",
    f"/jobs/{JOB}/cancel",
    f"/jobs/{JOB}/retry",
    f"/jobs/{JOB}/resume",
    "/shop/orders",
]
"""All that changes something, that of a page which a package adds too; all of it takes more than to look."""


@pytest.fixture
def app(queue: Queue, web: WebSettings) -> FastAPI:
    """The application with a page that a package adds."""

    async def order(desk: Desk) -> Response:
        return desk.go(desk.url("queues"), "It is ordered")

    views = (View("/", order), View("/orders", order, changes=True, scope=Scope.TRIGGER))
    return create_app(queue, web, pages=[Page("shop", "Shop", views)])


def test_the_changes_are_all_that_there_are(app: FastAPI) -> None:
    routes = [route for route in app.state.dashboard.app.routes if "POST" in route.methods]
    assert {route.path.replace("{job_id}", JOB) for route in routes} == {*CHANGES, "/sign-in", "/sign-out"}


@pytest.mark.parametrize(("scope", "status"), [(Scope.READ, 403), (Scope.TRIGGER, 303), (Scope.ADMIN, 303)])
async def test_a_page_of_a_package_says_which_scope_its_changes_take(
    call: Web, browser: Browser, scope: Scope, status: int
) -> None:
    await browser.sign_in(await call.key(scope))
    await browser.see("/shop/", 303)
    await browser.send("/shop/orders", status)


@pytest.mark.parametrize("path", CHANGES)
async def test_what_a_key_may_not_is_refused(reader: Browser, path: str) -> None:
    answer = await reader.send(path, 403, name="mail", do="pause")
    assert "needs the scope" in answer.text


@pytest.mark.parametrize("path", [*CHANGES, "/sign-out"])
async def test_a_form_that_is_not_of_this_session_is_refused(admin: Browser, path: str) -> None:
    for csrf in ("", "0" * 64):
        answer = await admin.send(path, 403, csrf=csrf)
        assert "out of date" in answer.text


@pytest.mark.parametrize("path", [*CHANGES, "/sign-out", "/sign-in"])
@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
async def test_a_form_of_another_site_is_refused(
    browser: Browser, path: str, headers: dict[str, str]
) -> None:
    answer = await browser.client.post(f"/dashboard{path}", data={"csrf": ""}, headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.text


async def test_one_session_has_not_the_forms_of_another(admin: Browser, reader: Browser) -> None:
    assert admin.csrf != reader.csrf
    await admin.send("/queues", 403, csrf=reader.csrf, name="mail", do="pause")


async def test_a_form_of_another_site_is_refused_whoever_the_host_says_it_is(call: Web, queue: Queue) -> None:
    async def anybody(connection: object) -> Caller:
        return Caller("host:ann", "Ann", frozenset(Scope))

    app = create_app(queue, WebSettings(), authenticator=anybody)
    async with type(call)(app, queue).client() as client:
        form = {"name": "mail", "do": "pause"}
        own = await client.post("/dashboard/queues", data=form, headers={"origin": "http://localhost"})
        assert own.status_code == 303
        evil = {"origin": "https://evil.example"}
        assert (await client.post("/dashboard/queues", data=form, headers=evil)).status_code == 403


async def test_a_host_that_has_sessions_of_its_own_needs_no_token_of_ours(call: Web, queue: Queue) -> None:
    async def anybody(connection: object) -> Caller:
        return Caller("host:ann", "Ann", frozenset(Scope), via="session")

    app = create_app(queue, WebSettings(), authenticator=anybody)
    async with type(call)(app, queue).client() as client:
        browser = Browser(client)
        await browser.see("/queues")
        await browser.send("/queues", name="mail", do="pause")
        answer = await client.post("/dashboard/queues", headers={"origin": "https://evil.example"})
        assert answer.status_code == 403


async def test_who_shows_a_key_may_call_from_anywhere(call: Web) -> None:
    async with call.client(await call.key(Scope.ADMIN), origin="https://shop.example") as client:
        answer = await client.post("/dashboard/queues", data={"name": "mail", "do": "pause"})
        assert answer.status_code == 303
