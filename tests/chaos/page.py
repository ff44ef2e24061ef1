"""Write tables of results into docs/reliability.md, between the comments that name them.

``python -m tests.chaos.page FILE...``, with what ``--json`` of this command's package and of ``peers`` wrote.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.report import from_json, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.chaos.experiment import Result

PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
_BLOCK: Final = "<!-- table: {} -->\n{}<!-- end of table -->"


def with_table(page: str, results: Mapping[str, Result], about: Mapping[str, Any]) -> str:
    """Return a page with the table of a run in its place."""
    place = re.compile(_BLOCK.format(re.escape(about["table"]), ".*?"), re.DOTALL)
    shown = f"\n{caption(about)}\n\n{table(results)}\n\n"
    page, count = place.subn(lambda _: _BLOCK.format(about["table"], shown), page)
    if count != 1:
        raise ValueError(f"page: must have one place for the table {about['table']}, got {count}")
    return page


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
    page = PAGE.read_text(encoding="utf-8")
    for file in parser.parse_args().files:
        page = with_table(page, *from_json(file.read_text(encoding="utf-8")))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
