"""The mutants of the Postgres storage apply to it, and the quickest to find are found."""

from __future__ import annotations

from tests.cases import check_each
from tests.interleaving.families import FAMILIES
from tests.interleaving.lines import OF_LINES
from tests.interleaving.mutant_runner import ROOT, STORE, Mutant, applied, run_test
from tests.interleaving.mutants_postgres import MUTANTS
from tests.interleaving.races import DRAWN, INTERLEAVING
from tests.interleaving.scripts import CLASSICS

SOONEST = ("claim without the queue's lock", "lock of a queue that excludes no other claim")


def test_every_mutant_applies_to_its_file() -> None:
    assert len(MUTANTS) >= 39

    def check(mutant: Mutant) -> None:
        text = (ROOT / STORE / mutant.file).read_text(encoding="utf-8")
        assert applied(mutant, text) != text

    check_each({mutant.name: (mutant,) for mutant in MUTANTS}, check)


def test_named_interleavings_exist() -> None:
    names = [script.name.replace(" ", "-") for script in (*CLASSICS, *FAMILIES, *OF_LINES)]

    def check(mutant: Mutant) -> None:
        for test in mutant.tests:
            path, _, word = test.partition(" -k ")
            assert (ROOT / path.partition("::")[0]).is_file()
            assert path != INTERLEAVING or test in DRAWN or any(word in name for name in names), word

    check_each({mutant.name: (mutant,) for mutant in MUTANTS}, check)


def test_mutant_is_found(postgres: str) -> None:
    def check(name: str) -> None:
        (mutant,) = (mutant for mutant in MUTANTS if mutant.name == name)
        found = run_test(mutant, mutant.tests[0], postgres)
        assert found.test is not None
        assert "two-claims-at-a-limit" in found.test

    check_each(SOONEST, check)
