"""The same tests of an application on a real Postgres, in virtual time."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from tests.sim.plugging import application, run
from tests.sim.test_plugin_queue import ASYNC
from zeke_queue import UsageError
from zeke_sim.testing import servers
from zeke_sim.testing.servers import server

if TYPE_CHECKING:
    from collections.abc import Sequence

pytest_plugins = ["pytester"]

ROWS = """
import psycopg
import pytest

from shop import Order, catalog, charge, receipt
from zeke_queue import JobContext

pytestmark = pytest.mark.zeke_backend("postgres")


@catalog.task("write")
async def write(job: JobContext) -> list[int]:
    async with job.transaction() as transaction:
        await transaction.connection.execute("create table if not exists written (number int)")
        await transaction.connection.execute("insert into written values (%s), (%s)", [1, 2])
        await transaction.send(receipt, Order(number=1))
        async with transaction.connection.cursor() as cursor:
            await cursor.execute("select number from written order by number")
            return [row[0] async for row in cursor]


async def test_rows_and_jobs_of_a_handler_are_written_together(zeke):
    run = await zeke.trigger(write)
    assert await run.result(timeout=60) == [1, 2]
    assert len(zeke.jobs(receipt, parent=run.id)) == 1
    async with await psycopg.AsyncConnection.connect(zeke.dsn) as connection:
        rows = await (await connection.execute("select count(*) from written")).fetchone()
        assert rows == (2,)


async def test_transaction_of_the_test_is_joined(zeke):
    async with await psycopg.AsyncConnection.connect(zeke.dsn) as connection:
        async with zeke.queue.transaction(connection) as transaction:
            await transaction.send(receipt, Order(number=1))
        assert zeke.jobs() == []
    zeke.assert_enqueued(receipt, count=1)
    await zeke.drain()
    assert [job.row_state for job in zeke.jobs()] == ["completed"]


async def test_each_test_has_its_own_database(zeke):
    assert zeke.jobs() == []
    async with zeke.queue.transaction() as transaction:
        await transaction.connection.execute("create table own (number int)")
        await transaction.send(receipt, Order(number=1))
        async with zeke.queue.transaction(transaction.connection) as joined:
            await joined.send(receipt, Order(number=2))
    zeke.assert_enqueued(receipt, count=2)


async def test_uniqueness_rules_of_the_server_apply(zeke):
    assert (await zeke.send(receipt, Order(number=1), singleton_key="one")).created
    assert not (await zeke.send(receipt, Order(number=2), singleton_key="one")).created
    await zeke.drain()
    assert (await zeke.send(receipt, Order(number=3), singleton_key="one")).created


def test_sync(zeke_sync):
    run = zeke_sync.trigger(charge, Order(number=1))
    zeke_sync.drain()
    assert zeke_sync.result(run) == {"charged": 1}
    assert zeke_sync.dsn is not None
"""


@pytest.mark.nightly
@pytest.mark.parametrize("arguments", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_virtual_time_on_a_real_server(pytester: pytest.Pytester, arguments: Sequence[str]) -> None:
    application(pytester, ASYNC.format(mark='pytestmark = pytest.mark.zeke_backend("postgres")', days=10))
    run(
        pytester, "-o", "asyncio_mode=auto", "--zeke-postgres", "embedded", "--durations=5", *arguments
    ).assert_outcomes(passed=9)


def test_rows_of_the_application_can_be_used(pytester: pytest.Pytester, postgres: str) -> None:
    application(pytester, ROWS)
    pytester.makeini(f"[pytest]\nzeke_postgres = {postgres}\n")
    run(pytester, "-o", "asyncio_mode=auto").assert_outcomes(passed=5)


def test_unknown_choice_is_refused() -> None:
    with pytest.raises(UsageError, match="--zeke-postgres: must be auto, embedded"), server("mysql", "run"):
        raise AssertionError


@pytest.mark.parametrize(("engine", "taken"), [(True, "container"), (False, "embedded")])
def test_container_is_used_if_an_engine_has_the_image(
    monkeypatch: pytest.MonkeyPatch, *, engine: bool, taken: str
) -> None:
    monkeypatch.setattr(servers, "_docker", lambda arguments: engine)
    monkeypatch.setattr(servers, "_container", lambda: nullcontext("container"))
    monkeypatch.setattr(servers, "_embedded", lambda run: nullcontext("embedded"))
    with server("auto", "run") as dsn:
        assert dsn == taken
    with server("testcontainers", "run") as dsn:
        assert dsn == "container"
    with server("postgresql://elsewhere/db", "run") as dsn:
        assert dsn == "postgresql://elsewhere/db"


def test_auto_uses_and_reports_the_embedded_server_without_testcontainers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "_docker", lambda arguments: True)
    monkeypatch.setattr(servers, "_embedded", lambda run: nullcontext("embedded"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "testcontainers.core.config", None)
    said: list[str] = []
    with server("auto", "run", said.append) as dsn:
        assert dsn == "embedded"
    (line,) = said
    assert "testcontainers is not installed; the embedded server is used" in line
    with pytest.raises(UsageError, match="testcontainers is not installed"), server("testcontainers", "run"):
        raise AssertionError
