"""A team's subscription in the demo: what ``update-story-status`` does for the teams that subscribe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from zeke_tasks.cli.formatting import printable_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.client.queue import Queue
    from zeke_tasks.cli.report import Finding
    from zeke_tasks.store.repository import Repository

TEAM: Final = UUID("5a656b65-0000-4000-8000-000000000001")
"""The team of the demo, which subscribes to its first source."""

TASK: Final = "update-story-status"
_RESULT_SECONDS: Final = 30.0


async def read_story(queue: Queue, repository: Repository, found: Sequence[Finding]) -> list[str]:
    """Set the state of one story of a subscribed source to read, and return lines that describe the result.

    Without a team in its payload, the job concerns every team that subscribes to the story's source.
    """
    async with queue.transaction() as transaction:
        sources = await repository.within(transaction).subscribed_sources(TEAM)
    ids = {source.id for source in sources}
    named = ", ".join(printable_words(source.name) for source in sources)
    lines = [f"Team {TEAM} subscribes to {named}."]
    story = next((one.story for one in found if one.story and one.story.primary_source_id in ids), None)
    if story is None:
        return lines
    run = await queue.trigger(TASK, {"storyId": story.id, "state": "read"})
    await run.result(timeout=_RESULT_SECONDS)
    async with queue.transaction() as transaction:
        states = await repository.within(transaction).reading_states(story.id)
    lines += [
        f"{TASK}: {printable_words(story.title)!r} is {one.state} for team {one.team_id}." for one in states
    ]
    return lines
