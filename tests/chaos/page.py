"""Write tables of results into docs/reliability.md, between the comments that name them.

``python -m tests.chaos.page FILE...``, with what ``--json`` of this command's package and of ``peers`` wrote.
Of several files for one table, the later ones replace the rows of their faults.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.chaos.report import from_json, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.chaos.experiment import Result

PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
_BLOCK: Final = "<!-- table: {} -->\n{}<!-- end of table -->"


class Run(NamedTuple):
    """The results of a run by fault, and its conditions."""

    results: dict[str, Result]
    about: dict[str, Any]


def with_table(page: str, results: Mapping[str, Result], about: Mapping[str, Any]) -> str:
    """Return a page with the table of a run in its place."""
    place = re.compile(_BLOCK.format(re.escape(about["table"]), ".*?"), re.DOTALL)
    shown = f"\n{caption(about)}\n\n{table(results)}\n\n"
    page, count = place.subn(lambda _: _BLOCK.format(about["table"], shown), page)
    if count != 1:
        raise ValueError(f"page: must have one place for the table {about['table']}, got {count}")
    return page


def merged(files: Iterable[tuple[Mapping[str, Result], Mapping[str, Any]]]) -> list[Run]:
    """Return one run for each table; of several, each fault has the result of the last one that has it."""
    runs: dict[str, Run] = {}
    for results, about in files:
        run = runs.setdefault(about["table"], Run({}, {**about, "minutes": 0}))
        run.results.update(results)
        run.about["minutes"] += about["minutes"]
    return list(runs.values())


def caption(about: Mapping[str, Any]) -> str:
    """Return the conditions of a run as a sentence."""
    load = f", with {about['load']} other busy processes for each of them" if about["load"] else ""
    jobs = f"{about['jobs']:,} jobs and more, " if about["jobs"] else ""
    return f"{jobs}{about['cores']} cores{load}; {about['minutes']} minutes on {about['date']}."


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    files = [from_json(file.read_text(encoding="utf-8")) for file in parser.parse_args().files]
    page = PAGE.read_text(encoding="utf-8")
    for results, about in merged(files):
        page = with_table(page, results, about)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
