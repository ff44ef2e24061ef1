"""The progress of a run, as users see it."""

from __future__ import annotations

import io
from dataclasses import replace
from uuid import UUID

from rich.console import Console

from tests.tasks.test_report import finding
from zeke_queue.model import QueueStats, RowState
from zeke_tasks.cli.progress import Part, display, standing
from zeke_tasks.cli.report import Finding
from zeke_tasks.store.model import ItemStatus

COUNTS = [
    QueueStats("ingest-source", {RowState.COMPLETED: 1, RowState.RETRY: 1}),
    QueueStats("ingest-from-youtube", {RowState.FAILED: 1}),
    QueueStats("fetch-content", {RowState.ACTIVE: 1}),
    QueueStats("analyze-story", {RowState.COMPLETED: 2, RowState.CREATED: 3, RowState.FAILED: 1}),
    QueueStats("generate-brief", {RowState.COMPLETED: 1, RowState.ACTIVE: 1}),
]


def _found() -> list[Finding]:
    told = finding("a", told=True)
    waits = finding("b", told=False)
    return [told, replace(waits, item=replace(waits.item, id=UUID(int=2), status=ItemStatus.PENDING))]


def test_jobs_and_items_are_summed_up() -> None:
    now = standing(COUNTS, _found())
    assert (now.feeds, now.items, now.stories) == (Part(2, 3), Part(1, 2), 1)
    # A failed analysis does not count, and each pending one will lead to a brief.
    assert (now.analyses, now.briefs) == (Part(2, 6), Part(1, 5))
    assert (now.waiting, now.active, now.failed) == (4, 2, 2)
    assert not now.quiet


def test_progress_ends_when_no_job_waits_or_runs() -> None:
    ended = [QueueStats("fetch-content", {RowState.COMPLETED: 1, RowState.FAILED: 1, RowState.CANCELLED: 1})]
    assert standing(ended, []).quiet
    for state in (RowState.CREATED, RowState.RETRY, RowState.ACTIVE):
        assert not standing([*ended, QueueStats("any", {state: 1})], []).quiet


def _shown(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with display(console) as shown:
        shown.show(standing([], []))
        for _ in range(2):
            shown.show(standing(COUNTS, _found()))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_change_is_a_line_without_a_terminal() -> None:
    assert _shown(terminal=False).splitlines() == [
        "jobs 0 running and 0 waiting",
        "feeds 2/3, items 1/2, stories 1, analyses 2/6, briefs 1/5, jobs 2 running and 4 waiting, 2 failed",
    ]


def test_each_part_has_a_bar_on_a_terminal() -> None:
    shown = _shown(terminal=True)
    for name in ("Feeds", "Items", "Analyses", "Briefs"):
        assert name in shown
    assert "2 jobs running, 2 failed" in shown
