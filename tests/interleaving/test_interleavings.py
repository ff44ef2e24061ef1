"""For any order of the statements of several clients, the results are possible in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interleaving.arena import failure
from tests.interleaving.families import FAMILIES
from tests.interleaving.lines import OF_LINES
from tests.interleaving.scheduler import Drawn, Planned
from tests.interleaving.scripts import CLASSICS
from tests.interleaving.seeded_scripts import drawn

if TYPE_CHECKING:
    from tests.interleaving.arena import Arena
    from tests.interleaving.steps import Script

OFTEN = 0.4
BRAKED = 0.15
"""The chance of a statement that it stops once more, inside."""

UNDONE = 0.03
"""The chance of a statement, in every other drawn script, that the server undoes its transaction instead."""


@pytest.mark.parametrize(
    "script",
    [
        *(pytest.param(one, id=one.name.replace(" ", "-")) for one in CLASSICS),
        *(pytest.param(one, id=one.name.replace(" ", "-"), marks=pytest.mark.nightly) for one in FAMILIES),
    ],
)
async def test_memory_allows_every_interleaving_of(arena: Arena, script: Script, plans: int) -> None:
    for seed in range(plans):
        played = await arena.play(script, Drawn(seed, braked=OFTEN))
        assert played.wrong is None, failure(script, played, f"again: Drawn({seed}, braked={OFTEN})")
    plan: list[int] | None = []
    for _ in range(plans):
        choose = Planned(plan)
        played = await arena.play(script, choose)
        plan = [place for place, _ in choose.made]
        assert played.wrong is None, failure(script, played, f"again: Planned({plan})")
        plan = choose.following()
        if plan is None:
            return


@pytest.mark.parametrize("script", OF_LINES, ids=lambda script: script.name.replace(" ", "-"))
async def test_reader_misses_no_line_in_any_interleaving_of(arena: Arena, script: Script) -> None:
    plan: list[int] | None = []
    while plan is not None:
        choose = Planned(plan, brakes=True)
        played = await arena.play(script, choose)
        plan = [place for place, _ in choose.made]
        assert played.wrong is None, failure(script, played, f"again: Planned({plan}, brakes=True)")
        plan = choose.following()


async def test_memory_allows_every_outcome_of_drawn_scripts(
    arena: Arena, seeds: range, *, shows_steps: bool
) -> None:
    for seed in seeds:
        script = drawn(seed)
        played = await arena.play(script, Drawn(seed, undone=UNDONE * (seed % 2), braked=BRAKED))
        told = failure(script, played, f"again: pytest tests/interleaving --interleaving-seed {seed}")
        assert played.wrong is None, told
        assert not shows_steps, told
