"""The mutants of the Postgres storage fit it as it is, and those that are found soonest are found."""

from __future__ import annotations

import pytest

from tests.interleaving.mutants_postgres import MUTANTS, ROOT, STORE, Mutant, applied, judge

SOONEST = ("claim without the queue's lock", "claim in one snapshot with the lock")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_fits(mutant: Mutant) -> None:
    text = (ROOT / STORE / mutant.file).read_text(encoding="utf-8")
    assert applied(mutant, text) != text


def test_a_mutant_that_does_not_fit_is_refused() -> None:
    (mutant, *_) = MUTANTS
    with pytest.raises(ValueError, match="stands 0 times"):
        applied(mutant, "select 1")
    with pytest.raises(ValueError, match="stands 2 times"):
        applied(mutant, mutant.old * 2)


@pytest.mark.parametrize("name", SOONEST)
def test_a_mutant_is_found(postgres: str, name: str) -> None:
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == name)
    found = judge(mutant, mutant.judges[0], postgres)
    assert found.test is not None
    assert "two-claims-at-a-limit" in found.test
