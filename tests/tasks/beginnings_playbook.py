"""Where ``playbook-run`` begins: two steps, the second of which needs what the first returned."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from tests.tasks.domain import Domain
from zeke_tasks.store.playbooks import Playbook, Step

TEAM, PLAYBOOK = UUID(int=0x7EA), UUID(int=0xB00)

TEXT: Final = "The parser was rewritten in Rust, and is 3 times faster than before. " * 5


async def begin_playbook(domain: Domain) -> tuple[str, dict[str, Any]]:
    """A team has a story summarised, and read."""
    story = await domain.told_story(TEXT)
    summarise = Step("summarise", "summarize-story", {"storyId": str(story.id), "mode": "auto"})
    read = Step(
        "read",
        "update-story-status",
        {"storyId": {"$from": "steps.summarise.output.storyId"}, "teamId": str(TEAM), "state": "read"},
    )
    await domain.verbs.put_playbook(Playbook(PLAYBOOK, TEAM, "Sum up and read", [summarise, read]))
    return "playbook-run", {"playbookId": PLAYBOOK, "teamId": TEAM, "triggerSource": "system"}


BEGINNINGS: Final = (begin_playbook,)
