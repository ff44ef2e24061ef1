"""A failing run as its report shows it, and the files in which it is kept: a plan and a page."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zeke_sim.report import html

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.shrink import Shrunk
    from zeke_sim.history.events import Violation

FOLDER: Final = ".zeke-sim"
"""The folder of plans and pages of failures."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failing run, with all data of its report.

    Attributes:
        shrunk: the run, and how it was shrunk.
        command: a shell command that replays the plan.
        page: the path of the page.
    """

    shrunk: Shrunk
    command: str
    page: str

    @property
    def outcome(self) -> Outcome:
        """The run."""
        return self.shrunk.outcome

    @property
    def violation(self) -> Violation:
        """The violated property, and where.

        Raises:
            ValueError: the run violated none.
        """
        if self.outcome.violation is None:
            raise ValueError("nothing broke in this run")
        return self.outcome.violation

    @property
    def decisions(self) -> Mapping[str, object]:
        """The decisions of the plan by their addresses, without the actions that it leaves out."""
        decisions = self.outcome.plan.decisions or {}
        return {address: one for address, one in decisions.items() if address not in self.outcome.actions}

    def shrinking(self) -> str:
        """The result of shrinking, such as ``214 decisions → 3, in 4.1 s, replayed 3 times``."""
        shrunk, left, actions = self.shrunk, len(self.decisions), len(self.outcome.actions)
        if shrunk.seconds is None:
            told = f"{left} decision{'' if left == 1 else 's'}, not shrunk"
        else:
            told = f"{shrunk.before} decision{'' if shrunk.before == 1 else 's'} → {left}"
            if left_out := len(self.outcome.plan.decisions or {}) - left:
                told += f", {actions} actions → {actions - left_out}"
            told += f", in {shrunk.seconds:.1f} s"
        times = {0: "not replayed", 1: "replayed once", 2: "replayed twice"}
        return f"{told}, {times.get(shrunk.replays, f'replayed {shrunk.replays} times')}"


def write(shrunk: Shrunk, folder: Path, *, test: str | None = None, root: Path | None = None) -> Failure:
    """Write a failing run's plan and page into a folder.

    Args:
        shrunk: the run.
        folder: the folder, which is created if it does not exist.
        test: the node id of the test that replays it; None for ``zeke sim``.
        root: the folder to which the report's paths are relative.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    plan = shrunk.outcome.plan
    name = re.sub(r"[^\w.-]+", "-", f"{plan.scenario}-{plan.seed}")
    file, page = folder / f"{name}.json", folder / f"{name}.html"
    quoted = None if test is None else f"'{test}'" if re.search(r"[][ $&;|<>()*?!`\"\\]", test) else test
    shown = _relative(file, root)
    command = f"zeke sim replay {shown}" if test is None else f"pytest {quoted} --zeke-plan {shown}"
    failure = Failure(shrunk, command, _relative(page, root))
    kept = json.loads(plan.dumps()) | ({} if test is None else {"test": quoted})
    file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    page.write_text(html.page(failure), encoding="utf-8")
    return failure


def _relative(path: Path, root: Path | None) -> str:
    return str(path.relative_to(root) if root is not None and path.is_relative_to(root) else path)
