"""Deletions look up rows by indexes, however many rows the tables have."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import psycopg
import pytest

from tests.cases import check_each
from tests.postgres.explaining import plan_of
from tests.tasks.store.samples import TEAM
from zeke_tasks.store.postgres import migrate
from zeke_tasks.store.postgres.statements import STATEMENTS

pytestmark = pytest.mark.nightly

ROWS: Final = 100_000
OF_SOURCE: Final = 100
TABLES: Final = ("sources", "raw_items", "contents", "stories", "highlights", "ai_spending", "playbook_runs")

MANY: Final = """
    create function pg_temp.key(number bigint) returns uuid language sql
    return lpad(to_hex(number), 32, '0')::uuid;

    insert into zeke.sources (id, type, name, created_at, updated_at)
    select pg_temp.key(one), 'rss', 'A feed', now(), now()
    from generate_series(1, %(rows)s / %(of_source)s) as one;

    insert into zeke.raw_items (id, source_id, external_id, kind, created_at, updated_at)
    select pg_temp.key(one), pg_temp.key(1 + one / %(of_source)s), one::text, 'article', now(), now()
    from generate_series(1, %(rows)s - 1) as one;

    insert into zeke.contents (raw_item_id, text, content_hash, created_at, updated_at)
    select id, '', encode(sha256(external_id::bytea), 'hex'), now(), now() from zeke.raw_items;

    insert into zeke.stories (
        id, content_id, content_hash, kind, primary_source_id, title, created_at, updated_at
    )
    select item.id, item.id, content.content_hash, 'article', item.source_id, '', now(), now()
    from zeke.raw_items as item inner join zeke.contents as content on item.id = content.raw_item_id;

    insert into zeke.highlights (
        id, story_id, team_id, kind, summary, key, confidence, origin, created_at, updated_at
    )
    select
        id, id, pg_temp.key(1 + row_number() over () / 100), 'metric', '', content_hash, 1, 'system',
        now(), now()
    from zeke.stories;

    insert into zeke.ai_spending (
        job_id, attempt, purpose, task, model, input_tokens, output_tokens, team_id, created_at
    )
    select id, 1, '', '', '', 1, 1, team_id, now() from zeke.highlights;

    insert into zeke.playbooks (id, team_id, name, status, created_at, updated_at)
    select pg_temp.key(one), pg_temp.key(one), '', 'active', now(), now()
    from generate_series(1, %(rows)s / %(of_source)s) as one;

    -- One of a thousand has not ended, and a team has as many as a source has items.
    insert into zeke.playbook_runs (
        id, playbook_id, team_id, trigger_source, status, started_at, ended_at, created_at, updated_at
    )
    select
        pg_temp.key(one), pg_temp.key(1 + one / %(of_source)s), pg_temp.key(1 + one / %(of_source)s), 'api',
        case one %% 1000 when 0 then 'running' else 'succeeded' end, now(),
        case one %% 1000 when 0 then null else now() end, now(), now()
    from generate_series(1, %(rows)s - 1) as one;

    analyze zeke.sources, zeke.raw_items, zeke.contents, zeke.stories, zeke.highlights, zeke.ai_spending;
    analyze zeke.playbooks, zeke.playbook_runs;
"""

STORY: Final = UUID(int=5)
ITEM: Final = UUID(int=5)
SOURCE: Final = UUID(int=1)
VALUES: Final[dict[str, dict[str, Any]]] = {
    "lock_stories_of_source": {"id": SOURCE},
    "lock_items_of_source": {"id": SOURCE},
    "move_stories": {"id": SOURCE, "stories": [UUID(int=number) for number in range(1, OF_SOURCE)]},
    "delete_source": {"id": SOURCE},
    "empty_items": {"ids": [STORY]},
    "count_source": {"id": SOURCE},
    "count_story": {"id": STORY},
    "count_team": {"id": TEAM},
    "delete_stories": {"ids": [STORY], "items": [ITEM]},
    "lock_expired_stories": {"after": 86400.0, "limit": 200},
    "expire_items": {"after": 86400.0, "limit": 200},
    "expire_runs": {"after": 86400.0, "limit": 200},
    "open_runs": {"after": 86400.0, "limit": 200, "behind": None},
    "expire_spending": {"after": 86400.0, "limit": 200},
    "delete_highlights_of_team": {"id": TEAM},
    "delete_ai_spending_of_team": {"id": TEAM},
    "delete_playbook_runs_of_team": {"id": TEAM},
    "delete_open_runs": {"ids": [UUID(int=5)]},
    "stories_of_team": {"id": TEAM},
}


@pytest.fixture(scope="module")
def many(databases: Any) -> Any:
    """A database in which each table has as many rows as a deployment has after months."""
    with databases.database() as dsn:
        migrate.migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            psycopg.ClientCursor(connection).execute(MANY, {"rows": ROWS, "of_source": OF_SOURCE})
        yield dsn


def test_deletions_read_no_table_from_end_to_end(many: str) -> None:
    with psycopg.connect(many) as connection:

        def check(name: str, values: dict[str, Any]) -> None:
            text = f"explain (analyze, buffers, timing off, format json) {STATEMENTS[name]}".encode()
            with connection.transaction(force_rollback=True):
                plan = plan_of(connection.execute(text, {"now": None, **values}).fetchone())
            scans = [node for table in TABLES for node in plan.scans(table)]
            full = {node["Relation Name"] for node in scans if node["Node Type"] == "Seq Scan"}
            assert not full
            assert max((plan.most_read(node["Relation Name"]) for node in scans), default=0) <= 2 * OF_SOURCE

        check_each({name: (name, values) for name, values in VALUES.items()}, check)
