"""The experiment driver: many runs of several scenarios, in one or more processes, with coverage counts."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from zeke_sim.errors import SimulationError
from zeke_sim.experiment.budget import Budget, Stopwatch
from zeke_sim.experiment.coverage import PHASES, Coverage, expected
from zeke_sim.experiment.fault_coverage import FaultCoverage
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.replay import replay
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import load
from zeke_sim.history.events import Violation
from zeke_sim.loop.run_loop import Interruptible
from zeke_sim.world.faults import CALL, HANDLER, KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.scenario import Scenario

    _Ended = tuple["Experiment", str | None, str]

AHEAD: Final = 16
"""Runs for each process that are submitted ahead of the first one that has not ended."""

FEW: Final = 25
"""Number of runs up to which the start of a second process takes longer than it saves."""

MANY: Final = 10
"""Speed, in runs per CPU second, from which it is shown as such; below, as CPU seconds per run."""


@dataclass(slots=True)
class Experiment:
    """The results of many runs.

    Attributes:
        runs: number of runs by scenario.
        failure: the first run that violated a property.
        interrupted: whether Ctrl-C ended it.
        events, virtual: number of events, and seconds of virtual time.
        cpu, real: CPU seconds and real seconds.
    """

    runs: Counter[str] = field(default_factory=Counter[str])
    failure: Outcome | None = None
    interrupted: bool = False
    coverage: Coverage = field(default_factory=Coverage)
    fault_coverage: FaultCoverage = field(default_factory=FaultCoverage)
    events: int = 0
    virtual: float = 0.0
    cpu: float = 0.0
    real: float = 0.0

    def count(self, outcome: Outcome) -> None:
        """Count a run, and keep it if it violated a property."""
        self.runs[outcome.plan.scenario] += 1
        self.events += len(outcome.events)
        self.virtual += outcome.seconds
        self.coverage.take(outcome.events)
        self.fault_coverage.take(outcome)
        if outcome.violation is not None:
            self.failure = outcome

    def merge(self, other: Experiment) -> None:
        """Add the results of other runs."""
        self.runs += other.runs
        self.events += other.events
        self.virtual += other.virtual
        self.cpu += other.cpu
        self.coverage.merge(other.coverage)
        self.fault_coverage.merge(other.fault_coverage)
        self.failure = self.failure or other.failure

    def summary(self) -> str:
        """Return a summary in two lines."""
        runs = self.runs.total()
        each = ", ".join(f"{name} {number}" for name, number in sorted(self.runs.items()))
        by_scenario = f" ({each})" if each else ""
        speed = f"{self._speed()}, " if self.cpu and runs else ""
        end = "no failure" if self.failure is None else "a property was violated"
        if self.interrupted:
            end = f"interrupted; {end} so far"
        return (
            f"{runs} runs{by_scenario}\n"
            f"{self.events} events in {self.virtual / 3600:.1f} virtual hours; {speed}{self.real:.1f} s; "
            f"{end}"
        )

    def _speed(self) -> str:
        """Return the speed in runs per CPU second, or in CPU seconds per run below ``MANY``."""
        runs = self.runs.total()
        if runs >= MANY * self.cpu:
            return f"{runs / self.cpu:.0f} runs a processor second"
        each = self.cpu / runs
        return f"{each:.{1 if each >= 1 else 2}f} processor seconds a run"


def run_seeds(
    scenarios: Sequence[str | Scenario],
    seeds: Iterable[int],
    *,
    runs: int | None = None,
    budget: float | None = None,
    timeout: float | None = None,
    processes: int = 1,
    on_run: Callable[[Experiment], object] | None = None,
) -> Experiment:
    """Run seeds, each in every scenario, until a run violates a property.

    Args:
        scenarios: scenarios, which other processes must be able to load by name, or their names. One that is
            given n times runs n seeds where another runs one.
        seeds: the seeds to run; they can be unlimited if something else ends the experiment.
        runs: maximum number of runs.
        budget: limit of CPU seconds, in all processes together.
        timeout: limit of real seconds.
        processes: number of processes.
        on_run: called with the results so far after each run.

    Raises:
        SimulationError: no scenario is given, one does not exist, or a run in another process raised an
            error.
    """
    if not scenarios:
        raise SimulationError("scenarios: must name at least one, got none")
    experiment, watch = Experiment(), Stopwatch()

    def take(ended: _Ended) -> bool:
        """Add the results of a run; return whether to go on."""
        if experiment.failure is not None:
            return False
        experiment.merge(_received(*ended))
        experiment.real = watch.seconds
        if on_run is not None:
            on_run(experiment)
        within_budget = budget is None or experiment.cpu < budget
        return experiment.failure is None and within_budget and remaining() != 0

    def remaining() -> float | None:
        return None if timeout is None else max(0.0, timeout - watch.seconds)

    each = itertools.islice(_turns(scenarios, seeds), runs)
    try:
        if processes == 1:
            _here(each, take)
        else:
            _in_processes(each, processes, take, remaining)
    except KeyboardInterrupt:
        experiment.interrupted = True
    experiment.real = watch.seconds
    return experiment


def _turns(
    scenarios: Sequence[str | Scenario], seeds: Iterable[int]
) -> Generator[tuple[str | Scenario, int]]:
    """Yield each seed once for each scenario, and in each turn as many as the scenario is given times."""
    places = [scenarios.index(scenario) for scenario in scenarios]
    left = dict(zip(places, itertools.tee(seeds, len(scenarios)), strict=True))
    while left:
        for place in places:
            if place in left:
                try:
                    yield scenarios[place], next(left[place])
                except StopIteration:
                    del left[place]


def _run(scenario: str | Scenario, seed: int) -> Experiment:
    budget, part = Budget(None), Experiment()
    loaded = load(scenario) if isinstance(scenario, str) else scenario  # some are slow to import
    part.count(run(loaded, loaded.plan(seed)))
    part.cpu = budget.used
    return part


def _here(each: Iterable[tuple[str | Scenario, int]], take: Callable[[_Ended], bool]) -> None:
    with Interruptible() as interruption:
        for scenario, seed in each:
            part = _run(scenario, seed)
            interruption.check()
            if not take((part, None, "")):
                return


def _in_processes(
    each: Iterable[tuple[str | Scenario, int]],
    processes: int,
    take: Callable[[_Ended], bool],
    remaining: Callable[[], float | None],
) -> None:
    """Execute runs in processes, which are killed at the end.

    Results are taken in order, so that the first failure is the same as in one process. But an experiment
    that ends early takes every result that it has.

    Args:
        take: takes a result; returns whether to go on.
        remaining: returns how many seconds are left; None for no limit.

    Raises:
        SimulationError: a run raised an error, or a process ended.
    """
    names = ((scenario if isinstance(scenario, str) else scenario.name, seed) for scenario, seed in each)
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    running: deque[Future[_Ended]] = deque()
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            with _interruption_blocked():
                running.extend(
                    pool.submit(_in_child, *one) for one in itertools.islice(names, AHEAD * processes)
                )
            while running:
                ended = running[0].result(remaining())
                running.extend(pool.submit(_in_child, *one) for one in itertools.islice(names, 1))
                go_on = take(ended)
                running.popleft()  # only now: an interrupted ``take`` is repeated below
                if not go_on:
                    break
        except TimeoutError:
            pass
        except BrokenProcessPool:
            raise SimulationError(
                "a process of the search ended, killed or out of memory; run with --jobs 1"
            ) from None
        finally:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            pool.shutdown(cancel_futures=True)
            for future in running:
                if future.done() and not future.cancelled() and future.exception() is None:
                    take(future.result())


def _in_child(name: str, seed: int) -> _Ended:
    """Execute a run; return its results, and for a failure its plan and its violation.

    Raises:
        SimulationError: the run raised an error; others may not survive the way to another process.
    """
    try:
        part = _run(name, seed)
    except SimulationError as error:
        raise SimulationError(str(error)) from error
    except Exception as error:
        raise SimulationError(
            f"seed {seed} of {name}: {type(error).__name__}: {error}; run with --jobs 1 for the traceback"
        ) from error
    if (failure := part.failure) is None:
        return part, None, ""
    # A history is large, and not all of it can be sent to another process.
    return replace(part, failure=None), failure.plan.dumps(), str(failure.violation)


def _received(part: Experiment, plan: str | None, broke: str) -> Experiment:
    """Return the results of a run in another process, whose failure is replayed in this one."""
    if plan is not None:
        outcome = replay(Plan.loads(plan))
        not_repeated = Violation(
            "a plan makes the same run again",
            f"the search found a violation: {broke}; its plan does not reproduce it, so something in it is"
            " random, or kept from one run to the next",
            at=outcome.seconds,
        )
        part.failure = replace(outcome, violation=outcome.violation or not_repeated)
    return part


@contextmanager
def _interruption_blocked() -> Generator[None]:
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
    *("insert", "insert_child", "extend", "claim", "settle", "suspend", "append_events"),  # a job's life
    *("cancel", "retry", "resume", "get", "declare"),  # clients
    *("heartbeat", "set_idle", "deregister", "archive", "purge", "resume_waiting"),  # workers and maintenance
    *("lock_expired", "lock_due_schedules", "record_tick", "commit"),  # transactions
)
"""Storage methods that every search should see succeed, fail and stay unanswered."""

_NO_CLAIM = "a worker that waits for work has no claim under way"
_RUNNING = "it hits a handler that runs"

UNREACHED: Final[Mapping[str, str]] = {
    **{f"faults: {kind} in being claimed": _NO_CLAIM for kind in ("lost_wakeup", "late_wakeup", "spurious")},
    **{
        f"faults: {kind} in {phase}": _RUNNING
        for kind in (*HANDLER, *CALL)
        for phase in PHASES
        if phase != "running"
    },
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
