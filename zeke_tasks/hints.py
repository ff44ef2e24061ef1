"""What people are told to type: commands that work as they stand, on the database that they use.

Of the options that name a database, ``--embedded`` is repeated. ``--database`` is not, for it may hold a
password, and neither is ``--schema``: whoever gave them gives them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uuid import UUID

WORKER: Final = "zeke worker --app zeke_tasks.catalog:catalog"


def on_same(command: str, *, embedded: bool) -> str:
    """Return a command as it is typed for the database on which this one works.

    Args:
        command: as it is for the database of the environment.
        embedded: whether this one was given that.

    >>> on_same("zeke stories", embedded=True)
    'zeke stories --embedded'
    """
    return f"{command} --embedded" if embedded else command


def worker_goes_on(*, embedded: bool) -> str:
    """Return who goes on with what is left, and how one is started."""
    return f"A worker goes on with it (`{on_same(WORKER, embedded=embedded)}` starts one)"


def see_job(job_id: UUID, *, embedded: bool) -> str:
    """Return where more is known of a job."""
    return f"`{on_same(f'zeke job show {job_id}', embedded=embedded)}`"
