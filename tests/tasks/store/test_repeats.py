"""A verb that is repeated later with the same arguments writes no row."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tests.tasks.domain import Domain
from zeke_tasks.store.analysis import Analysis, AnalysisState, Brief, BriefDraft, Embedding, Spending
from zeke_tasks.store.highlights import HighlightKind, NewHighlight, ReadingState, Score, TeamHighlight
from zeke_tasks.store.model import Story
from zeke_tasks.store.playbooks import NewRun, Playbook, RunEvent, RunStatus, Step, TriggerSource
from zeke_tasks.store.repository import Rows

TEAM = UUID(int=21)
PLAYBOOK = Playbook(UUID(int=31), TEAM, "Daily", [Step("a", "ingest-pull", {"reason": "manual"})])
RUN = NewRun(UUID(int=41), PLAYBOOK.id, TEAM, TriggerSource.API)
OTHER = NewRun(UUID(int=42), PLAYBOOK.id, TEAM, TriggerSource.API)


async def _write(rows: Rows, story: Story) -> None:
    content = await rows.content(story.content_id)
    assert content is not None
    await rows.put_content(content)
    await rows.set_active(story.primary_source_id, active=False)
    await rows.set_summary(story.id, "short", replace=True)
    await rows.link_source(story.id, story.primary_source_id)
    await rows.put_analysis(
        story.id, Analysis("Faster.", 3, 0.125, AnalysisState.COMPLETED, "m", "1", [{"a": 1.50}])
    )
    await rows.put_brief(story.id, Brief("One.", "Two.", None, 60))
    draft = BriefDraft("Faster.", "1", {"two_liner": "One. Two.", "one_liner": "One."})
    await rows.put_brief_draft(story.id, draft)
    await rows.put_embedding(story.id, Embedding("m", (0.1, 1 / 3)))
    await rows.note_spending(Spending(UUID(int=51), 1, "analysis", "analyze-story", "m", 1, 2, 0.1))
    new = NewHighlight(story.id, TEAM, HighlightKind.METRIC, "Fast", 0.855, tags=("a",), references=("b",))
    await rows.put_highlights([new])
    await rows.put_score(new.id, Score(0.125, ("a",), {"kind": 1.0, "keywords": 1e-7}))
    await rows.connect(TEAM, story.primary_source_id)
    await rows.set_reading_state(story.id, [TEAM], ReadingState.READ)
    await rows.put_team_highlight(TeamHighlight(TEAM, new.id, pinned=True))
    await rows.put_playbook(PLAYBOOK)
    for run in (RUN, OTHER):
        await rows.ensure_run(run)
        await rows.begin_run(run.id)
    await rows.put_output(RUN.id, "a", {"n": 1})
    await rows.put_run_event(RunEvent(RUN.id, 0, "run.created"))
    await rows.end_run(OTHER.id, RunStatus.FAILED, "boom")


async def test_repeated_write_changes_nothing(domain: Domain) -> None:
    story = await domain.told_story()
    async with domain.rows() as rows:
        await _write(rows, story)
    once = await domain.everything()
    domain.clock.advance(60)
    async with domain.rows() as rows:
        await _write(rows, story)
    assert await domain.everything() == once


async def test_repeated_write_updates_no_row_on_postgres(on_postgres: Domain, domain_dsn: str) -> None:
    story = await on_postgres.told_story()
    async with on_postgres.rows() as rows:
        await _write(rows, story)
    once = _rows(domain_dsn)
    on_postgres.clock.advance(60)
    async with on_postgres.rows() as rows:
        await _write(rows, story)
    assert _rows(domain_dsn) == once


def _rows(dsn: str) -> dict[str, list[Any]]:
    """Return every row of every table, and which transaction wrote it."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'zeke' order by 1")
        every = sql.SQL("select xmin::text, * from zeke.{} order by 2, 3")
        return {
            table: connection.execute(every.format(sql.Identifier(table))).fetchall()
            for (table,) in tables.fetchall()
        }
