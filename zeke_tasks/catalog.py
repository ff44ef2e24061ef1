"""The catalog: Zeke's tasks and schedules, for ``zeke worker --app zeke_tasks.catalog:catalog``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.catalog import Catalog
from zeke_tasks.context import open_context
from zeke_tasks.ingest import pull, source
from zeke_tasks.payloads import IngestPull
from zeke_tasks.stories import fetch_content

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from zeke_tasks.context import Context


def build_catalog(
    resources: Callable[[], AbstractAsyncContextManager[Context]] = open_context, *, scheduled: bool = True
) -> Catalog:
    """Build the catalog on other resources than those of production, for a demo, a test or a simulation.

    Args:
        resources: makes what the tasks need, once a worker.
        scheduled: whether the schedules are declared too.
    """
    built = Catalog(resources=resources)
    for module in (pull, source, fetch_content):
        built.include(module.tasks)
    if scheduled:
        built.schedule(
            "ingest-pull", "*/5 * * * *", payload=IngestPull(), description="Check the feeds that are due"
        )
    return built


catalog = build_catalog()
