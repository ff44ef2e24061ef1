"""The whole system in a thread beside the browser: a server on a port, a worker, a real database and clock.

The tests are synchronous, as Playwright's simple interface is; their calls of the system run on its loop.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from playwright.sync_api import Page as BrowserPage
from playwright.sync_api import expect

from tests.browser.press import UNSERVED, Press, press_catalog
from tests.conformance.driver import Driver
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core import apikeys
from zeke_queue.model import Job, RowState
from zeke_queue.storage.access import NewKey, Scope
from zeke_queue.system.settings import Settings
from zeke_queue.web import WebSettings
from zeke_queue.web.server import ApiServer
from zeke_queue.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from types import TracebackType
    from uuid import UUID

    from zeke_queue.storage.access import ApiKey
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.web.dashboard import Page

T = TypeVar("T")

SOON: Final = 60.0
"""Seconds after which an operation counts as hanging, even on the slowest machine."""

SESSION: Final = 3_600.0

# Records the state of the page's stream.
_STREAM: Final = """() => {
  const root = document.documentElement;
  const source = htmx.find("[sse-connect]")["htmx-internal-data"].sseEventSource;
  const opens = () => { root.dataset.stream = "open"; };
  if (source.readyState === EventSource.OPEN) opens(); else source.addEventListener("open", opens);
  document.addEventListener("htmx:sseError", () => { root.dataset.stream = "lost"; });
}"""


def stream_opens(page: BrowserPage) -> None:
    """Wait until a page's stream is open, since only an open one can be cut."""
    page.evaluate(_STREAM)
    expect(page.locator("html")).to_have_attribute("data-stream", "open")


class House:
    """What ``zeke up`` starts, in a thread, on a migrated database."""

    def __init__(self, dsn: str, catalog: Catalog | None = None, pages: Sequence[Page] = ()) -> None:
        self._settings = Settings.load(database_primary_url=dsn)
        self._port = 0
        self._pages = pages
        self._begun: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="house")
        self._server: ApiServer | None = None
        self._serving: asyncio.Task[None] | None = None
        self._working: list[tuple[Any, asyncio.Task[None]]] = []
        self.press = Press()
        self._catalog = catalog or press_catalog(self.press)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.result(SOON)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(SOON)

    async def _main(self) -> None:
        self.loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with Queue.connect(self._catalog, settings=self._settings) as queue:
                self.queue = queue
                self.jobs = Driver(parts_of(queue).storage, queue.clock)  # type: ignore[arg-type]
                await self._serve()
                self._begun.set_result(None)
                await self._over.wait()
                await self._rest()
                await self._leave()
        except BaseException as error:
            if not self._begun.done():
                self._begun.set_exception(error)
            raise

    def do(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asked, self.loop).result(SOON)

    # The server

    async def _serve(self) -> None:
        web = WebSettings.load(api_port=self._port, api_trigger_limit=0)
        self._server = ApiServer(self.queue, web, pages=self._pages)
        self.url = self._server.url
        self._port = int(self.url.rpartition(":")[2])
        self._serving = asyncio.create_task(self._server.run())

    async def _leave(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.stop()
            await self._serving
        self._server = self._serving = None

    def serve(self) -> None:
        """Start the server, on the port that it had before."""
        self.do(self._serve())

    def leave(self) -> None:
        self.do(self._leave())

    # The worker

    async def _work(self) -> None:
        served = [name for name in self.queue.catalog.tasks if name != UNSERVED]
        begun = asyncio.Event()
        worker = Worker(self.queue, tasks=served, shutdown_timeout=0)
        self._working.append((worker, asyncio.create_task(worker.run(begun))))
        await begun.wait()

    async def _rest(self) -> None:
        for worker, _ in self._working:
            worker.stop()
        await asyncio.gather(*(task for _, task in self._working))
        self._working.clear()

    def work(self) -> None:
        """Start a worker, with maintenance and schedules."""
        self.do(self._work())

    def rest(self) -> None:
        """Stop them; running jobs are released."""
        self.do(self._rest())

    # What tests do behind the browser's back

    def let(self, steps: int = 1) -> None:
        async def release() -> None:
            for _ in range(steps):
                self.press.gate.release()

        self.do(release())

    def send(self, task: str, payload: Any = None, **options: Any) -> UUID:
        return self.do(self.queue.send(task, payload, **options)).id

    def purge(self, job_id: UUID) -> None:
        async def delete() -> None:
            async with self.queue.transaction() as transaction:
                await transaction.connection.execute("delete from pgboss.job where id = %s", [job_id])

        self.do(delete())

    def ended(self, job_id: UUID) -> RowState:
        """Wait until a job has ended; returns how."""

        async def wait() -> RowState:
            *_, last = [
                news async for news in parts_of(self.queue).runs.watch(job_id) if isinstance(news, Job)
            ]
            return last.row_state

        return self.do(wait())

    def key(self, *scopes: Scope, name: str = "Ada", expires_in: float | None = None) -> tuple[ApiKey, str]:
        text = apikeys.new_key(parts_of(self.queue).entropy.stream("key").randbytes(apikeys.KEY_BYTES))
        new = NewKey(
            id=parts_of(self.queue).factory.new_id(),
            name=name,
            prefix=apikeys.prefix_of(text),
            digest=apikeys.digest_of(text),
            scopes=frozenset(scopes or (Scope.ADMIN,)),
            expires_in=expires_in,
        )
        return self.do(parts_of(self.queue).storage.access.create_key(new)), text

    def session(self, key: ApiKey, seconds: float = SESSION) -> str:
        """Open a session, as signing in does; returns its token."""
        token = parts_of(self.queue).entropy.stream("session").randbytes(32).hex()
        assert self.do(
            parts_of(self.queue).storage.access.create_session(apikeys.digest_of(token), key.id, seconds)
        )
        return token
