"""Reads of the stored data; the protocol documents each."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core.status import states_of
from zeke_queue.core.validation import check_limit
from zeke_queue.errors import ReadTimeoutError, StatementTimeoutError, no_page
from zeke_queue.model import JobPage
from zeke_queue.storage.postgres import rows
from zeke_queue.storage.postgres.change_feed import PostgresChangeFeed
from zeke_queue.storage.postgres.connection_pool import Statement

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import Job, JobQuery, WorkerInfo
    from zeke_queue.storage.postgres.connection_pool import ConnectionPool
    from zeke_queue.storage.postgres.listener import Listener
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Ids

NARROWED: Final = "narrow it by task, status, parent, or time of creation, or leave out the text"
"""How to make a search quicker."""

_FOUND_AT_ONCE: Final = 1000


class PostgresReader:
    """``storage.inspect.Inspector`` on Postgres."""

    _pool: ConnectionPool
    _listener: Listener
    _clock: Clock
    _identities: Ids
    read_seconds: float

    async def get(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Return those of the jobs that exist, live or archived."""
        if not ids:
            return {}
        # Live jobs have precedence: an id is in both tables only if another program inserted it.
        found = await self._pool.run("get", {"ids": list(ids)})
        return {row[0]: rows.job(row) for row in reversed(found)}

    async def find(self, query: JobQuery) -> JobPage:
        """Return live jobs that match a filter, or archived ones if it says so, newest first."""
        check_limit(query.limit, _FOUND_AT_ONCE)
        statement = Statement("find_archived" if query.archived else "find", filter_parameters(query))
        with reading(self.read_seconds, NARROWED):
            (found,) = await self._pool.run_all(statement, plain=True, seconds=self.read_seconds)
        if not found and query.before is not None and not await self.get([query.before]):
            # No job is older than one that does not exist.
            raise no_page(query.before)
        jobs = [rows.job(row[:-1]) for row in found[: query.limit]]
        return JobPage(jobs, has_more=bool(found) and found[0][-1] > len(jobs))

    async def workers(self) -> list[WorkerInfo]:
        """Return the known workers, by start, with the number of jobs that each holds."""
        with reading(self.read_seconds, "raise it, or retry when fewer jobs are active"):
            (found,) = await self._pool.run_all(Statement("workers", {}), seconds=self.read_seconds)
        return [rows.worker(row) for row in found]

    async def now(self) -> datetime:
        """Return the database's time."""
        found = await self._pool.run("now")
        return found[0][0]

    @asynccontextmanager
    async def subscribe(self) -> AsyncGenerator[PostgresChangeFeed]:
        """Open a watch; changes after a job is added are reported while the listening connection is up."""
        await self._listener.ready()
        watch = PostgresChangeFeed(self._pool, self._listener, self._clock, self._identities())
        try:
            yield watch
        finally:
            await watch.close()


@contextmanager
def reading(seconds: float, remedy: str) -> Generator[None]:
    """Raise ReadTimeoutError with a remedy if the server cancels a read."""
    try:
        yield
    except StatementTimeoutError as error:
        raise ReadTimeoutError(
            f"The query took longer than {seconds:g} s (JOBS_READ_TIMEOUT); {remedy}"
        ) from error


def filter_parameters(query: JobQuery) -> dict[str, Any]:
    """Return the parameters of ``find.sql``, for one job more than a page has."""
    return {
        "ids": None if query.ids is None else list(query.ids),
        "names": list(query.names) or None,
        # As text, which the server reads as states: the planner does not treat a list of texts as a constant.
        "states": f"{{{','.join(states_of(query.status))}}}" if query.status else None,
        "parent": query.parent,
        "parents": list(query.parents) or None,
        "before": query.before,
        "created_from": query.created_from,
        "created_to": query.created_to,
        "text": query.text,
        "opaque": list(query.opaque) or None,
        "without": list(query.without),
        "bytes_max": query.bytes_max,
        "limit": query.limit + 1,
    }
