"""The catalog: Zeke's tasks and schedules, for ``zeke worker --app zeke_tasks.catalog:catalog``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.task.catalog import Catalog
from zeke_tasks.briefs import generate
from zeke_tasks.context import open_context
from zeke_tasks.ingest import oneoff, pull, pull_youtube, source, upload, youtube
from zeke_tasks.insights import attach, dedupe, extract, score
from zeke_tasks.payloads import ApplyRetention, IngestPull
from zeke_tasks.playbooks import run
from zeke_tasks.stories import analyze, fetch_content, link_source, retention, summarize, update_status

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from zeke_tasks.context import Context

MODULES: Final = (
    pull,
    source,
    pull_youtube,
    youtube,
    oneoff,
    upload,
    fetch_content,
    link_source,
    analyze,
    summarize,
    update_status,
    extract,
    score,
    dedupe,
    attach,
    generate,
    run,
    retention,
)
"""The modules of the tasks, each with a catalog of its own."""


def build_catalog(
    resources: Callable[[], AbstractAsyncContextManager[Context]] = open_context,
    *,
    scheduled: bool = True,
    private_to: UUID | None = None,
) -> Catalog:
    """Build the catalog, with resources other than production's for a demo, a test or a simulation.

    Args:
        resources: opens the resources of the tasks, once per worker.
        scheduled: whether to declare the schedules too.
        private_to: the process whose private queues the jobs go to; by default all workers run them.
    """
    built = Catalog(resources=resources, private_to=private_to)
    for module in MODULES:
        built.include(module.tasks)
    if scheduled:
        built.schedule("ingest-pull", "*/5 * * * *", payload=IngestPull(), description="RSS feed ingestion")
        built.schedule(
            "ingest-pull-youtube",
            "0 */6 * * *",
            payload=IngestPull(),
            description="YouTube channel ingestion",
        )
        built.schedule(
            "apply-retention",
            "17 3 * * *",
            payload=ApplyRetention(),
            description="Deletion of old rows",
        )
    return built


catalog = build_catalog()
