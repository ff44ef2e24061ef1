"""``python -m tests.torture``: run it, check it, report; exit with 1 if a property did not hold."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.torture import merged_history
from tests.torture.chaos import KINDS
from tests.torture.cluster import Cluster
from tests.torture.running import Outcome, Run, say
from zeke_queue.system.clock import SystemClock

TAIL = 35.0
"""Approximate seconds of the quiet phase, which ``--seconds`` includes."""

SHORTEST = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=90, help="about how long one run takes (90)")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first run; each further one takes the next (1)"
    )
    parser.add_argument("--hours", type=float, default=0, help="go on with further runs for so long")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the histories here, also of good runs"
    )
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="judge a history that was kept, and end")
    parser.add_argument(
        "--pooler", action="store_true", help="all processes reach the server through PgBouncer"
    )
    given = parser.parse_args()
    if given.judge is not None:
        return 0 if tell_verdict(given.judge) else 1
    # The parent process may make us ignore them, and everything that was started must end with us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    clock = SystemClock()
    until, seed = clock.monotonic() + given.hours * 3600, given.seed
    while True:
        good = run_once(seed, max(SHORTEST, given.seconds - TAIL), given.keep, pooled=given.pooler)
        if not good or clock.monotonic() >= until:
            return 0 if good else 1
        seed += 1


def run_once(seed: int, seconds: float, keep: Path | None, *, pooled: bool) -> bool:
    """Run and judge once; the history is kept if that is asked for, or if something broke."""
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix="zeke-torture-"))
    else:
        folder = keep / f"seed-{seed}"
        folder.mkdir(parents=True)
    say(f"Seed {seed}: faults for {seconds:g} s, then quiet until all is drained; history in {folder}")
    with Cluster.started(pooled=pooled) as cluster:
        outcome = asyncio.run(Run(cluster, folder, seed, seconds).run())
    tell(outcome)
    good = tell_verdict(folder) and not outcome.complaints
    for complaint in outcome.complaints:
        say(f"FAILED: {complaint}")
    if not good:
        pooler = " --pooler" if pooled else ""
        say(f"To repeat: python -m tests.torture --seed {seed} --seconds {seconds + TAIL:g}{pooler}")
        say(f"To judge again: python -m tests.torture --judge {folder}")
    elif keep is None:
        shutil.rmtree(folder)
    return good


def tell(outcome: Outcome) -> None:
    jobs = ", ".join(
        f"{number} {word.replace('active', 'claims')}" for word, number in outcome.tally.most_common()
    )
    say(f"Jobs: {jobs}. Processes were started {outcome.starts} times.")
    say("Faults: " + ", ".join(f"{number} {kind}" for kind, number in outcome.faults.most_common()))
    if never := [kind for kind in KINDS if not outcome.faults[kind]]:
        say(f"Never drawn: {', '.join(never)}")


def tell_verdict(folder: Path) -> bool:
    """Check a history and report the result; return whether all properties hold."""
    events = merged_history.put_together(folder)
    if never := merged_history.never(events):
        say(f"Steps that no job took: {', '.join(never)}")
    violation = merged_history.judge(events, merged_history.rules(folder))
    if violation is None:
        say("All properties hold.")
        return True
    say(f"FAILED: {violation.rule}: {violation.text}")
    say(
        f"Between {violation.since:.3f} s and {violation.at:.3f} s,"
        f" seed {merged_history.about(folder)['seed']}, history in {folder}"
    )
    if violation.job is not None:
        say(f"The life of job {violation.job}:")
        for line in merged_history.life(events, violation):
            say(line)
    return False


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
