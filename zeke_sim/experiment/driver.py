"""The experiment driver: many runs of several scenarios, in one or more processes, with coverage counts."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from zeke_sim.errors import SimulationError
from zeke_sim.experiment.budget import Budget, Stopwatch
from zeke_sim.experiment.coverage import Coverage, expected
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import load
from zeke_sim.experiment.search import Finding
from zeke_sim.history.events import Violation
from zeke_sim.loop.run_loop import Interruptible
from zeke_sim.world.faults import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

BATCH: Final = 25
"""Runs per process between reports."""

MANY: Final = 10
"""Speed, in runs per CPU second, from which it is shown as such; below, as CPU seconds per run."""

EVERY: Final = 10.0
"""Seconds between progress lines."""


@dataclass(slots=True)
class Campaign:
    """The result of an experiment.

    Attributes:
        runs: number of runs by scenario.
        found: the first run that violated a property.
        interrupted: whether Ctrl-C ended it.
        coverage: coverage counts of all runs.
        events, virtual: number of events, and seconds of virtual time.
        cpu, real: CPU seconds and real seconds.
    """

    runs: dict[str, int] = field(default_factory=dict[str, int])
    found: Finding | None = None
    interrupted: bool = False
    coverage: Coverage = field(default_factory=Coverage)
    events: int = 0
    virtual: float = 0.0
    cpu: float = 0.0
    real: float = 0.0

    @property
    def made(self) -> int:
        """Number of runs."""
        return sum(self.runs.values())

    def summary(self) -> str:
        """Return a summary in two lines."""
        runs = self.made
        each = ", ".join(f"{name} {number}" for name, number in sorted(self.runs.items()))
        by_scenario = f" ({each})" if each else ""
        speed = f"{self._speed()}, " if self.cpu and runs else ""
        end = "nothing broke" if self.found is None else "a property broke"
        if self.interrupted:
            end = f"interrupted; {end} so far"
        return (
            f"{runs} runs{by_scenario}\n"
            f"{self.events} events in {self.virtual / 3600:.1f} virtual hours; {speed}{self.real:.1f} s; "
            f"{end}"
        )

    def _speed(self) -> str:
        """Return the speed in runs per CPU second, or in CPU seconds per run below ``MANY``."""
        if self.made >= MANY * self.cpu:
            return f"{self.made / self.cpu:.0f} runs a processor second"
        each = self.cpu / self.made
        return f"{each:.{1 if each >= 1 else 2}f} processor seconds a run"


def search(
    scenarios: Sequence[str],
    *,
    start: int = 0,
    seeds: int,
    budget: float | None = None,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Campaign:
    """Run seeds, distributed over the scenarios in turn, until one violates a property.

    Args:
        scenarios: names of scenarios.
        start: the first seed.
        seeds: number of runs.
        budget: time limit in real seconds.
        jobs: number of processes.
        progress: called with a progress line every ``EVERY`` seconds.

    Raises:
        SimulationError: a scenario does not exist, or none is named.
    """
    if not scenarios:
        raise SimulationError("scenarios: must name at least one, got none")
    for name in scenarios:
        load(name)
    batches = _batches(scenarios, start, seeds)
    campaign, watch = Campaign(), Stopwatch()
    told = 0.0
    try:
        with closing(_here(batches) if jobs == 1 else _in_processes(batches, jobs)) as answers:
            for answer in answers:
                _take(campaign, answer)
                if campaign.found is not None or (budget is not None and watch.seconds >= budget):
                    break
                if progress is not None and watch.seconds - told >= EVERY:
                    told = watch.seconds
                    progress(f"{campaign.made} of {seeds} runs, {told:.0f} s, nothing broke so far")
    except KeyboardInterrupt:
        campaign.interrupted = True
    campaign.real = watch.seconds
    return campaign


def _batches(chosen: Sequence[str], start: int, seeds: int) -> Iterator[list[tuple[str, int]]]:
    """Yield batches of (scenario, seed)."""
    every = ((name, seed) for seed in itertools.count(start) for name in chosen)
    dealt = itertools.islice(every, seeds)
    while batch := list(itertools.islice(dealt, BATCH)):
        yield batch


def _batch(runs: Sequence[tuple[str, int]], between: Callable[[], None] | None = None) -> dict[str, Any]:
    """Execute runs up to the first that violates a property; ``between`` is called after each."""
    budget, coverage = Budget(None), Coverage()
    made: dict[str, int] = {}
    answer: dict[str, Any] = {"events": 0, "virtual": 0.0, "found": None, "runs": made}
    for name, seed in runs:
        scenario = load(name)
        outcome = run(scenario, scenario.plan(seed))
        if between is not None:
            between()
        made[name] = made.get(name, 0) + 1
        answer["events"] += len(outcome.events)
        answer["virtual"] += outcome.seconds
        coverage.take(outcome.events)
        if outcome.violation is not None:
            answer["found"] = outcome.plan.dumps()
            answer["broke"] = str(outcome.violation)
            break
    answer["coverage"] = coverage.as_json()
    answer["cpu"] = budget.used
    return answer


def _take(campaign: Campaign, answer: dict[str, Any]) -> None:
    for name, number in answer["runs"].items():
        campaign.runs[name] = campaign.runs.get(name, 0) + number
    campaign.events += answer["events"]
    campaign.virtual += answer["virtual"]
    campaign.cpu += answer["cpu"]
    campaign.coverage.merge(Coverage.from_json(answer["coverage"]))
    if answer["found"] is not None:
        plan = Plan.loads(answer["found"])
        outcome = run(load(plan.scenario), plan)
        violation = outcome.violation or _only_once(answer["broke"], outcome.seconds)
        outcome = replace(outcome, violation=violation)
        campaign.found = Finding(plan.scenario, plan.seed, violation, campaign.made, outcome)


def _only_once(broke: str, at: float) -> Violation:
    """Return the violation for a run that violated a property but did not when repeated."""
    return Violation(
        "a plan makes the same run again",
        f"in the search this broke: {broke}; its plan, run again, broke nothing, so that something in it is"
        " left to chance, or stays from one run to the next",
        at=at,
    )


def _here(batches: Iterator[list[tuple[str, int]]]) -> Generator[dict[str, Any]]:
    with Interruptible() as interruption:
        for batch in batches:
            yield _batch(batch, interruption.check)


def _in_processes(batches: Iterator[list[tuple[str, int]]], jobs: int) -> Generator[dict[str, Any]]:
    """Execute batches in processes, and end the processes at once when the generator is closed."""
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        try:
            with _deaf_to_interruption():
                waiting = {pool.submit(_batch, batch) for batch in itertools.islice(batches, 2 * jobs)}
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                waiting |= {pool.submit(_batch, batch) for batch in itertools.islice(batches, len(done))}
                for future in done:
                    yield future.result()
        finally:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf_to_interruption() -> Generator[None]:
    """Block Ctrl-C in processes started in this block, since their parent handles it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


VERBS: Final = (
    "archive",
    "beat",
    "cancel",
    "claim",
    "commit",
    "declare_queues",
    "declare_schedules",
    "due_schedules",
    "extend",
    "get",
    "idle",
    "insert",
    "leave",
    "note",
    "overdue",
    "purge",
    "resume",
    "retry",
    "serve_ticks",
    "settle",
    "spawn",
    "suspend",
    "wake_parents",
)
"""Storage methods that every search should see succeed, fail and stay unanswered."""

_NO_CLAIM = "a worker that waits for work has no claim under way"
_RUNNING = "it is drawn as a handler begins, and hits one that runs"

UNREACHED: Final[Mapping[str, str]] = {
    "faults: deaf in being claimed": _NO_CLAIM,
    "faults: drowsy in being claimed": _NO_CLAIM,
    "faults: spurious in being claimed": _NO_CLAIM,
    "faults: kill_handler in waiting": _RUNNING,
    "faults: kill_handler in being claimed": _RUNNING,
    "faults: kill_handler in settling": _RUNNING,
    "faults: kill_handler in idle": _RUNNING,
}
"""Coverage entries that a search need not reach, with the reason."""


def missing(coverage: Coverage) -> list[str]:
    """Return the entries that a search over all scenarios should have reached but did not."""
    return coverage.never(expected(KINDS, VERBS, but=UNREACHED))


def table(coverage: Coverage) -> str:
    """Return the coverage counts as a text table."""
    counts = coverage.as_json()
    lines = [f"{coverage.runs} runs"]
    for part in ("edges", "faults", "calls"):
        lines.append(part)
        lines += [f"  {number:>9}  {what}" for what, number in sorted(counts[part].items())]
    return "\n".join(lines)
