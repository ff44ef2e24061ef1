"""The views that the product reads are those of docs/data.md, whatever migrations do to the tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg import errors, sql

from tests.cases import check_each
from tests.tasks.domain import Domain, content_of
from tests.tasks.store.samples import BRIEF, MODELS, PLAYBOOK, SCORE, SPENDING, TEAM
from zeke_tasks.store.highlights import HighlightKind, NewHighlight, ReadingState, TeamHighlight
from zeke_tasks.store.model import HealthStatus, ItemStatus, NewItem, SourceType, item_id
from zeke_tasks.store.playbooks import NewRun, RunStatus, TriggerSource
from zeke_tasks.store.postgres import migrate

PAGE: Final = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
QUERY, GRANTS, CHANGE = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)

VIEWS: Final = """
select view.relname, attribute.attname, format_type(attribute.atttypid, attribute.atttypmod)
from pg_class as view
inner join pg_attribute as attribute on attribute.attrelid = view.oid
where view.relnamespace = 'zeke'::regnamespace and view.relkind = 'v' and attribute.attnum > 0
order by view.relname, attribute.attnum
"""
TABLES: Final = """
select relname from pg_class where relnamespace = 'zeke'::regnamespace and relkind = 'r' order by relname
"""
NULLABLE: Final = """
select relation.relname, attribute.attname
from pg_class as relation
inner join pg_attribute as attribute on attribute.attrelid = relation.oid
where relation.relnamespace = 'zeke'::regnamespace and relation.relkind = 'r'
and attribute.attnum > 0 and not attribute.attnotnull and not attribute.attisdropped
order by relation.relname, attribute.attnum
"""
ROLE: Final = "product"
TABLES_OF_TEAMS: Final = {
    "source_connections": "v1_subscriptions",
    "team_story_states": "v1_story_states",
    "team_highlight_states": "v1_highlight_states",
    "highlights": "v1_highlights",
    "playbook_runs": "v1_playbook_runs",
    "ai_spending": "v1_spending",
}
"""The tables whose rows ``delete_team`` deletes, with the views that export them; others have none."""

Columns = dict[str, list[tuple[str, str]]]


def documented() -> tuple[Columns, set[tuple[str, str]]]:
    """Return the columns of each view with their types, and those that may be null."""
    columns: Columns = {}
    nullable: set[tuple[str, str]] = set()
    for view, section in re.findall(r"^### (v1_\w+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL):
        rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) ?\|", section, re.MULTILINE)
        columns[view] = [(name, kind) for name, kind, _ in rows]
        nullable |= {(view, name) for name, _, null in rows if null == "yes"}
    return columns, nullable


def viewed(connection: psycopg.Connection[Any]) -> Columns:
    columns: Columns = {}
    for view, name, kind in connection.execute(VIEWS).fetchall():
        columns.setdefault(view, []).append((name, kind))
    return columns


@pytest.fixture
def connection(domain_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection with an open transaction, which is rolled back."""
    with psycopg.connect(domain_dsn) as connection:
        yield connection
        connection.rollback()


def test_views_are_those_of_the_page(connection: psycopg.Connection[Any]) -> None:
    columns, _ = documented()
    assert viewed(connection) == columns


async def test_columns_are_null_only_where_documented(
    on_postgres: Domain, connection: psycopg.Connection[Any]
) -> None:
    await _fill(on_postgres, connection)
    columns, nullable = documented()
    nulls, values = _seen(connection, columns)
    assert values == {(view, name) for view in columns for name, _ in columns[view]}
    changes = [
        sql.SQL("update zeke.{} set {} = null").format(sql.Identifier(table), sql.Identifier(column))
        for table, column in connection.execute(NULLABLE).fetchall()
    ]
    changes += [
        sql.SQL("delete from zeke.{}").format(sql.Identifier(table))
        for (table,) in connection.execute(TABLES).fetchall()
    ]
    for change in changes:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(change)
                nulls |= _seen(connection, columns)[0]
        except (errors.CheckViolation, errors.UniqueViolation):
            continue  # other columns are null with this one, as in a row that is there
    assert nulls == nullable


def _seen(
    connection: psycopg.Connection[Any], columns: Columns
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Return the columns that are null in some row, and those that have a value in some row."""
    nulls: set[tuple[str, str]] = set()
    values: set[tuple[str, str]] = set()
    for view, listed in columns.items():
        counts = [sql.SQL("count({})").format(sql.Identifier(name)) for name, _ in listed]
        query = sql.SQL("select count(*), {} from zeke.{}").format(
            sql.SQL(", ").join(counts), sql.Identifier(view)
        )
        (row,) = connection.execute(query).fetchall()
        for (name, _), count in zip(listed, row[1:], strict=True):
            nulls |= {(view, name)} if count < row[0] else set()
            values |= {(view, name)} if count else set()
    return nulls, values


async def _fill(domain: Domain, connection: psycopg.Connection[Any]) -> None:
    """Store rows with a value in every column, and those whose columns are null only together."""
    source = await domain.source(authority_score=0.5)
    await domain.source(None, type=SourceType.MANUAL)
    story = await domain.told_story(source=source, url="https://a.example/1", published_at=domain.clock.now())
    async with domain.rows() as rows:
        about: dict[str, Any] = {"next_check_in": 60.0}
        validators: dict[str, Any] = {"etag": "a", "last_modified": "b", "status": HealthStatus.OK}
        await rows.record_success(source.id, **about, **validators)
        await rows.record_failure(source.id, **about, message="not there")
        item = NewItem("x", url="https://a.example/1", title="t", published_at=domain.clock.now())
        await rows.put_items(source.id, [item])
        await rows.finish_item(item_id(source.id, "x"), ItemStatus.FAILED, "not there")
        urls = {"html_url": "h", "pdf_url": "p", "audio_url": "a", "transcript_vtt": "v", "language": "en"}
        content = content_of(item_id(source.id, "x"), "Some text.")
        await rows.put_content(replace(content, **urls, duration_seconds=1, view_count=1))
        await rows.set_summary(story.id, "s", replace=True)
        await rows.put_analysis(story.id, MODELS)
        await rows.put_brief(story.id, BRIEF)
        whole = NewHighlight(
            story.id, TEAM, HighlightKind.METRIC, "s", 0.5, "t", "q", created_by=TEAM, tags=("a",)
        )
        (key, _) = await rows.put_highlights([whole, replace(whole, team_id=None, quote="r")])
        await rows.put_score(key, SCORE)
        await rows.put_team_highlight(TeamHighlight(TEAM, key))
        await rows.connect(TEAM, source.id)
        await rows.set_reading_state(story.id, [TEAM], ReadingState.READ)
        await rows.put_playbook(PLAYBOOK)
        for number in (1, 2):
            await rows.ensure_run(
                NewRun(UUID(int=number), PLAYBOOK.id, TEAM, TriggerSource.API, triggered_by=TEAM)
            )
        await rows.begin_run(UUID(int=1))
        await rows.end_run(UUID(int=1), RunStatus.FAILED, "not there")
        await rows.note_spending(replace(SPENDING, team_id=TEAM))
    connection.execute("insert into zeke.story_clusters values (gen_random_uuid(), 'c', now(), now())")
    connection.execute("update zeke.stories set cluster_id = (select id from zeke.story_clusters)")


async def test_spending_is_summed_up_by_day_team_task_and_model(
    on_postgres: Domain, connection: psycopg.Connection[Any]
) -> None:
    async with on_postgres.rows() as rows:
        for attempt, cost in ((1, 0.25), (2, 0.5), (3, None)):
            await rows.note_spending(replace(SPENDING, attempt=attempt, cost_usd=cost))
    on_postgres.clock.advance(timedelta(days=1).total_seconds())
    for attempt, team in ((4, TEAM), (5, None)):
        await on_postgres.verbs.note_spending(
            replace(SPENDING, attempt=attempt, cost_usd=0.0625, team_id=team)
        )
    connection.execute("set time zone 'Pacific/Kiritimati'")
    found = connection.execute(
        "select day, team_id, calls, input_tokens, output_tokens, dollars, unpriced_calls"
        " from zeke.v1_spending order by day, team_id"
    ).fetchall()
    today = on_postgres.clock.now().date()
    first = (today - timedelta(days=1), None, 3, 3, 6, Decimal("0.75"), 1)
    assert found == [first, *((today, team, 1, 1, 2, Decimal("0.0625"), 0) for team in (TEAM, None))]


async def test_item_has_the_story_of_its_text(
    on_postgres: Domain, connection: psycopg.Connection[Any]
) -> None:
    one, other = await on_postgres.source(), await on_postgres.source("https://b.example/feed")
    story = await on_postgres.told_story("the same", one)
    assert (await on_postgres.told_story("the same", other)).id == story.id
    unread = await on_postgres.item(one)
    found = connection.execute("select source_id, story_id from zeke.v1_items where id <> %s", [unread])
    assert set(found.fetchall()) == {(one.id, story.id), (other.id, story.id)}


def test_role_with_the_documented_grants_reads_views_only(connection: psycopg.Connection[Any]) -> None:
    connection.execute(f"create role {ROLE}")
    connection.execute(GRANTS)
    connection.execute(f"set local role {ROLE}")
    connection.execute(QUERY)

    def check(view: str) -> None:
        with connection.transaction():
            query = sql.SQL("select from zeke.{}").format(sql.Identifier(view))
            assert connection.execute(query).fetchall() == []

    check_each(sorted(documented()[0]), check)
    with pytest.raises(errors.InsufficientPrivilege):
        connection.execute("select from zeke.sources")


def test_documented_change_of_a_table_keeps_its_view(connection: psycopg.Connection[Any]) -> None:
    team = "7f6b0e52-3c1d-4a5e-9b0a-2d8c4e6f1a35"
    connection.execute(
        "insert into zeke.sources values (%s, 'rss', 'A', null, null, true, 1, '{}', now(), now())", [team]
    )
    connection.execute(
        "insert into zeke.source_connections values (%(id)s, %(id)s, '2026-01-02 03:04:05.678Z')",
        {"id": team},
    )
    connection.execute(f"create role {ROLE}")
    connection.execute(GRANTS)
    rows = "select * from zeke.v1_subscriptions"
    before = connection.execute(rows).fetchall()
    connection.execute(CHANGE)
    assert viewed(connection) == documented()[0]
    connection.execute(f"set local role {ROLE}")
    assert connection.execute(rows).fetchall() == before


def test_migrations_drop_and_alter_no_view() -> None:
    def check(text: str) -> None:
        assert not re.search(r"(drop|alter)\s+view|drop\s[^;]*\bcascade\b", re.sub(r"--.*", "", text).lower())

    check_each({step.name: (step.text,) for step in migrate.migrations()}, check)


def test_each_table_of_teams_is_exported_and_deleted(domain_dsn: str) -> None:
    with psycopg.connect(domain_dsn) as connection:
        found = connection.execute(
            "select relation.relkind::text, relation.relname from pg_class as relation"
            " inner join pg_attribute as attribute on attribute.attrelid = relation.oid"
            " where relation.relnamespace = 'zeke'::regnamespace and attribute.attname = 'team_id'"
            " and relation.relkind in ('r', 'v')"
        ).fetchall()
    tables = {name for kind, name in found if kind == "r"}
    others = {"playbooks", "ai_budgets", "ai_budget_days", "ai_reservations", "deleted_teams"}
    assert tables == {*TABLES_OF_TEAMS} | others
    views = {name for kind, name in found if kind == "v"}
    assert views == {*TABLES_OF_TEAMS.values()}
