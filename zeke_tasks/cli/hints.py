"""Hints at further commands: how to continue jobs, and how to show one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.system.install_hints import on_same

if TYPE_CHECKING:
    from uuid import UUID

WORKER: Final = "zeke worker --app zeke_tasks.catalog:catalog"


def worker_continues(*, embedded: bool) -> str:
    """Return a hint that a worker continues the remaining jobs, and how to start one."""
    return f"A worker continues it with its own settings (`{on_same(WORKER, embedded=embedded)}` starts one)"


def see_job(job_id: UUID, *, embedded: bool) -> str:
    """Return a hint at the command that shows a job."""
    return f"`{on_same(f'zeke job show {job_id}', embedded=embedded)}`"
