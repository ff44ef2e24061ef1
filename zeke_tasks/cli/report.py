"""Results of ingesting as tables: the stories found, the failures, and the jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zeke_queue.cli.render import SafeConsole
from zeke_queue.core.status import output_of
from zeke_queue.model import JobStatus, RowState
from zeke_queue.system.install_hints import on_same
from zeke_queue.task.signals import Fail, Retry
from zeke_tasks.cli.formatting import printable_words
from zeke_tasks.store.model import ItemStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Job, QueueStats
    from zeke_tasks.store.model import RawItem, Source, Story
    from zeke_tasks.store.repository import Repository

_VERDICTS: Final = (Fail.__name__, Retry.__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """An item with its source and, once there is one, its story."""

    source: Source
    item: RawItem
    story: Story | None

    @property
    def outcome(self) -> str:
        """The outcome of the item in a few words."""
        if self.item.status is ItemStatus.NO_TEXT:
            return "no text was found on the page" if self.item.url else "it has no text"
        if self.item.status is ItemStatus.PENDING:
            return f"not yet: {self.item.error}" if self.item.error else "not yet"
        return self.item.error or self.item.status.value


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a URL that a user gave.

    Attributes:
        what: ``feed``, ``article`` or ``video``; None if that is unknown.
        items: number of items that were read now.
        stories: number of their stories.
        error: the reason for a failure, or None.
    """

    url: str
    what: str | None
    items: int
    stories: int
    error: str | None


async def findings(queue: Queue, repository: Repository, sources: Sequence[UUID]) -> list[Finding]:
    """Return the items of some sources with their stories, by source, then by publication, oldest first."""
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
    """Return a console on standard output; without a terminal it is wide enough for a URL."""
    console = SafeConsole()
    return console if console.is_terminal else SafeConsole(width=160)


def failures_table(found: Iterable[Finding]) -> Table | None:
    """Return a table of the items without a story, with the reason; None if there are none."""
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
    """Return a table of the outcome of each URL."""
    table = _table("URLs", "URL", "Is", "Read", "Stories", "Result")
    for outcome in outcomes:
        result = _cell(outcome.error or ("ok" if outcome.items else "nothing new"))
        result.stylize("red" if outcome.error else "green")
        counts = (str(outcome.items), str(outcome.stories)) if outcome.what else ("–", "–")
        table.add_row(_cell(outcome.url), outcome.what or "–", *counts, result)
    return table


def failed_jobs_table(jobs: Iterable[Job], *, embedded: bool = False, kept: bool = True) -> Table | None:
    """Return a table of the reasons why jobs failed, each once with an example job; None if none failed.

    Args:
        jobs: any jobs; only the failed ones are shown.
        embedded: whether their database is the user's private Postgres.
        kept: whether the database outlives the command, so that other commands can show the jobs.
    """
    see = f"See {on_same('zeke job show', embedded=embedded)}" if kept else "Job"
    reasons: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        if job.status is JobStatus.FAILED:
            reasons.setdefault((job.name, why_it_failed(job)), []).append(job)
    table = _table("Failed jobs", "Queue", "Jobs", "Reason", see)
    for (name, reason), failed in reasons.items():
        table.add_row(_cell(name), str(len(failed)), _cell(reason), str(failed[0].id))
    return table if table.row_count else None


def why_it_failed(job: Job) -> str:
    """Return the last error of a failed job."""
    said: Any = output_of(job)
    output = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    # The message of a signal is sufficient without its type.
    parts = ("message",) if output.get("type") in _VERDICTS else ("type", "message")
    told = ": ".join(str(output[part]) for part in parts if output.get(part))
    return told or f"its job ended {job.status.value}"


def is_snoozed(job: Job | None) -> TypeGuard[Job]:
    """Return whether a job has run and is snoozed, without having failed, and not to wait for another one."""
    return job is not None and job.row_state is RowState.CREATED and job.attempt > 0 and job.waits_for is None


def jobs_table(counts: Iterable[QueueStats]) -> Table:
    """Return a table of the number of jobs by queue and public status."""
    table = _table("Jobs", "Queue")
    for status in JobStatus:
        table.add_column(status.value, justify="right")
    for count in counts:
        table.add_row(count.name, *(str(number or "–") for number in count.counts.values()))
    return table


def _cell(words: str) -> Text:
    """Return untrusted text as a cell, without markup and control sequences."""
    return Text(printable_words(words))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
