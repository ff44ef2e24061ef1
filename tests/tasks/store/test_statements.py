"""Statements and tables of schema zeke: prepared and migrated, also where rows are or little is offered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from uuid import UUID

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus

from tests.clocks import START, FrozenClock
from tests.conformance.driver import soon
from tests.database import database_name
from tests.tasks.domain import Domain, there
from zeke_queue.errors import LockTimeoutError, SchemaVersionError, StorageUnavailableError
from zeke_queue.storage.postgres import PostgresStorage
from zeke_tasks.store.analysis import Analysis, AnalysisState, Brief, Embedding
from zeke_tasks.store.model import NewItem, NewSource, SourceType
from zeke_tasks.store.postgres import PostgresRepository, migrate
from zeke_tasks.store.postgres.repository import PostgresRows
from zeke_tasks.store.postgres.statements import STATEMENTS

NAMES = [step.name for step in migrate.migrations()]


def test_each_statement_can_be_prepared(dsn: str) -> None:
    migrate.migrate(dsn)
    with psycopg.connect(dsn) as connection:
        for name, text in STATEMENTS.items():
            prepared = connection.pgconn.prepare(name.encode(), _numbered(text).encode())
            assert prepared.status == ExecStatus.COMMAND_OK, (name, prepared.error_message)


def _numbered(text: str) -> str:
    """Return a statement with its parameters as Postgres counts them."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    return re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", text).replace("%%", "%")


SPENT = """
    with age as materialized (
        select now() - case when n <= 30 then interval '90 days' else interval '1 hour' end as at
        from generate_series(1, 5030) as n
    ),
    calls as (
        insert into zeke.ai_spending
        select gen_random_uuid(), 1, 'brief', 'a', 'm', 1, 1, 0.1, at, null from age
    ),
    days as (insert into zeke.ai_budget_days select gen_random_uuid(), at::date, 1 from age)
    insert into zeke.ai_reservations
    select gen_random_uuid(), 1, 'brief', 'a', 'm', null, at::date, 1, at from age
"""
LEFT = """
    select
        (select count(*) from zeke.ai_spending),
        (select count(*) from zeke.ai_budget_days),
        (select count(*) from zeke.ai_reservations)
"""


def test_retention_of_spending_reads_and_deletes_a_batch(dsn: str) -> None:
    migrate.migrate(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute(SPENT)
        for _ in range(2):
            plan = connection.execute(
                f"explain analyze {STATEMENTS['expire_spending']}".encode(),
                {"now": None, "after": 30 * 86_400, "limit": 10},
            ).fetchall()
            assert "Seq Scan" not in "\n".join(line for (line,) in plan)
            connection.execute("analyze")
        assert connection.execute(LEFT).fetchone() == (5010, 5010, 5010)


async def test_times_are_in_utc_in_any_timezone_of_the_connection(dsn: str) -> None:
    migrate.migrate(dsn)
    async with await psycopg.AsyncConnection.connect(dsn, options="-c timezone=Asia/Tokyo") as connection:
        rows = PostgresRows(connection, lambda: START)
        source = await rows.ensure_source(UUID(int=1), NewSource(SourceType.RSS, "a", "https://a.example/"))
        await rows.record_failure(source.id, next_check_in=60, message="boom")
        (key,) = await rows.put_items(source.id, [NewItem(external_id="1", published_at=START)])
        health, (item,) = await rows.health(source.id), await rows.items([key])
    assert health is not None
    times = [health.next_check_at, health.last_error_at, item.published_at]
    assert [time and time.tzinfo for time in times] == [UTC] * 3


async def test_migrating_again_changes_nothing(dsn: str) -> None:
    assert migrate.migrate(dsn) == NAMES
    assert migrate.migrate(dsn) == []
    await migrate.check(dsn)


def test_concurrent_migrations_run_once(dsn: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        applied = [names for names in threads.map(migrate.migrate, [dsn] * 8) if names]
    assert applied == [NAMES]


async def test_printed_sql_creates_the_same_tables(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(migrate.sql().encode())
    await migrate.check(dsn)
    assert migrate.migrate(dsn) == []


async def test_missing_tables_say_what_to_run(dsn: str) -> None:
    with pytest.raises(SchemaVersionError, match="zeke migrate"):
        await migrate.check(dsn)


async def test_missing_database_is_unavailable() -> None:
    nowhere = "postgresql://127.0.0.1:1/nothing?connect_timeout=2"
    with pytest.raises(StorageUnavailableError):
        migrate.migrate(nowhere)
    with pytest.raises(StorageUnavailableError):
        await migrate.check(nowhere)


async def test_newer_schema_is_accepted(dsn: str) -> None:
    migrate.migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into zeke.migration values (9999, 'later', now())")
    await migrate.check(dsn)


@pytest.mark.nightly
async def test_check_of_locked_tables_ends_at_the_limit_of_locks(dsn: str) -> None:
    migrate.migrate(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("lock table zeke.migration in access exclusive mode")
        with pytest.raises(StorageUnavailableError, match="lock timeout"):
            await soon(migrate.check(make_conninfo(dsn, options="-c lock_timeout=0")))


ANALYSIS = Analysis("It is faster.", 3, 0.5, AnalysisState.COMPLETED, "gpt-5-nano", "1")
VECTOR = Embedding("m", (0.1, 1.0))
OF_THE_FIRST = """
insert into zeke.sources (id, type, name, url, created_at, updated_at)
values (lpad('1', 32, '0')::uuid, 'rss', 'A feed', 'https://a.example/feed', now(), now());
insert into zeke.raw_items (id, source_id, external_id, kind, created_at, updated_at)
values (lpad('2', 32, '0')::uuid, lpad('1', 32, '0')::uuid, '1', 'article', now(), now());
insert into zeke.contents (raw_item_id, text, content_hash, created_at, updated_at)
values (lpad('2', 32, '0')::uuid, 'The text.', repeat('0', 64), now(), now());
insert into zeke.stories
(id, content_id, content_hash, kind, primary_source_id, title, created_at, updated_at)
values (
    lpad('3', 32, '0')::uuid,
    lpad('2', 32, '0')::uuid,
    repeat('0', 64),
    'article',
    lpad('1', 32, '0')::uuid,
    'A title',
    now(),
    now()
);
"""
OF_THE_SECOND = """
insert into zeke.story_overlays
(
    story_id, why_it_matters, analysis_state, model, prompt_version, analysed_at,
    brief_one_liner, brief_two_liner, brief_elevator, time_saved_seconds, brief_state, briefed_at
)
values (
    lpad('3', 32, '0')::uuid, 'It is faster.', 'completed', 'gpt-5-nano', '1', now(),
    'One.', 'Two.', 'Three.', 5, 'completed', now()
);
"""
STORY = UUID(int=3)


async def test_rows_of_the_first_version_can_be_analysed(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(migrate._SCHEMA + migrate._TABLE)
        connection.execute(migrate.migrations()[0].whole)
        connection.execute(OF_THE_FIRST)
        before = connection.execute("select * from zeke.stories").fetchall()
    assert migrate.migrate(dsn) == NAMES[1:]
    clock = FrozenClock()
    async with PostgresStorage.open(dsn, min_size=1, max_size=2, now=clock.now) as storage:
        domain = Domain(storage, PostgresRepository(clock.now), clock)
        async with domain.rows() as rows:
            story, text = await rows.story(STORY), await rows.text_of(STORY)
            assert await rows.put_analysis(STORY, ANALYSIS)
            assert await rows.put_highlights([]) == []
    with psycopg.connect(dsn) as connection:
        after = connection.execute("select * from zeke.stories").fetchall()
    assert story is not None
    assert text is not None
    assert (story.title, text.text) == ("A title", "The text.")
    assert len(after) == len(before) == 1


async def test_briefs_of_the_second_version_stay_without_a_prompt_version(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(migrate._SCHEMA + migrate._TABLE)
        for step in migrate.migrations()[:2]:
            connection.execute(step.whole)
        connection.execute(OF_THE_FIRST + OF_THE_SECOND)
    assert migrate.migrate(dsn) == NAMES[2:]
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        rows = PostgresRows(connection, lambda: START)
        overlay = there(await rows.overlay(STORY))
        assert (overlay.brief_one_liner, overlay.prompt_version) == ("One.", "1")
        assert overlay.brief_prompt_version is None
        assert await rows.put_brief(STORY, Brief("One.", "Two.", "Three.", 5, prompt_version="2"))
        overlay = there(await rows.overlay(STORY))
    assert (overlay.brief_prompt_version, overlay.briefed_at) == ("2", START)


async def test_earlier_version_works_on_the_current_tables(dsn: str) -> None:
    migrate.migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(OF_THE_FIRST + OF_THE_SECOND)
        assert connection.execute("select count(*) from zeke.story_overlays").fetchone() == (1,)


def _has_pgvector(connection: psycopg.Connection) -> bool:
    has = connection.execute("select from pg_available_extensions where name = 'vector'")
    return has.fetchone() is not None


def _embeddings_kept_as(connection: psycopg.Connection) -> str:
    kept = "select typbasetype::regtype::text from pg_type where oid = 'zeke.embedding'::regtype"
    row = there(connection.execute(kept).fetchone())
    return row[0]


def test_embeddings_are_stored_by_pgvector_if_available(dsn: str) -> None:
    migrate.migrate(dsn)
    with psycopg.connect(dsn) as connection:
        assert _embeddings_kept_as(connection) == ("vector" if _has_pgvector(connection) else "real[]")


@pytest.fixture
def dsn_of_the_schemas_owner(dsn: str) -> Iterator[str]:
    """The DSN of a role that owns the schema zeke, and may create nothing else in the database."""
    name = f"{database_name(dsn)}_narrow"
    role = sql.Identifier(name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {}").format(role))
        connection.execute(sql.SQL("create schema zeke authorization {}").format(role))
        yield make_conninfo(dsn, options=f"-c role={name}")
        connection.execute(sql.SQL("drop owned by {} cascade").format(role))
        connection.execute(sql.SQL("drop role {}").format(role))


async def test_embeddings_are_arrays_for_a_role_that_cannot_create_pgvector(
    dsn_of_the_schemas_owner: str, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate.migrate(dsn_of_the_schemas_owner)
    said = capsys.readouterr().err
    with psycopg.connect(dsn_of_the_schemas_owner, autocommit=True) as connection:
        assert ("pgvector" in said) is _has_pgvector(connection)
        assert _embeddings_kept_as(connection) == "real[]"
        connection.execute(OF_THE_FIRST)
    await _embed_and_look(dsn_of_the_schemas_owner)


async def test_pgvector_is_found_outside_the_search_path(dsn: str) -> None:
    migrate.migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(OF_THE_FIRST)
    await _embed_and_look(make_conninfo(dsn, options="-c search_path=pg_catalog -c extra_float_digits=-3"))


async def _embed_and_look(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        rows = PostgresRows(connection, lambda: START)
        await rows.put_embedding(STORY, Embedding("m", (1.0, 1.0)))
        await rows.put_embedding(STORY, VECTOR)
        assert await rows.embeddings(STORY) == [VECTOR]
        for looked_for, distance in [(VECTOR.vector, 0.0), ((-0.1, -1.0), 2.0), ((10.0, -1.0), 1.0)]:
            assert await rows.nearest(Embedding("m", looked_for), 1) == [(STORY, distance)]
        assert await rows.nearest(Embedding("m", (1.0, 1.0)), 1) == [(STORY, 0.226043)]
        assert await rows.nearest(Embedding("m", (0.0, 0.0)), 1) == [(STORY, 1.0)]


async def test_check_of_locked_tables_names_the_lock(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> None:
        raise errors.LockNotAvailable("canceling statement due to lock timeout")

    monkeypatch.setattr(psycopg, "connect", locked)
    with pytest.raises(LockTimeoutError):
        await soon(migrate.check(dsn))
