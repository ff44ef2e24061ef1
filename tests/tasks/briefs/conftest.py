"""The catalog's handlers over a domain store and an AI, both as a test says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tasks.jobs import Jobs
from tests.tasks.scripted_ai import ScriptedAI
from tests.tasks.scripted_web import ScriptedWeb

if TYPE_CHECKING:
    from tests.tasks.domain import Domain


@pytest.fixture
def ai() -> ScriptedAI:
    return ScriptedAI()


@pytest.fixture
def jobs(domain: Domain, ai: ScriptedAI) -> Jobs:
    return Jobs(domain, ScriptedWeb(), ai)
