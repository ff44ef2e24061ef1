"""How far a run has come: a display that moves on a terminal, and lines where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from zeke_queue.model import WAITING, JobState
from zeke_tasks.store.model import ItemStatus

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from rich.console import Console
    from rich.progress import TaskID

    from zeke_queue.model import QueueCount
    from zeke_tasks.report import Finding


class Standing(NamedTuple):
    """How far a run has come."""

    feeds: int
    feeds_read: int
    items: int
    items_done: int
    stories: int
    waiting: int
    active: int

    @property
    def quiet(self) -> bool:
        """Whether no job waits or runs."""
        return not self.waiting and not self.active

    def __str__(self) -> str:
        """The standing as one line."""
        return (
            f"feeds {self.feeds_read}/{self.feeds}, pages {self.items_done}/{self.items}, "
            f"stories {self.stories}, jobs {self.active} running and {self.waiting} waiting"
        )


def standing(counts: Iterable[QueueCount], found: Iterable[Finding]) -> Standing:
    """Sum up jobs and items."""
    states = {count.name: count.states for count in counts}
    found = list(found)
    reads = states.get("ingest-source", {})
    return Standing(
        feeds=sum(reads.values()),
        feeds_read=sum(number for state, number in reads.items() if state not in WAITING | {JobState.ACTIVE}),
        items=len(found),
        items_done=sum(finding.item.status is not ItemStatus.PENDING for finding in found),
        stories=len({finding.story.id for finding in found if finding.story}),
        waiting=sum(number for each in states.values() for state, number in each.items() if state in WAITING),
        active=sum(each.get(JobState.ACTIVE, 0) for each in states.values()),
    )


class Display(Protocol):
    """Shows how far a run has come; a context manager."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""
        ...

    def show(self, standing: Standing) -> None:
        """Show this."""
        ...


def display(console: Console) -> Display:
    """Return what suits the console: bars on a terminal, else a line for each change."""
    return _Bars(console) if console.is_terminal else _Lines(console)


class _Lines:
    """A line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: Standing | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, standing: Standing) -> None:
        if standing != self._last:
            self._console.print(str(standing), highlight=False)
        self._last = standing


class _Bars:
    """Two bars: feeds and pages."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._feeds: TaskID = self._progress.add_task("Feeds", total=None, note="")
        self._items: TaskID = self._progress.add_task("Pages", total=None, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, standing: Standing) -> None:
        self._progress.update(self._feeds, total=standing.feeds or None, completed=standing.feeds_read)
        note = f"{standing.stories} stories, {standing.active} jobs running"
        self._progress.update(
            self._items, total=standing.items or None, completed=standing.items_done, note=note
        )
