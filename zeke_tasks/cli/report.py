"""What came of ingesting, as tables for people: the stories that were found, what failed, and the jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zeke_queue.model import STATUS_OF, JobState, RunStatus
from zeke_queue.system.install_hints import on_same
from zeke_queue.task.signals import Fail, Retry
from zeke_tasks.cli.formatting import printable_words
from zeke_tasks.store.model import ItemStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Job, QueueCount
    from zeke_tasks.store.model import RawItem, Source, Story
    from zeke_tasks.store.repository import Repository

_LOST: Final = (JobState.FAILED, JobState.EXPIRED)
_VERDICTS: Final = (Fail.__name__, Retry.__name__)


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
            return "no text was found on the page" if self.item.url else "it has no text"
        if self.item.status is ItemStatus.PENDING:
            return f"not yet: {self.item.error}" if self.item.error else "not yet"
        return self.item.error or self.item.status.value


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a URL that a user gave.

    Attributes:
        what: ``feed``, ``article`` or ``video``; None if that was not found out.
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


def failures_table(found: Iterable[Finding]) -> Table | None:
    """Return a table of the items that became no story, with the reason; None if there are none."""
    table = _table("Not read", "Title", "From", "Reason")
    for finding in found:
        if finding.story is None:
            item = finding.item
            name = item.title or item.url or item.external_id
            table.add_row(*map(_cell, (name, finding.source.name, finding.outcome)))
    return table if table.row_count else None


def carriers(found: Iterable[Finding]) -> dict[UUID, list[str]]:
    """Return the names of the sources that carry each story, by the story's id."""
    names: dict[UUID, dict[str, None]] = {}
    for finding in found:
        if finding.story is not None:
            names.setdefault(finding.story.id, {})[finding.source.name] = None
    return {story_id: list(each) for story_id, each in names.items()}


def urls_table(outcomes: Iterable[Outcome]) -> Table:
    """Return a table of what became of each URL."""
    table = _table("URLs", "URL", "Is", "Read", "Stories", "Result")
    for outcome in outcomes:
        result = _cell(outcome.error or ("ok" if outcome.items else "nothing new"))
        result.stylize("red" if outcome.error else "green")
        counts = (str(outcome.items), str(outcome.stories)) if outcome.what else ("–", "–")
        table.add_row(_cell(outcome.url), outcome.what or "–", *counts, result)
    return table


def failed_jobs_table(jobs: Iterable[Job], *, embedded: bool = False, kept: bool = True) -> Table | None:
    """Return a table of why jobs failed for good, each reason once, with a job; None if none failed.

    Args:
        jobs: of which those are taken that failed.
        embedded: whether their database is the user's private Postgres.
        kept: whether it is there once the command has ended, for others to show them.
    """
    see = f"See {on_same('zeke job show', embedded=embedded)}" if kept else "Job"
    reasons: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        if job.state in _LOST:
            reasons.setdefault((job.name, why_it_failed(job)), []).append(job)
    table = _table("Failed jobs", "Queue", "Jobs", "Reason", see)
    for (name, reason), failed in reasons.items():
        table.add_row(_cell(name), str(len(failed)), _cell(reason), str(failed[0].id))
    return table if table.row_count else None


def why_it_failed(job: Job) -> str:
    """Return what a job that failed for good said last."""
    said: Any = job.output
    output = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    # What is no error but a verdict says all in its message.
    parts = ("message",) if output.get("type") in _VERDICTS else ("type", "message")
    told = ": ".join(str(output[part]) for part in parts if output.get(part))
    return told or f"its job ended {job.state.value}"


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
    return Text(printable_words(words))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
