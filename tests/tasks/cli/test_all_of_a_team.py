"""The export and the deletion of a team with rows in every table: all of them, and none of another team."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from tests.clocks import START
from tests.tasks.cli.conftest import Zeke
from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from tests.tasks.store.samples import SPENDING, STEPS
from zeke_queue.client.parts import parts_of
from zeke_queue.storage.access import NewKey, Scope
from zeke_tasks.store.budgets import Reservation
from zeke_tasks.store.highlights import HighlightKind, NewHighlight, ReadingState, TeamHighlight
from zeke_tasks.store.model import Story
from zeke_tasks.store.playbooks import NewRun, Playbook, RunEvent, TriggerSource

TEAM, OTHERS = UUID("21212121-0000-4000-8000-000000000001"), UUID("22222222-0000-4000-8000-000000000002")

EXPORTED: Final = {
    "zeke.source_connections": "v1_subscriptions",
    "zeke.team_story_states": "v1_story_states",
    "zeke.team_highlight_states": "v1_highlight_states",
    "zeke.highlights": "v1_highlights",
    "zeke.playbooks": "playbooks",
    "zeke.playbook_runs": "v1_playbook_runs",
    "zeke.ai_budgets": "ai_budgets",
    "zeke.ai_budget_days": "ai_budget_days",
    "zeke.ai_reservations": "ai_reservations",
    "zeke.ai_spending": "ai_spending",
    "pgboss.api_key": "keys",
}
"""The tables with a team, and the kinds of their rows in the export."""

LEFT: Final = {"zeke.deleted_teams", "pgboss.api_key"}
"""The tables that keep the id of a deleted team: it is noted, and its keys are revoked."""

TABLES: Final = "select schemaname, tablename from pg_tables where schemaname in ('zeke', 'pgboss')"
WITH_TEAM: Final = """
    select format('%I.%I', table_schema, table_name) from information_schema.columns
    inner join information_schema.tables using (table_schema, table_name)
    where table_schema in ('zeke', 'pgboss') and column_name = 'team_id' and table_type = 'BASE TABLE'
"""


class Found:
    """What is stored of teams."""

    def __init__(self, dsn: str) -> None:
        self._sql = psycopg.connect(dsn, autocommit=True)

    def close(self) -> None:
        self._sql.close()

    def with_team(self) -> set[str]:
        return {name for (name,) in self._sql.execute(WITH_TEAM).fetchall()}

    def of(self, team: UUID) -> dict[str, list[str]]:
        """Return the rows that name a team anywhere, by table."""
        rows: dict[str, list[str]] = {}
        for schema, table in self._sql.execute(TABLES).fetchall():
            query = sql.SQL("select one::text from {} as one where one::text like %s order by 1")
            found = self._sql.execute(query.format(sql.Identifier(schema, table)), [f"%{team}%"]).fetchall()
            if found:
                rows[f"{schema}.{table}"] = [row for (row,) in found]
        return rows

    def events(self) -> int:
        return len(self._sql.execute("select from zeke.playbook_run_events").fetchall())


@pytest.fixture
def found(domain_dsn: str) -> Iterator[Found]:
    found = Found(domain_dsn)
    yield found
    found.close()


async def _fill(domain: Domain, story: Story, team: UUID, number: int) -> None:
    """Store a row of a team in each table, and jobs, a schedule and a key."""
    playbook, run = Playbook(UUID(int=number), team, "Daily", STEPS), UUID(int=number + 100)
    async with domain.rows() as rows:
        await rows.connect(team, story.primary_source_id)
        new = NewHighlight(story.id, team, HighlightKind.METRIC, "Faster", 0.85, tags=("a",))
        await rows.put_highlights([new])
        await rows.put_team_highlight(TeamHighlight(team, new.id))
        await rows.set_reading_state(story.id, [team], ReadingState.READ)
        await rows.put_playbook(playbook)
        await rows.ensure_run(NewRun(run, playbook.id, team, TriggerSource.API))
        await rows.put_run_event(RunEvent(run, 0, "run.created"))
        await rows.set_budget(team, Decimal(5))
        day = START.date()
        await rows.reserve(Reservation(run, 1, "analysis", "analyze-story", "m", team, day, Decimal(1)), None)
        await rows.note_spending(replace(SPENDING, job_id=run, team_id=team))
    queue, task = Jobs(domain).queue, "update-story-status"
    payload = {"storyId": story.id, "state": "read"}
    await queue.schedules.put(f"daily-{number}", "0 6 * * *", task=task, payload={**payload, "teamId": team})
    await queue.send(task, {**payload, "teamId": team})
    await queue.send(task, payload, meta={"teamId": str(team)})
    about: dict[str, Any] = {"scopes": frozenset({Scope.READ}), "team_id": team}
    key = NewKey(UUID(int=number), "key", f"mid_{number:08}", bytes([number]) * 32, **about)
    await parts_of(queue).storage.access.create_key(key)


async def test_all_of_a_team_is_exported_and_deleted(zeke: Zeke, on_postgres: Domain, found: Found) -> None:
    story = await on_postgres.told_story()
    for number, team in enumerate((TEAM, OTHERS), 1):
        await _fill(on_postgres, story, team, number)
    before, others = found.of(TEAM), found.of(OTHERS)
    # A new table with a team must be filled here, exported and deleted.
    assert found.with_team() == {*EXPORTED, "zeke.deleted_teams"}
    assert {*EXPORTED} <= {*before}

    lines: list[dict[str, Any]] = [
        json.loads(line) for line in (await zeke.good("export", "team", str(TEAM))).splitlines()
    ]
    kinds = Counter(line["kind"] for line in lines)
    assert {table: kinds[kind] for table, kind in EXPORTED.items()} == {
        table: len(before[table]) for table in EXPORTED
    }
    assert (kinds["playbook_run_events"], kinds["schedules"], kinds["jobs"]) == (1, 1, 2)
    assert str(OTHERS) not in str(lines)

    done = await zeke.good("delete", "team", str(TEAM), "--yes")
    assert done.startswith(
        f"Deleted team {TEAM}: 1 API key, 1 schedule, 2 jobs, 1 subscription, 1 state of a story,"
        " 1 state of a highlight, 1 highlight, 1 run of a playbook, 1 playbook, 1 AI budget,"
    )
    assert {*found.of(TEAM)} == LEFT
    assert found.events() == 1
    assert found.of(OTHERS) == others
