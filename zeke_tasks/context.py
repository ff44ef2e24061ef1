"""The resources of the tasks: a repository, the web, a clock, an AI, and processes that parse documents.

``Catalog(resources=…)`` opens them once per worker; the demo, tests and simulations pass others.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from zeke_queue.system.clock import SystemClock
from zeke_tasks.ai.budget import Budget
from zeke_tasks.ai.choose import open_ai
from zeke_tasks.ai.settings import CALLS, AISettings
from zeke_tasks.fetch import Permanent, TooExpensiveDocument, Transient, WebClient
from zeke_tasks.fetch.parser_pool import ParserKilled, ParserPool, TooExpensive, Unreadable
from zeke_tasks.fetch.settings import FetchSettings
from zeke_tasks.keywords import DEFAULT_KEYWORDS, KeywordSettings
from zeke_tasks.store.postgres import PostgresRepository
from zeke_tasks.store.retention import Retention
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
    """Parse a document, and convert crashes of the parser to errors.

    Args:
        compute: runs the parser.
        what: the document's URL or another name, for error messages.
        function: the parser, called with the other arguments.

    Raises:
        Permanent: the parser crashes on it or hangs.
        TooExpensiveDocument: it exceeds the limits of time or memory.
        Transient: the parser's process was killed; another attempt may succeed.
        WebError: raised by the function.
    """
    try:
        return await compute(function, *args, **options)
    except TooExpensive as error:
        raise TooExpensiveDocument(what, str(error)) from error
    except Unreadable as error:
        raise Permanent(what, str(error)) from error
    except ParserKilled as error:
        raise Transient(what, str(error)) from error


async def inline(function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
    """Call a function in this process: for tests and simulations, which other processes would make random."""
    return function(*args, **options)


@dataclass(frozen=True, slots=True)
class Context:
    """The resources of the tasks, ``job.resources``.

    Attributes:
        compute: parses documents.
        ai_calls: limit of the calls by which one attempt of a job requests one result.
        keywords: words that make a highlight relevant, see ``zeke_tasks.insights.relevance``.
        budget: the AI's budget of each team and day.
        youtube: captions and searches; None if there are no channels and searches to check.
        retention: the ages at which rows are deleted; by default they are kept forever.
    """

    repository: Repository
    web: Fetcher
    clock: Clock
    compute: Compute
    ai: AIClient
    ai_calls: int = field(default=CALLS, kw_only=True)
    keywords: tuple[str, ...] = field(default=DEFAULT_KEYWORDS, kw_only=True)
    budget: Budget = field(default_factory=Budget, kw_only=True)
    youtube: YouTube | None = field(default=None, kw_only=True)
    retention: Retention = field(default_factory=Retention.model_construct, kw_only=True)


def context_of(job: JobContext) -> Context:
    """Return a job's resources with their type.

    Raises:
        TypeError: the catalog's resources are not a ``Context``.
    """
    context = job.resources
    if not isinstance(context, Context):
        given = type(context).__name__
        raise TypeError(f"The catalog's resources gave {given}, not zeke_tasks.context.Context")
    return context


@asynccontextmanager
async def open_context(options: WebOptions | None = None) -> AsyncGenerator[Context]:
    """Open the resources of production: the tables in the jobs' database, and the real web.

    Args:
        options: limits of fetching; those of the settings by default.

    Raises:
        SettingsError: a setting of the tasks is invalid, or names OpenAI and there is no key.
        ImportError: a parser is not completely installed; a worker without it should not claim jobs.
    """
    clock, settings, keywords = SystemClock(), AISettings.load(), KeywordSettings.load().keywords
    videos, options = YouTubeSettings.load(), options or FetchSettings.load().options
    retention, calls = Retention.load(), settings.zeke_ai_calls
    async with (
        ParserPool() as parsers,
        WebClient(options, clock=clock, compute=parsers) as web,
        open_ai(settings, clock, compute=parsers) as ai,
    ):
        await parsers.start()
        youtube = open_youtube(videos, web, clock)
        yield Context(
            PostgresRepository(),
            web,
            clock,
            parsers,
            ai,
            ai_calls=calls,
            keywords=keywords,
            budget=settings.budget,
            youtube=youtube,
            retention=retention,
        )
