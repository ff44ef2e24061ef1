"""How many interleavings are tried, the same each time, except with ``--hypothesis-profile=random``.

``pytest tests/interleaving --interleavings 50000 --plans 25`` plays as many drawn scripts, and each of the
others in 25 orders twice; ``--interleaving-seed 65`` runs that one again, and prints its history in any case.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.interleaving.arena import Arena
from tests.selecting import is_random

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FEW = 30
"""Drawn scripts of ``nox -s tests``."""

IN_A_PART = 60
FEW_PLANS = 2
"""The number of a classic script's interleavings that ``nox -s tests`` runs in order, and of others that are
drawn in which statements stop inside, too."""


class Asked(NamedTuple):
    """What a run is asked for.

    Attributes:
        many: how many drawn scripts.
        first: the seed of the first of them.
        only: the only seed.
    """

    many: int
    first: int
    only: int | None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--interleavings", type=int, help=f"how many drawn scripts to play; {FEW} otherwise")
    parser.addoption("--plans", type=int, help=f"orders of each other script; {FEW_PLANS} otherwise")
    parser.addoption(
        "--interleaving-seed", type=int, help="play the script of this seed alone, and tell of it"
    )


def asked(config: pytest.Config) -> Asked:
    many: int | None = config.getoption("interleavings", default=None)
    only: int | None = config.getoption("interleaving_seed", default=None)
    first = time.time_ns() // 1_000_000 if is_random(config) else 0
    return Asked(many or FEW, first, only)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Divide the drawn scripts into parts, which fit in the time that a test may take."""
    if "part" in metafunc.fixturenames:
        wanted = asked(metafunc.config)
        parts = 1 if wanted.only is not None else math.ceil(wanted.many / IN_A_PART)
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
    return range(first, first + min(IN_A_PART, wanted.many - part * IN_A_PART))


@pytest.fixture
def plans(request: pytest.FixtureRequest) -> int:
    """Return in how many orders a script is played."""
    return request.config.getoption("plans", default=None) or FEW_PLANS


@pytest.fixture
def shows_steps(request: pytest.FixtureRequest) -> bool:
    """Return whether one seed was requested, whose steps are then shown."""
    return asked(request.config).only is not None
