"""A catalog whose resources refuse to open, named as ``tests.cli.closed:catalog``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from zeke_queue import Catalog
from zeke_queue.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def resources() -> AsyncIterator[None]:
    """Refuse to open, as resources do that lack a setting."""
    raise SettingsError("KEY is not set, and the tasks need it; set KEY")
    yield


catalog = Catalog(resources=resources)


@catalog.task("mail", concurrency_limit=2)
async def mail() -> None:
    """Do nothing."""


catalog.schedule("hourly", "0 * * * *", task="mail")
