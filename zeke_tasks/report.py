"""What came of ingesting, as tables for people: the stories that were found, what failed, and the jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zeke_queue.model import STATUS_OF, RunStatus
from zeke_tasks.store.model import ItemStatus
from zeke_tasks.web.text import without_controls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from zeke_queue.model import QueueCount
    from zeke_queue.queue import Queue
    from zeke_tasks.store.model import RawItem, Source, Story
    from zeke_tasks.store.repository import Repository


@dataclass(frozen=True, slots=True)
class Finding:
    """An item, where it comes from, and the story that tells it, if it has come so far."""

    source: Source
    item: RawItem
    story: Story | None

    @property
    def outcome(self) -> str:
        """What became of the item, in a few words."""
        if self.item.status is ItemStatus.NO_TEXT:
            return "no text was found on the page"
        if self.item.status is ItemStatus.PENDING:
            return f"not yet: {self.item.error}" if self.item.error else "not yet"
        return self.item.error or self.item.status.value


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a URL that a user gave.

    Attributes:
        what: ``feed`` or ``article``; None if that was not found out.
        items: how many items of it were read now.
        stories: how many stories tell them.
        error: what went wrong, or None.
    """

    url: str
    what: str | None
    items: int
    stories: int
    error: str | None


async def findings(queue: Queue, repository: Repository, sources: Sequence[UUID]) -> list[Finding]:
    """Return what is known of the items of some sources, source by source, the oldest publication first."""
    found: list[Finding] = []
    async with queue.transaction() as transaction:
        rows = repository.within(transaction)
        for source_id in sources:
            source = await rows.source(source_id)
            if source is None:
                continue
            items = sorted(await rows.items_of(source.id), key=_by_date)
            stories = await rows.stories_of([item.id for item in items])
            found += [Finding(source, item, stories.get(item.id)) for item in items]
    return found


def _by_date(item: RawItem) -> tuple[bool, float, str]:
    published = item.published_at
    return (published is None, published.timestamp() if published else 0.0, item.external_id)


def wide_console() -> Console:
    """Return a console on standard output, wide enough for a URL where no terminal says how wide it is."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def stories_table(found: Iterable[Finding]) -> Table:
    """Return a table of the stories, each once, with every source that carries it."""
    carriers: dict[UUID, list[str]] = {}
    stories: dict[UUID, Story] = {}
    for finding in found:
        if (story := finding.story) is not None:
            stories[story.id] = story
            names = carriers.setdefault(story.id, [])
            if finding.source.name not in names:
                names.append(finding.source.name)
    table = _table(f"Stories ({len(stories)})", "Title", "Published", "From", "URL")
    for key, story in stories.items():
        day = story.published_at.date().isoformat() if story.published_at else "–"
        table.add_row(*map(_cell, (story.title, day, ", ".join(carriers[key]), story.url or "–")))
    return table


def failures_table(found: Iterable[Finding]) -> Table | None:
    """Return a table of the items that became no story, with the reason; None if there are none."""
    table = _table("Not read", "Title", "From", "Reason")
    for finding in found:
        if finding.story is None:
            item = finding.item
            name = item.title or item.url or item.external_id
            table.add_row(*map(_cell, (name, finding.source.name, finding.outcome)))
    return table if table.row_count else None


def urls_table(outcomes: Iterable[Outcome]) -> Table:
    """Return a table of what became of each URL."""
    table = _table("URLs", "URL", "Is", "Read", "Stories", "Result")
    for outcome in outcomes:
        result = _cell(outcome.error or ("ok" if outcome.items else "nothing new"))
        result.stylize("red" if outcome.error else "green")
        counts = (str(outcome.items), str(outcome.stories)) if outcome.what else ("–", "–")
        table.add_row(_cell(outcome.url), outcome.what or "–", *counts, result)
    return table


def jobs_table(counts: Iterable[QueueCount]) -> Table:
    """Return a table of how many jobs each queue has in each status that clients are told."""
    table = _table("Jobs", "Queue")
    for status in RunStatus:
        table.add_column(status.value, justify="right")
    for count in counts:
        by_status = Counter[RunStatus]()
        for state, number in count.states.items():
            by_status[STATUS_OF[state]] += number
        table.add_row(count.name, *(str(by_status[status] or "–") for status in RunStatus))
    return table


def _cell(words: str) -> Text:
    """Return a stranger's words as they are: no markup, and nothing that steers a terminal."""
    return Text(without_controls(words))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
