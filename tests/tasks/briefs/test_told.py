"""The author of a brief is shown to users and to programs."""

from __future__ import annotations

import io

from rich.console import Console

from tests.cases import check_each_async
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.scripted_ai import ScriptedAI
from tests.tasks.scripted_web import ScriptedWeb
from zeke_tasks.ai.client import AIClient
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.briefs.generate import PROMPT
from zeke_tasks.cli.output import print_brief
from zeke_tasks.stories.view import brief_value, view

TEXT = "Bees dance. It tells other bees where the flowers are."


async def test_brief_of_stub_is_marked_beside_analysis_of_model() -> None:
    async def check(ai: AIClient, state: str) -> None:
        model = memory_jobs()
        story = await model.domain.told_story(TEXT)
        await model.run("analyze-story", {"storyId": story.id, "trigger": "auto"})
        writer = Jobs(model.domain, ScriptedWeb(), ai)
        await writer.run("generate-brief", {"storyId": story.id, "reason": "new_story"})
        async with model.domain.rows() as rows:
            seen = await view(rows, story)
        value = brief_value(seen)
        assert value is not None
        assert (value["state"], value["promptVersion"]) == (state, PROMPT.version)
        shown = io.StringIO()
        print_brief(Console(file=shown, width=100), seen)
        assert ("The brief is by the stub (not an AI)." in shown.getvalue()) is (state == "stub")

    await check_each_async([(ScriptedAI(), "completed"), (StubClient(), "stub")], check)
