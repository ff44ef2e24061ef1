"""Documents are read in processes: what one does to a parser ends no worker, and no other document."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.runtime.workers.place import turns, until
from tests.tasks import strange_reading
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb, feed, page
from zeke_queue.children import ChildEnded
from zeke_queue.errors import UsageError
from zeke_queue.signals import Fail
from zeke_tasks.context import Context
from zeke_tasks.readers import Readers, Unreadable
from zeke_tasks.store.model import HealthStatus, ItemStatus
from zeke_tasks.web import AddressRefused, Transient, extract_article

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.tasks.domain import Domain

FEED, PAGE, OTHER = "https://a.example/feed", "https://a.example/1", "https://a.example/2"


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    async with Readers(2) as readers:
        yield readers


async def test_a_document_is_read_by_a_process_that_reads_the_next_one_too(readers: Readers) -> None:
    first, second = await readers(strange_reading.where), await readers(strange_reading.where)
    assert first == second != os.getpid()


async def test_real_pages_are_read_as_they_are_here(readers: Readers, input_directory: Path) -> None:
    pages = [path.read_bytes() for path in sorted((input_directory / "pages").iterdir())]
    found = await asyncio.gather(*(readers(extract_article, body, PAGE) for body in pages))
    assert found == [extract_article(body, PAGE) for body in pages]
    assert all(found)


async def test_errors_arrive_as_they_were_raised(readers: Readers) -> None:
    with pytest.raises(Transient, match="busy") as transient:
        await readers(strange_reading.fail, "transient")
    assert vars(transient.value) == vars(Transient("https://a.example/", "busy", status=503, retry_after=7.0))
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1") as refused:
        await readers(strange_reading.fail, "refused")
    assert refused.value.address == "10.0.0.1"
    with pytest.raises(KeyError, match="bees"):
        await readers(strange_reading.fail, "unknown")


async def test_what_can_t_cross_is_said(readers: Readers) -> None:
    with pytest.raises(UsageError, match="lambda"):
        await readers(lambda: None)
    with pytest.raises(UsageError, match="type lock"):
        await readers(strange_reading.strange)
    with pytest.raises(UsageError, match="Odd: this and that"):
        await readers(strange_reading.fail, "odd")
    assert await readers(strange_reading.where) != os.getpid()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
async def test_a_document_that_ends_its_reader_twice_is_unreadable_and_no_other(
    readers: Readers, number: signal.Signals
) -> None:
    ended, other = await asyncio.gather(
        readers(strange_reading.die, number), readers(strange_reading.where), return_exceptions=True
    )
    assert isinstance(ended, Unreadable)
    assert number.name in str(ended)
    assert isinstance(other, int)
    assert await readers(strange_reading.where) != os.getpid()


async def test_a_crash_that_does_not_come_again_costs_nothing(readers: Readers, tmp_path: Path) -> None:
    mark = tmp_path / "crashed"
    assert await readers(strange_reading.die_once, signal.SIGSEGV, str(mark)) != os.getpid()
    assert mark.exists()


async def test_what_ends_a_reader_from_outside_is_not_the_documents_fault(readers: Readers) -> None:
    with pytest.raises(ChildEnded, match="SIGKILL"):
        await readers(strange_reading.die, signal.SIGKILL)
    with pytest.raises(ChildEnded, match="exit code 3"):
        await readers(strange_reading.leave, 3)


async def test_a_document_that_takes_too_long_is_unreadable_and_its_reader_is_gone(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    async with Readers(1, seconds=1.0) as readers:
        with pytest.raises(Unreadable, match="more than 1 seconds"):
            await readers(strange_reading.hang, str(mark))
        pid = int(mark.read_text())
        await until(lambda: not psutil.pid_exists(pid))
        assert await readers(strange_reading.where) != pid


async def test_waiting_for_a_reader_is_no_reading_time(tmp_path: Path) -> None:
    mark = tmp_path / "go"
    async with Readers(1, seconds=5.0) as readers:
        # The process is there, so that its start is not counted either.
        await readers(strange_reading.where)
        first = asyncio.create_task(readers(strange_reading.wait_for, str(mark)))
        second = asyncio.create_task(readers(strange_reading.where))
        await turns()
        assert not second.done()
        mark.touch()
        await first
        assert await second != os.getpid()


async def test_memory_has_a_limit() -> None:
    async with Readers(1, memory=1024**3) as readers:
        assert await readers(strange_reading.grow, 1024**2) == 1024**2
        with pytest.raises(Unreadable, match="more than 1024 MiB of memory"):
            await readers(strange_reading.grow, 2 * 1024**3)
        assert await readers(strange_reading.grow, 1024**2) == 1024**2


async def test_a_reader_is_killed_when_nobody_waits_any_more(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    async with Readers(1) as readers:
        reading = asyncio.create_task(readers(strange_reading.hang, str(mark)))
        await until(mark.exists)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: not psutil.pid_exists(int(mark.read_text())))


async def test_readers_end_with_their_context() -> None:
    async with Readers(1) as readers:
        pid = await readers(strange_reading.where)
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


async def _too_much(_function: Callable[..., object], *_args: object, **_options: object) -> object:
    raise Unreadable("reading it ends the process that does it, by signal SIGSEGV")


async def test_a_page_that_can_t_be_read_ends_its_item_and_not_those_beside_it(in_memory: Domain) -> None:
    web = ScriptedWeb()
    web.put(FEED, feed(("One", PAGE), ("Two", OTHER)))
    web.put(PAGE, page("One", "bees"))
    web.put(OTHER, page("Two", "wasps"))
    jobs = Jobs(in_memory, web)
    inline = jobs.resources.compute

    async def read(function: Callable[..., object], *args: object, **options: object) -> object:
        if any(getattr(argument, "url", None) == PAGE for argument in args):
            return await _too_much(function)
        return await inline(function, *args, **options)

    jobs.resources = Context(in_memory.repository, web, in_memory.clock, read)  # pyright: ignore[reportArgumentType]
    source = await in_memory.source(FEED)
    await jobs.run("ingest-source", {"sourceId": source.id, "reason": "manual"})
    async with in_memory.rows() as rows:
        items = [item.id for item in await rows.items_of(source.id)]
    await jobs.run("fetch-content", {"rawItemIds": items})
    async with in_memory.rows() as rows:
        found = {item.url: (item.status, item.error) for item in await rows.items(items)}
    assert found == {
        PAGE: (ItemStatus.FAILED, "reading it ends the process that does it, by signal SIGSEGV"),
        OTHER: (ItemStatus.PROCESSED, None),
    }


async def test_a_feed_that_can_t_be_read_fails_for_good_and_says_so(in_memory: Domain) -> None:
    web = ScriptedWeb()
    web.put(FEED, feed(("One", PAGE)))
    jobs = Jobs(in_memory, web)
    jobs.resources = Context(in_memory.repository, web, in_memory.clock, _too_much)  # pyright: ignore[reportArgumentType]
    source = await in_memory.source(FEED)
    with pytest.raises(Fail, match="SIGSEGV"):
        await jobs.run("ingest-source", {"sourceId": source.id, "reason": "manual"})
    async with in_memory.rows() as rows:
        health = await rows.health(source.id)
    assert health is not None
    assert health.status is HealthStatus.ERROR
    assert "SIGSEGV" in (health.message or "")
