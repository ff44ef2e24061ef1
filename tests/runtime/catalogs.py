"""A catalog for tests that need tasks, whatever they do."""

from __future__ import annotations

from pydantic import BaseModel

from zeke_queue.core.options import JobOptions
from zeke_queue.task.catalog import Catalog


class Letter(BaseModel):
    """A payload with a required and an optional field."""

    to: str
    copies: int = 1


def mail_catalog() -> Catalog:
    """Return a catalog: ``mail`` (alias ``post``) takes a letter, ``clean`` takes nothing."""
    catalog = Catalog(defaults=JobOptions(priority=7), payload_cap=1_000)

    @catalog.task("mail", aliases=["post"], retry_limit=5, expire_in=60, concurrency_limit=2)
    async def mail(letter: Letter) -> None:
        """Send a letter."""

    @catalog.task("clean")
    async def clean() -> None:
        """Tidy up."""

    return catalog


async def nothing() -> None:
    """Do nothing, as a task that a test needs for its name alone."""
