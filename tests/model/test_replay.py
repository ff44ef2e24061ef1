"""Postgres gives the answers, and has the rows and notifications, that memory has in simulations.

``python -m tests.model.replays`` replays more runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.model.replay import Replay, check
from tests.scenarios import load, names

SEEDS = {"waiting": (26, 33, 35)}
"""Seeds of scenarios that have others than ``USUAL``: a parent waits for one child while another one ends."""

USUAL = (1,)

SLOW = {"catalog"}
"""A run of the whole catalog takes ten seconds."""

FEW = {"limits", "retries", "unique", "waiting"}
"""The scenarios of ``nox -s tests``, which call most statements."""


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def replay(runner: asyncio.Runner, shared_dsn: str) -> Iterator[Replay]:
    opening = Replay.open(shared_dsn)
    yield runner.run(opening.__aenter__())
    runner.run(opening.__aexit__(None, None, None))


@pytest.mark.parametrize(
    "scenario",
    [
        name if name in FEW else pytest.param(name, marks=pytest.mark.nightly)
        for name in sorted({*names()} - SLOW)
    ],
)
def test_calls_of_a_simulation_do_the_same_on_postgres(
    scenario: str, replay: Replay, runner: asyncio.Runner
) -> None:
    for seed in SEEDS.get(scenario, USUAL):
        check(runner, replay, load(scenario), seed)
