"""The files of a failing run: its plan and its page."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from zeke_sim.report import html
from zeke_sim.report.failure import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from zeke_sim.experiment.fault_coverage import FaultCoverage
    from zeke_sim.experiment.shrink import Shrunk

FOLDER: Final = ".zeke-sim"
"""The folder of plans and pages of failures."""


def write(
    shrunk: Shrunk,
    folder: Path,
    *,
    test: str | None = None,
    root: Path | None = None,
    coverage: FaultCoverage | None = None,
) -> Failure:
    """Write a failing run's plan and page into a folder.

    Args:
        folder: the folder, which is created if it does not exist.
        test: the node id of the test that replays it; None for ``zeke sim``.
        root: the folder to which the report's paths are relative.
        coverage: the faults of all runs so far, which the page shows beside the source.
    """
    _make(folder)
    plan = shrunk.outcome.plan
    name = _name(f"{plan.scenario}-{plan.seed}")
    file, page = folder / f"{name}.json", folder / f"{name}.html"
    quoted = None if test is None else f"'{test}'" if re.search(r"[][ $&;|<>()*?!`\"\\]", test) else test
    shown = _relative(file, root)
    command = f"zeke sim replay {shown}" if test is None else f"pytest {quoted} --zeke-plan {shown}"
    failure = Failure(shrunk, command, _relative(page, root), coverage)
    kept = json.loads(plan.dumps()) | ({} if test is None else {"test": quoted})
    file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    page.write_text(html.page(failure), encoding="utf-8")
    return failure


def write_source(title: str, folder: Path, coverage: FaultCoverage) -> Path:
    """Write a page with the faults of passed runs beside the source into a folder, and return its path."""
    _make(folder)
    page = folder / f"{_name(title)}-faults.html"
    page.write_text(html.source_page(title, coverage), encoding="utf-8")
    return page


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")


def _name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text)


def _relative(path: Path, root: Path | None) -> str:
    return str(path.relative_to(root) if root is not None and path.is_relative_to(root) else path)
