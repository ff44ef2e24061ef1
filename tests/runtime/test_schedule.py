"""Schedules declared by an application: which are stored, and which are refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.cases import check_each_async
from tests.conformance.storages import on_both_storages
from tests.runtime.catalogs import mail_catalog, nothing
from tests.runtime.conftest import QueueOn
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import (
    InvalidNameError,
    InvalidOptionError,
    InvalidScheduleError,
    PayloadValidationError,
    UnknownTaskError,
)
from zeke_queue.model import CatchUp, QueueSettings, Schedule
from zeke_queue.task.catalog import Catalog


async def only(queue: Queue) -> Schedule:
    (schedule,) = await queue.schedules.list()
    return schedule


@on_both_storages
async def test_schedule_is_stored_with_its_options(queue: Queue) -> None:
    await queue.schedules.put(
        "weekly",
        "0 9 * * 1",
        task="post",
        payload={"to": "ann"},
        timezone="Europe/Berlin",
        catch_up="all",
        description="A letter each Monday",
        priority=3,
        expire_in=timedelta(minutes=5),
        singleton_key="weekly",
    )
    schedule = await only(queue)
    assert (schedule.name, schedule.task) == ("weekly", "mail")
    assert (schedule.cron, schedule.zone) == ("0 9 * * 1", "Europe/Berlin")
    assert schedule.data == '{"to": "ann", "copies": 1}'
    assert schedule.catch_up is CatchUp.ALL
    assert schedule.description == "A letter each Monday"
    assert schedule.options == {"priority": 3, "expire_in": 300, "singleton_key": "weekly"}


async def test_schedule_takes_task_from_its_name_and_zone_from_the_settings(queue_on: QueueOn) -> None:
    queue = queue_on(mail_catalog(), jobs_cron_tz="Asia/Tokyo")
    await queue.schedules.put("clean", "0 4 * * *")
    schedule = await only(queue)
    assert (schedule.task, schedule.zone, schedule.catch_up) == ("clean", "Asia/Tokyo", CatchUp.ONCE)


@on_both_storages
async def test_schedule_is_deleted_by_its_name(queue: Queue) -> None:
    await queue.schedules.put("clean", "0 4 * * *")
    assert await queue.schedules.delete("clean") is True
    assert await queue.schedules.delete("clean") is False
    assert await queue.schedules.list() == []


async def test_schedule_may_send_to_an_external_task(queue: Queue) -> None:
    await queue.schedules.put("elsewhere", "0 4 * * *", payload=[1], external=True)
    assert ((await only(queue)).task, (await only(queue)).data) == ("elsewhere", "[1]")


INVALID: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"cron": "61 * * * *"}, InvalidScheduleError),
    ({"cron": "0 0 30 2 *"}, InvalidScheduleError),
    ({"cron": "every day"}, InvalidScheduleError),
    ({"timezone": "Mars/Base"}, InvalidScheduleError),
    ({"catch_up": "sometimes"}, InvalidOptionError),
    ({"task": "male"}, UnknownTaskError),
    ({"task": "mail", "payload": {"copies": 2}}, PayloadValidationError),
    ({"name": "no name", "task": "clean"}, InvalidNameError),
    ({"priority": 2**40}, InvalidOptionError),
    ({"throttle": 1, "debounce": 1}, InvalidOptionError),
    ({"delay": 5}, InvalidOptionError),
    ({"id": None}, InvalidOptionError),
]


async def test_invalid_schedule_is_refused_before_anything_is_stored(queue: Queue) -> None:
    async def check(changed: dict[str, Any], error: type[Exception]) -> None:
        options: dict[str, Any] = {"name": "clean", "cron": "0 4 * * *", **changed}
        with pytest.raises(error):
            await queue.schedules.put(**options)
        assert await queue.schedules.list() == []

    await check_each_async(INVALID, check)


async def test_declared_schedule_is_stored(queue_on: QueueOn) -> None:
    catalog = mail_catalog()
    catalog.schedule("clean", "0 4 * * *")
    queue = queue_on(catalog, jobs_cron_tz="Europe/Berlin")
    await parts_of(queue).declare()
    schedule = await only(queue)
    assert (schedule.cron, schedule.zone) == ("0 4 * * *", "Europe/Berlin")


@on_both_storages
async def test_limit_of_a_task_is_shared_by_its_queues(queue_on: QueueOn) -> None:
    async def check(limit: int | None, *shared: str) -> None:
        catalog = Catalog()
        catalog.task("new", aliases=["old", "older"], concurrency_limit=limit)(nothing)
        queue = queue_on(catalog)
        await parts_of(queue).declare()
        names = ("new", "old", "older")
        expected = [QueueSettings(name, limit, limited_with=shared) for name in names]
        assert await parts_of(queue).storage.queues() == expected

    await check_each_async([(None,), (1, "new", "old", "older")], check)


@on_both_storages
async def test_edited_schedule_is_kept_until_its_declaration_changes(queue_on: QueueOn) -> None:
    catalog = mail_catalog()
    catalog.schedule("clean", "0 4 * * *")
    await parts_of(queue_on(catalog)).declare()
    await queue_on(catalog).schedules.put("clean", "0 5 * * *")
    await parts_of(queue_on(catalog)).declare()
    assert (await only(queue_on(catalog))).cron == "0 5 * * *"

    changed = mail_catalog()
    changed.schedule("clean", "0 6 * * *")
    await parts_of(queue_on(changed)).declare()
    assert (await only(queue_on(changed))).cron == "0 6 * * *"


async def test_invalid_declared_payload_is_refused_before_anything_is_stored(queue_on: QueueOn) -> None:
    catalog = mail_catalog()
    catalog.schedule("clean", "0 4 * * *")
    catalog.schedule("mail", "0 4 * * *", payload={})
    queue = queue_on(catalog)
    with pytest.raises(PayloadValidationError):
        await parts_of(queue).declare()
    assert await queue.schedules.list() == []
