"""What the extra ``tasks`` brings along, for installers of any age.

A requirement names an extra as its author spelled it: ``lxml[html_clean]``. Installers of today compare names
of extras by their normal form; pip up to 23.2 compares them as written, and ignores unknown ones.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def _installed(requirements: list[str], *, by_normal_form: bool) -> set[str]:
    """Return the names of the packages that requirements install, including their dependencies."""
    waiting = [Requirement(one) for one in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name, found = canonicalize_name(wanted.name), distribution(wanted.name)
        offered = found.metadata.get_all("Provides-Extra") or []
        known = {canonicalize_name(extra): extra for extra in offered} if by_normal_form else {}
        for asked in {"", *wanted.extras}:
            extra = known.get(canonicalize_name(asked), asked) if asked else ""
            if (name, extra) in seen or (extra and extra not in offered):
                continue
            seen.add((name, extra))
            needs = (Requirement(one) for one in found.requires or [])
            waiting += [one for one in needs if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def test_extras_are_spelled_in_normalized_form() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["optional-dependencies"]["tasks"]
    strict = _installed(wanted, by_normal_form=False)
    assert _installed(wanted, by_normal_form=True) - strict == set()
    assert "lxml-html-clean" in strict
