"""Which row says what was to be said, whoever wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.store.repository import Rows


async def ids_by_key(rows: Rows, story_id: UUID, team_id: UUID | None) -> dict[str, UUID]:
    """Return the highlights of a story that a team sees, its own and everybody's, by what they say."""
    seen = [one for one in await rows.highlights(story_id) if one.team_id in (None, team_id)]
    return {highlight.key: highlight.id for highlight in seen}
