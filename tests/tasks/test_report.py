"""The tables for users: foreign text is shown unchanged, without control of the terminal."""

from __future__ import annotations

import io
from uuid import UUID

from rich.console import Console
from rich.table import Table

from tests.cases import check_each
from zeke_queue import Catalog, Fail, Job, JobQuery, Queue, Worker
from zeke_tasks.cli.report import Finding, Outcome, failed_jobs_table, failures_table, urls_table
from zeke_tasks.store.model import ItemStatus, Kind, RawItem, Source, SourceType, Story, StoryStatus

ID = UUID(int=1)
HOSTILE = [
    "[pdf] A paper",
    "Closing [/b] what was never opened",
    "[red]Not red[/red]",
    r"C:\[bin]",
    ":smile: is a word",
    "[link=https://evil.example]here[/link]",
]


def drawn(table: Table | None) -> str:
    """Return what a terminal is sent."""
    assert table
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="truecolor")
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def finding(words: str, *, told: bool) -> Finding:
    """Return an item of which everything is called by these words, with its story or without."""
    source = Source(
        ID, SourceType.RSS, words, None, None, is_active=True, check_frequency_hours=1, metadata={}
    )
    item = RawItem(ID, ID, "1", Kind.ARTICLE, None, words, None, None, {}, ItemStatus.FAILED, 1, words)
    story = Story(ID, ID, "", Kind.ARTICLE, None, ID, words, None, words, None, StoryStatus.NEW)
    return Finding(source, item, story if told else None)


def test_markup_in_words_is_shown_literally() -> None:
    def check(words: str) -> None:
        assert drawn(failures_table([finding(words, told=False)])).count(words) == 3
        assert drawn(urls_table([Outcome(words, "feed", 1, 1, words)])).count(words) == 2

    check_each(HOSTILE, check)


def test_control_characters_are_removed() -> None:
    def check(control: str) -> None:
        words = f"before{control}after"
        for table in (
            failures_table([finding(words, told=False)]),
            urls_table([Outcome(words, "feed", 1, 1, words)]),
        ):
            assert control not in drawn(table)

    check_each(["\x1b]0;pwned\x07", "\x1b[2J", "\x9b2J", "\x7f", "\r", "\b\b"], check)


def test_table_without_rows_is_omitted() -> None:
    assert failures_table([finding("a", told=True)]) is None


async def _failed(*reasons: str) -> list[Job]:
    """Jobs that failed permanently, each with a reason."""
    catalog = Catalog()

    @catalog.task("fails")
    async def fails(reason: str) -> None:
        raise Fail(reason)

    async with Queue.in_memory(catalog) as queue:
        for reason in reasons:
            await queue.send(fails, reason)
        await Worker(queue).drain()
        return (await queue.find(JobQuery())).jobs


async def test_equal_failures_are_one_line_with_their_count() -> None:
    jobs = await _failed("no network", "no network", "[red]no[/red] key\x1b[2J")
    lines = [line for line in drawn(failed_jobs_table(jobs)).splitlines() if "fails" in line]
    assert len(lines) == 2
    assert any("no network" in line and " 2 " in line for line in lines)
    assert any("[red]no[/red] key [2J" in line and " 1 " in line for line in lines)
    assert failed_jobs_table([]) is None


async def test_job_is_named_with_the_command_that_shows_it() -> None:
    jobs = await _failed("no network")
    assert "zeke job show " in drawn(failed_jobs_table(jobs))
    assert "--embedded" not in drawn(failed_jobs_table(jobs))
    assert "zeke job show --embedded" in drawn(failed_jobs_table(jobs, embedded=True))


async def test_command_is_not_suggested_for_jobs_that_are_not_stored() -> None:
    jobs = await _failed("no network")
    shown = drawn(failed_jobs_table(jobs, kept=False))
    assert str(jobs[0].id) in shown
    assert "zeke job show" not in shown
