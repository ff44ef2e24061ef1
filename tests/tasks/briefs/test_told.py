"""Who wrote a brief is said to people and to programs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.briefs.generate import PROMPT
from zeke_tasks.stories.view import brief_value, view
from zeke_tasks.telling import tell_brief

if TYPE_CHECKING:
    from tests.tasks.domain import Domain
    from tests.tasks.scripted_ai import ScriptedAI

TEXT = "Bees dance. It tells other bees where the flowers are."


@pytest.mark.parametrize("by_a_model", [True, False])
async def test_a_brief_of_no_ai_is_told_apart_where_a_model_made_the_analysis(
    domain: Domain, ai: ScriptedAI, *, by_a_model: bool
) -> None:
    story = await domain.told_story(TEXT)
    await Jobs(domain, ScriptedWeb(), ai).run("analyze-story", {"storyId": story.id, "trigger": "auto"})
    writes = Jobs(domain, ScriptedWeb(), ai if by_a_model else StubClient())
    await writes.run("generate-brief", {"storyId": story.id, "reason": "new_story"})
    async with domain.rows() as rows:
        seen = await view(rows, story)
    value = brief_value(seen)
    assert value is not None
    assert value["state"] == ("completed" if by_a_model else "stub")
    assert value["promptVersion"] == PROMPT.version
    shown = io.StringIO()
    tell_brief(Console(file=shown, width=100), seen)
    assert ("The brief is the stub's, which is no AI." in shown.getvalue()) is not by_a_model
