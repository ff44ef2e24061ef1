"""The catalog's handlers over a domain store, a web and YouTube, all as a test says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb
from zeke_sim.doubles.youtube import ScriptedCaptions, ScriptedSearch
from zeke_tasks.youtube import YouTube

if TYPE_CHECKING:
    from tests.tasks.domain import Domain


@pytest.fixture
def web() -> ScriptedWeb:
    return ScriptedWeb()


@pytest.fixture
def captions() -> ScriptedCaptions:
    return ScriptedCaptions()


@pytest.fixture
def search() -> ScriptedSearch:
    return ScriptedSearch()


@pytest.fixture
def jobs(domain: Domain, web: ScriptedWeb, captions: ScriptedCaptions, search: ScriptedSearch) -> Jobs:
    return Jobs(domain, web, youtube=YouTube(captions, search))
