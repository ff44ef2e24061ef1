"""How long a deployment keeps the newsroom's rows."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from zeke_queue.system.settings import Variables

DAY: Final = 86_400.0
CENTURY: Final = 100 * 365 * DAY

Kept = Annotated[float | None, Field(ge=DAY, le=CENTURY)]


class Retention(Variables):
    """The ages in seconds at which rows are deleted, at least a day; None keeps them forever.

    The minimum prevents that a number of days is read as seconds.

    Attributes:
        zeke_delete_stories_after: of stories since they were created, and of items that have none.
        zeke_delete_runs_after: of playbook runs since they ended.
        zeke_delete_spending_after: of the records of AI usage.
    """

    zeke_delete_stories_after: Kept = None
    zeke_delete_runs_after: Kept = None
    zeke_delete_spending_after: Kept = None
