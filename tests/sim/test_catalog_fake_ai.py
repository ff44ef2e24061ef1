"""The AI of a simulated newsroom: how often each process may ask it, by the process's own clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cases import check_each
from tests.newsroom.fake_ai import Call, FakeAI, too_often
from tests.sim.worlds import SKIPPING, simulated
from zeke_queue import Catalog
from zeke_sim.world.handlers import current_node
from zeke_tasks.ai.errors import AIRateLimited

if TYPE_CHECKING:
    from zeke_sim.world.node import Node

RATES = [0.98, 1.0, 1.02]


def asked(gaps: list[float], *, rate: float = 1.0, patience: float = 300.0) -> tuple[FakeAI, list[str]]:
    """Call an AI of one call a minute after these gaps; return it, and what became of each call."""
    ai, became, worlds = FakeAI(per_minute=1, patience=patience, late=0.0), [], []
    catalog = Catalog()
    clients = {}

    @catalog.task("ask", retry_limit=0)
    async def ask() -> None:
        node = current_node(worlds[0].nodes)
        client = clients.setdefault(node.incarnation, ai.client(node))
        try:
            await client.embed(["Bees dance."])
        except AIRateLimited:
            became.append("put off")
        else:
            became.append("answered")

    async def send(node: Node) -> None:
        for gap in gaps:
            await node.clock.sleep(gap)
            await node.queue.send(ask)

    drift = {"node/w1/0": {"fault": "drift", "at": 0.5, "rate": rate}}
    simulated(catalog, send, decisions=drift, knobs=SKIPPING, quiet=20_000.0, before=worlds.append)
    return ai, became


def test_process_keeps_its_rate_by_its_own_clock() -> None:
    def check(rate: float) -> None:
        ai, became = asked([5.0] * 4, rate=rate)
        assert became == ["answered"] * 4
        first, *times = [call.at for call in ai.calls]
        assert [at - before for before, at in zip([first, *times], times, strict=False)] == pytest.approx(
            [60.0] * 3
        )
        assert too_often(ai.calls, 1) is None

    check_each(RATES, check)


def test_skipped_hour_counts_for_the_rate() -> None:
    def check(rate: float) -> None:
        ai, became = asked([5.0, 3600.0, 3600.0], rate=rate, patience=5.0)
        assert became == ["answered"] * 3
        assert too_often(ai.calls, 1) is None

    check_each(RATES, check)


def test_call_that_would_wait_long_is_rate_limited() -> None:
    ai, became = asked([5.0, 5.0, 3600.0], patience=5.0)
    assert became == ["answered", "put off", "answered"]
    assert len(ai.calls) == 2


def test_limit_holds_for_any_sixty_seconds() -> None:
    def check(gap: float, breaks: bool) -> None:  # noqa: FBT001 - a column of the table
        for first in (0.0, 0.1, 86_399.7):
            said = too_often([Call("w1", 1, first), Call("w1", 1, first + gap)], 1)
            assert (said is not None) is breaks

    check_each([(59.0, True), (59.999, True), (60.0, False), (61.0, False)], check)
