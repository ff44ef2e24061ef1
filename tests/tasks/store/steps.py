"""Steps that a random transaction may take, a topic at a time: many calls of few verbs meet."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from tests.clocks import START
from tests.tasks.domain import content_of, story_of
from zeke_queue.errors import UsageError
from zeke_tasks.fetch import content_hash
from zeke_tasks.store.analysis import (
    VARIANTS,
    Analysis,
    AnalysisState,
    Brief,
    BriefDraft,
    Embedding,
    Spending,
)
from zeke_tasks.store.budgets import Reservation
from zeke_tasks.store.highlights import (
    HighlightKind,
    NewHighlight,
    Origin,
    ReadingState,
    Score,
    TeamHighlight,
)
from zeke_tasks.store.model import HealthStatus, ItemStatus, NewItem, NewSource, SourceType, item_id, story_id
from zeke_tasks.store.playbooks import (
    EVENT_KINDS,
    NewRun,
    Playbook,
    PlaybookStatus,
    RunEvent,
    RunStatus,
    TriggerSource,
)
from zeke_tasks.store.playbooks import Step as PlaybookStep
from zeke_tasks.store.repository import Rows

SOURCES: Final = [UUID(int=number) for number in range(1, 4)]
URLS: Final = [f"https://{name}.example/feed" for name in "ab"]
KEYS: Final = ["1", "2"]
ITEMS: Final = [item_id(source, key) for source in SOURCES[:2] for key in KEYS]
TEXTS: Final = ["one", "two"]
STORIES: Final = [story_id(content_hash(text)) for text in (*TEXTS, "never told")]
TEAMS: Final = [UUID(int=number) for number in (21, 22)]
PLAYBOOKS: Final = [UUID(int=number) for number in (31, 32)]
RUNS: Final = [UUID(int=number) for number in (41, 42)]
JOBS: Final = [UUID(int=number) for number in (51, 52)]


class Step(NamedTuple):
    """One verb with its arguments."""

    verb: str
    arguments: dict[str, Any]


class Unit(NamedTuple):
    """A transaction: seconds that pass before it, its steps, and whether it commits."""

    wait: float
    steps: list[Step]
    commits: bool


sources = st.sampled_from(SOURCES)
items = st.sampled_from(ITEMS)
stories = st.sampled_from(STORIES)
teams = st.sampled_from(TEAMS)
playbooks = st.sampled_from(PLAYBOOKS)
runs = st.sampled_from(RUNS)
text = st.text(st.characters(codec="utf-8") | st.just("\x00"), max_size=3)
words = st.none() | text
parts = st.floats(0, 1)
seconds = st.sampled_from([0.0, 1.0, 60.0])
leaves = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([0.0, 1.0, 0.5, "ö"])
objects = st.dictionaries(st.sampled_from("ab"), leaves | st.lists(leaves, max_size=2), max_size=2)

new_sources = st.builds(
    NewSource,
    type=st.sampled_from([SourceType.RSS, SourceType.MANUAL]),
    name=st.text(max_size=3),
    url=st.none() | st.sampled_from(URLS),
    authority_score=st.none() | parts,
    is_active=st.booleans(),
    metadata=st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=2),
)
new_items = st.builds(NewItem, external_id=st.sampled_from(KEYS), title=words, body=words, metadata=objects)
analyses = st.builds(
    Analysis,
    why_it_matters=st.sampled_from(["a", "b"]),
    chili=st.integers(0, 1),
    confidence=parts | st.just(0.5),
    state=st.sampled_from([AnalysisState.COMPLETED, AnalysisState.STUB]),
    model=st.just("m"),
    prompt_version=st.just("1"),
    citations=st.lists(objects, max_size=1),
    analysed_by=st.none() | st.sampled_from(JOBS),
)
briefs = st.builds(
    Brief,
    text,
    st.none() | st.just("two"),
    st.none() | st.just("elevator"),
    time_saved_seconds=st.sampled_from([0, 60]),
    state=st.sampled_from([AnalysisState.COMPLETED, AnalysisState.STUB]),
    briefed_by=st.none() | st.sampled_from(JOBS),
    prompt_version=st.none() | st.sampled_from(["1", "2\0"]),
)
drafts = st.none() | st.builds(
    BriefDraft,
    st.just("because"),
    st.sampled_from(["1", "2\0"]),
    st.dictionaries(st.sampled_from(VARIANTS), text, max_size=2),
)
# Of a size in which pgvector's sums in single precision are as exact as in double precision.
numbers = st.sampled_from([-2.0, -1.0, 0.0, 0.1, 1.0, 3.0])
embeddings = st.builds(
    Embedding, model=st.sampled_from("aB"), vector=st.lists(numbers, min_size=2, max_size=3).map(tuple)
)
spendings = st.builds(
    Spending,
    job_id=st.sampled_from(JOBS),
    attempt=st.integers(0, 1),
    purpose=st.sampled_from("aB"),
    task=text,
    model=text,
    input_tokens=st.integers(0, 9),
    output_tokens=st.integers(0, 9),
    cost_usd=st.none() | parts,
    team_id=st.none() | st.sampled_from(TEAMS[:1]),
)
some_teams = st.none() | st.sampled_from(TEAMS[:1])
dollars = st.sampled_from([Decimal(0), Decimal("0.1"), Decimal("0.25"), Decimal("0.00000000012"), Decimal(1)])
days = st.sampled_from([START.date(), START.date() + timedelta(days=1)])
calls: dict[str, Any] = {
    "job_id": st.sampled_from(JOBS),
    "attempt": st.integers(0, 1),
    "purpose": st.sampled_from(["aB", "b\0"]),
    "day": days,
}
reservations = st.builds(
    Reservation,
    **calls,
    task=text,
    model=st.sampled_from("mM"),
    team_id=some_teams,
    dollars=dollars,
)
highlights = st.builds(
    NewHighlight,
    story_id=stories,
    team_id=st.none() | teams,
    kind=st.sampled_from(HighlightKind),
    summary=st.sampled_from(["a", " A", "b"]),
    confidence=parts,
    title=words,
    quote=st.sampled_from([None, ""]),
    origin=st.sampled_from(Origin),
    tags=st.lists(text, max_size=3).map(tuple),
    references=st.lists(st.sampled_from("ab"), max_size=2).map(tuple),
    metadata=objects,
)
keys = st.builds(lambda highlight: highlight.key, highlights)
highlight_ids = st.builds(lambda highlight: highlight.id, highlights)
scores = st.builds(
    Score,
    value=st.sampled_from([0.5, 0.125]),
    matches=st.lists(st.sampled_from("ab"), max_size=2).map(tuple),
    breakdown=st.dictionaries(st.sampled_from("ab"), st.sampled_from([0.5, 1.0, 1]), max_size=2),
)
steps_of_playbooks = st.lists(
    st.builds(PlaybookStep, st.sampled_from("ab"), st.just("task"), objects),
    max_size=2,
    unique_by=lambda step: step.name,
)
new_playbooks = st.builds(
    Playbook, playbooks, teams, st.just("a"), steps_of_playbooks, st.sampled_from(PlaybookStatus)
)
new_runs = st.builds(NewRun, runs, playbooks, teams, st.sampled_from(TriggerSource), metadata=objects)
events = st.builds(
    RunEvent,
    run_id=runs,
    round=st.integers(0, 1),
    kind=st.sampled_from(EVENT_KINDS[:2]),
    step=st.none() | st.sampled_from(["", "a"]),
    data=objects,
)


def verb(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """Steps of one verb."""
    return st.builds(Step, st.just(name), st.fixed_dictionaries(arguments))


FEEDS: Final = [
    verb("ensure_source", id=sources, source=new_sources),
    verb("source", source_id=sources),
    verb("health", source_id=sources),
    verb("sources", types=st.just([SourceType.RSS]), due_in=st.none() | seconds),
    verb("every_source"),
    verb("set_active", source_id=sources, active=st.booleans()),
    verb("move_source", source_id=sources, url=st.sampled_from(URLS)),
    verb(
        "record_success",
        source_id=sources,
        next_check_in=seconds,
        etag=st.none() | st.just('"1"'),
        last_modified=st.none(),
        status=st.sampled_from([HealthStatus.OK, HealthStatus.WARN]),
        message=words,
    ),
    verb("record_failure", source_id=sources, next_check_in=seconds, message=st.text(max_size=3)),
    verb("put_items", source_id=sources, items=st.lists(new_items, max_size=4)),
    verb("take_up_forgotten_items", source_id=sources, after=seconds),
    verb("lock_video", video_id=st.sampled_from(("A" * 11, "B" * 11))),
    verb("reopen_items", ids=st.lists(items, max_size=3)),
    verb("finish_item", item_id=items, status=st.sampled_from(ItemStatus), error=words),
    verb("tell", item=items, text=st.sampled_from(TEXTS)),
]
ABOUT_STORIES: Final = [
    verb("tell", item=items, text=st.sampled_from(TEXTS)),
    verb("lock_story", story_id=stories),
    verb("newest_stories", limit=st.integers(0, 3)),
    verb("text_of", story_id=stories),
    verb("set_summary", story_id=stories, summary=text, replace=st.booleans()),
    verb("link_source", story_id=stories, source_id=sources),
    verb("put_analysis", story_id=stories, analysis=analyses),
    verb("put_brief", story_id=stories, brief=briefs),
    # Most stories have nothing to be brief about.
    verb("put_brief", story_id=st.just(STORIES[0]), brief=briefs),
    verb("put_brief_draft", story_id=st.just(STORIES[0]), draft=drafts),
    verb("put_embedding", story_id=stories, embedding=embeddings),
    verb("nearest", embedding=embeddings, limit=st.integers(0, 3)),
    verb("note_spending", spending=spendings),
    verb("spending", job_id=st.none() | st.sampled_from(JOBS)),
]
ABOUT_HIGHLIGHTS: Final = [
    verb("put_highlights", highlights=st.lists(highlights, max_size=4)),
    verb("known_keys", story_id=stories, team_id=st.none() | teams, keys=st.lists(keys, max_size=3)),
    verb("highlights", story_id=stories),
    verb("put_score", highlight_id=highlight_ids, score=scores),
    verb("connect", team_id=teams, source_id=sources),
    verb("disconnect", team_id=teams, source_id=sources),
    verb("teams_of", source_id=sources),
    verb("subscribed_sources", team_id=teams),
    verb(
        "set_reading_state",
        story_id=stories,
        team_ids=st.lists(teams, max_size=3),
        state=st.sampled_from(ReadingState),
    ),
    verb("reading_states", story_id=stories),
    verb(
        "put_team_highlight",
        state=st.builds(TeamHighlight, teams, highlight_ids, pinned=st.booleans(), dismissed=st.booleans()),
    ),
    verb("team_highlights", team_id=teams),
]
ABOUT_PLAYBOOKS: Final = [
    verb("put_playbook", playbook=new_playbooks),
    verb("playbook", playbook_id=playbooks, team_id=teams),
    verb("every_playbook"),
    verb("activate_playbook", playbook_id=playbooks),
    verb("ensure_run", run=new_runs),
    verb("lock_run", run_id=runs),
    verb("runs_of", playbook_id=playbooks),
    verb("begin_run", run_id=runs),
    verb("resume_run", run_id=runs),
    verb("end_run", run_id=runs, status=st.sampled_from(RunStatus), error=words),
    verb("put_output", run_id=runs, step=st.sampled_from("ab"), output=leaves | objects),
    verb("put_run_event", event=events),
    verb("run_events", run_id=runs),
]
DELETIONS: Final = [
    verb("tell", item=items, text=st.sampled_from(TEXTS)),
    verb("put_items", source_id=sources, items=st.lists(new_items, max_size=4)),
    verb("reopen_items", ids=st.lists(items, max_size=3)),
    verb("finish_item", item_id=items, status=st.sampled_from(ItemStatus), error=words),
    verb("link_source", story_id=stories, source_id=sources),
    verb("put_highlights", highlights=st.lists(highlights, max_size=4)),
    verb("connect", team_id=teams, source_id=sources),
    verb("teams_of", source_id=sources, lock=st.booleans()),
    verb(
        "set_reading_state",
        story_id=stories,
        team_ids=st.lists(teams, max_size=3),
        state=st.sampled_from(ReadingState),
    ),
    verb(
        "put_team_highlight",
        state=st.builds(TeamHighlight, teams, highlight_ids, pinned=st.booleans(), dismissed=st.booleans()),
    ),
    verb("put_playbook", playbook=new_playbooks),
    verb("ensure_run", run=new_runs),
    verb("end_run", run_id=runs, status=st.just(RunStatus.FAILED), error=words),
    verb("put_run_event", event=events),
    verb("count_source", source_id=sources),
    verb("count_story", story_id=stories),
    verb("count_team", team_id=teams),
    verb("delete_source", source_id=sources),
    verb("delete_story", story_id=stories),
    verb("delete_team", team_id=teams),
    verb("expire_stories", after=seconds, limit=st.integers(1, 2)),
    verb("expire_items", after=seconds, limit=st.integers(1, 2)),
    verb("expire_runs", after=seconds, limit=st.integers(1, 2)),
    verb("begin_run", run_id=runs),
    verb("open_runs", after=seconds, limit=st.integers(1, 2), behind=st.none() | runs),
    verb("delete_open_runs", ids=st.lists(runs, max_size=2)),
    verb("note_spending", spending=spendings),
    verb("expire_spending", after=seconds, limit=st.integers(1, 2)),
]
ABOUT_MONEY: Final = [
    verb("reserve", reservation=reservations, default=st.none() | dollars),
    verb("settle", **calls, dollars=dollars),
    verb("reservations"),
    verb("budget_use", team_id=some_teams, day=days, default=st.none() | dollars),
    verb("used_on", day=days),
    verb("set_budget", team_id=some_teams, dollars=st.none() | dollars),
    verb("remove_budget", team_id=some_teams),
    verb("budgets"),
    verb("note_spending", spending=spendings),
    verb("spending_since", since=st.sampled_from([START, START + timedelta(seconds=61)])),
]
TOPICS: Final = {
    "money": ABOUT_MONEY,
    "feeds": FEEDS,
    "stories": ABOUT_STORIES,
    "highlights": ABOUT_HIGHLIGHTS,
    "playbooks": ABOUT_PLAYBOOKS,
    "deletions": DELETIONS,
}

BEGINNINGS: Final = {
    "feeds": [
        *(
            Step(
                "ensure_source", {"id": source, "source": NewSource(SourceType.RSS, "a", f"https://{source}")}
            )
            for source in SOURCES[:2]
        ),
        *(
            Step("put_items", {"source_id": source, "items": [NewItem(external_id=key) for key in KEYS]})
            for source in SOURCES[:2]
        ),
    ],
    "told": [Step("tell", {"item": item, "text": told}) for item, told in zip(ITEMS, TEXTS, strict=False)],
    "analysed": [
        Step(
            "put_analysis",
            {"story_id": STORIES[0], "analysis": Analysis("a", 0, 0.5, AnalysisState.COMPLETED, "m", "1")},
        )
    ],
    "kept": [
        Step("put_playbook", {"playbook": Playbook(PLAYBOOKS[0], TEAMS[0], "a", ())}),
        *(
            Step("ensure_run", {"run": NewRun(run, PLAYBOOKS[0], TEAMS[0], TriggerSource.API)})
            for run in RUNS[:1]
        ),
    ],
}
"""Two sources with their items, two stories, of which one is analysed, and a playbook with a run.

Without them, most plans would do nothing.
"""


@st.composite
def plans(draw: st.DrawFn, topic: str) -> list[Unit]:
    """Transactions of a few verbs each plan: many calls of few verbs meet where few calls of many don't."""
    verbs = TOPICS[topic]
    chosen = draw(st.lists(st.sampled_from(range(len(verbs))), min_size=2, max_size=6, unique=True))
    steps = st.lists(st.one_of([verbs[number] for number in chosen]), min_size=1, max_size=6)
    mostly = st.sampled_from([True, True, True, False])
    then = draw(st.lists(st.builds(Unit, seconds, steps, mostly), max_size=10))
    begun = BEGINNINGS["feeds"]
    if topic != "feeds":
        begun = [*begun, *BEGINNINGS["told"], *BEGINNINGS["analysed"], *BEGINNINGS["kept"]]
    return [Unit(0.0, begun, commits=True), *then]


async def take(rows: Rows, step: Step) -> Any:
    """Take one step and return the answer, or the refusal."""
    if step.verb != "tell":
        try:
            answer = await getattr(rows, step.verb)(**step.arguments)
            return sorted(answer) if isinstance(answer, set) else answer
        except UsageError as refusal:
            return repr(refusal)
    for item in await rows.items([step.arguments["item"]]):
        content = content_of(item.id, step.arguments["text"])
        await rows.put_content(content)
        return await rows.ensure_story(story_of(content, item.source_id, item.kind))
    return None
