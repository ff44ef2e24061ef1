"""A failure as a text screen of at most 30 lines of at most 100 columns.

Only the command and the paths, which users copy, may be longer than a line.

The timeline has one track per node that took part. Every important moment has a column of its own, so equal
lengths are not equal times; the axis shows the times.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from io import StringIO
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from zeke_sim.report import story as stories
from zeke_sim.report.as_json import short, value
from zeke_sim.report.errors import errors, unended
from zeke_sim.report.summary import summary
from zeke_sim.world.faults import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from zeke_sim.report.failure import Failure
    from zeke_sim.report.story import Lease, Story, Work

LINES: Final = 30
COLUMNS: Final = 100
NAME: Final = 12
"""Width of track names in columns."""
SUMMARY: Final = 6
"""Maximum number of lines of the first paragraph."""
WIDTH: Final = COLUMNS - NAME - 2
FAULTS: Final = 4
ERRORS: Final = 3
"""Maximum number of lines with errors of jobs, and with jobs that had not ended."""
MOMENTS: Final = 30
"""Maximum number of times with a column of their own."""
LETTERS: Final = "abcd"

ENDS: Final = {
    "completed": "✓",
    "failed": "✗",
    "expired": "✗",
    "retry": "↻",
    "created": "↺",
    "cancelled": "⊘",
    "gone": "∅",
    "open": "",
}
"""The outcome of a lease, drawn at the end of its bar."""

BAD: Final = {"killed": "†", "raised": "x"}
"""The mark of a handler that did not return."""

BACKGROUND: Final = {"down": " ", "stopped": " ", "paused": "~", "partitioned": "/", "stopping": "."}
STYLES: Final = {"rule": "bold red", "label": "dim", "bad": "red", "good": "green", "mark": "bold yellow"}


class _Moment(NamedTuple):
    """A fault on the timeline, with its letter."""

    letter: str
    node: str
    at: float


def screen(failure: Failure, *, colour: bool = False) -> str:
    """Format a failure. With ``colour``, the text contains terminal escapes."""
    story = stories.read(failure.outcome.events, failure.outcome.nodes)
    tail = [
        _line("  ", ("replay  ", "label"), (_clean(failure.command), "bold")),
        _line("  ", ("page    ", "label"), (_clean(failure.page), "")),
    ]
    faults, moments = _faults(failure, story)
    head = _head(failure, story)
    room = LINES - len(head) - len(faults) - len(tail) - 3
    drawn = _timeline(failure, story, moments, room)
    text = Text("\n").join([*head, *drawn, *faults, *tail])
    if not colour:
        return text.plain
    out = StringIO()
    # Wider than any line, so that the command and the paths are not wrapped.
    console = Console(file=out, force_terminal=True, color_system="standard", width=10_000, highlight=False)
    console.print(text, end="", soft_wrap=True)
    return out.getvalue()


def _head(failure: Failure, story: Story) -> list[Text]:
    broken, plan = failure.violation, failure.outcome.plan
    lines = [_line("✗ ", (broken.rule, "rule"))]
    if paragraph := summary(failure, story):
        lines += [_line("  ", (part, "bold")) for part in _wrapped(paragraph, COLUMNS - 2, SUMMARY)]
    lines += [_line("  ", (part, "")) for part in _wrapped(failure.outcome.sentence, COLUMNS - 2, 2)]
    run = f"scenario {plan.scenario}, seed {plan.seed}, strategy {plan.strategy}"
    if broken.job is None:
        lines.append(_labelled("run", run))
    else:
        task = story.jobs.get(broken.job, "unknown")
        lines.append(_labelled("job", f"{task} {short(broken.job)} ({broken.job})"))
        lines.append(_labelled("run", run))
    parts = _wrapped(broken.text, COLUMNS - 10, 3)
    lines += [_labelled("broken" if n == 0 else "", part, "bad") for n, part in enumerate(parts)]
    lines += _some("errors", [str(error) for error in errors(failure)])
    lines += _some("open", unended(failure))
    lines.append(_labelled("shrunk", failure.shrinking()))
    return lines


def _some(label: str, said: Sequence[str]) -> list[Text]:
    """Format a line for each job, as many as there is room for."""
    lines = [*said[: ERRORS if len(said) <= ERRORS else ERRORS - 1]]
    if len(said) > len(lines):
        lines.append(f"and {len(said) - len(lines)} more jobs, on the page")
    return [_labelled(label if n == 0 else "", line) for n, line in enumerate(lines)]


def _faults(failure: Failure, story: Story) -> tuple[list[Text], list[_Moment]]:
    """List the remaining decisions, each with a letter if it is on the timeline."""
    if not failure.decisions:
        return [_labelled("faults", "none is left: it fails without any")], []
    at = {mark.address: mark for mark in reversed(story.faults)}
    lines: list[Text] = []
    moments: list[_Moment] = []
    # Faults in order first, then choices, which are numerous and not on the timeline.
    ranked = sorted(
        failure.decisions.items(), key=lambda item: at[item[0]].first if item[0] in at else math.inf
    )
    shown = ranked if len(ranked) <= FAULTS else ranked[: FAULTS - 1]
    for number, (address, decision) in enumerate(shown):
        mark = at.get(address)
        letter = LETTERS[len(moments)] if mark else "·"
        text = f"{address}: {decided(decision)}"
        if mark:
            moments.append(_Moment(letter, mark.node, mark.since))
            text += "" if ", at " in text else f", at {_seconds(mark.since)}"
        label = "faults" if number == 0 else ""
        lines.append(
            _line("  ", (f"{label:8}", "label"), (letter, "mark"), (" " + _fit(text, COLUMNS - 12), ""))
        )
    if len(ranked) > len(shown):
        lines.append(_labelled("", f"and {len(ranked) - len(shown)} more, in the plan"))
    kinds = dict.fromkeys(at[address].kind for address, _ in shown if address in at)
    known = [f"{kind}: {KINDS[kind]}" for kind in kinds if kind in KINDS]
    lines += [_labelled("kinds" if n == 0 else "", meaning, "label") for n, meaning in enumerate(known)]
    return lines, moments


def decided(decision: object) -> str:
    """Format a decision of a plan: ``latency 0.4``; ``kill, at 3.2, back 1.0``; ``w2``."""
    fields = value(decision)
    if not isinstance(fields, Mapping):
        return str(fields)
    parts: list[str] = []
    for name, item in cast("Mapping[str, object]", fields).items():
        if isinstance(item, bool):
            parts.append(name if item else f"not {name}")
        else:
            parts.append(str(item) if name == "fault" else f"{name} {item}")
    return ", ".join(parts)


def _timeline(failure: Failure, story: Story, moments: Sequence[_Moment], room: int) -> list[Text]:
    """Draw at most ``room`` of the tracks that took part, between the axis and the violation."""
    scale = _scale(failure, story, moments)
    tracks = _tracks(failure, story, moments, scale)
    shown = tracks[:room]
    first = (failure.violation.at, failure.violation.since, *(moment.at for moment in moments))
    lines = [Text(""), _line(" " * NAME, (scale.axis(first), "label"))]
    for track in shown:
        name = f"  {_fit(track, NAME - 3)}".ljust(NAME)
        lines.append(_line((name, "bold"), *_styled(_track(failure, story, track, moments, scale))))
    since, at = scale.column(failure.violation.since), scale.column(failure.violation.at)
    text = f"broken at {_seconds(failure.violation.at)}"
    bar = " " * since + ("╰" + "─" * (at - since - 1) if at > since else "") + "▲"
    bar = f"{bar} {text}" if at + 3 + len(text) <= WIDTH else _before(bar, text, since)
    quiet = len(story.tracks) - len(shown)
    lines.append(_line(" " * NAME, (bar, "bad")))
    if len(tracks) > len(shown):
        lines.append(_labelled("", f"and {quiet} more tracks, on the page"))
    else:
        lines.append(
            _line(
                " " * NAME, ("├1 lease, attempt 1   ═ handler runs   ~ paused   ✓ ↻ ✗ how it ended", "label")
            )
        )
    return lines


def _before(bar: str, text: str, since: int) -> str:
    """Write a label before the bar, or inside it if there is no room before."""
    if since > len(text):
        return bar[: since - len(text) - 1] + text + bar[since - 1 :]
    return bar[: since + 2] + " " + text + " " + bar[since + 4 + len(text) :]


class _Scale:
    """Maps times to columns: each important moment gets its own, and the rest is shared by length."""

    def __init__(self, times: Iterable[float]) -> None:
        self.knots = stories.squeeze(times, usual=0.5)
        apart = min(3.0, WIDTH / (2.0 * len(self.knots)))
        rest = WIDTH - 1 - apart * (len(self.knots) - 1)
        whole = self.knots[-1][1] or 1.0
        self.knots = [(time, n * apart + rest * place / whole) for n, (time, place) in enumerate(self.knots)]

    def column(self, time: float | None) -> int:
        return WIDTH - 1 if time is None else round(stories.placed(self.knots, time))

    def shows(self, since: float, until: float | None) -> bool:
        return since <= self.knots[-1][0] and (until is None or until >= self.knots[0][0])

    def axis(self, first: Iterable[float]) -> str:
        """Write times at their columns if there is room, with priority for those of ``first``."""
        written = " " * WIDTH
        for time in (*first, *(knot[0] for knot in self.knots)):
            label, column = _seconds(time), self.column(time)
            column = min(column, WIDTH - len(label))
            if not written[max(0, column - 2) : column + len(label) + 2].strip():
                written = written[:column] + label + written[column + len(label) :]
        return written.rstrip()


def _scale(failure: Failure, story: Story, moments: Sequence[_Moment]) -> _Scale:
    broken = failure.violation
    times = [broken.since, broken.at, *(moment.at for moment in moments)]
    for drawn in (*story.leases, *story.works):
        if drawn.job == broken.job or (broken.job is None and drawn.since >= broken.since):
            times += [drawn.since, *([] if drawn.until is None else [drawn.until])]
    for span in story.spans if broken.job is not None else ():
        if span.since <= broken.at:
            times += [span.since, *([] if span.until is None else [span.until])]
    # The last ones, since the violation is at the end.
    before = sorted({time for time in times if time <= broken.at})[-MOMENTS:]
    return _Scale([*before, *sorted({time for time in times if time > broken.at})[:3]])


def _tracks(failure: Failure, story: Story, moments: Sequence[_Moment], scale: _Scale) -> list[str]:
    """Choose the tracks to draw: those of the job and of faults first, then in order."""
    job = failure.violation.job
    first = {moment.node for moment in moments}
    first |= {drawn.node for drawn in (*story.leases, *story.works) if drawn.job == job}
    then = {drawn.node for drawn in (*story.leases, *story.spans) if scale.shows(drawn.since, drawn.until)}
    chosen = [track for track in story.tracks if track in first]
    return chosen + [track for track in story.tracks if track in then - first]


def _track(failure: Failure, story: Story, track: str, moments: Sequence[_Moment], scale: _Scale) -> str:
    """Draw a track from bottom to top: leases, handlers, the node's conditions, ends, faults."""
    row = _Row(scale)
    job = failure.violation.job
    leases = [lease for lease in story.leases if lease.node == track]
    mine = [lease for lease in leases if lease.job == job]
    for lease in leases:
        if lease.job != job:
            row.fill(lease.since, lease.until, "╌")
    for lease in mine:
        row.fill(lease.since, lease.until, "─")
    works = [work for work in story.works if work.node == track and work.job == job]
    for work in works:
        row.fill(work.since, work.until, "═")
    for span in story.spans:
        if span.node == track:
            row.fill(span.since, span.until, BACKGROUND[span.what], after=True)
    for work in works:
        row.end(work)
    for lease in mine:
        row.ends(lease)
    row.letters(moment for moment in moments if moment.node == track)
    return "".join(row.cells)


class _Row:
    """The characters of a track."""

    def __init__(self, scale: _Scale) -> None:
        self.scale = scale
        self.cells = ["·"] * WIDTH

    def fill(self, since: float, until: float | None, char: str, *, after: bool = False) -> None:
        """Fill the columns of an interval, or those ``after`` its first."""
        if self.scale.shows(since, until):
            first, last = self.scale.column(since) + after, self.scale.column(until)
            self.cells[first : last + 1] = char * (last + 1 - first)

    def end(self, work: Work) -> None:
        """Mark the end of a handler that did not return."""
        if work.how in BAD and self.scale.shows(work.since, work.until):
            self.cells[self.scale.column(work.until)] = BAD[work.how]

    def ends(self, lease: Lease) -> None:
        """Mark the start of a lease with its attempt, and its end with the outcome."""
        if not self.scale.shows(lease.since, lease.until):
            return
        first, last = self.scale.column(lease.since), self.scale.column(lease.until)
        self.cells[last] = ENDS.get(lease.outcome) or self.cells[last]
        self.cells[first] = "├"
        attempt = str(lease.attempt)
        if last > first + len(attempt):
            self.cells[first + 1 : first + 1 + len(attempt)] = attempt

    def letters(self, moments: Iterable[_Moment]) -> None:
        """Mark faults with their letters, those of one column next to each other."""
        taken: set[int] = set()
        for moment in moments:
            column = self.scale.column(moment.at)
            column = next((n for n in range(column, WIDTH) if n not in taken), column)
            taken.add(column)
            self.cells[column] = moment.letter


def _styled(cells: str) -> list[tuple[str, str]]:
    """Split a track into segments of one style."""
    styles = [
        "mark" if cell in LETTERS else "good" if cell == "✓" else "bad" if cell in "✗†x" else
        "label" if cell in "·╌~/." else "bold"
        for cell in cells
    ]  # fmt: skip
    return [
        ("".join(cell for cell, _ in group), style)
        for style, group in groupby(zip(cells, styles, strict=True), key=lambda pair: pair[1])
    ]


def _labelled(label: str, text: str, style: str = "") -> Text:
    return _line("  ", (f"{label:8}", "label"), (_fit(text, COLUMNS - 10), style))


def _line(*parts: str | tuple[str, str]) -> Text:
    line = Text()
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        line.append(text, STYLES.get(style, style))
    return line


def _seconds(time: float) -> str:
    return f"{time:.3f}".rstrip("0").rstrip(".") + " s"


def _clean(text: str) -> str:
    """Remove control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _fit(text: str, columns: int) -> str:
    text = _clean(" ".join(text.split()))
    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1).rstrip() + "…"


def _wrapped(text: str, columns: int, lines: int) -> list[str]:
    """Wrap a text into at most ``lines`` lines and truncate the rest."""
    parts = textwrap.wrap(_clean(" ".join(text.split())), columns) or [""]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], " ".join(parts[lines - 1 :])]
    return [_fit(part, columns) for part in parts]
