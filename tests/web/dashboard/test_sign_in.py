"""Signing in and out, scopes, and forms that other sites forge."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import Response

from tests.cases import check_each, check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.web.conftest import Web, on_both_storages, open_house
from tests.web.dashboard.conftest import Browser, signed_in
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core import apikeys
from zeke_queue.model import RowState
from zeke_queue.storage.access import Scope
from zeke_queue.web import Caller, WebSettings, create_app
from zeke_queue.web.access.first_key import LINK_SECONDS, first_sign_in
from zeke_queue.web.access.guard import COOKIE
from zeke_queue.web.dashboard import Page, PageRequest, View
from zeke_queue.web.dashboard.page_request import local_path

PAUSE: dict[str, Any] = {"name": "mail", "do": "pause"}
EVIL = {"origin": "https://evil.example"}


async def test_sign_in_returns_to_the_requested_page(call: Web) -> None:
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


async def test_htmx_request_without_a_session_redirects_the_whole_page(call: Web) -> None:
    await call.key(Scope.ADMIN)
    here = {"hx-request": "true", "hx-current-url": "http://localhost/dashboard/queues"}
    answer = await call("GET", "/dashboard/queues", headers=here)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/dashboard/sign-in?next=%2Fdashboard%2Fqueues"


async def test_sign_in_page_shows_how_to_create_a_key(call: Web) -> None:
    async with call.with_app(authenticator=None).client(host="shop.example", peer="10.0.0.9") as client:
        answer = await client.get("/dashboard/", follow_redirects=True)
        assert "zeke keys create" in answer.text


@on_both_storages
async def test_session_cookie_is_restricted_and_expires(call: Web, clock: FrozenClock) -> None:
    key = await call.key(Scope.ADMIN)
    async with call.client() as client:
        answer = await client.post("/dashboard/sign-in", data={"key": key})
        cookie = answer.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=lax", "Path=/dashboard", "Max-Age=43200"):
            assert part in cookie
        assert "Secure" not in cookie
        assert key not in cookie
        assert (await client.get("/dashboard/")).status_code == 200
        clock.advance(43_201)
        assert (await client.get("/dashboard/")).status_code == 303


async def test_cookies_are_secure_as_configured(call: Web) -> None:
    key = await call.key(Scope.ADMIN)

    async def check(setting: str, scheme: str, secure: int) -> None:
        web = call.with_app(WebSettings.model_validate({"api_secure_cookies": setting}))
        async with web.client() as client:
            client.base_url = f"{scheme}://localhost"
            answer = await client.post("/dashboard/sign-in", data={"key": key})
            assert answer.headers["set-cookie"].count("Secure") == secure

    await check_each_async([("always", "http", 1), ("auto", "https", 1), ("never", "https", 0)], check)


async def test_sign_in_with_an_invalid_key_is_rejected(call: Web) -> None:
    await call.key(Scope.ADMIN)

    async def check(given: str, reason: str = "This is not an API key") -> None:
        answer = await call("POST", "/dashboard/sign-in", data={"key": given})
        assert answer.status_code == 401
        assert reason in answer.text
        assert "alert(1)" not in answer.text
        assert "set-cookie" not in answer.headers
        assert 'aria-invalid="true"' in answer.text

    cases: list[Any] = [
        "",
        "mid_12",
        ("mid_" + "0" * 64, "Invalid API key"),
        "mid_'; drop table pgboss.zeke_key; --",
        "mid_<script>alert(1)</script>",
        "mid_\u0000",
        "mid_" + "0" * 64 + "\r\nset-cookie: a=b",
        "x" * 9000,
    ]
    await check_each_async(cases, check)


@on_both_storages
async def test_session_ends_with_sign_out_another_sign_in_or_its_key(call: Web, queue: Queue) -> None:
    async def sign_out(browser: Browser) -> None:
        await browser.send("/sign-out")

    async def sign_in_again(browser: Browser) -> None:
        await browser.send("/sign-in", 401, key="mid_12")
        await browser.see("/")  # An invalid key leaves the session unchanged.
        await browser.sign_in(await call.key(Scope.READ, name="Rita"))

    async def revoke(browser: Browser) -> None:
        del browser
        for key in await parts_of(queue).storage.access.keys():
            await parts_of(queue).storage.access.revoke_key(key.id)

    async def check(end: Any) -> None:
        async with call.client() as client:
            browser = Browser(client)
            await browser.sign_in(await call.key(Scope.ADMIN))
            kept = dict(client.cookies)
            await end(browser)
            client.cookies.clear()
            client.cookies.update(kept)
            await browser.see("/", 303)

    await check_each_async({"out": sign_out, "in again": sign_in_again, "revoked": revoke}, check)


# Sign-in links


def link(token: str) -> str:
    return f"/dashboard/sign-in?token={token}"


@on_both_storages
async def test_first_key_is_created_once_and_signs_in_by_a_link(call: Web, queue: Queue) -> None:
    web = call.with_app(authenticator=None)
    first = await first_sign_in(queue, again=False)
    assert first is not None
    assert first.key is not None
    (key,) = await parts_of(queue).storage.access.keys()
    assert (key.name, key.scopes) == ("first", frozenset({Scope.ADMIN}))
    assert (await web("GET", "/queues", first.key)).status_code == 200
    assert await first_sign_in(queue, again=False) is None
    async with web.client() as client:
        opened = await client.get(f"{link(first.token)}&next=/dashboard/queues")
        assert (opened.status_code, opened.headers["location"]) == (303, "/dashboard/queues")
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert first.token not in cookie
        assert 'id="sign-out"' in (await client.get("/dashboard/")).text
    async with web.client() as client:
        used = await client.get(link(first.token))
        assert (used.status_code, "set-cookie" in used.headers) == (401, False)
        assert "has been used" in used.text
    again = await first_sign_in(queue, again=True)
    assert again is not None
    assert again.key is None
    assert [one.id for one in await parts_of(queue).storage.access.keys()] == [key.id]
    await parts_of(queue).storage.access.revoke_key(key.id)
    assert (await web("GET", link(again.token))).status_code == 401
    assert await first_sign_in(queue, again=True) is None


@on_both_storages
async def test_each_start_offers_a_link_until_the_first_key_is_used(call: Web, queue: Queue) -> None:
    web = call.with_app(authenticator=None)
    lost = await first_sign_in(queue, again=False)
    other = await first_sign_in(queue, again=False)
    assert lost is not None
    assert other is not None
    assert other.key is None
    assert (await web("GET", link(other.token))).status_code == 303
    assert await first_sign_in(queue, again=False) is None


@on_both_storages
async def test_link_expires_and_opens_pages_only_by_a_session(
    call: Web, queue: Queue, clock: FrozenClock
) -> None:
    web = call.with_app(authenticator=None)
    first = await first_sign_in(queue, again=True)
    assert first is not None
    for cookie in (first.token, apikeys.link_digest(first.token).hex()):
        async with web.client(cookie=f"{COOKIE}={cookie}") as client:
            assert (await client.get("/dashboard/")).status_code == 303
    clock.advance(LINK_SECONDS)
    assert (await web("GET", link(first.token))).status_code == 401


async def test_link_is_used_up_by_one_request_of_a_user(call: Web, queue: Queue) -> None:
    web = call.with_app(authenticator=None)
    first = await first_sign_in(queue, again=True)
    assert first is not None
    assert (await web("HEAD", link(first.token))).status_code == 200
    for purpose in ("prefetch", "prefetch;prerender"):
        shown = await web("GET", link(first.token), headers={"sec-purpose": purpose})
        assert (shown.status_code, "set-cookie" in shown.headers) == (200, False)
    both = await asyncio.gather(*(web("GET", link(first.token)) for _ in range(5)))
    assert sorted(one.status_code for one in both) == [303, 401, 401, 401, 401]
    assert [(await web("GET", link(token))).status_code for token in ("", "x", "0" * 64)] == [200, 401, 401]


async def test_of_two_servers_only_one_creates_the_first_key(call: Web, queue: Queue) -> None:
    real = parts_of(queue).storage.access.has_keys
    assert not await real()
    first, second = await asyncio.gather(*(first_sign_in(queue, again=False) for _ in range(2)))
    (key,) = await parts_of(queue).storage.access.keys()
    known = [one.key for one in (first, second) if one is not None and one.key is not None]
    assert [apikeys.digest_of(text) for text in known] == [key.digest]


async def test_first_key_is_not_created_beside_other_keys(call: Web, queue: Queue) -> None:
    await call.key(Scope.READ, name="ci")
    assert await first_sign_in(queue, again=True) is None
    assert [one.name for one in await parts_of(queue).storage.access.keys()] == ["ci"]


async def test_sign_in_leads_to_no_address_elsewhere(call: Web) -> None:
    key = await call.key(Scope.ADMIN)

    async def check(onward: str) -> None:
        answer = await call("POST", "/dashboard/sign-in", data={"key": key, "next": onward})
        assert answer.headers["location"] == "/dashboard/"

    cases = [
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
    ]
    await check_each_async(cases, check)


def test_local_path_keeps_addresses_of_the_dashboard_only() -> None:
    # At the root of a host two slashes name another one.
    assert local_path("//evil.example", "") is None
    assert local_path("/%2fevil.example", "") is None
    assert local_path("/jobs?text=//a", "") == "/jobs?text=//a"
    # Decoding it to the end takes time that grows with the square of its length.
    assert local_path("/a%" + "25" * 30_000, "") is None

    def check(onward: str) -> None:
        for root in ("", "/dashboard", "/a%20b/c"):
            assert local_path(root + onward, root) == root + onward

    check_each(["/", "/jobs/1", "/jobs?text=../%2e%2e//a", "/schedules/edit?name=a%2Fb"], check)


# Scopes


async def test_buttons_without_the_scope_are_disabled(reader: Browser, jobs: Driver, queue: Queue) -> None:
    await queue.schedules.put("break", "0 0 * * *")
    failed = await jobs.ended(RowState.FAILED)

    async def check(path: str, *buttons: str) -> None:
        page = await reader.see(path)
        for button in buttons:
            tag = page.partition(f'id="{button}"')
            whole = tag[0].rpartition("<")[2] + tag[1] + tag[2].partition(">")[0]
            assert " disabled" in whole, (button, whole)
            assert "Your key may" in whole

    cases = [
        (f"/jobs/{failed}", "retry", "again"),
        ("/jobs", "bulk-cancel", "bulk-retry", "bulk-resume"),
        ("/schedules", "new"),
        ("/trigger?task=mail", "send"),
    ]
    await check_each_async(cases, check)


JOB = "0190163d-8694-739b-aea5-966c26f8ad91"
SCOPES = (Scope.READ, Scope.TRIGGER, Scope.ADMIN)
"""Each permits what those before it do."""

CHANGES = {
    "/queues": Scope.ADMIN,
    "/schedules": Scope.ADMIN,
    "/schedules/edit": Scope.ADMIN,
    "/trigger": Scope.TRIGGER,
    "/jobs/confirm": Scope.ADMIN,
    "/jobs/change": Scope.ADMIN,
    f"/jobs/{JOB}/cancel": Scope.ADMIN,
    f"/jobs/{JOB}/retry": Scope.ADMIN,
    f"/jobs/{JOB}/resume": Scope.ADMIN,
    "/shop/orders": Scope.TRIGGER,
}
"""All that changes something, also on the page that a package adds, and the scope that it needs."""


@pytest.fixture
def app(queue: Queue, web: WebSettings) -> FastAPI:
    """The application with a page that a package adds."""

    async def order(request: PageRequest) -> Response:
        return request.go(request.url("queues"), "It is ordered")

    views = (View("/", order), View("/orders", order, changes=True, scope=Scope.TRIGGER))
    return create_app(queue, web, pages=[Page("shop", "Shop", views)], authenticator=open_house(queue))


def test_changes_above_are_all_that_the_dashboard_has(app: FastAPI) -> None:
    routes = [route for route in app.state.dashboard.app.routes if "POST" in route.methods]
    assert {route.path.replace("{job_id}", JOB) for route in routes} == {*CHANGES, "/sign-in", "/sign-out"}


async def test_each_change_requires_its_scope(call: Web) -> None:
    async with AsyncExitStack() as opened:
        browsers = {scope: await opened.enter_async_context(signed_in(call, scope)) for scope in SCOPES}
        await browsers[Scope.READ].see("/shop/", 303)

        async def check(path: str, needed: Scope) -> None:
            for scope, browser in browsers.items():
                form = {"csrf": browser.csrf, **PAUSE}
                answer = await browser.client.post(f"/dashboard{path}", data=form)
                is_rejected = answer.status_code == 403 and "needs the scope" in answer.text
                assert is_rejected == (SCOPES.index(scope) < SCOPES.index(needed)), (scope, answer)

        await check_each_async(CHANGES.items(), check)


# Forged forms


async def test_form_with_an_invalid_csrf_token_is_rejected(admin: Browser, reader: Browser) -> None:
    assert admin.csrf != reader.csrf

    async def check(path: str) -> None:
        for csrf in ("", "0" * 64, reader.csrf):
            assert "has expired" in (await admin.send(path, 403, csrf=csrf, **PAUSE)).text, csrf

    await check_each_async([*CHANGES, "/sign-out"], check)


async def test_form_of_another_site_is_rejected(browser: Browser) -> None:
    async def check(path: str, headers: dict[str, str]) -> None:
        answer = await browser.client.post(f"/dashboard{path}", data={"csrf": ""}, headers=headers)
        assert answer.status_code == 403
        assert "another site" in answer.text

    paths = [*CHANGES, "/sign-out", "/sign-in"]
    await check_each_async(
        [(path, forged) for path in paths for forged in (EVIL, {"sec-fetch-site": "cross-site"})], check
    )


async def test_form_of_another_site_is_rejected_for_callers_of_a_host(call: Web) -> None:
    async def check(via: Any) -> None:
        async def authenticate(_: object) -> Caller:
            return Caller("host:ann", "Ann", frozenset(Scope), via=via)

        async with call.with_app(authenticator=authenticate).client() as client:
            browser = Browser(client)
            await browser.see("/queues")
            await browser.send("/queues", **PAUSE)
            own = await client.post("/dashboard/queues", data=PAUSE, headers={"origin": "http://localhost"})
            assert own.status_code == 303
            forged = await client.post("/dashboard/queues", data=PAUSE, headers=EVIL)
            assert forged.status_code == 403

    # A host that has sessions of its own needs no token of ours.
    await check_each_async(["host", "session"], check)


async def test_key_in_the_header_is_accepted_from_any_site(call: Web) -> None:
    async with call.client(await call.key(Scope.ADMIN), origin="https://shop.example") as client:
        assert (await client.post("/dashboard/queues", data=PAUSE)).status_code == 303
