"""The domain's store on the connection of the queue's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_tasks.store.postgres.analysis import PostgresAnalysis
from zeke_tasks.store.postgres.budgets import PostgresBudgets
from zeke_tasks.store.postgres.deletion import PostgresDeletions
from zeke_tasks.store.postgres.highlights import PostgresHighlights
from zeke_tasks.store.postgres.items import PostgresItems
from zeke_tasks.store.postgres.playbooks import PostgresPlaybooks
from zeke_tasks.store.postgres.sources import PostgresSources
from zeke_tasks.store.postgres.stories import PostgresStories
from zeke_tasks.store.postgres.teams import PostgresTeams

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from zeke_tasks.store.repository import OpenTransaction


class PostgresRows(
    PostgresSources,
    PostgresItems,
    PostgresStories,
    PostgresAnalysis,
    PostgresBudgets,
    PostgresHighlights,
    PostgresTeams,
    PostgresPlaybooks,
    PostgresDeletions,
):
    """The methods on one connection, documented in ``Rows``."""


class PostgresRepository:
    """The store; it uses the connections of the queue's transactions and has none of its own.

    Args:
        now: the time for statements in place of the database's, for tests; None in production.
    """

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self._now = now

    def within(self, transaction: OpenTransaction) -> PostgresRows:
        """Return the methods within a transaction."""
        return PostgresRows(transaction.connection, self._now)
