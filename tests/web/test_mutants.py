"""The mutants of the HTTP API apply to its modules."""

from __future__ import annotations

from pathlib import Path

from tests.cases import check_each
from tests.mutants.web import WEB, Found

ROOT = Path(__file__).parents[2]


def test_every_mutant_applies_and_names_a_test_that_exists() -> None:
    assert len({one.mutant.name for one in WEB}) == len(WEB)

    def check(found: Found) -> None:
        module = ROOT / f"{found.mutant.module.replace('.', '/')}.py"
        compile(found.mutant.apply(module.read_text(encoding="utf-8")), module, "exec")
        assert (ROOT / found.by.partition(" ")[0]).exists()

    check_each({one.mutant.name: (one,) for one in WEB}, check)
