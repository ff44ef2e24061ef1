"""Opening a queue on a database: the requirements, and the error if one is missing."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from tests.cases import check_each_async
from tests.conformance.driver import ANNA, soon
from tests.runtime.catalogs import mail_catalog
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import (
    InvalidOptionError,
    SchemaVersionError,
    SettingsError,
    UsageError,
)
from zeke_queue.model import Completed, QueueCapacity
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.worker import Worker


async def open_and_close(opening: AbstractAsyncContextManager[Queue]) -> None:
    async with opening:
        pass


async def run_by_hand(queue: Queue, output: str) -> None:
    """Do what a worker does, for one job of ``clean``."""
    (claimed,) = await parts_of(queue).storage.claim(ANNA, [QueueCapacity("clean", 1)], 1)
    await parts_of(queue).storage.settle(completed=[Completed(claimed.id, claimed.attempt, output)])


async def test_queue_in_memory_needs_no_database() -> None:
    ran: list[str] = []
    catalog = Catalog()

    @catalog.task("clean")
    async def clean() -> str:
        ran.append("clean")
        return "swept"

    async with Queue.in_memory(catalog) as queue:
        run = await queue.trigger(clean)
        await Worker(queue).drain()
        assert await run.result(timeout=0) == "swept"
    assert ran == ["clean"]
    with pytest.raises(UsageError, match="closed"):
        await (await queue.get_run(run.id)).result()


async def test_database_is_taken_from_the_environment(
    emptied_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="DATABASE_PRIMARY_URL"):
        await open_and_close(Queue.connect(mail_catalog()))
    monkeypatch.setenv("DATABASE_PRIMARY_URL", emptied_dsn)
    async with Queue.connect(mail_catalog()) as queue:
        assert await queue.stats() == []


async def test_database_given_in_code_wins_over_the_environment(
    emptied_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PRIMARY_URL", "postgresql://nobody@127.0.0.1:1/none")
    async with Queue.connect(mail_catalog(), emptied_dsn) as queue:
        assert await queue.stats() == []


async def test_unreadable_dsn_is_refused_before_connecting() -> None:
    async def check(dsn: str) -> None:
        with pytest.raises(SettingsError, match=r"DATABASE_PRIMARY_URL: .*; change it$"):
            await open_and_close(Queue.connect(mail_catalog(), dsn))

    cases = [
        "",
        "mysql://db/zeke",
        "postgresql://db/zeke?colour=red",
        "postgresql://db:99999/zeke",
        "host=db port=x",
    ]
    await check_each_async(cases, check)


async def test_id_other_than_a_uuid_is_refused() -> None:
    async with Queue.in_memory(mail_catalog()) as queue:

        async def check(verb: str) -> None:
            with pytest.raises(InvalidOptionError, match="must be a UUID, got 'abc'"):
                await getattr(queue, verb)("abc")

        await check_each_async(["get", "get_run", "cancel", "resume", "retry"], check)


async def test_database_without_tables_is_an_error_that_names_the_command(empty_dsn: str) -> None:
    with pytest.raises(SchemaVersionError, match="zeke migrate"):
        await open_and_close(Queue.connect(mail_catalog(), empty_dsn))


async def test_tables_in_another_schema_are_not_used(emptied_dsn: str) -> None:
    settings = Settings.load(database_primary_url=emptied_dsn, jobs_schema="other")
    with pytest.raises(SchemaVersionError, match="other"):
        await open_and_close(Queue.connect(mail_catalog(), settings=settings))


@pytest.mark.parametrize("listen", [True, False])
async def test_result_arrives_with_and_without_notifications(emptied_dsn: str, *, listen: bool) -> None:
    settings = Settings.load(database_primary_url=emptied_dsn, jobs_listen=listen)
    async with Queue.connect(mail_catalog(), settings=settings) as queue:
        run = await queue.trigger("clean")
        waiting = asyncio.ensure_future(run.result())
        await run_by_hand(queue, "1")
        assert await soon(waiting) == 1


async def test_result_reaches_another_process_than_the_sender(emptied_dsn: str) -> None:
    first, second = (Queue.connect(mail_catalog(), emptied_dsn) for _ in range(2))
    async with first as sender, second as watcher:
        run = await sender.send("clean")
        waiting = asyncio.ensure_future((await watcher.get_run(run.id)).result())
        await run_by_hand(sender, "2")
        assert await soon(waiting) == 2
