"""Signing in with a key, staying signed in, and what happens when that ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

from zeke_queue.client.parts import parts_of
from zeke_queue.core import apikeys
from zeke_queue.web.access.guard import COOKIE

if TYPE_CHECKING:
    from tests.browser.conftest import Visits
    from tests.browser.house import House


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_invalid_key_is_reported_at_the_field_and_a_valid_one_signs_in(house: House, visits: Visits) -> None:
    _, text = house.key(name="Ada")
    page = visits.stranger()
    page.goto("jobs?status=FAILED")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    sign_in(page, "mid_" + "0" * 64)
    expect(page.get_by_role("alert")).to_have_text("Invalid API key")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("")
    sign_in(page, f" {text} ")
    # From there on to the page that was asked for at first.
    expect(page).to_have_url(f"{house.url}/dashboard/jobs?status=FAILED")
    expect(page.get_by_text("Signed in as Ada")).to_be_visible()


def test_session_is_hidden_from_scripts_and_the_key_is_not_stored(house: House, visits: Visits) -> None:
    _, text = house.key()
    page = visits.stranger()
    page.goto("")
    sign_in(page, text)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert COOKIE not in page.evaluate("document.cookie")
    (session,) = [cookie for cookie in page.context.cookies() if cookie.get("name") == COOKIE]
    assert (session.get("httpOnly"), session.get("sameSite")) == (True, "Lax")
    assert text not in str(page.context.storage_state())
    assert text not in page.content()


def test_sign_out_applies_to_every_reloaded_page(visits: Visits, page: Page) -> None:
    page.goto("queues")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Signed out")).to_be_visible()
    page.goto("queues")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.go_back()
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_session_of_a_revoked_key_redirects_to_sign_in_and_back(house: House, visits: Visits) -> None:
    page = visits.stranger()
    key, text = house.key(name="old")
    newer, new = house.key(name="new")
    _, newest = house.key(name="newest")
    page.goto("trigger?task=letter")  # which has no stream, and so is not updated
    sign_in(page, text)
    expect(page.get_by_text("Signed in as old")).to_be_visible()
    house.do(parts_of(house.queue).storage.access.revoke_key(key.id))
    page.get_by_role("link", name="Workers").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, new)
    expect(page).to_have_url(f"{house.url}/dashboard/workers")
    # A form leads back to its page.
    page.goto("trigger?task=letter")
    page.get_by_label("Payload, as JSON").fill('{"to": "Bert"}')
    house.do(parts_of(house.queue).storage.access.revoke_key(newer.id))
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, newest)
    expect(page).to_have_url(f"{house.url}/dashboard/trigger?task=letter")


def test_session_that_expires_on_an_open_page_redirects_to_sign_in(house: House, visits: Visits) -> None:
    page = visits.user()
    page.goto("queues")
    expect(page.get_by_role("heading", name="Queues")).to_be_visible()
    (token,) = [one.get("value", "") for one in page.context.cookies() if one.get("name") == COOKIE]
    house.do(parts_of(house.queue).storage.access.delete_session(apikeys.digest_of(token)))
    house.send("letter", {"to": "Bert"})  # the page brings itself up to date, and learns of it
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.url.endswith("/dashboard/sign-in?next=%2Fdashboard%2Fqueues")
