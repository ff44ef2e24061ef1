"""The limit of a team's subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.errors import UsageError

if TYPE_CHECKING:
    from uuid import UUID

SUBSCRIPTIONS_MAX: Final = 1_000
"""Sources to which a team may subscribe; their list is one response of the API."""


def check_subscriptions(team_id: UUID, count: int) -> None:
    """Check the number of a team's subscriptions, with the new one.

    Subscriptions that are made at the same time may exceed the limit together.

    Raises:
        UsageError: there are too many.
    """
    if count > SUBSCRIPTIONS_MAX:
        raise UsageError(
            f"Team {team_id} subscribes to {SUBSCRIPTIONS_MAX:,} sources, the limit; end another of its"
            " subscriptions first"
        )
