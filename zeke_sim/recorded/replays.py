"""Checks a history, and replays it with several seeds, part by part."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zeke_sim.experiment.budget import Budget
from zeke_sim.experiment.run import run
from zeke_sim.history.events import Fault
from zeke_sim.loop.decisions import Decisions
from zeke_sim.loop.run_loop import Interruptible
from zeke_sim.recorded import check as checks
from zeke_sim.recorded.compare import Comparison
from zeke_sim.recorded.profiles import parts
from zeke_sim.recorded.scenario import Replay, loaded, recording_of, scenario
from zeke_sim.world.faults import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.scenario import Scenario

__all__ = ["Replay", "check", "replays"]


def check(replay: Replay) -> tuple[str, bool]:
    """Check a history.

    Returns:
        What was checked and what was found, as lines; and whether a property is violated.

    Raises:
        SimulationError: the file or an option is invalid.
    """
    recording = recording_of(Path(replay.file), replay.limit)
    scenario(replace(replay, faults=_kinds(replay)))
    checked = checks.check(recording)
    header = recording.header
    window = f"{header.since:%Y-%m-%d %H:%M} to {header.until:%Y-%m-%d %H:%M} UTC"
    lines = [
        f"{replay.file}: {len(recording.jobs)} jobs, {window}, payloads {header.payloads}",
        checked.summary(),
    ]
    if checked.violation is not None:
        lines.append(checks.described(checked, recording, replay.file))
    return "\n".join(lines), checked.violation is not None


def replays(replay: Replay, seeds: Iterable[int]) -> Iterator[tuple[Scenario, Outcome, str]]:
    """Replay a history with each seed: in one world, or in one for each of its parts.

    A part without faults is replayed once, since another seed would only change the order of processes.

    Yields:
        After each run its scenario, its outcome, and a report; the last one compares the parts of this seed.
    """
    recording = recording_of(Path(replay.file), replay.limit)
    number = parts(recording)
    replay = replace(replay, faults=_kinds(replay))
    calm: set[int] = set()
    with Interruptible() as interruption:
        for seed in seeds:
            comparison = Comparison()
            kills = _kills(replay.kill_workers, number, seed)
            chosen = [part for part in range(number) if replay.faults or kills[part] or part not in calm]
            for part in chosen:
                one = replace(replay, part=part, kill_workers=kills[part])
                if not replay.faults and not kills[part]:
                    calm.add(part)
                budget, made = Budget(None), scenario(one)
                outcome = run(made, made.plan(seed))
                interruption.check()
                profiles, _ = loaded(one)
                comparison.add(profiles.jobs, outcome.events, profiles.children)
                of = f", part {part + 1} of {number}" if number > 1 else ""
                told = (
                    f"seed {seed}{of}: {len(profiles.jobs)} jobs in {outcome.seconds / 3600:.1f} virtual"
                    f" hours, {replay.workers or profiles.workers} workers of"
                    f" {replay.concurrency or profiles.concurrency}, {_faults(outcome)}, no failure;"
                    f" {budget.used:.1f} processor seconds"
                )
                if part == chosen[-1]:
                    told += f"\n{comparison.table()}"
                yield made, outcome, told


def _kills(total: int, number: int, seed: int) -> Counter[int]:
    """Draw the number of kills in each part; all parts have about the same number of jobs."""
    draws = Decisions(seed).stream("parts")
    return Counter(draws.below(number) for _ in range(total))


def _kinds(replay: Replay) -> tuple[str, ...]:
    return tuple(KINDS) if replay.faults == ("all",) else replay.faults


def _faults(outcome: Outcome) -> str:
    """Return the number of faults by kind."""
    kinds = Counter(event.kind for event in outcome.events if isinstance(event, Fault))
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "no faults"
