"""A failure as a paragraph: what ran where, which faults hit it, and what happened again.

The runs of the violation's job are described in order, each with its effects and its end, and between them
the faults of the plan. If no single job broke the property, the jobs whose handlers the faults hit are
described.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_sim.history.events import Effect, Fault
from zeke_sim.report.as_json import short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from zeke_sim.report.failure import Failure
    from zeke_sim.report.story import Mark, Story, Work

JOBS: Final = 2
"""Maximum number of jobs in a paragraph, if no single job broke the property."""

RUNS: Final = 4
"""Maximum number of runs of a job; of more, the first one and the last ones are described."""

FAULTS: Final = 4
"""Maximum number of faults, besides those that ended a run."""

EFFECTS: Final = 2
"""Maximum number of effects of a run."""

TEXT: Final = 80
"""Maximum number of characters of an error or an effect."""

SENTENCES: Final[Mapping[str, str]] = {
    "refused": "the database refused {what} of {node}",
    "lost": "{what} of {node} was applied, but {node} got no answer",
    "hung": "{node} waited {long} for the answer to {what}, and got an error",
    "late": "{what} of {node} was applied {long} late",
    "abandoned": "{node} gave up {what} after {long}, and the database applied it later",
    "pool": "{node} had no free connection for {what} for {long}",
    "conflict": "the database aborted {what} of {node} again and again for {long}",
    "kill_before": "{node} was killed as it sent {what}, which did not arrive",
    "kill_after": "{node} was killed when {what} had been applied, before it got the answer",
    "lost_wakeup": "a wake-up of {node} was lost",
    "late_wakeup": "a wake-up of {node} came {long} late",
    "spurious": "{node} was woken although no job was due",
    "kill": "{node} was killed",
    "pause": "{node} was suspended for {long}",
    "block": "the event loop of {node} was blocked for {long}",
    "freeze": "{node} was suspended for {long}",
    "sigterm": "{node} received SIGTERM",
    "partition": "{node} and the database could not reach each other for {long}",
    "partition_out": "messages of {node} did not reach the database for {long}",
    "partition_in": "answers of the database did not reach {node} for {long}",
    "clock": "the wall clock of {node} jumped",
    "drift": "the clocks of {node} ran too fast or too slow",
    "restart": "the database was unavailable for {long}",
    "db_clock": "the database's clock jumped",
    "foreign_lock": "another program locked {row} for {long}",
    "notify_full": "the notification queue was full for {long}, and wake-ups were lost",
    "kill_handler": "{node} was killed while a handler waited",
    "kill_line": "{node} was killed between two statements of a handler",
    "call_refused": "{what} of {node} failed before it had an effect",
    "call_lost": "{what} of {node} had its effect, but its answer was lost",
    "call_late": "{what} of {node}, or its answer, was delayed by {long}",
}
"""What a fault did, by kind."""

VERBS: Final = {
    "claim": "a claim",
    "settle": "a settlement",
    "insert": "a send",
    "heartbeat": "a heartbeat",
    "commit": "a commit",
}
"""Names of statements; others are named by their storage method."""


class _Clause(NamedTuple):
    """A clause of the paragraph, at its time; ``run`` is the run that it begins or ends."""

    at: float
    text: str
    run: Work | None = None
    ends: bool = False


def summary(failure: Failure, story: Story) -> str:
    """Return the paragraph; empty if neither a run nor a fault is known."""
    return _Paragraph(failure, story).text()


class _Paragraph:
    """Composes a paragraph; ``named`` are the faults that describe the end of a run."""

    def __init__(self, failure: Failure, story: Story) -> None:
        self.failure = failure
        self.story = story
        events = failure.outcome.events
        self.effects = [event for event in events if isinstance(event, Effect)]
        self.faults = {event.address: event for event in events if isinstance(event, Fault)}
        first: dict[str, Mark] = {}
        for mark in story.faults:
            if mark.address in failure.decisions:
                first.setdefault(mark.address, mark)
        self.marks = list(first.values())
        self.jobs = self._jobs()
        self.runs = [work for job in self.jobs for work in self._runs(job)]
        self.named: set[str] = set()

    def text(self) -> str:
        clauses = [clause for run in self.runs for clause in self._described(run)]
        left = [mark for mark in self.marks if mark.address not in self.named]
        clauses += [
            _Clause(mark.since, f"at {_seconds(mark.since)}, {self._said(mark)}") for mark in left[:FAULTS]
        ]
        clauses.sort(key=lambda clause: clause.at)
        sentences: list[str] = []
        before: _Clause | None = None
        for clause in clauses:
            if clause.ends and before is not None and before.run is clause.run:
                sentences[-1] += f" and {clause.text}"
            else:
                on = "" if clause.run is None or not clause.ends else f"{clause.run.node} then "
                sentences.append(on + clause.text)
            before = clause
        return "; ".join(sentences) + "." * bool(sentences)

    def _jobs(self) -> list[UUID]:
        """Return the jobs to describe: the violation's, those whose effects it repeats, or the affected."""
        broken = self.failure.violation
        if broken.job is not None:
            keys = {one.key for one in self.effects if one.job == broken.job and one.at == broken.at}
            others = [one.job for one in self.effects if one.key in keys and one.job is not None]
            return [*dict.fromkeys([*others, broken.job])][-JOBS:]
        affected = [
            work.job
            for mark in self.marks
            for work in self.story.works
            if work.node == mark.node and work.since <= mark.since and not _before(work.until, mark.since)
        ]
        return [*dict.fromkeys(affected)][:JOBS]

    def _runs(self, job: UUID) -> list[Work]:
        runs = [work for work in self.story.works if work.job == job]
        return runs if len(runs) <= RUNS else [runs[0], *runs[1 - RUNS :]]

    def _described(self, run: Work) -> list[_Clause]:
        """Describe the start of a run, and its end with its effects."""
        mine = [one for one in self.runs if one.job == run.job]
        place = mine.index(run)
        if place == 0:
            start = f"{self._name(run)} ran on {run.node}"
        else:
            last = mine[place - 1]
            ended = last.until is not None and last.until <= run.since
            again = _seconds(run.since - (last.until if ended and last.until is not None else last.since))
            start = (
                f"{run.node} ran it again {again} later"
                if ended
                else (f"{run.node} began it too, {again} after {last.node},")
            )
        clauses = [_Clause(run.since, start, run)]
        if (end := self._end(run)) is not None:
            clauses.append(_Clause(end[0], end[1], run, ends=True))
        return clauses

    def _name(self, run: Work) -> str:
        alike = sum(task == run.task for task in self.story.jobs.values())
        return run.task if alike == 1 else f"{run.task} {short(run.job)}"

    def _end(self, run: Work) -> tuple[float, str] | None:
        """Return when a run ended or had its last effect, and the clause that describes this."""
        had = [one for one in self.effects if (one.job, one.attempt) == (run.job, run.attempt)]
        at = run.until if run.until is not None else max((one.at for one in had), default=None)
        if at is None:
            return None
        effects = _listed([self._effect(one) for one in had])
        if run.how == "killed":
            after = f", after it had {effects}" if effects else ""
            return at, f"was killed{self._where(run)}{after}"
        ends = {"raised": f"raised {self._error(run)}", "cancelled": "was cancelled", "returned": "returned"}
        return at, " and ".join(part for part in (effects, ends.get(run.how, "")) if part)

    def _effect(self, effect: Effect) -> str:
        earlier = next((one for one in self.effects if one.key == effect.key), effect) is not effect
        line = effect.line
        again = f" again{'' if line is None else f' at {line.file}:{line.number}'}" if earlier else ""
        key = _fit(effect.key)
        return f"called {key}{again}" if effect.called else f"caused the effect '{key}'{again}"

    def _error(self, run: Work) -> str:
        ended: Any = None if run.last is None else self.failure.outcome.events[run.last]
        return _fit(str(getattr(ended, "value", "an error")).strip().partition("\n")[0].rstrip(": "))

    def _where(self, run: Work) -> str:
        """Return where a process was killed: the line, if it is known, or the statement that it sent."""
        mark = next(
            (
                mark
                for mark in reversed(self.marks)
                if mark.kind.startswith("kill")
                and mark.node == run.node
                and run.since <= mark.since
                and not _before(run.until, mark.since)
            ),
            None,
        )
        if mark is None:
            return ""
        self.named.add(mark.address)
        for place, one in enumerate(self.faults[mark.address].affected):
            if (one.job, one.attempt) != (run.job, run.attempt):
                continue
            if one.returned:
                return " before its result was stored"
            if one.line is not None:
                before = mark.kind == "kill_line" and place == 0 and not one.line.after
                return f" {'before' if before else 'at'} {one.line}"
        if mark.kind in {"kill_before", "kill_after"}:
            return f" {self._said(mark).partition(' was killed ')[2]}"
        return f" at {_seconds(mark.since)}"

    def _said(self, mark: Mark) -> str:
        """Return the sentence of a fault."""
        parts = mark.address.split("/")
        what = _fit(parts[-2]) if mark.kind.startswith("call_") else ""
        if not what:
            what = VERBS.get(parts[1], f"`{_fit(parts[1])}`") if len(parts) > 1 else "a statement"
        row = self.faults[mark.address].row
        words = {
            "node": mark.node,
            "what": what,
            "long": "some time" if mark.until is None else _seconds(mark.until - mark.since),
            "row": "a job" if row is None or not isinstance(row, str) else f"the queue {row}",
        }
        known = SENTENCES.get(mark.kind)
        return f"{mark.node} had the fault {_fit(mark.kind)}" if known is None else known.format(**words)


def _listed(parts: Sequence[str]) -> str:
    """Join what was done, without repetitions: the last ones, and the number of the others."""
    parts = [*dict.fromkeys(parts)]
    more = len(parts) - EFFECTS
    return " and ".join(parts[-EFFECTS:]) + (f" (after {more} other effects)" if more > 0 else "")


def _before(until: float | None, at: float) -> bool:
    return until is not None and until < at


def _seconds(time: float) -> str:
    return f"{time:.1f} s" if time >= 1 else f"{time:.3f}".rstrip("0").rstrip(".") + " s"


def _fit(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= TEXT else text[: TEXT - 1] + "…"
