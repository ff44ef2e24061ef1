"""What the tasks need of the world: a repository, the web, a clock, an AI, and somewhere to read documents.

``Catalog(resources=…)`` makes it once a worker; the demo, tests and simulations give another one there.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from zeke_queue.system.clock import SystemClock
from zeke_tasks.ai.choose import open_ai
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.fetch import Permanent, Transient, WebClient
from zeke_tasks.fetch.parser_pool import ReaderKilled, Readers, Unreadable
from zeke_tasks.keywords import DEFAULT_KEYWORDS, KeywordSettings
from zeke_tasks.store.postgres import PostgresRepository
from zeke_tasks.youtube.choose import open_youtube
from zeke_tasks.youtube.settings import YouTubeSettings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from zeke_queue.system.clock import Clock
    from zeke_queue.task.context import JobContext
    from zeke_tasks.ai.client import AIClient
    from zeke_tasks.fetch import Fetcher, WebOptions
    from zeke_tasks.fetch.parser_pool import Compute
    from zeke_tasks.store.repository import Repository
    from zeke_tasks.youtube import YouTube

P = ParamSpec("P")
T = TypeVar("T")


async def read(
    compute: Compute, what: str, function: Callable[P, T], /, *args: P.args, **options: P.kwargs
) -> T:
    """Read a document, whatever it does to its reader.

    Args:
        compute: who reads it.
        what: its URL, or how else it is called where its errors are shown.
        function: what to call with the rest.

    Raises:
        Permanent: it is too much for the parsers.
        Transient: its reader was killed, which another time may not be.
        WebError: what the function raises.
    """
    try:
        return await compute(function, *args, **options)
    except Unreadable as error:
        raise Permanent(what, str(error)) from error
    except ReaderKilled as error:
        raise Transient(what, str(error)) from error


async def inline(function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
    """Call a function where it stands: for tests and simulations, where processes would bring chance in."""
    return function(*args, **options)


@dataclass(frozen=True, slots=True)
class Context:
    """What the tasks read as ``job.resources``.

    Attributes:
        compute: where documents are read.
        keywords: words that make a highlight relevant, see ``zeke_tasks.insights.relevance``.
        youtube: captions and searches; None where no channel or search is checked.
    """

    repository: Repository
    web: Fetcher
    clock: Clock
    compute: Compute
    ai: AIClient
    keywords: tuple[str, ...] = field(default=DEFAULT_KEYWORDS, kw_only=True)
    youtube: YouTube | None = field(default=None, kw_only=True)


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
        SettingsError: a setting of the tasks can't be read, or says OpenAI and there is no key.
        ImportError: a parser is not installed whole; a worker without it should not take jobs.
    """
    clock, settings, keywords = SystemClock(), AISettings.load(), KeywordSettings.load().keywords
    videos = YouTubeSettings.load()
    async with (
        Readers() as readers,
        WebClient(options, clock=clock) as web,
        open_ai(settings, clock, compute=readers) as ai,
    ):
        await readers.start()
        youtube = open_youtube(videos, web, clock)
        yield Context(PostgresRepository(), web, clock, readers, ai, keywords=keywords, youtube=youtube)
