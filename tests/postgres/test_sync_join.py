"""Jobs in a transaction of a synchronous application: it commits or rolls them back with its own rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.cases import check_each
from tests.conformance.planting import EMPTY
from tests.postgres.applications import APPLICATIONS, Application, atomic, django_on
from tests.postgres.sqlalchemy_url import url
from zeke_queue import Catalog, JobConflictError, JobStatus, Queue, SyncQueue, UsageError, Worker
from zeke_queue.errors import LeaseLostError, SchemaVersionError
from zeke_queue.system.settings import Settings

Opened = Callable[[], AbstractContextManager[Application]]
InEach = Callable[[Callable[[Opened], None]], None]

catalog = Catalog()


@catalog.task("greet", singleton_key=lambda name: name if name == "only one" else None)
async def greet(name: str) -> str:
    return f"Hello {name}"


class Undone(Exception):
    """What a transaction is rolled back with."""


@pytest.fixture
def queue(dsn: str) -> Iterator[SyncQueue]:
    with SyncQueue.connect(catalog, dsn, settings=Settings.load()) as opened:
        yield opened


@pytest.fixture
def in_each_application(dsn: str, sql: psycopg.Connection[Any]) -> InEach:
    """Run a check with the transactions of every kind of application, each time on empty tables."""
    sql.execute("create table person (name text)")

    def check_all(check: Callable[[Opened], None]) -> None:
        def check_one(name: str) -> None:
            sql.execute(EMPTY)
            sql.execute("truncate person")
            check(partial(APPLICATIONS[name], dsn))

        check_each(APPLICATIONS.keys(), check_one)

    return check_all


def people(sql: psycopg.Connection[Any]) -> list[str]:
    return [name for (name,) in sql.execute("select name from person order by name").fetchall()]


def test_jobs_and_rows_exist_after_the_commit_and_not_before(
    queue: SyncQueue, sql: psycopg.Connection[Any], in_each_application: InEach
) -> None:
    def check(application: Opened) -> None:
        with application() as app:
            with queue.transaction(app.joinable) as jobs:
                run = jobs.send(greet, "Ada", delay=60, meta={"by": "test"})
            app.execute("insert into person values ('Ada')")
            with queue.transaction(app.joinable) as jobs:
                many = jobs.send_many([greet.job("Grace"), greet.job("Edsger")])
            assert queue.get(run.id) is None
        job = run.job()
        assert (job.status, job.data, job.meta) == (JobStatus.QUEUED, "Ada", {"by": "test"})
        assert (job.start_after - job.created_on).total_seconds() == 60
        assert [one.job().data for one in many] == ["Grace", "Edsger"]
        assert people(sql) == ["Ada"]

    in_each_application(check)


def test_neither_jobs_nor_rows_exist_after_a_rollback(
    queue: SyncQueue, sql: psycopg.Connection[Any], in_each_application: InEach
) -> None:
    def check(application: Opened) -> None:
        with suppress(Undone), application() as app:
            app.execute("insert into person values ('Ada')")
            with queue.transaction(app.joinable) as jobs:
                run = jobs.send(greet, "Ada")
            raise Undone
        assert queue.get(run.id) is None
        assert people(sql) == []

    in_each_application(check)


def test_refused_send_names_the_holder_and_does_not_abort_the_transaction(
    queue: SyncQueue, in_each_application: InEach
) -> None:
    def check(application: Opened) -> None:
        holder = queue.send(greet, "only one")
        with application() as app, queue.transaction(app.joinable) as jobs:
            again = jobs.send(greet, "only one")
            assert (again.id, again.created) == (holder.id, False)
            with pytest.raises(JobConflictError) as refused:
                jobs.trigger(greet, "only one")
            assert refused.value.holder == holder.id
            other = jobs.send(greet, "Ada")
        assert other.status() is JobStatus.QUEUED

    in_each_application(check)


def test_cancel_takes_effect_with_the_commit(queue: SyncQueue, in_each_application: InEach) -> None:
    def check(application: Opened) -> None:
        run = queue.send(greet, "Ada")
        with application() as app, queue.transaction(app.joinable) as jobs:
            assert jobs.cancel(run.id)
            assert not jobs.cancel(run.id)
            assert run.status() is JobStatus.QUEUED
            with pytest.raises(LeaseLostError):
                jobs.lock_attempt(run.id, 1)
        assert run.status() is JobStatus.CANCELLED

    in_each_application(check)


def test_connection_in_autocommit_without_a_transaction_is_refused(dsn: str, queue: SyncQueue) -> None:
    engine = create_engine(url(dsn, "psycopg"), isolation_level="AUTOCOMMIT")
    with (
        psycopg.connect(dsn, autocommit=True) as plain,
        engine.connect() as connection,
        Session(engine) as session,
        django_on(dsn) as of_django,
    ):
        of_django.ensure_connection()

        def check(joinable: Any, message: str) -> None:
            with pytest.raises(UsageError, match=message), queue.transaction(joinable):
                pass

        check_each(
            [
                (plain, "autocommit"),
                (connection, "AUTOCOMMIT"),
                (session, "AUTOCOMMIT"),
                (of_django.connection, r"transaction\.atomic\(\)"),
            ],
            check,
        )
    engine.dispose()


def test_object_that_can_not_be_joined_is_refused_by_name(dsn: str, queue: SyncQueue) -> None:
    engine = create_async_engine(url(dsn, "psycopg"))

    def check(joinable: Any, name: str) -> None:
        with pytest.raises(UsageError, match=name), queue.transaction(joinable):
            pass

    # Django's connection is None until it is used, and must not pass for a transaction of the queue's own.
    cases = [(None, "NoneType"), (engine.sync_engine, "Engine"), (engine, "AsyncEngine")]
    check_each([*cases, (AsyncSession(engine), "AsyncSession")], check)
    asyncio.run(engine.dispose())


def test_connection_of_a_queue_in_memory_is_refused(dsn: str) -> None:
    with (
        SyncQueue.in_memory(catalog) as queue,
        psycopg.connect(dsn) as connection,
        pytest.raises(UsageError, match="memory"),
        queue.transaction(connection),
    ):
        pass


def test_joined_send_needs_no_connection_of_the_queue(dsn: str, empty_dsn: str) -> None:
    queue = SyncQueue.connect(catalog, "postgresql://nobody@127.0.0.1:1/none", settings=Settings.load())
    with psycopg.connect(dsn) as connection, queue.transaction(connection) as jobs:
        assert jobs.send(greet, "Ada").created
    with (
        psycopg.connect(empty_dsn) as connection,
        queue.transaction(connection) as jobs,
        pytest.raises(SchemaVersionError, match="zeke migrate"),
    ):
        jobs.send(greet, "Ada")


async def test_commit_wakes_an_idle_worker_and_the_result_is_read(dsn: str) -> None:
    def application() -> str:
        with SyncQueue.connect(catalog, dsn) as queue:
            with psycopg.connect(dsn) as connection, queue.transaction(connection) as jobs:
                run = jobs.send(greet, "Ada")
            return run.result(timeout=60)

    async with Queue.connect(catalog, dsn) as queue, Worker(queue, poll_interval=3600):
        assert await asyncio.to_thread(application) == "Hello Ada"


def test_savepoint_of_django_takes_its_jobs_back(dsn: str, queue: SyncQueue) -> None:
    with django_on(dsn) as connection, atomic():
        with queue.transaction(connection.connection) as jobs:
            kept = jobs.send(greet, "Ada")
        with suppress(Undone), atomic():
            with queue.transaction(connection.connection) as jobs:
                undone = jobs.send(greet, "Grace")
            raise Undone
    assert kept.status() is JobStatus.QUEUED
    assert queue.get(undone.id) is None
