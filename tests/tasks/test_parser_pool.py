"""Documents are read in processes: what one does to a parser ends no worker, and no other document."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import psutil
import pytest

from tests.cases import check_each_async, each
from tests.runtime.workers.place import until
from tests.tasks import strange_documents
from tests.tasks.domain import Domain, memory_domain
from tests.tasks.jobs import Jobs
from zeke_queue.core.failure import error_output
from zeke_queue.errors import UsageError
from zeke_queue.system.subprocess_pool import Child, ChildEnded, Children
from zeke_queue.task.signals import Fail, Retry
from zeke_tasks.fetch import AddressRefused, Transient, articles, extract_article, feeds
from zeke_tasks.fetch.parser_pool import ParserKilled, ParserPool, TooExpensive, Unreadable
from zeke_tasks.ingest.pace import DAY, after_failure
from zeke_tasks.store.model import HealthStatus, ItemStatus
from zeke_tasks.stories import read
from zeke_tasks.testing.web import ScriptedWeb, feed, page

P = ParamSpec("P")
T = TypeVar("T")

ROOT = Path(__file__).parents[2]
FEED, PAGE, OTHER = "https://a.example/feed", "https://a.example/1", "https://a.example/2"


@pytest.fixture
async def readers() -> AsyncIterator[ParserPool]:
    async with ParserPool(2, prepare=strange_documents.nothing) as readers:
        yield readers


async def test_reader_process_reads_real_pages_as_this_process_does(input_directory: Path) -> None:
    pages = [path.read_bytes() for path in sorted((input_directory / "pages").iterdir())]
    async with ParserPool() as readers:
        found = await asyncio.gather(*(readers(extract_article, body, PAGE) for body in pages))
    assert found == [extract_article(body, PAGE) for body in pages]
    assert all(found)


async def test_errors_arrive_as_they_were_raised(readers: ParserPool) -> None:
    with pytest.raises(Transient, match="busy") as transient:
        await readers(strange_documents.fail, "transient")
    assert vars(transient.value) == vars(Transient("https://a.example/", "busy", status=503, retry_after=7.0))
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1") as refused:
        await readers(strange_documents.fail, "refused")
    assert refused.value.address == "10.0.0.1"
    with pytest.raises(KeyError, match="bees") as unknown:
        await readers(strange_documents.fail, "unknown")
    # The job's history shows where in the other process it was.
    assert "strange_documents.py" in json.loads(error_output(unknown.value))["traceback"]


async def test_exit_in_a_reader_is_an_error_of_the_document(readers: ParserPool) -> None:
    with pytest.raises(UsageError, match="SystemExit: 3"):
        await readers(strange_documents.stop_short, 3)


async def test_value_that_cannot_be_pickled_is_an_error(readers: ParserPool) -> None:
    with pytest.raises(UsageError, match="lambda"):
        await readers(lambda: None)
    with pytest.raises(UsageError, match="type lock"):
        await readers(strange_documents.strange)
    with pytest.raises(UsageError, match="Odd: this and that"):
        await readers(strange_documents.fail, "odd")
    with pytest.raises(UsageError, match="main module"):
        await readers(types.FunctionType(strange_documents.nothing.__code__, {"__name__": "__main__"}))
    assert await readers(strange_documents.where) != os.getpid()


@pytest.mark.nightly
async def test_document_that_crashes_reader_twice_is_unreadable(readers: ParserPool) -> None:
    async def check(number: signal.Signals) -> None:
        ended, other = await asyncio.gather(
            readers(strange_documents.die, number), readers(strange_documents.where), return_exceptions=True
        )
        assert isinstance(ended, Unreadable)
        assert number.name in str(ended)
        assert isinstance(other, int)
        assert await readers(strange_documents.where) != os.getpid()

    await check_each_async([signal.SIGSEGV, signal.SIGABRT, signal.SIGTRAP], check)


async def test_single_crash_of_a_reader_is_retried(readers: ParserPool, tmp_path: Path) -> None:
    mark = tmp_path / "crashed"
    assert await readers(strange_documents.die_once, signal.SIGSEGV, str(mark)) != os.getpid()
    assert mark.exists()


@pytest.mark.nightly
async def test_reader_killed_from_outside_is_not_an_error_of_the_document(
    readers: ParserPool, tmp_path: Path
) -> None:
    with pytest.raises(ParserKilled, match="more memory"):
        await readers(strange_documents.die, signal.SIGKILL)
    assert await readers(strange_documents.die_once, signal.SIGKILL, str(tmp_path / "killed")) != os.getpid()
    with pytest.raises(ChildEnded, match="exit code 3"):
        await readers(strange_documents.leave, 3)


async def test_failed_start_of_a_reader_is_not_an_error_of_the_document() -> None:
    async with ParserPool(1, prepare=strange_documents.break_off) as readers:
        with pytest.raises(ChildEnded, match="SIGILL"):
            await readers(strange_documents.where)
        with pytest.raises(ChildEnded, match="SIGILL"):
            await readers.start()
    async with ParserPool(1, prepare=partial(strange_documents.fail, "unknown")) as readers:
        with pytest.raises(KeyError, match="bees"):
            await readers.start()


@pytest.mark.nightly
async def test_document_over_the_cpu_limit_is_unreadable() -> None:
    async with ParserPool(1, seconds=1.0, prepare=strange_documents.nothing) as readers:
        pid = await readers(strange_documents.where)
        with pytest.raises(Unreadable, match="more than 1 seconds of processor time"):
            await readers(strange_documents.spin)
        await until(lambda: not psutil.pid_exists(pid))
        assert await readers(strange_documents.where) != pid


@pytest.mark.nightly
async def test_document_over_the_cpu_limit_is_read_once(tmp_path: Path) -> None:
    mark = tmp_path / "begun"
    async with ParserPool(1, seconds=0.2, prepare=strange_documents.nothing) as readers:
        with pytest.raises(TooExpensive, match="processor time"):
            await readers(strange_documents.spin_marked, str(mark))
    assert mark.read_text() == "begun\n"


@pytest.mark.nightly
async def test_stalled_reader_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    async with ParserPool(1, patience=3.0, prepare=strange_documents.nothing) as readers:
        with pytest.raises(Unreadable, match=r"more than 3 seconds"):
            await readers(strange_documents.hang, str(mark))
    await until(lambda: not psutil.pid_exists(int(mark.read_text())))


@pytest.mark.nightly
async def test_wait_for_a_reader_does_not_count_as_reading_time(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    async with ParserPool(1, patience=3.0, prepare=strange_documents.nothing) as readers:
        await readers.start()
        take = Children.child

        @asynccontextmanager
        async def taken_late(children: Children, *, fresh: bool) -> AsyncGenerator[Child]:
            async with take(children, fresh=fresh) as child:
                now = loop.time()
                await until(lambda: loop.time() > now + 3.2)
                yield child

        monkeypatch.setattr(Children, "child", taken_late)
        assert await readers(strange_documents.where) != os.getpid()


async def test_document_over_the_memory_limit_is_unreadable() -> None:
    async with ParserPool(1, memory=1024**3, prepare=strange_documents.nothing) as readers:
        assert await readers(strange_documents.grow, 1024**2) == 1024**2
        with pytest.raises(Unreadable, match="more than 1024 MiB of memory"):
            await readers(strange_documents.grow, 2 * 1024**3)
        assert await readers(strange_documents.grow, 1024**2) == 1024**2


async def test_document_with_a_long_result_is_too_expensive_and_is_read_once() -> None:
    async with ParserPool(1, result=1000, prepare=strange_documents.nothing) as readers:
        assert len(await readers(bytes, 900)) == 900
        pid = await readers(strange_documents.where)
        with pytest.raises(TooExpensive, match="more than 1000 bytes"):
            await readers(bytes, 1000)
        assert await readers(strange_documents.where) != pid


@pytest.mark.nightly
async def test_memory_limit_applies_to_each_document_separately() -> None:
    async with ParserPool(2, memory=1024**3, prepare=strange_documents.nothing) as readers:
        kept = await asyncio.gather(*(readers(strange_documents.keep, 700 * 1024**2) for _ in range(2)))
        assert len(set(kept)) == 2
        assert await readers(strange_documents.grow, 500 * 1024**2) == 500 * 1024**2


async def test_lower_limit_of_the_system_is_respected() -> None:
    script = """
import asyncio, resource
from tests.tasks import strange_documents
from zeke_tasks.fetch.parser_pool import ParserKilled, ParserPool, Unreadable

async def read():
    async with ParserPool(1, prepare=strange_documents.nothing) as readers:
        print(await readers(strange_documents.grow, 10))
        try:
            await readers(strange_documents.grow, 900 * 1024**2)
        except Unreadable as error:
            print(error)

resource.setrlimit(resource.RLIMIT_AS, (800 * 1024**2, 800 * 1024**2))
asyncio.run(read())
"""
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    out, _ = await done.communicate()
    assert out.decode().splitlines() == ["10", "reading it takes more than 800 MiB of memory"]


@pytest.mark.nightly
async def test_reader_is_killed_when_its_caller_is_cancelled(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    async with ParserPool(1, prepare=strange_documents.nothing) as readers:
        reading = asyncio.create_task(readers(strange_documents.hang, str(mark)))
        await until(mark.exists)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: not psutil.pid_exists(int(mark.read_text())))


async def test_readers_end_with_their_context() -> None:
    async with ParserPool(1, prepare=strange_documents.nothing) as readers:
        pid = await readers(strange_documents.where)
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


class Failing:
    """A reader that fails on the document at one URL, and reads all others."""

    def __init__(self, error: Exception, url: str) -> None:
        self._error = error
        self._url = url

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        if any(self._url in (argument, getattr(argument, "url", None)) for argument in args):
            raise self._error
        return function(*args, **options)


@each(
    (Unreadable("the parsers crash on it"), ItemStatus.FAILED, 1, None),
    (ParserKilled("it was killed"), ItemStatus.PENDING, 1, Retry),
    (ChildEnded(3), ItemStatus.PENDING, 0, ChildEnded),
)
async def test_unreadable_page_affects_only_its_item(
    error: Exception, status: ItemStatus, attempts: int, raised: type[Exception] | None
) -> None:
    in_memory = memory_domain()
    web = ScriptedWeb()
    web.put(FEED, feed(("One", PAGE), ("Two", OTHER)))
    web.put(PAGE, page("One", "bees"))
    web.put(OTHER, page("Two", "wasps"))
    jobs = Jobs(in_memory, web)
    jobs.resources = replace(jobs.resources, compute=Failing(error, PAGE))
    source = await in_memory.source(FEED)
    await jobs.run("ingest-source", {"sourceId": source.id, "reason": "manual"})
    items = [item.id for item in await in_memory.verbs.items_of(source.id)]
    with pytest.raises(raised) if raised else nullcontext():
        await jobs.run("fetch-content", {"rawItemIds": items})
    found = {
        item.url: (item.status, item.attempts, item.error) for item in await in_memory.verbs.items(items)
    }
    assert found == {
        PAGE: (status, attempts, f"{PAGE}: {error}" if attempts else None),
        OTHER: (ItemStatus.PROCESSED, 1, None),
    }


@each(
    (Unreadable("the parsers crash on it, with signal SIGSEGV"), Fail),
    (TooExpensive("reading it takes more than 30 seconds of processor time"), Fail),
    # It counts against the feed, so that a feed that always fails this way is fetched less often.
    (ParserKilled("it was killed, with signal SIGKILL"), Retry),
)
async def test_unreadable_feed_is_recorded(error: Exception, verdict: type[Exception]) -> None:
    in_memory = memory_domain()
    web = ScriptedWeb()
    web.put(FEED, feed(("One", PAGE)))
    jobs = Jobs(in_memory, web)
    jobs.resources = replace(jobs.resources, compute=Failing(error, FEED))
    source = await in_memory.source(FEED)
    with pytest.raises(verdict, match=str(error)):
        await jobs.run("ingest-source", {"sourceId": source.id, "reason": "manual"})
    health = await in_memory.health(source)
    assert health.status is HealthStatus.ERROR
    assert health.message == f"{FEED}: {error}"
    wait = DAY if isinstance(error, TooExpensive) else after_failure(source, None)
    assert health.next_check_at == in_memory.clock.now() + timedelta(seconds=wait)


def _crossed(value: Any) -> Any:
    """Return a value as another process would get it."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - it is the test's own


class Watched:
    """A process for heavy computation, and functions that may only be called there."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._here = False
        self.called_here: dict[str, bool] = {}

    async def compute(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Call a function with arguments and result pickled, as for another process."""
        function, args, options = _crossed((function, args, options))
        self._here = True
        try:
            result = function(*args, **options)
        finally:
            self._here = False
        return _crossed(result)

    def watch(self, module: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(module, name)

        def noted(*args: Any, **options: Any) -> Any:
            self.called_here[name] = self.called_here.get(name, True) and self._here
            return real(*args, **options)

        self._patch.setattr(module, name, noted)


async def test_parsing_extracting_and_hashing_run_outside_the_event_loop(
    in_memory: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = ScriptedWeb()
    web.put(FEED, feed(("One", PAGE), ("Two", "")))
    web.put(PAGE, page("One", "bees"))
    jobs = Jobs(in_memory, web)
    watched = Watched(monkeypatch)
    jobs.resources = replace(jobs.resources, compute=watched.compute)
    watched.watch(feeds, "parse_xml_feed")
    watched.watch(articles, "extract_text")
    watched.watch(articles, "sha256")
    watched.watch(read, "lined_text")
    source = await in_memory.source(FEED)
    await jobs.run("ingest-source", {"sourceId": source.id, "reason": "manual"})
    items = [item.id for item in await in_memory.verbs.items_of(source.id)]
    await jobs.run("fetch-content", {"rawItemIds": items})
    assert watched.called_here == {
        "parse_xml_feed": True,
        "extract_text": True,
        "sha256": True,
        "lined_text": True,
    }
