"""Who goes on with jobs, and where more is known of one: what people are told to type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.system.install_hints import on_same

if TYPE_CHECKING:
    from uuid import UUID

WORKER: Final = "zeke worker --app zeke_tasks.catalog:catalog"


def worker_goes_on(*, embedded: bool) -> str:
    """Return who goes on with what is left, and how one is started."""
    return f"A worker goes on with it (`{on_same(WORKER, embedded=embedded)}` starts one)"


def see_job(job_id: UUID, *, embedded: bool) -> str:
    """Return where more is known of a job."""
    return f"`{on_same(f'zeke job show {job_id}', embedded=embedded)}`"
