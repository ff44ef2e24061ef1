"""``zeke api``: the HTTP API and its dashboard; ``zeke up``: these and a worker in one process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zeke_queue.cli.session import AppOption, options_of
from zeke_queue.cli.work import beginning
from zeke_queue.errors import UsageError
from zeke_queue.system.install_hints import install, on_same

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from zeke_queue.cli.work import Beginning
    from zeke_queue.client.queue import Queue
    from zeke_queue.system.settings import Settings
    from zeke_queue.web import WebSettings
    from zeke_queue.web.server import ApiServer

HostOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Address to listen on; overrides API_HOST (127.0.0.1).", show_default=False
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=0,
        max=65_535,
        help="Port to listen on; overrides API_PORT (3003); 0 for any free port.",
        show_default=False,
    ),
]


def api(
    context: typer.Context, app: AppOption = None, host: HostOption = None, port: PortOption = None
) -> None:
    """Serve the HTTP API and the dashboard, without a worker, until SIGTERM or SIGINT.

    If no key was ever created, it creates the first one. Until that is used, each start prints a link that
    signs in to the dashboard once.
    """
    web = _web_settings(host, port)
    asyncio.run(_serve(beginning(options_of(context), app), web))


def up(
    context: typer.Context,
    app: AppOption = None,
    host: HostOption = None,
    port: PortOption = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            min=0,
            help="Concurrent jobs; overrides JOBS_CONCURRENCY (10).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run everything in one process: API, dashboard, a worker with maintenance and schedules.

    Without a database (DATABASE_PRIMARY_URL, --database) it starts a private Postgres, which keeps its data;
    without --app it runs the catalog installed with it. If it created the first key, now or at an earlier
    start, it prints a link that signs in to the dashboard once.
    """
    from zeke_queue.cli.catalog_loader import default_catalog

    options = options_of(context)
    web = _web_settings(host, port)
    given: dict[str, Any] = {} if concurrency is None else {"jobs_concurrency": concurrency}
    asyncio.run(_run_all(beginning(options, app or default_catalog(), private=True, **given), web))


def _web_settings(host: str | None, port: int | None) -> WebSettings:
    """Return the settings of the API."""
    try:
        from zeke_queue.web import WebSettings
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The HTTP API needs the extra `web` ({error.name} is not installed): {install('web')}"
        ) from error
    given: dict[str, Any] = {"api_host": host, "api_port": port}
    return WebSettings.load(**{name: value for name, value in given.items() if value is not None})


async def _check(begun: Beginning) -> None:
    """Check the database before an address is bound, so that its errors are reported at the start."""
    from zeke_queue.cli.database import require_api_rights

    await require_api_rights(begun.settings.require_database(), begun.settings.jobs_schema)


class _ServerWithLink:
    """A server that prints a sign-in link when it begins, which is after the worker beside it has begun."""

    def __init__(self, server: ApiServer, offer: Callable[[], Awaitable[None]]) -> None:
        self._server = server
        self._offer = offer

    async def run(self) -> None:
        """Print the link, and serve until asked to stop."""
        await self._offer()
        await self._server.run()

    def stop(self) -> None:
        """Ask ``run`` to end."""
        self._server.stop()


def _server(queue: Queue, begun: Beginning, web: WebSettings, *, again: bool) -> _ServerWithLink:
    """Bind the address; with ``again``, the server prints a link also if the first key was used already."""
    from zeke_queue.cli.first_key import offer_sign_in
    from zeke_queue.web.access.guard import MAKE_KEY
    from zeke_queue.web.dashboard import installed_pages
    from zeke_queue.web.extension import installed_extensions
    from zeke_queue.web.server import ApiServer

    make_key = on_same(MAKE_KEY, embedded=begun.embedded)
    server = ApiServer(
        queue, web, pages=installed_pages(), extensions=installed_extensions(), make_key=make_key
    )
    return _ServerWithLink(server, partial(offer_sign_in, queue, server, again=again, make_key=make_key))


def _api_settings(begun: Beginning, web: WebSettings) -> Settings:
    """Return the settings of the API's queue, which has its own number of connections."""
    settings = begun.settings
    most = web.api_pool_max or settings.jobs_pool_max
    least = min(settings.jobs_pool_min, most)
    return settings.model_copy(update={"jobs_pool_max": most, "jobs_pool_min": least})


async def _serve(begun: Beginning, web: WebSettings) -> None:
    from zeke_queue.client.queue import Queue
    from zeke_queue.worker.process_signals import run_loop_until_signalled

    await _check(begun)
    async with Queue.connect(begun.catalog, settings=_api_settings(begun, web)) as queue:
        await run_loop_until_signalled(_server(queue, begun, web, again=False))


async def _run_all(begun: Beginning, web: WebSettings) -> None:
    from zeke_queue.worker import Worker
    from zeke_queue.worker.process_signals import run_until_signalled

    await _check(begun)
    async with _queues(begun, web) as (queue, api_queue):
        server = _server(api_queue, begun, web, again=True)
        await run_until_signalled(Worker(queue), [server])


@asynccontextmanager
async def _queues(begun: Beginning, web: WebSettings) -> AsyncGenerator[tuple[Queue, Queue]]:
    """Open the worker's queue and the API's.

    Each has its own connections, so that no number of requests keeps the worker from the database.
    """
    from zeke_queue.client.queue import Queue

    async with (
        Queue.connect(begun.catalog, settings=begun.settings) as queue,
        Queue.connect(begun.catalog, settings=_api_settings(begun, web), beside=queue) as api_queue,
    ):
        yield queue, api_queue
