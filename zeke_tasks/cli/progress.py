"""Progress of a run: bars on a terminal, else lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from zeke_queue.model import FINAL, WAITING, RowState
from zeke_tasks.store.model import ItemStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from rich.console import Console

    from zeke_queue.model import QueueStats
    from zeke_tasks.cli.report import Finding

INGEST_QUEUES: Final = ("ingest-source", "ingest-from-youtube")
"""The queues whose jobs each read one feed."""

_LOST: Final = (RowState.FAILED, RowState.EXPIRED)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the work: its size as known so far, and how much is done."""

    done: int = 0
    of: int = 0

    def __str__(self) -> str:
        """Format as done/known."""
        return f"{self.done}/{self.of}"


@dataclass(frozen=True, slots=True)
class Standing:
    """The progress of a run.

    Attributes:
        feeds: feeds that were read.
        items: entries and pages whose content was read or given up on.
        stories: the number of stories.
        analyses: completed analyses, and likewise ``briefs``; failed ones do not count as done.
        waiting: jobs that wait, and likewise ``active`` and ``failed``.
    """

    feeds: Part
    items: Part
    stories: int
    analyses: Part
    briefs: Part
    waiting: int
    active: int
    failed: int

    @property
    def quiet(self) -> bool:
        """Whether no job waits or runs."""
        return not self.waiting and not self.active

    def __str__(self) -> str:
        """Format as one line, without parts that are zero."""
        parts = (
            (f"feeds {self.feeds}", self.feeds.of),
            (f"items {self.items}", self.items.of),
            (f"stories {self.stories}", self.stories),
            (f"analyses {self.analyses}", self.analyses.of),
            (f"briefs {self.briefs}", self.briefs.of),
            (f"jobs {self.active} running and {self.waiting} waiting", True),
            (f"{self.failed} failed", self.failed),
        )
        return ", ".join(said for said, is_there in parts if is_there)


def standing(counts: Iterable[QueueStats], found: Iterable[Finding]) -> Standing:
    """Compute the progress from jobs and items."""
    states = {one.name: one.row_counts for one in counts}
    found = list(found)
    analyses = _completed(states.get("analyze-story", {}))
    briefs = _completed(states.get("generate-brief", {}))
    # Nearly every analysis starts a brief at its end, so pending ones count as expected briefs.
    to_come = _in(states.get("analyze-story", {}), set(RowState) - FINAL)
    return Standing(
        feeds=Part(
            sum(_in(states.get(name, {}), FINAL) for name in INGEST_QUEUES),
            sum(sum(states.get(name, {}).values()) for name in INGEST_QUEUES),
        ),
        items=Part(sum(finding.item.status is not ItemStatus.PENDING for finding in found), len(found)),
        stories=len({finding.story.id for finding in found if finding.story}),
        analyses=analyses,
        briefs=Part(briefs.done, briefs.of + to_come),
        waiting=sum(_in(each, WAITING) for each in states.values()),
        active=sum(_in(each, (RowState.ACTIVE,)) for each in states.values()),
        failed=sum(_in(each, _LOST) for each in states.values()),
    )


def _in(states: Mapping[RowState, int], which: Iterable[RowState]) -> int:
    return sum(states.get(state, 0) for state in which)


def _completed(states: Mapping[RowState, int]) -> Part:
    return Part(states.get(RowState.COMPLETED, 0), sum(states.values()))


class Display(Protocol):
    """Shows the progress of a run. A context manager."""

    def __enter__(self) -> Self:
        """Start showing."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""
        ...

    def show(self, standing: Standing) -> None:
        """Show this progress."""
        ...


def display(console: Console) -> Display:
    """Return the display for a console: bars on a terminal, else a line per change."""
    return _Bars(console) if console.is_terminal else _Lines(console)


class _Lines:
    """Prints a line per change."""

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
    """Shows a bar for each part of the work."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._bars = {
            name: self._progress.add_task(name, total=None, note="", visible=False)
            for name in ("Feeds", "Items", "Analyses", "Briefs")
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, standing: Standing) -> None:
        failed = f", {standing.failed} failed" if standing.failed else ""
        shown = {
            "Feeds": (standing.feeds, ""),
            "Items": (standing.items, f"{standing.stories} stories"),
            "Analyses": (standing.analyses, ""),
            "Briefs": (standing.briefs, f"{standing.active} jobs running{failed}"),
        }
        for name, (part, note) in shown.items():
            self._progress.update(
                self._bars[name], total=part.of or None, completed=part.done, note=note, visible=part.of > 0
            )
