"""Fixtures of the simulator's tests."""

from __future__ import annotations

import pytest

from tests.sim.histories import History


@pytest.fixture
def h() -> History:
    """An empty history of a run without limits, whose rules are the usual ones."""
    return History()
