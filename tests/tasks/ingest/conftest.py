"""A video that tests of ingesting share."""

from __future__ import annotations

import pytest

from tests.tasks.ingest.videos import video_of_yesterday
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb
from zeke_tasks.youtube import Video


@pytest.fixture
def bees(jobs: Jobs, web: ScriptedWeb) -> Video:
    """A video of yesterday, whose page is there."""
    return video_of_yesterday(jobs, web)
