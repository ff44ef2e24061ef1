"""How many interleavings are tried: a fixed number in CI; more, and other ones, by an option.

``pytest tests/interleaving --interleavings 50000`` tries as many drawn scripts, from a seed that the time
gives; ``--interleaving-seed 65`` runs that one again, and prints its history in any case.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.interleaving.arena import Arena

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IN_CI = 120
IN_A_PART = 60
PLANS = 25
"""The number of a classic script's interleavings that are run in order, and of others that are drawn in
which statements stop inside, too."""


class Asked(NamedTuple):
    """What a run is asked for.

    Attributes:
        many: how many drawn scripts, None for those of CI.
        first: the seed of the first of them.
        only: the only seed.
    """

    many: int | None
    first: int
    only: int | None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--interleavings", type=int, help=f"how many drawn scripts to play; {IN_CI} fixed ones otherwise"
    )
    parser.addoption(
        "--interleaving-seed", type=int, help="play the script of this seed alone, and tell of it"
    )


def asked(config: pytest.Config) -> Asked:
    many: int | None = config.getoption("interleavings", default=None)
    only: int | None = config.getoption("interleaving_seed", default=None)
    return Asked(many, 0 if many is None else time.time_ns() // 1_000_000, only)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Divide the drawn scripts into parts, which fit in the time that a test may take."""
    if "part" in metafunc.fixturenames:
        wanted = asked(metafunc.config)
        parts = 1 if wanted.only is not None else math.ceil((wanted.many or IN_CI) / IN_A_PART)
        metafunc.parametrize("part", range(parts))


@pytest.fixture
async def arena(shared_dsn: str) -> AsyncIterator[Arena]:
    async with Arena.open(shared_dsn) as opened:
        yield opened


@pytest.fixture
def seeds(request: pytest.FixtureRequest, part: int) -> range:
    wanted = asked(request.config)
    if wanted.only is not None:
        return range(wanted.only, wanted.only + 1)
    first = wanted.first + part * IN_A_PART
    return range(first, first + min(IN_A_PART, (wanted.many or IN_CI) - part * IN_A_PART))


@pytest.fixture
def shows_steps(request: pytest.FixtureRequest) -> bool:
    """Return whether one seed was requested, whose steps are then shown."""
    return asked(request.config).only is not None
