"""What all tests of the shop share: its catalog, and a payment provider with configured answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from zeke_sim import Scripted

from shop.tasks import catalog

if TYPE_CHECKING:
    from zeke_queue import Catalog


@pytest.fixture
def zeke_catalog() -> Catalog:
    return catalog


@pytest.fixture
def payments() -> Scripted:
    """A payment provider without any answers yet: a call that no test has written one for fails."""
    return Scripted("payments")


@pytest.fixture
def zeke_resources(payments: Scripted) -> Scripted:
    """Provide the double as ``job.resources``."""
    return payments
