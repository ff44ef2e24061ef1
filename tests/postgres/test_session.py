"""The settings of connections, whatever the database, the role or a pooler have as defaults."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import pytest
from psycopg import sql as composing
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.cases import check_each_async
from tests.database import database_name
from tests.postgres.many_jobs import ANNA, Sender
from tests.postgres.opening import until_one_waits
from tests.postgres.pooler import pooled
from zeke_queue.core.timeouts import IDLE_SECONDS, LOCK_SECONDS, SILENCE_SECONDS, STATEMENT_SECONDS
from zeke_queue.errors import (
    LockTimeoutError,
    ReadTimeoutError,
    SettingsError,
    StatementTimeoutError,
    StorageUnavailableError,
)
from zeke_queue.model import Completed, Failed, JobEvent, JobQuery, Released, Schedule, WorkerInfo
from zeke_queue.storage.postgres import PostgresStorage, migrate
from zeke_queue.storage.postgres.server_info import read_server_info
from zeke_queue.storage.postgres.session import RELIED_ON, find_session
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres.many_jobs import Connection

ODD = {
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "America/New_York",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "standard_conforming_strings": "off",
    "search_path": "''",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "plan_cache_mode": "force_custom_plan",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "enable_tidscan": "off",
    "jit": "on",
    "lock_timeout": "1ms",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
    "idle_session_timeout": "5s",
    "transaction_timeout": "5s",
    "client_encoding": "latin1",
}
NEWER = {"transaction_timeout": 170_000}

MILLISECONDS = {
    "lock_timeout": LOCK_SECONDS * 1000,
    "statement_timeout": STATEMENT_SECONDS * 1000,
    "idle_in_transaction_session_timeout": IDLE_SECONDS * 1000,
    "idle_session_timeout": 0,
}


@pytest.fixture
def plain(dsn: str) -> str:
    """The test's database without options of its DSN."""
    return make_conninfo(dsn, options="")


@contextmanager
def defaults(sql: Connection, dsn: str, settings: dict[str, str], whose: str = "database") -> Iterator[None]:
    """Give a database, or its role in it, other defaults."""
    name = composing.Identifier(database_name(dsn))
    owner = composing.SQL("database {}").format(name)
    if whose == "role":
        owner = composing.SQL("role current_user in database {}").format(name)
    known = {one: value for one, value in settings.items() if sql.info.server_version >= NEWER.get(one, 0)}
    for setting, value in known.items():
        text = value if value == "''" else f"'{value}'"
        # Identifiers and literals of this module.
        sql.execute(composing.SQL(f"alter {{}} set {setting} = {text}").format(owner))  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        sql.execute(composing.SQL("alter {} reset all").format(owner))


async def use(storage: PostgresStorage) -> None:
    """Everything that depends on how values are written and read."""
    sender = Sender(storage, SystemClock())
    await storage.heartbeat(WorkerInfo(ANNA, "host", 1, ("mail",), 15.0))
    await sender.send(3, start_at=SystemClock().now())
    async with storage.transaction() as transaction:
        await sender.send(2, within=transaction)
        await sender.send(within=transaction)
    one, other, third, *rest = await sender.claim(10)
    assert len(rest) == 3
    changed = await storage.settle(
        [Completed(one.id, 1, '{"f": 0.1}')], [Failed(other.id, 1, 0.0, "{}")], [Released(third.id, 1)]
    )
    assert len(changed) == 3
    assert (await storage.get([one.id]))[one.id].output == {"f": 0.1}
    await storage.append_events([JobEvent(one.id, 1, "log", "{}")])
    await storage.declare([], [Schedule("daily", "0 5 * * *", "mail")])
    for own in (True, False):
        async with storage.transaction(own=own) as transaction:
            now, found = await transaction.lock_due_schedules(10)
            assert [schedule.name for schedule in found] == ["daily"]
            await transaction.record_tick("daily", now, now)
            _, (schedule,) = await transaction.lock_due_schedules(10)
            assert schedule.last_tick == now
            await transaction.lock_expired(10)
    found_jobs = (await storage.find(JobQuery())).jobs
    assert all(abs((job.created_on - now).total_seconds()) < 3600 for job in found_jobs)
    await storage.cancel([job.id for job in found_jobs])
    await storage.archive(0.0, 10)
    await storage.purge(0.0, 10)
    await storage.deregister(ANNA)
    await storage.delete_schedule("daily")


async def test_statements_work_whatever_the_defaults_are(plain: str, dsn: str, sql: Connection) -> None:
    async def check(name: str, value: str, whose: str) -> None:
        with defaults(sql, dsn, {name: value}, whose):
            # Settings are sent with the connection, or with each transaction.
            async with PostgresStorage.open(plain, listen=False, prepare=whose == "database") as storage:
                await use(storage)

    await check_each_async(
        [(name, value, whose) for name, value in ODD.items() for whose in ("database", "role")], check
    )


async def settings_within(storage: PostgresStorage, *, own: bool) -> dict[str, str]:
    async with storage.transaction(own=own) as transaction:
        cursor = await transaction.connection.execute("select name, setting from pg_settings")
        return {name.lower(): setting for name, setting in await cursor.fetchall()}


class Mode(NamedTuple):
    """How a storage connects: whose defaults differ, and which parameters a pooler in between drops."""

    whose: str
    prepare: bool
    pooler: bool = False
    ignored: str = ""


@pytest.mark.needs("pgbouncer")
async def test_settings_are_those_relied_on_in_every_mode(plain: str, dsn: str, sql: Connection) -> None:
    async def check(mode: Mode) -> None:
        with defaults(sql, dsn, ODD, mode.whose), pooled(plain, ignored=mode.ignored) as pooler:
            target = pooler if mode.pooler else plain
            async with PostgresStorage.open(target, listen=False, prepare=mode.prepare) as storage:
                found = await settings_within(storage, own=True)
        relied_on = {name: value for name, value in RELIED_ON.items() if name != "datestyle"}
        assert {name: found[name] for name in relied_on} == relied_on
        assert found["datestyle"].startswith("ISO")
        assert found["search_path"] == 'pg_catalog, ""'
        assert {name: float(found[name]) for name in MILLISECONDS} == MILLISECONDS
        assert found.get("transaction_timeout", "0") == "0"

    modes = [
        Mode("database", prepare=True),
        Mode("role", prepare=True),
        Mode("database", prepare=False),
        Mode("database", prepare=False, pooler=True),
        Mode("role", prepare=True, pooler=True),
        Mode("database", prepare=True, pooler=True, ignored="options"),
    ]
    await check_each_async([(mode,) for mode in modes], check)


GIVEN = (
    r"-c lock_timeout=5s --idle-in-transaction-session-timeout=7s -cstatement_timeout=3s -c search_path=a,\ b"
)
"""Options of a connection string, spelt in each way."""


@pytest.mark.needs("pgbouncer")
@pytest.mark.parametrize("ignored", [None, "", "options"])
@pytest.mark.parametrize("prepare", [True, False])
async def test_options_of_the_connection_string_hold_behind_a_pooler(
    plain: str,
    ignored: str | None,
    prepare: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The pooler refuses options, or drops them; None without a pooler."""
    with pooled(plain, ignored=ignored or "") as pooler:
        target = make_conninfo(plain if ignored is None else pooler, options=GIVEN)
        await migrate.check(target)
        assert (await read_server_info(target)).version
        async with PostgresStorage.open(target, listen=False, prepare=prepare) as storage:
            await use(storage)
            own = await settings_within(storage, own=True)
            application = await settings_within(storage, own=False)
        assert (await find_session(target, keep=prepare)).timeout == 3 + SILENCE_SECONDS
    limits = ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout")
    assert (
        [own[name] for name in limits] == [application[name] for name in limits] == ["5000", "7000", "3000"]
    )
    assert own["search_path"] == "pg_catalog, a, b"
    assert application["search_path"] == "a, b"


@pytest.mark.needs("pgbouncer")
async def test_options_of_the_environment_hold_behind_a_pooler(
    plain: str, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(ignored: str | None) -> None:
        with pooled(plain, ignored=ignored or "") as pooler:
            target: dict[str, Any] = conninfo_to_dict(plain if ignored is None else pooler)
            target.pop("options", None)
            async with PostgresStorage.open(make_conninfo(**target), listen=False) as storage:
                assert (await settings_within(storage, own=True))["lock_timeout"] == "5000"

    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=5s")
    await check_each_async([(None,), ("",), ("options",)], check)


@pytest.mark.needs("pgbouncer")
async def test_options_hold_behind_a_pooler_that_shows_the_process_of_the_server(
    plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_pooled(_: object) -> bool:
        return False

    monkeypatch.setattr("zeke_queue.storage.postgres.session.is_pooled", is_pooled)
    with pooled(plain, ignored="") as pooler:
        target = make_conninfo(pooler, options="-c lock_timeout=5s")
        async with PostgresStorage.open(target, listen=False) as storage:
            assert (await settings_within(storage, own=True))["lock_timeout"] == "5000"


@pytest.mark.needs("pgbouncer")
async def test_option_that_never_has_an_effect_is_accepted_behind_a_pooler(plain: str) -> None:
    options = "-c default_transaction_isolation=serializable"
    for ignored in ("", "options"):
        with pooled(plain, ignored=ignored) as pooler:
            await find_session(make_conninfo(pooler, options=options), keep=True)


@pytest.mark.needs("pgbouncer")
async def test_options_that_can_not_be_set_behind_a_pooler_are_refused(plain: str) -> None:
    async def check(ignored: str, options: str, reason: str) -> None:
        refused = pytest.raises(SettingsError, match=f"^options: must be .*, got {reason}")
        with pooled(plain, ignored=ignored) as pooler, refused:
            await find_session(make_conninfo(pooler, options=options), keep=True)

    cases = [
        ("-c default_transaction_read_only=on", "default_transaction_read_only: it has no effect"),
        ("-c log_connections=on", "log_connections: .* cannot be set after connection start; set it for"),
        ("-c lock_timeout=soon", "lock_timeout: invalid value"),
        ("-c no_such_setting=1", "no_such_setting: unrecognized"),
    ]
    await check_each_async([(i, *case) for case in cases for i in ("", "options")], check)
    await check_each_async([("", "-d 1 -c lock_timeout=1s", "'-d 1'; remove it")], check)
    async with PostgresStorage.open(make_conninfo(plain, options="-c log_connections=on -d 1"), listen=False):
        pass  # a server takes all of them


async def test_application_transaction_has_the_defaults_of_the_server(
    plain: str, dsn: str, sql: Connection
) -> None:
    mild = {
        **{name: value for name, value in ODD.items() if not name.endswith("_timeout")},
        "lock_timeout": "4444",
        "statement_timeout": "55555",
        "idle_in_transaction_session_timeout": "66666",
    }
    del mild["default_transaction_isolation"], mild["client_encoding"], mild["array_nulls"]
    with defaults(sql, dsn, mild):
        async with PostgresStorage.open(plain, listen=False) as storage:
            found = await settings_within(storage, own=False)
    assert found.pop("datestyle").startswith("German")
    assert found.pop("search_path") in ('""', "")
    assert {name: found[name] for name in mild if name in found} == {
        name: value for name, value in mild.items() if name in found
    }


@pytest.mark.nightly
async def test_wait_for_a_locked_row_ends_at_its_limit(plain: str, sql: Connection) -> None:
    async def check(limit: str, error: type[Exception]) -> None:
        hurried = make_conninfo(plain, options=f"-c {limit}=1s")
        async with PostgresStorage.open(plain, listen=False) as storage:
            (sent,) = await Sender(storage, SystemClock()).send()
            async with PostgresStorage.open(hurried, listen=False) as limited:
                with sql.transaction():
                    sql.execute("select from pgboss.job where id = %s for update", [sent])
                    with pytest.raises(error):
                        await limited.cancel([sent])
            assert await storage.cancel([sent]) == {sent}

    await check_each_async(
        [("lock_timeout", LockTimeoutError), ("statement_timeout", StatementTimeoutError)], check
    )


@pytest.mark.nightly
async def test_limits_of_production_find_a_deadlock_before_they_end_a_wait(
    plain: str, sql: Connection
) -> None:
    lock = "select from pgboss.job where id = %s for update"
    async with PostgresStorage.open(plain, listen=False) as storage:
        one, other = await Sender(storage, SystemClock()).send(2)
        waiting: list[asyncio.Future[Any]] = []

        async def cancel_both() -> None:
            async with storage.transaction(own=True) as transaction:
                assert await transaction.cancel([one]) == {one}
                waiting.append(asyncio.ensure_future(asyncio.to_thread(sql.execute, lock, [one])))
                await until_one_waits(transaction.connection)
                await transaction.cancel([other])

        sql.execute("set deadlock_timeout = '10min'")  # the storage's session finds it
        with sql.transaction():
            sql.execute(lock, [other])
            with pytest.raises(LockTimeoutError):
                await storage.cancel([other])
            with pytest.raises(StorageUnavailableError, match="because of a conflict"):
                await cancel_both()
            await waiting[0]


async def test_settings_of_an_application_end_with_its_transaction(plain: str) -> None:
    async with PostgresStorage.open(plain, min_size=1, max_size=1, listen=False) as storage:
        before = await settings_within(storage, own=True)
        async with storage.transaction() as transaction:
            await transaction.connection.execute("set lock_timeout = '1ms'")
            await transaction.connection.execute("set enable_seqscan = on")
        assert await settings_within(storage, own=True) == before


async def test_search_that_takes_too_long_says_what_narrows_it(plain: str, sql: Connection) -> None:
    async with PostgresStorage.open(plain, listen=False, read_seconds=0.05) as storage:
        with sql.transaction():
            sql.execute("lock table pgboss.job in access exclusive mode")
            with pytest.raises(ReadTimeoutError, match=r"longer than 0\.05 s .*; narrow it by task, status"):
                await storage.find(JobQuery(text="x"))
            with pytest.raises(ReadTimeoutError, match="shorter span"):
                await storage.throughput((), 60, 60)
            with pytest.raises(ReadTimeoutError, match="raise it"):
                await storage.queue_stats()
            with pytest.raises(ReadTimeoutError, match="fewer jobs are active"):
                await storage.workers()
            sql.execute("lock table pgboss.job_event in access exclusive mode")
            with pytest.raises(ReadTimeoutError, match="ask for fewer jobs"):
                await storage.events({UUID(int=1): 0})
