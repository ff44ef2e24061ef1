"""The files of a failing run: its plan and its page."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from zeke_sim.report import html
from zeke_sim.report.failure import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from zeke_sim.experiment.shrink import Shrunk

FOLDER: Final = ".zeke-sim"
"""The folder of plans and pages of failures."""


def write(shrunk: Shrunk, folder: Path, *, test: str | None = None, root: Path | None = None) -> Failure:
    """Write a failing run's plan and page into a folder.

    Args:
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
