"""What the tasks need of the world: a repository, the web, a clock, and somewhere to compute.

``Catalog(resources=…)`` makes it once a worker; the demo, tests and simulations give another one there.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from zeke_queue.clock import SystemClock
from zeke_tasks.store.postgres import PostgresRepository
from zeke_tasks.web import WebClient
from zeke_tasks.web.libraries import load_parsers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from zeke_queue.clock import Clock
    from zeke_queue.context import JobContext
    from zeke_tasks.store.repository import Repository
    from zeke_tasks.web import Fetcher, WebOptions

T = TypeVar("T")


class Compute(Protocol):
    """Runs a function that keeps a processor busy."""

    async def __call__(self, function: Callable[[], T], /) -> T:
        """Return what the function returns."""
        ...


async def in_thread(function: Callable[[], T], /) -> T:
    """Run a function in a thread, so that the event loop goes on meanwhile."""
    return await asyncio.to_thread(function)


async def inline(function: Callable[[], T], /) -> T:
    """Run a function where it is called: for tests and simulations, where threads would bring chance in."""
    return function()


@dataclass(frozen=True, slots=True)
class Context:
    """What the tasks read as ``job.resources``."""

    repository: Repository
    web: Fetcher
    clock: Clock
    compute: Compute = in_thread


def context_of(job: JobContext) -> Context:
    """Return a job's resources by their type.

    Raises:
        TypeError: the catalog was built with resources that are no ``Context``.
    """
    context = job.resources
    if not isinstance(context, Context):
        given = type(context).__name__
        raise TypeError(f"The catalog's resources gave {given}, not zeke_tasks.context.Context")
    return context


@asynccontextmanager
async def open_context(options: WebOptions | None = None) -> AsyncGenerator[Context]:
    """Open the resources of production: the rows are on the database that keeps the jobs, the web is the web.

    Args:
        options: how to fetch; the defaults are those of production.

    Raises:
        ImportError: a parser is not installed whole; a worker without it should not take jobs.
    """
    await in_thread(load_parsers)
    clock = SystemClock()
    async with WebClient(options, clock=clock) as web:
        yield Context(PostgresRepository(), web, clock)
