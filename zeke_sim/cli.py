"""``zeke sim``: run scenarios, replay and shrink failures, and compare runs.

Every ``zeke`` command imports this module, so each command loads its dependencies only when it runs.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from zeke_sim.experiment.driver import Experiment
    from zeke_sim.experiment.fault_coverage import FaultCoverage
    from zeke_sim.experiment.plan import Plan
    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.scenario import Scenario
    from zeke_sim.report.failure import Failure

BROKEN: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130
UNUSED_SHOWN: Final = 5

EVERY: Final = 10.0
"""Seconds between progress lines."""

sim = typer.Typer(
    name="sim",
    help=(
        "Run jobs in a simulated world with faults, and check that all properties hold.\n\n"
        "`run` searches, `replay` and `shrink` take the plan of a failure, `diff` compares two runs, "
        "`coverage` lists what the runs reached."
    ),
    no_args_is_help=True,
)

Scenarios = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SCENARIO]...",
        help=(
            "Packages, modules with a SCENARIO, or module:ATTRIBUTE; by default those that pyproject.toml "
            "lists under \\[tool.zeke.sim] scenarios."
        ),
    ),
]
Folder = Annotated[
    Path, typer.Option("--folder", metavar="DIR", help="Directory for plans and pages of failures.")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=64,
        show_default=False,
        help="Number of processes; by default 2 for more than 25 runs, if there are two processors.",
    ),
]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A plan written by `zeke sim run`.")]


def _seconds(text: str | None) -> float | None:
    """Convert an option such as 90, 90s or 2m to seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text.strip())
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"must be a duration such as 90s, 2m or 1h, got {text!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, None: 1}[match[2]]


@sim.command("run")
def run_(
    scenarios: Scenarios = None,
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs over all scenarios together.")] = 500,
    start: Annotated[int, typer.Option("--from", min=0, help="The first seed.")] = 0,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop after this much real time: 90s, 2m.")
    ] = None,
    jobs: Jobs = None,
    shrink: Annotated[bool, typer.Option(help="Shrink the failure.")] = True,
    emit_test: Annotated[
        Path | None, typer.Option("--emit-test", metavar="FILE", help="Write a regression test of a failure.")
    ] = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Also fail if an expected situation never occurred.")
    ] = False,
    folder: Folder = Path(".zeke-sim"),
) -> None:
    """Search for a run that violates a property; exit with 1 if one is found."""
    with _usage_errors():
        from zeke_sim.experiment import driver
        from zeke_sim.experiment.shrink import SECONDS

        _writable(folder, ("--emit-test", emit_test))
        result = driver.run_seeds(
            _chosen(scenarios),
            itertools.count(start),
            runs=seeds,
            timeout=_seconds(budget),
            processes=_processes(jobs, seeds),
            on_run=_progress(seeds),
        )
        typer.echo(result.summary())
        typer.echo(result.fault_coverage.summary())
        if result.failure is not None:
            seconds = SECONDS if shrink else None
            scenario = _load(result.failure.plan.scenario)
            _show(scenario, result.failure, seconds, folder, emit_test, coverage=result.fault_coverage)
            raise typer.Exit(BROKEN)
        if result.interrupted:
            raise typer.Exit(INTERRUPTED)
        if complete:
            missing = driver.missing(result.coverage)
            for line in missing:
                typer.echo(f"never happened: {line}")
            if missing:
                raise typer.Exit(BROKEN)


@sim.command("replay")
def replay_(
    plan: PlanFile,
    *,
    page: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write the page with the timeline to this file."),
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Print every event.")] = False,
) -> None:
    """Replay a plan twice; exit with 1 if it violates a property or the two runs differ."""
    with _usage_errors():
        from zeke_sim.experiment.replay import replay
        from zeke_sim.experiment.shrink import Shrunk, divergence
        from zeke_sim.report import as_json, html
        from zeke_sim.report.failure import Failure

        loaded, scenario = _read(plan)
        page = page or plan.with_suffix(".html")
        _writable(None, ("--html", page))
        outcome = replay(loaded, scenario)
        if trace:
            for event in outcome.events:
                typer.echo(as_json.line(event))
        differs = divergence(outcome, replay(loaded, scenario))
        if differs is not None:
            typer.secho(f"The two runs of this plan differ: {differs}", err=True)
            raise typer.Exit(BROKEN)
        if outcome.violation is None:
            typer.echo(f"No violation: {_counted(outcome)}, identical in both runs")
            _report_unused_decisions(loaded, outcome)
            return
        failure = Failure(Shrunk.given(outcome, replays=2), f"zeke sim replay {plan}", str(page))
        page.write_text(html.page(failure), encoding="utf-8")
        typer.echo(_screen(failure))
        raise typer.Exit(BROKEN)


@sim.command()
def shrink(
    plan: PlanFile,
    *,
    budget: Annotated[str, typer.Option(metavar="TIME", help="Time limit.")] = "60s",
    emit_test: Annotated[
        Path | None, typer.Option("--emit-test", metavar="FILE", help="Write a regression test.")
    ] = None,
    folder: Folder = Path(".zeke-sim"),
) -> None:
    """Shrink a failing plan and write it into the folder."""
    with _usage_errors():
        from zeke_sim.experiment.replay import replay

        loaded, scenario = _read(plan)
        _writable(folder, ("--emit-test", emit_test))
        outcome = replay(loaded, scenario)
        if outcome.violation is None:
            typer.secho(f"{plan}: no property is violated, so there is nothing to shrink", err=True)
            raise typer.Exit(MISUSED)
        _show(scenario, outcome, _seconds(budget), folder, emit_test)


@sim.command()
def diff(
    one: PlanFile,
    other: Annotated[
        Path | None, typer.Argument(metavar="[PLAN]", help="A second plan; by default the first one again.")
    ] = None,
    *,
    around: Annotated[int, typer.Option(min=0, help="Events shown before the first difference.")] = 5,
) -> None:
    """Run two plans, or one twice, and show the first event in which they differ."""
    with _usage_errors():
        from zeke_sim.experiment.replay import replay
        from zeke_sim.experiment.run import first_difference
        from zeke_sim.report import as_json

        left, right = (replay(*_read(plan)).events for plan in (one, other or one))
        differs = first_difference(left, right)
        if differs is None:
            typer.echo(f"No difference in {len(left)} events")
            return
        place = differs[0]
        for event in left[max(0, place - around) : place]:
            typer.echo(f"  {as_json.line(event)}")
        for sign, events in (("-", left), ("+", right)):
            typer.echo(f"{sign} {as_json.line(events[place]) if place < len(events) else '(no more events)'}")
        raise typer.Exit(BROKEN)


@sim.command()
def coverage(
    scenarios: Scenarios = None,
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs over all scenarios together.")] = 500,
    jobs: Jobs = None,
) -> None:
    """Print the coverage of many runs: faults by phase, state transitions, and what was never reached."""
    with _usage_errors():
        from zeke_sim.experiment import driver

        result = driver.run_seeds(
            _chosen(scenarios),
            itertools.count(),
            runs=seeds,
            processes=_processes(jobs, seeds),
            on_run=_progress(seeds),
        )
        typer.echo(driver.table(result.coverage))
        for line in result.fault_coverage.table():
            typer.echo(line)
        for line in driver.missing(result.coverage):
            typer.echo(f"never happened: {line}")
        if result.interrupted:
            raise typer.Exit(INTERRUPTED)


HistoryFile = Annotated[Path, typer.Argument(metavar="FILE", help="A history written by `zeke sim record`.")]


@sim.command()
def record(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, such as day.jsonl.gz.")],
    *,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="The start: an instant, or a time before now such as 24h.")
    ] = "24h",
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="The end, in the same form; by default now.")
    ] = None,
    payloads: Annotated[
        str, typer.Option(metavar="none|redacted|full", help="How payloads and results are recorded.")
    ] = "none",
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs.")] = 100_000,
) -> None:
    """Record the history of a running system from its tables, without changing them."""
    with _usage_errors():
        from zeke_queue.cli.session import options_of
        from zeke_sim.recorded.record import Wanted, record

        _writable(None, ("FILE", file))
        settings = options_of(context).on_database()
        written = record(file, Wanted(since, until, payloads, limit), settings)
        typer.echo(f"{file}: {written}")


@sim.command("replay-history")
def replay_history(
    file: HistoryFile,
    *,
    kill_workers: Annotated[int, typer.Option(min=0, help="Number of times that a worker is killed.")] = 0,
    faults: Annotated[
        str, typer.Option(metavar="KIND,…", help="Further kinds of faults, such as kill,partition; or all.")
    ] = "",
    catalog: Annotated[
        str,
        typer.Option(
            metavar="MODULE:CATALOG",
            help="The catalog whose handlers run; by default attempts take the recorded time.",
            show_default=False,
        ),
    ] = "",
    resources: Annotated[
        str, typer.Option(metavar="MODULE:FUNCTION", help="Returns the handlers' resources, once per run.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs of the history.")] = 1,
    start: Annotated[int, typer.Option("--from", min=0, help="The first seed.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Number of workers; 0 for the recorded number.")] = 0,
    concurrency: Annotated[
        int, typer.Option(min=0, help="Jobs of each worker; 0 for the recorded number.")
    ] = 0,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs.")] = 100_000,
    folder: Folder = Path(".zeke-sim"),
) -> None:
    """Check a recorded history, and replay its arrivals with faults; exit with 1 at a broken property."""
    with _usage_errors():
        from zeke_sim.experiment.shrink import SECONDS
        from zeke_sim.recorded.replays import Replay, check, replays

        kinds = tuple(faults.split(",")) if faults else ()
        replay = Replay(str(file), kill_workers, kinds, catalog, workers, concurrency, 0, limit, resources)
        _writable(folder)
        with _importing(catalog or str(file)):
            checked, broken = check(replay)
        typer.echo(checked)
        for scenario, outcome, told in replays(replay, range(start, start + seeds)):
            if outcome.violation is not None:
                _show(scenario, outcome, SECONDS, folder, None)
                raise typer.Exit(BROKEN)
            typer.echo(told)
        if broken:
            raise typer.Exit(BROKEN)


def _processes(jobs: int | None, runs: int) -> int:
    """Return the number of processes: two by default for more than a few runs."""
    from zeke_queue.system.subprocess_pool import processors
    from zeke_sim.experiment.driver import FEW

    return jobs or (min(2, processors()) if runs > FEW else 1)


def _progress(runs: int) -> Callable[[Experiment], None]:
    """Return a callback that prints the progress of an experiment every ``EVERY`` seconds."""
    printed = 0.0

    def on_run(experiment: Experiment) -> None:
        nonlocal printed
        if experiment.real - printed >= EVERY and experiment.failure is None:
            printed = experiment.real
            done = experiment.runs.total()
            typer.echo(f"{done} of {runs} runs, {printed:.0f} s, no failure so far", err=True)

    return on_run


def _show(
    scenario: Scenario,
    outcome: Outcome,
    seconds: float | None,
    folder: Path,
    emit_test: Path | None,
    *,
    coverage: FaultCoverage | None = None,
) -> None:
    """Write and print a failure, after shrinking it for at most ``seconds``; None does not shrink it."""
    from zeke_sim.experiment import shrink as shrinking
    from zeke_sim.report import emit
    from zeke_sim.report.files import write

    shrunk = shrinking.Shrunk.given(outcome)
    try:
        if seconds is not None:
            typer.echo(f"found in {scenario.name}, seed {outcome.plan.seed}; shrinking …", err=True)
            shrunk = shrinking.shrink(scenario, outcome, seconds)
    finally:  # of an interruption too
        failure = write(shrunk, folder, coverage=coverage)
        typer.echo(_screen(failure))
        if emit_test is not None:
            emit_test.write_text(emit.test(failure), encoding="utf-8")
            typer.echo(f"regression test: {emit_test}")
    if shrunk.unsteady is not None:
        typer.secho(f"It does not replay identically: {shrunk.unsteady}", err=True)


def _writable(folder: Path | None = None, *files: tuple[str, Path | None]) -> None:
    """Check before a long search that its results can be written."""
    for option, path in (("--folder", folder), *files):
        if path is None:
            continue
        try:
            _try_folder(path) if option == "--folder" else _try_file(path)
        except OSError as error:
            from zeke_sim.errors import SimulationError

            raise SimulationError(
                f"{option}: {path} can't be written: {error.strerror}; pass another place"
            ) from None


def _try_folder(folder: Path) -> None:
    """Create a file in a folder, or in the nearest folder that exists, and remove it."""
    tempfile.TemporaryFile(dir=next(one for one in (folder, *folder.parents) if one.exists())).close()


def _try_file(file: Path) -> None:
    """Open a file for writing without changing it."""
    new = not file.exists()
    file.open("a", encoding="utf-8").close()
    if new:
        file.unlink()


def _screen(failure: Failure) -> str:
    from zeke_sim.report import text

    return text.screen(failure, colour=sys.stdout.isatty())


def _report_unused_decisions(loaded: Plan, outcome: Outcome) -> None:
    """Print the decisions of a plan that were never used, as after a change of its scenario."""
    all_of_them = loaded.decisions or {}
    left = [address for address in all_of_them if address not in (outcome.plan.decisions or {})]
    if left:
        shown = ", ".join(left[:UNUSED_SHOWN]) + (" …" if len(left) > UNUSED_SHOWN else "")
        typer.echo(f"{len(left)} of {len(all_of_them)} decisions never came up: {shown}", err=True)


def _counted(outcome: Outcome) -> str:
    return f"{len(outcome.events)} events in {outcome.seconds:.1f} virtual seconds"


def _read(path: Path) -> tuple[Plan, Scenario]:
    """Read a plan from a file, and load its scenario."""
    from zeke_sim.errors import SimulationError
    from zeke_sim.experiment.plan import Plan

    plan = Plan.read(path)
    test = json.loads(path.read_text(encoding="utf-8")).get("test")
    if isinstance(test, str):
        raise SimulationError(
            f"{path}: it is the plan of a test; replay it with pytest {test} --zeke-plan {path}"
        )
    return plan, _load(plan.scenario)


def _load(name: str) -> Scenario:
    """Load a scenario, from the current directory too."""
    from zeke_sim.experiment.scenario import load

    with _importing(name):
        return load(name)


def _chosen(names: list[str] | None) -> list[str]:
    """Return the names of the scenarios to run after checking that all can be loaded."""
    from zeke_sim.experiment.scenario import configured, expand

    project, asked = (Path.cwd(), names) if names else configured(Path.cwd())
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    with _importing(", ".join(asked)):
        chosen = expand(asked)
    for name in chosen:
        _load(name)
    return chosen


@contextmanager
def _importing(name: str) -> Generator[None]:
    """Import an application's modules from the current directory too, and report their errors."""
    from zeke_sim.errors import SimulationError

    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        yield
    except (SimulationError, ImportError):
        raise
    except Exception as error:
        raise SimulationError(
            f"scenario: {name!r} can't be loaded: {type(error).__name__}: {error}; correct its module"
        ) from error


@contextmanager
def _usage_errors() -> Generator[None]:
    """Print usage errors without a traceback."""
    from zeke_queue.system.install_hints import install
    from zeke_sim.errors import SimulationError

    try:
        yield
    except KeyboardInterrupt:
        typer.secho("zeke sim: interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (SimulationError, ModuleNotFoundError) as error:
        hint = f"; {install('sim')}" if isinstance(error, ModuleNotFoundError) else ""
        typer.secho(f"zeke sim: {error}{hint}", err=True)
        raise typer.Exit(MISUSED) from None
