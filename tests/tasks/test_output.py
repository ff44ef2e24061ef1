"""Stories, tables and the words of strangers as users are shown them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from io import StringIO
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.cases import check_each, each
from tests.clocks import START
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.scripted import ScriptedAI
from zeke_queue import Catalog, Fail, JobQuery, Queue, Worker
from zeke_queue.client.parts import parts_of
from zeke_queue.model import Job, QueueStats, RowState
from zeke_sim.loop.clock import VirtualClock
from zeke_sim.loop.event_loop import VirtualLoop
from zeke_tasks.ai.client import AIClient
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.briefs.generate import PROMPT
from zeke_tasks.cli.formatting import Entry, abbreviated, listed, printable_words, wrapped
from zeke_tasks.cli.output import describe_ai, print_brief, print_models_and_cost, print_stories, print_story
from zeke_tasks.cli.progress import Part, display, standing
from zeke_tasks.cli.report import Finding, Outcome, failed_jobs_table, failures_table, urls_table
from zeke_tasks.cli.run_jobs import JobRunner
from zeke_tasks.ingest.recognise import ReplayingClient
from zeke_tasks.store.analysis import AnalysisState, Overlay, Spending
from zeke_tasks.store.highlights import Highlight, HighlightKind, Origin, Score
from zeke_tasks.store.model import ItemStatus, Kind, RawItem, Source, SourceType, Story, StoryStatus
from zeke_tasks.stories.view import StoryView, brief_value, view
from zeke_tasks.testing.web import ScriptedWeb

ID = UUID(int=1)
KEY = SecretStr("sk-any")
PAGE = "https://a.example/"
STORY = Story(ID, ID, "", Kind.ARTICLE, None, ID, "A title", None, PAGE, START, StoryStatus.ANALYZED)
OVERLAY = Overlay(
    story_id=ID,
    why_it_matters="One reason.\nAnother reason.",
    chili=3,
    confidence=0.5,
    citations=(),
    analysis_state=AnalysisState.COMPLETED,
    model="gpt-5-nano",
    prompt_version="1",
    brief_one_liner="One line.",
    brief_two_liner="Two. Lines.",
    brief_elevator="A whole paragraph.",
    time_saved_seconds=90,
    analysed_at=START,
    briefed_at=START,
    brief_state=AnalysisState.COMPLETED,
)
CALL = Spending(ID, 1, "analysis", "analyze-story", "gpt-5-nano", 1000, 200, 0.0002)


def highlight(number: int, score: float | None) -> Highlight:
    return Highlight(
        id=UUID(int=number),
        story_id=ID,
        team_id=None,
        kind=HighlightKind.METRIC,
        title=None,
        summary=f"Figure {number}.",
        quote="def f():\n    return 1",
        key="",
        confidence=0.85,
        origin=Origin.SYSTEM,
        created_by=None,
        metadata={},
        tags=("fast", "small"),
        references=(),
        score=Score(score, (), {}) if score is not None else None,
        scored_at=None,
    )


def written(write: Callable[[Console], object], **options: Any) -> str:
    out = StringIO()
    write(Console(file=out, **options))
    return out.getvalue()


def told(tell: Callable[..., None], *arguments: object) -> str:
    return written(lambda out: tell(out, *arguments), width=100)


def test_short_story_has_its_briefs_and_two_best_highlights() -> None:
    seen = StoryView(STORY, None, OVERLAY, (highlight(1, 0.9), highlight(2, 0.8), highlight(3, 0.1)))
    shown = told(print_stories, [seen], {ID: ["A blog", "Another"]})
    lines = [line.rstrip() for line in shown.splitlines()]
    assert lines[:2] == ["Stories (1)", ""]
    assert "  chili 3/5 · 2026-01-05 · A blog, Another · id 00000000" in lines
    assert "  one line    One line." in lines
    assert "  two lines   Two. Lines." in lines
    assert "  highlights  0.90 metric: Figure 1." in lines
    assert "Figure 3" not in shown


def test_unanalysed_story_is_marked() -> None:
    assert "not analysed" in told(print_stories, [StoryView(STORY, None, None, ())])
    assert "not yet" in told(print_story, StoryView(STORY, None, None, ()))


def test_full_story_has_reasons_briefs_and_quotes_unchanged() -> None:
    shown = told(print_story, StoryView(STORY, None, OVERLAY, (highlight(1, 0.9), highlight(2, None))))
    for line in (
        "  • One reason.",
        "In short (saves 1 min 30 s of reading)",
        "Highlights (2)",
        "  0.90  metric: Figure 1.",
        "        │ def f():",
        "        │     return 1",
        "        tags: fast, small",
        "  analysed    by gpt-5-nano, 2026-01-05 12:00:00",
    ):
        assert line in [each.rstrip() for each in shown.splitlines()]


@each(
    ([CALL], "gpt-5-nano: 1 call, 1,000 tokens in and 200 out, $0.0002."),
    ([CALL, replace(CALL, attempt=2)], "gpt-5-nano: 2 calls, 2,000 tokens in and 400 out, $0.0004."),
    ([CALL, replace(CALL, attempt=2, cost_usd=None)], "at an unknown price."),
    ([replace(CALL, model="b"), CALL], "gpt-5-nano: 1 call"),
)
def test_usage_of_model_is_summarised(spent: list[Spending], said: str) -> None:
    shown = told(print_models_and_cost, [StoryView(STORY, None, OVERLAY, ())], spent)
    assert "Analysed by gpt-5-nano." in shown
    assert said in shown


def test_stub_is_named_and_costs_nothing() -> None:
    overlay = replace(OVERLAY, analysis_state=AnalysisState.STUB, model="stub")
    shown = told(print_models_and_cost, [StoryView(STORY, None, overlay, ())], [])
    assert "not an AI" in shown
    assert "token" not in shown


@each((ScriptedAI(), "completed"), (StubClient(), "stub"))
async def test_brief_of_stub_is_marked_beside_analysis_of_model(ai: AIClient, state: str) -> None:
    model = memory_jobs()
    story = await model.domain.told_story("Bees dance. " * 20)
    await model.run("analyze-story", {"storyId": story.id, "trigger": "auto"})
    writer = Jobs(model.domain, ScriptedWeb(), ai)
    await writer.run("generate-brief", {"storyId": story.id, "reason": "new_story"})
    async with model.domain.rows() as rows:
        seen = await view(rows, story)
    value = brief_value(seen)
    assert value is not None
    assert (value["state"], value["promptVersion"]) == (state, PROMPT.version)
    shown = told(print_brief, seen)
    assert ("The brief is by the stub (not an AI)." in shown) is (state == "stub")


@each(
    (AISettings(), "To use OpenAI's gpt-5-nano instead, set OPENAI_API_KEY."),
    (AISettings(zeke_ai="stub"), "ZEKE_AI is stub"),
    (AISettings(openai_api_key=KEY), "gpt-5-nano at api.openai.com reads the stories"),
    (
        AISettings(openai_api_key=KEY, openai_base_url="http://127.0.0.1:1/v1?secret"),
        "at 127.0.0.1 reads the stories",
    ),
)
def test_settings_decide_announced_ai(settings: AISettings, said: str) -> None:
    assert said in describe_ai(settings)
    assert "secret" not in describe_ai(settings)
    assert "sk-any" not in describe_ai(settings)


@each(
    ("as they are", "as they are"),
    (" red\x1b[31m\nand soft\u00adly ", "red [31m and softly"),
    ("a\u00a0b\u2028c", "a b c"),
    ("exe.\u202etxt", "exe.txt"),
    ("half \ud83d of it", "half of it"),
    ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
    ("日本語", "日本語"),
)
def test_words_become_one_printable_line(words: str, shown: str) -> None:
    assert printable_words(words) == shown


def _printed(words: str, width: int, first: str = "") -> list[str]:
    return written(lambda out: wrapped(out, words, first), width=width).splitlines()


def test_paragraph_respects_width_and_indent() -> None:
    words = "[bold]One two[/bold] three four five six seven eight nine ten eleven twelve"
    lines = _printed(words, 32, "  • ")
    assert len(lines) > 2
    assert all(len(line) <= 32 for line in lines)
    assert [line[:4] for line in lines] == ["  • ", *["    "] * (len(lines) - 1)]
    assert " ".join(line[4:] for line in lines) == words


def test_wide_characters_respect_the_width() -> None:
    assert all(len(line) <= 2 + 15 for line in _printed("語" * 40, 32, "  "))


def test_list_has_columns_for_short_cells_and_unbroken_words() -> None:
    entries = [
        Entry(
            ("a1", "ok"),
            "A name that takes more than one line of this",
            "And what is said of it, on its own",
            f"https://a.example/{'x' * 40}",
        ),
        Entry(("b2", Text("failing", style="red")), "Short"),
    ]
    shown = written(lambda out: listed(out, ("id", "is", "name"), entries), width=40)
    assert shown.splitlines() == [
        "id  is       name",
        "a1  ok       A name that takes more than",
        "             one line of this",
        "    And what is said of it, on its own",
        f"    https://a.example/{'x' * 40}",
        "b2  failing  Short",
    ]


def _listed(titles: Sequence[str], *entries: Entry) -> list[str]:
    shown = written(
        lambda out: listed(out, titles, entries), width=40, force_terminal=True, color_system=None
    )
    return shown.splitlines()


def test_column_width_counts_wide_characters() -> None:
    assert _listed(("識別子", "題名"), Entry(("語",), "Bees"), Entry(("ab12",), "蜂が踊る")) == [
        "識別子  題名",
        "語      Bees",
        "ab12    蜂が踊る",
    ]


def test_columns_are_at_least_as_wide_as_their_headings() -> None:
    assert _listed(("number", "name"), Entry(("1",), "Bees", "More of it")) == [
        "number  name",
        "1       Bees",
        "        More of it",
    ]


def test_control_characters_of_a_url_are_removed() -> None:
    shown = _listed(("id", "name"), Entry(("1",), "Bees", url="https://a.example/\x1b[2J\x9b2J\u202e\r\nx"))
    assert shown[2:] == ["    https://a.example/ [2J 2J x"]


def test_ids_are_as_long_as_needed_to_differ() -> None:
    far, near, twin = UUID(int=1 << 127), UUID(int=1 << 64), UUID(int=3 << 64)
    assert abbreviated([far]) == {far: "80000000"}
    short = abbreviated([far, near, twin])
    assert len(set(short.values())) == 3
    assert all(str(each).startswith(text) for each, text in short.items())
    assert abbreviated([]) == {}


HOSTILE = [
    "[pdf] A paper",
    "Closing [/b] what was never opened",
    "[red]Not red[/red]",
    r"C:\[bin]",
    ":smile: is a word",
    "[link=https://evil.example]here[/link]",
]


def drawn(table: Table | None) -> str:
    assert table
    colours = {"force_terminal": True, "color_system": "truecolor"}
    return written(lambda out: out.print(table), width=200, **colours)


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


@each("\x1b]0;pwned\x07", "\x1b[2J", "\x9b2J", "\x7f", "\r", "\b\b")
def test_control_characters_are_removed(control: str) -> None:
    words = f"before{control}after"
    for table in (
        failures_table([finding(words, told=False)]),
        urls_table([Outcome(words, "feed", 1, 1, words)]),
    ):
        assert control not in drawn(table)


def test_table_without_rows_is_omitted() -> None:
    assert failures_table([finding("a", told=True)]) is None


async def _failed(*reasons: str) -> list[Job]:
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


# Progress


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
    def show(out: Console) -> None:
        with display(out) as shown:
            shown.show(standing([], []))
            for _ in range(2):
                shown.show(standing(COUNTS, _found()))

    return written(show, force_terminal=terminal, width=120)


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


def test_items_are_read_only_for_a_visible_console_and_less_often_than_jobs() -> None:
    catalog = Catalog()

    @catalog.task("waits")
    async def waits() -> None: ...

    def check(console: Console | None, reads: list[float]) -> None:
        loop = VirtualLoop()
        clock, asked = VirtualClock(loop, START), list[float]()

        async def items(jobs: Sequence[Job]) -> list[Finding]:
            assert len(jobs) == 1
            asked.append(round(clock.monotonic(), 3))
            return []

        async def run() -> None:
            async with Queue.in_memory(catalog, clock=clock) as queue:
                job = await queue.trigger("waits")
                runner = JobRunner(queue, memory_jobs().resources, ReplayingClient(ScriptedWeb()))
                # Its queue is paused, so it waits until the time is up.
                await parts_of(queue).storage.pause_queue("waits", paused=True)
                await runner.run([job.id], timeout=1.5, console=console, items=items)

        with closing(loop):
            loop.run_until_complete(run())
        assert asked == reads

    cases = {
        "no console": (None, []),
        "quiet": (Console(quiet=True, file=StringIO()), []),
        # Jobs are read every 0.2 s, items once a second and at the end.
        "visible": (Console(file=StringIO()), [0.0, 1.0, 1.6]),
    }
    check_each(cases, check)
