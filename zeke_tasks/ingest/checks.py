"""Results of checks of sources: health, time of the next check, and permanent redirects."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from zeke_tasks.context import context_of
from zeke_tasks.error_policy import verdict
from zeke_tasks.fetch import TooExpensiveDocument, Transient, WebError, canonicalise_url
from zeke_tasks.fetch.secrets import without_secrets
from zeke_tasks.ingest.pace import after_expense, after_failure, after_success
from zeke_tasks.store.model import URL_CHARACTERS, HealthStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from zeke_queue.task.context import JobContext
    from zeke_tasks.fetch import Fetched
    from zeke_tasks.store.model import Source
    from zeke_tasks.store.repository import Rows


@asynccontextmanager
async def checking(job: JobContext, source: Source) -> AsyncGenerator[None]:
    """Record web errors of the block as failures of the source, and raise the matching signal.

    Any other error is caused by this machine or our code and not by the source, so it propagates and fails
    the job.

    Raises:
        Retry: a later check may succeed.
        Fail: later checks will fail too, unless the source changes.
    """
    try:
        yield
    except WebError as error:
        retry_after = error.retry_after if isinstance(error, Transient) else None
        expensive = isinstance(error, TooExpensiveDocument)
        await record_failure(job, source, str(error), retry_after, expensive=expensive)
        if (signal := verdict(error)) is not None:
            raise signal from error
        raise


async def record_failure(
    job: JobContext,
    source: Source,
    message: str,
    retry_after: float | None = None,
    *,
    expensive: bool = False,
) -> None:
    """Record why a source could not be checked, in a transaction of its own.

    Args:
        job: the check.
        source: the source.
        message: the reason, shown to users.
        retry_after: seconds to wait, as requested by the server.
        expensive: whether reading the source took too much time or memory, so that it is checked rarely.
    """
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        health = await rows.health(source.id)
        failing_for = health.failing_for if health else None
        await rows.record_failure(
            source.id,
            next_check_in=after_expense(source, failing_for)
            if expensive
            else after_failure(source, failing_for, retry_after),
            message=message,
        )
    job.logger.warning(
        "source failed", sourceId=str(source.id), url=without_secrets(source.url), error=message
    )


async def record_success(
    rows: Rows,
    source: Source,
    *,
    warning: str | None = None,
    etag: str | None = None,
    last_modified: str | None = None,
) -> None:
    """Record that a source was checked, in the transaction that stores the items.

    Args:
        rows: the store in that transaction.
        source: the source.
        warning: a problem in spite of the success, shown to users.
        etag: the validator for the next check, and likewise ``last_modified``.
    """
    await rows.record_success(
        source.id,
        next_check_in=after_success(source),
        etag=etag,
        last_modified=last_modified,
        status=HealthStatus.WARN if warning else HealthStatus.OK,
        message=warning,
    )


def new_place(fetched: Fetched) -> str | None:
    """Return the canonical url to which a feed moved permanently; None if the stored one is current."""
    if fetched.permanent_url is None:
        return None
    place = canonicalise_url(fetched.permanent_url)
    return place if len(place) <= URL_CHARACTERS else None


async def move(rows: Rows, source: Source, fetched: Fetched) -> str | None:
    """Save the url to which a feed moved permanently; returns a warning if that fails."""
    if fetched.permanent_url is None:
        return None
    if (place := new_place(fetched)) is None:
        return f"It moved to a url of more than {URL_CHARACTERS} characters, the limit."
    if await rows.move_source(source.id, place):
        return None
    return f"It moved to {place}, which another source already has: remove one of the two."
