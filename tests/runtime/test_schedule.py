"""Schedules as an application writes them: what is stored, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.runtime.catalogs import mail_catalog
from zeke_queue.catalog import Catalog
from zeke_queue.errors import BadName, BadOption, BadSchedule, PayloadInvalid, UnknownTask
from zeke_queue.model import CatchUp, QueueSettings, Schedule

if TYPE_CHECKING:
    from tests.runtime.conftest import QueueOn
    from zeke_queue.queue import Queue


async def only(queue: Queue) -> Schedule:
    (schedule,) = await queue.schedules()
    return schedule


async def test_a_schedule_is_stored_as_it_was_said(queue: Queue) -> None:
    await queue.schedule(
        "weekly",
        "0 9 * * 1",
        task="post",
        payload={"to": "ann"},
        zone="Europe/Berlin",
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


async def test_a_schedule_s_task_is_the_one_of_its_name_and_its_zone_the_deployment_s(
    queue_on: QueueOn,
) -> None:
    queue = queue_on(mail_catalog(), jobs_cron_tz="Asia/Tokyo")
    await queue.schedule("clean", "0 4 * * *")
    schedule = await only(queue)
    assert (schedule.task, schedule.zone, schedule.catch_up) == ("clean", "Asia/Tokyo", CatchUp.ONCE)


async def test_a_schedule_is_edited_by_its_name(queue: Queue) -> None:
    await queue.schedule("clean", "0 4 * * *")
    await queue.schedule("clean", "0 5 * * *")
    assert (await only(queue)).cron == "0 5 * * *"


async def test_a_schedule_is_deleted_by_its_name(queue: Queue) -> None:
    await queue.schedule("clean", "0 4 * * *")
    assert await queue.unschedule("clean") is True
    assert await queue.unschedule("clean") is False
    assert await queue.schedules() == []


async def test_a_schedule_may_send_to_an_external_task(queue: Queue) -> None:
    await queue.schedule("elsewhere", "0 4 * * *", payload=[1], external=True)
    assert ((await only(queue)).task, (await only(queue)).data) == ("elsewhere", "[1]")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"cron": "61 * * * *"}, BadSchedule),
        ({"cron": "0 0 30 2 *"}, BadSchedule),
        ({"cron": "every day"}, BadSchedule),
        ({"zone": "Mars/Base"}, BadSchedule),
        ({"catch_up": "sometimes"}, BadOption),
        ({"task": "male"}, UnknownTask),
        ({"task": "mail", "payload": {"copies": 2}}, PayloadInvalid),
        ({"name": "no name", "task": "clean"}, BadName),
        ({"priority": 2**40}, BadOption),
        ({"throttle": 1, "debounce": 1}, BadOption),
        ({"delay": 5}, BadOption),
        ({"id": None}, BadOption),
    ],
)
async def test_what_is_wrong_with_a_schedule_is_found_before_anything_is_stored(
    queue: Queue, changed: dict[str, Any], error: type[Exception]
) -> None:
    said: dict[str, Any] = {"name": "clean", "cron": "0 4 * * *", **changed}
    with pytest.raises(error):
        await queue.schedule(**said)
    assert await queue.schedules() == []


async def test_what_the_catalog_declares_is_stored(queue_on: QueueOn) -> None:
    catalog = mail_catalog()
    catalog.schedule("clean", "0 4 * * *")
    queue = queue_on(catalog, jobs_cron_tz="Europe/Berlin")
    await queue.declare()
    schedule = await only(queue)
    assert (schedule.cron, schedule.zone) == ("0 4 * * *", "Europe/Berlin")


@pytest.mark.parametrize(("limit", "own"), [(None, None), (3, 1), (10, 8)])
async def test_a_task_s_limit_is_shared_out_among_its_queues(
    queue_on: QueueOn, limit: int | None, own: int | None
) -> None:
    catalog = Catalog()

    @catalog.task("new", aliases=["old", "older"], concurrency_limit=limit)
    async def new() -> None: ...

    queue = queue_on(catalog)
    await queue.declare()
    share = None if limit is None else 1
    assert await queue.storage.queues() == [
        QueueSettings("new", own),
        QueueSettings("old", share),
        QueueSettings("older", share),
    ]


async def test_a_limit_that_leaves_a_queue_nothing_is_refused(queue_on: QueueOn) -> None:
    catalog = Catalog()

    @catalog.task("new", aliases=["old"], concurrency_limit=1)
    async def new() -> None: ...

    queue = queue_on(catalog)
    with pytest.raises(BadOption, match=r"'new'.*at least 2"):
        await queue.declare()
    assert await queue.storage.queues() == []


async def test_an_edit_survives_until_the_code_changes(queue_on: QueueOn) -> None:
    catalog = mail_catalog()
    catalog.schedule("clean", "0 4 * * *")
    await queue_on(catalog).declare()
    await queue_on(catalog).schedule("clean", "0 5 * * *")
    await queue_on(catalog).declare()
    assert (await only(queue_on(catalog))).cron == "0 5 * * *"

    changed = mail_catalog()
    changed.schedule("clean", "0 6 * * *")
    await queue_on(changed).declare()
    assert (await only(queue_on(changed))).cron == "0 6 * * *"


async def test_a_declared_payload_that_does_not_fit_is_found_before_anything_is_stored(
    queue_on: QueueOn,
) -> None:
    catalog = mail_catalog()
    catalog.schedule("clean", "0 4 * * *")
    catalog.schedule("mail", "0 4 * * *", payload={})
    queue = queue_on(catalog)
    with pytest.raises(PayloadInvalid):
        await queue.declare()
    assert await queue.schedules() == []
