"""The tests that mutants of the Postgres storage name."""

from __future__ import annotations

from typing import Final

INTERLEAVING: Final = "tests/interleaving/test_interleavings.py"
MODEL: Final = "tests/model/test_model.py"


def races(name: str) -> tuple[str, ...]:
    """Return the interleavings of the scripts that have this in their names."""
    return (f"{INTERLEAVING} -k {name}",)


LIMIT: Final = races("two-claims-at-a-limit")
DRAWN: Final = races("drawn")
ODD_ROWS: Final = ("tests/postgres/test_odd_rows.py",)
