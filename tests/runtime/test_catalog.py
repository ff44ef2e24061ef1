"""Catalogs: finding tasks, keeping names apart, putting catalogs together, declaring schedules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest
from pydantic import BaseModel

from tests.cases import check_each
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core.names import private_queue
from zeke_queue.core.options import JobOptions
from zeke_queue.errors import (
    DuplicateTaskError,
    InvalidOptionError,
    InvalidScheduleError,
    PayloadValidationError,
    UnknownTaskError,
    UsageError,
)
from zeke_queue.model import CatchUp, JobQuery, JobStatus, Schedule
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SystemEntropy
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.prepare import JobFactory
from zeke_queue.task.task import Task
from zeke_queue.worker import Worker


def nothing() -> None:
    """Do nothing."""


def catalog_of(*names: str, **options: JobOptions) -> Catalog:
    catalog = Catalog(**options)  # type: ignore[arg-type]
    for name in names:
        catalog.task(name)(nothing)
    return catalog


def test_task_is_found_by_name_by_alias_and_by_itself() -> None:
    catalog = Catalog()
    task = catalog.task("summarize", aliases=["story-summarize"])(nothing)
    assert catalog.get("summarize") is catalog.get("story-summarize") is catalog.get(task) is task
    assert list(catalog.tasks) == ["summarize"]
    assert dict(catalog.served) == {"summarize": task, "story-summarize": task}


def test_unknown_name_is_refused_with_similar_names() -> None:
    with pytest.raises(UnknownTaskError, match="did you mean 'ingest-pull'"):
        catalog_of("ingest-pull", "generate-brief").get("ingest-pul")


def test_unknown_task_of_a_send_is_refused_with_a_hint_at_external() -> None:
    sender = JobFactory(catalog_of("known"), SystemClock(), SystemEntropy())
    with pytest.raises(UnknownTaskError, match=r"the catalog has known \(.*external=True\)$"):
        sender.prepare("xyz", None, {})


def test_function_is_refused_where_a_task_is_expected() -> None:
    def pull() -> None: ...

    with pytest.raises(UsageError, match=r"task: must be a task or its name, got .*pull"):
        catalog_of("known").get(pull)  # type: ignore[arg-type] - what untyped callers do


def test_task_without_a_name_is_refused_with_a_remedy() -> None:
    def pull_feed() -> None: ...

    with pytest.raises(UsageError, match=r"write @catalog\.task\('pull-feed'\)"):
        Catalog().task(pull_feed)  # type: ignore[call-overload] - what untyped callers do


def test_task_of_another_catalog_is_unknown() -> None:
    task: Task[None, None] = Catalog().task("mine")(nothing)
    with pytest.raises(UnknownTaskError, match="not of this catalog"):
        catalog_of("mine").get(task)


def test_name_or_alias_of_another_task_is_refused() -> None:
    def check(name: str, aliases: list[str]) -> None:
        catalog = Catalog()
        catalog.task("a", aliases=["b"])(nothing)
        with pytest.raises(DuplicateTaskError, match="already the name or alias of task 'a'"):
            catalog.task(name, aliases=aliases)(nothing)
        assert list(catalog.served) == ["a", "b"]
        assert set(catalog.tasks) == {"a"}

    check_each([("a", []), ("b", []), ("c", ["a"]), ("c", ["b"])], check)


def test_task_with_one_name_twice_is_refused() -> None:
    with pytest.raises(DuplicateTaskError, match="twice"):
        Catalog().task("a", aliases=["b", "b"])(nothing)


def test_payload_model_may_be_local_to_the_defining_function() -> None:
    class Local(BaseModel):
        n: int

    catalog = Catalog()

    @catalog.task("local")
    def take(payload: Local) -> None: ...

    assert take.validate({"n": 1}) == Local(n=1)


def test_options_of_a_task_win_over_its_catalog_even_if_zero() -> None:
    catalog = Catalog(defaults=JobOptions(retry_limit=5, priority=2, retry_backoff=True))
    task = catalog.task("a", retry_limit=0, retry_backoff=False)(nothing)
    assert task.options == {"retry_limit": 0, "priority": 2, "retry_backoff": False}


# Putting catalogs together


def test_included_catalog_adds_tasks_defaults_and_schedules() -> None:
    part = Catalog(defaults=JobOptions(priority=9))
    task = part.task("part", aliases=["old"])(nothing)
    part.schedule("part", "0 0 * * *")
    whole = catalog_of("whole")
    whole.include(part)
    assert whole.get("old") is task
    assert task.options == {"priority": 9}
    assert [schedule.name for schedule in whole.stored_schedules()] == ["part"]


def test_catalogs_that_share_a_task_can_not_be_joined() -> None:
    with pytest.raises(DuplicateTaskError):
        catalog_of("a").include(catalog_of("a"))


def test_catalogs_that_share_a_schedule_can_not_be_joined() -> None:
    one, other = catalog_of("a"), catalog_of("b")
    one.schedule("tick", "* * * * *", task="a")
    other.schedule("tick", "* * * * *", task="b")
    with pytest.raises(InvalidScheduleError, match="both"):
        one.include(other)


def test_resources_are_included_and_two_of_them_refused() -> None:
    @asynccontextmanager
    async def some() -> AsyncIterator[str]:
        yield "some"

    @asynccontextmanager
    async def others() -> AsyncIterator[str]:
        yield "others"

    whole = Catalog()
    whole.include(Catalog(resources=some))
    assert whole.resources is some
    with pytest.raises(InvalidOptionError, match="resources"):
        whole.include(Catalog(resources=others))


# Schedules


def test_schedule_has_its_validated_payload_and_the_default_zone() -> None:
    class Pull(BaseModel):
        reason: str = "schedule"

    catalog = Catalog()
    catalog.schedule("pull", "*/5 * * * *")

    @catalog.task("pull")
    def pull(payload: Pull) -> None:
        """Pull the feeds."""

    paris = {"timezone": "Europe/Paris", "payload": {"reason": "night"}}
    catalog.schedule("nightly", "0 3 * * *", task=pull, catch_up="skip", **paris)

    common: dict[str, Any] = {"task": "pull", "description": "Pull the feeds."}
    day = Schedule(name="pull", cron="*/5 * * * *", zone="America/New_York", **common)
    night = Schedule(name="nightly", cron="0 3 * * *", zone="Europe/Paris", catch_up=CatchUp.SKIP, **common)
    assert catalog.stored_schedules("America/New_York") == [
        replace(day, data='{"reason":"schedule"}'),
        replace(night, data='{"reason":"night"}'),
    ]


def test_invalid_schedule_is_refused_at_its_declaration() -> None:
    catalog = catalog_of("a")
    for cron, zone in (("bad", None), ("0 0 31 2 *", None), ("* * * * *", "Mars/Olympus")):
        with pytest.raises(InvalidScheduleError):
            catalog.schedule("a", cron, timezone=zone)
    with pytest.raises(InvalidOptionError, match="catch_up"):
        catalog.schedule("a", "* * * * *", catch_up=cast("Any", "never"))
    catalog.schedule("a", "* * * * *")
    with pytest.raises(InvalidScheduleError, match="twice"):
        catalog.schedule("a", "0 * * * *")


def test_schedule_of_an_unknown_task_or_with_an_invalid_payload_is_refused() -> None:
    catalog = catalog_of("known")
    catalog.schedule("unknown", "* * * * *")
    with pytest.raises(UnknownTaskError, match=r"^Schedule 'unknown' can't be stored: No task"):
        catalog.stored_schedules()
    other = catalog_of("known")
    other.schedule("nightly", "* * * * *", task="known", payload={"a": 1})
    with pytest.raises(
        PayloadValidationError, match=r"^Schedule 'nightly' can't be stored: The payload"
    ) as raised:
        other.stored_schedules()
    assert [field.path for field in raised.value.fields] == ["payload"]


async def test_jobs_of_a_private_catalog_run_in_its_process_alone() -> None:
    catalog, owner = Catalog(), UUID(int=7)

    @catalog.task("mail", aliases=("post",), concurrency_limit=2)
    async def mail(job: JobContext) -> str:
        if job.parent is None:
            await job.send("post")
        return job.task

    private = Catalog(private_to=owner)
    private.include(catalog)
    async with Queue.in_memory(catalog) as queue:
        storage = parts_of(queue).storage
        mine = await Queue(private, storage, settings=queue.settings).send("mail")
        await Worker(queue).drain()
        assert await mine.status() is JobStatus.QUEUED
        await Worker(Queue(private, storage, settings=queue.settings)).drain()
        assert await mine.result(0) == "mail"
        assert {job.name for job in (await queue.find(JobQuery())).jobs} == {private_queue("mail", owner)}
        assert [settings.name for settings in await storage.queues()] == ["mail", "post"]
    # So that hidden values and teams are those of the task.
    assert catalog.find(private_queue("mail", owner)) is mail
    assert catalog.find(private_queue("post", owner)) is mail
