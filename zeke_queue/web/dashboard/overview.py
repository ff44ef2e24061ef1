"""The overview page: throughput, latency, failures and backlog, and the stream that updates it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_queue.model import RowState
from zeke_queue.web.dashboard import charts
from zeke_queue.web.dashboard.formatting import LINE, length, number
from zeke_queue.web.dashboard.json_preview import preview
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.dashboard.queues import unserved
from zeke_queue.web.dashboard.sampler import BACKLOG_KEPT, SPANS, USUAL
from zeke_queue.web.inspect import waiting
from zeke_queue.web.sse import ServerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime

    from starlette.responses import Response

    from zeke_queue.model import Job, Throughput
    from zeke_queue.web.dashboard.page_request import PageRequest
    from zeke_queue.web.dashboard.sampler import Sample, Span

TOP_QUEUES: Final = 6
"""Number of the fullest queues that are shown."""

_A_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its labels.

    Attributes:
        top: the label of the value at the top.
        begin: the label of the left edge.
        summary: a description of the content.
        told: the period of the legend's figures: everything drawn, or its end.
        legend: the kind, name and figure of each kind of bar or line.
        is_empty: whether there are no values.
    """

    slug: str
    title: str
    top: str
    begin: str
    summary: str
    told: str
    legend: Sequence[tuple[str, str, str]]
    bars: Sequence[charts.Bar] = ()
    lines: Sequence[charts.Line] = ()
    is_empty: bool = False


async def overview(request: PageRequest) -> Response:
    """Show the overview."""
    span = SPANS.get(request.asked("span"), USUAL)
    sample = await request.sampler.read(span)
    return request.page("overview.html", spans=SPANS.values(), **shown(request, sample, span))


async def live(request: PageRequest) -> Response:
    """Stream updates: the parts of the overview, or for other pages a notice that their lists changed."""
    span = SPANS.get(request.asked("span"), USUAL)
    frames = _frames(request, span, whole=request.asked("of") == "overview")
    return request.parts.live.stream(
        frames, is_authorized=request.authorization_check(), caller=request.known_caller.id
    )


VIEWS: Final = (View("/", overview), View("/live", live))

PARTS: Final = ("tiles", "charts", "backlog", "failures")


async def _frames(request: PageRequest, span: Span, *, whole: bool) -> AsyncGenerator[ServerEvent]:
    """Yield the changed parts of the overview, and notices of other changes."""
    sent: dict[str, str] = {}
    mark: int | None = None
    was_old = False
    async for sample in request.sampler.watch(span):
        if sample.is_old != was_old:
            was_old = sample.is_old
            yield ServerEvent("away" if was_old else "back", f"{sample.at:%H:%M:%S}")
        if whole:
            drawn = shown(request, sample, span)
            for part in PARTS:
                fragment = request.draw(f"_{part}.html", **drawn)
                if sent.get(part) != fragment:
                    sent[part] = fragment
                    yield ServerEvent(part, fragment)
        elif mark != sample.mark:
            # The first sample counts as a change, since the page is older than the stream.
            mark = sample.mark
            yield ServerEvent("changed", f"{sample.at:%H:%M:%S}")


def shown(request: PageRequest, sample: Sample, span: Span) -> dict[str, Any]:
    """Return the data of the page's parts."""
    paces = sample.paces[span.name]
    ended = paces or ()
    fullest = sorted(sample.queues, key=lambda queue: -waiting(queue))
    alive = [worker for worker in sample.workers if worker.alive]
    return {
        "sample": sample,
        "span": span,
        "is_counted": paces is not None,
        "completed": sum(pace.completed for pace in ended),
        "failed": sum(pace.failed for pace in ended),
        "rate": sum(pace.completed + pace.failed for pace in ended) / span.seconds * 60,
        "executing": sum(queue.counts.get(RowState.ACTIVE, 0) for queue in sample.queues),
        "alive": alive,
        "idle": sum(not worker.holds for worker in alive),
        "unserved": unserved(sample.queues, alive),
        "paused": [queue.name for queue in sample.queues if queue.paused],
        "charts": [throughput(ended, span), failures(ended, span), *latencies(ended, span)],
        "backlog": backlog(sample),
        "fullest": [(queue, waiting(queue)) for queue in fullest[:TOP_QUEUES]],
        "most": max((waiting(queue) for queue in fullest), default=0),
        "recent": [(job, reason(request, job)) for job in sample.failures],
    }


def reason(request: PageRequest, job: Job) -> str:
    """Return a job's error in one line, without hidden values."""
    output = request.parts.presenter.output(job)
    if isinstance(output, dict) and "message" in output:
        error = cast("dict[str, Any]", output)
        message = preview(error["message"], LINE).text.strip().partition("\n")[0]
        return f"{error.get('type', 'Error')}: {message}"
    return output if isinstance(output, str) else "No error message"


def throughput(paces: Sequence[Throughput], span: Span) -> Chart:
    """Draw the number of completed jobs."""
    total = sum(pace.completed for pace in paces)
    top = charts.ceiling([pace.completed for pace in paces])
    return Chart(
        "throughput",
        "Completed",
        number(top),
        _begin(paces, span),
        f"{total} jobs completed within {span.title}, {top:g} at most in {length(span.step)}",
        _total(span),
        [("completed", "completed", number(total))],
        bars=charts.bars(
            [[("completed", pace.completed)] for pace in paces],
            [f"{_when(pace.begin, span)}: {pace.completed} completed" for pace in paces],
            top,
        ),
        is_empty=not total,
    )


def failures(paces: Sequence[Throughput], span: Span) -> Chart:
    """Draw the number of jobs that failed permanently or were cancelled."""
    failed = sum(pace.failed for pace in paces)
    cancelled = sum(pace.cancelled for pace in paces)
    top = charts.ceiling([pace.failed + pace.cancelled for pace in paces])
    return Chart(
        "failures",
        "Failed and cancelled",
        number(top),
        _begin(paces, span),
        f"{failed} jobs failed and {cancelled} were cancelled within {span.title}",
        _total(span),
        [("failed", "failed", number(failed)), ("cancelled", "cancelled", number(cancelled))],
        bars=charts.bars(
            [[("failed", pace.failed), ("cancelled", pace.cancelled)] for pace in paces],
            [
                f"{_when(pace.begin, span)}: {pace.failed} failed, {pace.cancelled} cancelled"
                for pace in paces
            ],
            top,
        ),
        is_empty=not failed + cancelled,
    )


def latencies(paces: Sequence[Throughput], span: Span) -> list[Chart]:
    """Draw how long due jobs waited, and how long jobs ran."""
    return [
        _latency("wait", "Wait time", [(pace.wait_median, pace.wait_95) for pace in paces], paces, span),
        _latency("run", "Run time", [(pace.run_median, pace.run_95) for pace in paces], paces, span),
    ]


def _latency(
    slug: str,
    title: str,
    values: Sequence[tuple[float | None, float | None]],
    paces: Sequence[Throughput],
    span: Span,
) -> Chart:
    medians = [median for median, _ in values]
    nineties = [ninety for _, ninety in values]
    top = charts.ceiling(nineties, least=0.01)
    at = next((place for place in range(len(values) - 1, -1, -1) if medians[place] is not None), None)
    median, ninety = (None, None) if at is None else values[at]
    told = f"none in {span.title}" if at is None else f"latest, {_when(paces[at].begin, span)}"
    return Chart(
        slug,
        title,
        length(top),
        _begin(paces, span),
        f"{title}: median {length(median)}, 95th percentile {length(ninety)} ({told})",
        told,
        [("ninety", "95th percentile", length(ninety)), ("median", "median", length(median))],
        lines=[charts.line("ninety", nineties, top), charts.line("median", medians, top)],
        is_empty=median is None,
    )


def backlog(sample: Sample) -> Chart:
    """Draw the number of waiting jobs in each of the last samples."""
    top = charts.ceiling([one for one in sample.backlog if one is not None], least=10)
    return Chart(
        "waiting",
        "Waiting",
        number(top),
        "since this page was opened",
        f"{sample.waiting} jobs are waiting now" if sample.is_counted else "Waiting jobs are not counted",
        "now",
        [("waiting", "waiting", number(sample.waiting) if sample.is_counted else "…")],
        lines=[charts.line("waiting", sample.backlog, top, BACKLOG_KEPT)],
        is_empty=False,
    )


def _total(span: Span) -> str:
    return f"total of {span.title}"


def _begin(paces: Sequence[Throughput], span: Span) -> str:
    return _when(paces[0].begin, span) if paces else ""


def _when(begin: datetime, span: Span) -> str:
    if span.seconds >= _A_DAY:
        return f"{begin:%b %d, %H:%M}"
    return f"{begin:%H:%M:%S}" if span.step % 60 else f"{begin:%H:%M}"
