"""Rate limits of callers, and idempotency keys of triggers."""

from __future__ import annotations

import asyncio

import pytest

from tests.clocks import FrozenClock
from tests.web.conftest import Web, on_both_storages
from zeke_queue.client.queue import Queue
from zeke_queue.web.settings import WebSettings

MAIL = {"taskId": "mail", "payload": {"to": "ada@example.org"}}


@pytest.fixture
def web() -> WebSettings:
    """Settings that admit three triggers in ten minutes."""
    return WebSettings.load(api_trigger_limit=3)


async def count(queue: Queue) -> int:
    return sum(sum(one.counts.values()) for one in await queue.stats())


@on_both_storages
async def test_limit_rejects_until_its_window_ends(call: Web, queue: Queue, clock: FrozenClock) -> None:
    first = await call.key(name="first")
    for left in (2, 1, 0):
        answer = await call("POST", "/trigger", first, json=MAIL)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-limit"] == "3"
        assert answer.headers["ratelimit-remaining"] == str(left)
        assert answer.headers["ratelimit-reset"] == "600"
    clock.advance(200.5)
    refused = await call("POST", "/trigger", first, json=MAIL)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "400"
    assert "retry in 400 s" in refused.json()["error"]
    assert await count(queue) == 3
    clock.advance(400)
    assert (await call("POST", "/trigger", first, json=MAIL)).status_code == 200


async def test_limit_is_per_caller_and_reading_is_free(call: Web) -> None:
    first, second = await call.key(name="first"), await call.key(name="second")
    for _ in range(3):
        assert (await call("POST", "/trigger", first, json=MAIL)).status_code == 200
    assert (await call("POST", "/trigger", first, json=MAIL)).status_code == 429
    assert (await call("POST", "/trigger", second, json=MAIL)).status_code == 200
    for _ in range(5):
        assert (await call("GET", "/queues", first)).status_code == 200


@on_both_storages
async def test_trigger_repeated_under_its_key_sends_one_job(call: Web, queue: Queue) -> None:
    first = await call("POST", "/trigger", json=MAIL, headers={"idempotency-key": "order-7"})
    again = await call("POST", "/trigger", json=MAIL, headers={"idempotency-key": "order-7"})
    assert first.json() == again.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = await call("POST", "/trigger", json=MAIL, headers={"idempotency-key": "order-8"})
    assert other.json()["id"] != first.json()["id"]
    assert await count(queue) == 2


async def test_keys_are_compared_exactly(call: Web, queue: Queue, clock: FrozenClock) -> None:
    long = "x" * 254
    keys = [
        "order-7",
        "Order-7",
        "ORDER-7",
        "order_7",
        "order 7",
        "order  7",
        "order-07",
        f"{long}a",
        f"{long}b",
    ]
    for key in keys:
        answer = await call("POST", "/trigger", json=MAIL, headers={"idempotency-key": key})
        assert (answer.status_code, "idempotent-replayed" in answer.headers) == (200, False), key
        clock.advance(400)
    assert await count(queue) == len(keys)


@on_both_storages
async def test_key_belongs_to_its_caller(call: Web, queue: Queue) -> None:
    for name in ("first", "second"):
        key = await call.key(name=name)
        answer = await call("POST", "/trigger", key, json=MAIL, headers={"idempotency-key": "order-7"})
        assert "idempotent-replayed" not in answer.headers
    assert await count(queue) == 2


async def test_key_reused_for_another_trigger_is_rejected(call: Web, queue: Queue) -> None:
    headers = {"idempotency-key": "order-7"}
    first = await call("POST", "/trigger", json=MAIL, headers=headers)
    other_payload = {"taskId": "mail", "payload": {"to": "bob@example.org"}}
    for other in (other_payload, {"taskId": "break", "payload": {}}):
        answer = await call("POST", "/trigger", json=other, headers=headers)
        assert (answer.status_code, answer.json()["id"]) == (409, first.json()["id"]), other
        assert "Idempotency-Key" in answer.json()["error"]
        assert await count(queue) == 1


async def test_key_reused_for_another_task_with_its_payload_is_rejected(call: Web, queue: Queue) -> None:
    headers, statuses = {"idempotency-key": "order-7"}, []
    for task in ("ticket", "twice"):
        answer = await call("POST", "/trigger", json={"taskId": task, "payload": {}}, headers=headers)
        statuses.append(answer.status_code)
    assert statuses == [200, 409]
    assert await count(queue) == 1


async def test_equal_payload_in_another_form_is_a_repetition(call: Web) -> None:
    headers = {"idempotency-key": "k"}
    first = {"taskId": "mail", "payload": {"to": "ada@example.org", "copies": 1}}
    await call("POST", "/trigger", json=first, headers=headers)
    turned = {"taskId": "old-mail", "payload": {"copies": 1, "to": "ada@example.org"}}
    again = await call("POST", "/trigger", json=turned, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"


async def test_payload_with_drawn_defaults_is_sent_once(call: Web, queue: Queue) -> None:
    ticket, headers = {"taskId": "ticket", "payload": {}}, {"idempotency-key": "k"}
    first = await call("POST", "/trigger", json=ticket, headers=headers)
    again = await call("POST", "/trigger", json=ticket, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert await count(queue) == 1


@on_both_storages
async def test_concurrent_repetitions_send_one_job(call: Web, queue: Queue) -> None:
    headers = {"idempotency-key": "k"}
    answers = await asyncio.gather(*(call("POST", "/trigger", json=MAIL, headers=headers) for _ in range(3)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(queue) == 1


async def test_invalid_idempotency_key_is_rejected(call: Web, queue: Queue) -> None:
    for key in ("", "x" * 256, "caf\u00e9"):
        answer = await call("POST", "/trigger", json=MAIL, headers={"idempotency-key": key.encode()})
        assert answer.status_code == 422, key
        assert "Idempotency-Key" in answer.json()["error"]
        assert await count(queue) == 0
