"""Inject faults into real workers and a real Postgres, and print what each cost.

``python -m tests.chaos``. Exit code 1 if a job was lost, is stuck, or was executed again without a reason;
if a fault had no effect; and, without --short and --load, if jobs are slower after it than before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.chaos.experiment import Experiment, Result, Size, joined
from tests.chaos.faults import FAULTS
from tests.chaos.report import as_json, complaints, conditions, table
from tests.torture.running import say
from zeke_queue.system import logging as log
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FULL: Final = 100_000
SHORT: Final = Size(jobs=3_000, before=3.0, after=3.0, lease=4.0, heartbeat=1.0)
SHORT_SETS: Final = (
    ("kill", "restart"),
    ("crash", "locks"),
    ("terminate", "failover"),
    ("pause", "notify-full"),
    ("read-only", "default-read-only"),
    ("disk-full", "pooler"),
    ("mixed", "lossy-failover"),
    ("no-connections",),
)
"""Faults of a short run, of which each takes the next set by turns."""

ONLY_FULL: Final = ("none",)
"""Faults that no short run takes."""

# A process that is busy until its parent has gone.
_BUSY: Final = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100_000))"


def main() -> int:
    given = parser().parse_args()
    if given.runs < 1:
        parser().error(f"--runs: must be at least 1, got {given.runs}")
    # The parent process may make us ignore them, and everything that was started must end with us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    log.configure_logging("text", "error")
    size = size_of(given)
    chosen: Sequence[str] = given.fault or list(FAULTS)
    if given.short and not given.fault:
        chosen = SHORT_SETS[given.seed % len(SHORT_SETS)]
    folder = given.keep or Path(tempfile.mkdtemp(prefix="zeke-chaos-"))
    clock = SystemClock()
    began = clock.monotonic()

    def keep(results: Mapping[str, Result]) -> None:
        if given.json is not None:
            minutes = (clock.monotonic() - began) / 60
            name = "loaded" if given.load else "idle"
            about = conditions(name, jobs=size.jobs, load=given.load, minutes=minutes, date=clock.now())
            given.json.write_text(as_json(results, about), encoding="utf-8")

    with _busy(given.load):
        results, errors = run_all(chosen, size, folder, range(given.seed, given.seed + given.runs), keep)
    say(f"\n{table(results)}")
    if not results and not errors:
        errors.append("nothing was run")
    for text in (*complaints(results), *errors):
        say(f"FAILED: {text}")
    good = not errors and all(result.is_passed for result in results.values())
    if not good:
        say(f"The logs of the processes are in {folder}")
    elif given.keep is None:
        shutil.rmtree(folder)
    return 0 if good else 1


def size_of(given: argparse.Namespace) -> Size:
    return SHORT if given.short else Size(jobs=given.jobs, is_speed_judged=not given.load)


def run_all(
    chosen: Sequence[str],
    size: Size,
    folder: Path,
    seeds: Sequence[int],
    keep: Callable[[Mapping[str, Result]], None],
) -> tuple[dict[str, Result], list[str]]:
    """Run one fault after the other, each with all seeds; return the results, and why others have none.

    ``keep`` gets the results so far after each fault, since an interruption must not lose them.
    """
    results: dict[str, Result] = {}
    errors: list[str] = []
    for name in chosen:
        fault = FAULTS[name]
        if not fault.database.is_possible():
            say(f"LEFT OUT: {name}: this machine can't make its database")
            continue
        say(f"{name}: {fault.text}")
        clock = SystemClock()
        began = clock.monotonic()
        runs: list[Result] = []
        for seed in seeds:
            place = folder / name / str(seed)
            place.mkdir(parents=True)
            try:
                runs.append(asyncio.run(Experiment(fault, size, place, seed, say).run()))
            except Exception as error:  # noqa: BLE001 - the results of hours before it are printed
                (place / "error").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
                errors.append(f"{name}, seed {seed}: {type(error).__name__}: {error}")
                say(f"    FAILED: {errors[-1]}")
                continue
            say(f"    seed {seed}: {runs[-1].speeds}")
        if not runs:
            continue
        result = results[name] = joined(runs)
        if size.is_speed_judged:
            result.complaints += result.speeds.complaints()
            result.complaints += [text for one in runs for text in one.speeds.late()]
        keep(results)
        say(f"    {'good' if result.is_passed else 'FAILED'} in {clock.monotonic() - began:.0f} s")
        for text in complaints({name: results[name]}):
            say(f"    {text}")
    return results, errors


@contextmanager
def _busy(load: int) -> Iterator[None]:
    """Keep each core busy with this many processes."""
    with ExitStack() as stack:
        for _ in range(load * (os.cpu_count() or 1)):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", _BUSY]))
            stack.callback(process.kill)
        yield


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="faults:\n" + "\n".join(f"  {name:18} {fault.text}" for name, fault in FAULTS.items()),
    )
    parser.add_argument(
        "--jobs", type=int, default=FULL, help=f"of each fault's run, at least ({FULL:,})", metavar="NUMBER"
    )
    parser.add_argument("--fault", nargs="+", choices=FAULTS, help="only these", metavar="NAME")
    parser.add_argument(
        "--short",
        action="store_true",
        help="small runs with a short lease; without --fault, one or two faults by seed",
    )
    parser.add_argument(
        "--load", type=int, default=0, metavar="K", help="beside it, K busy processes for each core (0)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="NUMBER", help="of the choices (1)")
    parser.add_argument(
        "--runs",
        type=int,
        default=1,
        help="of each fault, with the seeds from --seed on; the speed is that of the median run (1)",
        metavar="NUMBER",
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the logs of all processes here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, too")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
