"""Writes the report of a failing run: a plan and a page in a folder, and a text screen."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zeke_sim.report import html
from zeke_sim.report.shown import Shown

if TYPE_CHECKING:
    from pathlib import Path

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.shrink import Shrunk

FOLDER: Final = ".zeke-sim"
"""The folder of plans and pages of failures."""


@dataclass(frozen=True, slots=True)
class Written:
    """Files of a failure."""

    plan: Path
    page: Path


def shown(outcome: Outcome, files: Written, shrunk: Shrunk | None = None) -> Shown:
    """Collect the data of a report."""
    violation = outcome.violation
    if violation is None:
        raise ValueError("nothing broke in this run")
    left_out = sum(action in (outcome.plan.decisions or {}) for action in outcome.actions)
    decisions = {
        address: decision
        for address, decision in (outcome.plan.decisions or {}).items()
        if address not in outcome.actions
    }
    return Shown(
        scenario=outcome.plan.scenario,
        seed=outcome.plan.seed,
        strategy=outcome.plan.strategy,
        violation=violation,
        sentence=outcome.sentence,
        history=outcome.events,
        decisions=decisions,
        decisions_before=len(decisions) if shrunk is None else shrunk.before,
        shrink_seconds=None if shrunk is None else shrunk.seconds,
        replays=0 if shrunk is None else shrunk.replays,
        plan_path=str(files.plan),
        html_path=str(files.page),
        nodes=outcome.nodes,
        epoch=outcome.epoch,
        command=f"zeke sim replay {files.plan}",
        plan=json.loads(outcome.plan.dumps()),
        actions=len(outcome.actions),
        actions_left_out=left_out,
    )


def write(outcome: Outcome, folder: Path, shrunk: Shrunk | None = None) -> tuple[Written, Shown]:
    """Write a failing run's plan and page into a folder; return their paths and the report's data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    name = re.sub(r"[^\w.-]+", "-", f"{outcome.plan.scenario}-{outcome.plan.seed}")
    files = Written(folder / f"{name}.json", folder / f"{name}.html")
    told = shown(outcome, files, shrunk)
    files.plan.write_text(outcome.plan.dumps() + "\n", encoding="utf-8")
    files.page.write_text(html.page(told), encoding="utf-8")
    return files, told
