"""Handlers off the loop: sync ones in threads, CPU-bound ones in processes."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cases import check_each, check_each_async
from tests.conformance.driver import soon
from tests.runtime.catalogs import nothing
from tests.runtime.workers import crunching
from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.model import RowState
from zeke_queue.system.clock import SystemClock
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Retry
from zeke_queue.worker.executors.processes import Processes
from zeke_queue.worker.executors.threads import Threads
from zeke_queue.worker.state import RECANCEL_INTERVAL

COMPLETED, FAILED, RETRY, CREATED = RowState.COMPLETED, RowState.FAILED, RowState.RETRY, RowState.CREATED


# Threads


async def test_sync_handler_runs_beside_the_loop(place: Place) -> None:
    go = threading.Event()

    @place.catalog.task("block")
    def block() -> str:
        assert go.wait(120)
        return threading.current_thread().name

    @place.catalog.task("free")
    async def free() -> None:
        go.set()

    first = await place.send(block)
    await place.send(free)
    await place.drain(concurrency=2)
    job = await place.job(first)
    assert job.output.startswith("zeke-handler-")


async def test_sync_handler_fails_like_any_other(place: Place) -> None:
    @place.catalog.task("boom")
    def boom(what: str) -> None:
        raise {"value": ValueError("odd"), "stop": StopIteration("late"), "retry": Retry(after=9)}[what]

    states = [(await place.run_one(boom, what)).history[-1].error for what in ("value", "stop", "retry")]
    assert [error["type"] for error in states] == ["ValueError", "RuntimeError", "Retry"]
    assert "StopIteration" in states[1]["message"]


async def test_sync_handler_reaches_the_loop_through_its_job(place: Place) -> None:
    child = place.catalog.task("child")(nothing)

    @place.catalog.task("parent")
    def parent(job: JobContext) -> str:
        job.progress(0.5, "half")
        job.logger.info("from a thread")
        return str(job.run_coroutine(job.send(child)).id)

    job = await place.run_one(parent)
    assert job.row_state is COMPLETED
    children = [found for found in place.storage.dump().jobs if found.name == "child"]
    assert [(str(found.id), found.parent) for found in children] == [(job.output, job.id)]
    assert {event.kind for event in await place.storage.events({job.id: 0})} == {"progress", "log"}


async def test_blocking_wait_in_an_async_handler_is_refused(place: Place) -> None:
    @place.catalog.task("wrong", retry_limit=0)
    async def wrong(job: JobContext) -> None:
        job.run_coroutine(job.send("wrong"))

    told = (await place.run_one(wrong)).output["message"]
    assert "on the event loop it would wait for itself" in told


async def test_thread_past_its_deadline_holds_its_place_and_its_result_is_dropped(place: Place) -> None:
    started, go = threading.Event(), threading.Event()
    saw_cancellation: list[bool] = []

    @place.catalog.task("block", expire_in=60, retry_limit=0)
    def block(job: JobContext) -> str:
        started.set()
        assert go.wait(120)
        saw_cancellation.append(job.cancelled)
        return "late"

    other = place.catalog.task("other")(nothing)
    async with place.working(concurrency=1) as worker:
        job_id = await place.send(block)
        await until(started.is_set)
        place.clock.advance(61)
        second = await place.send(other)
        await turns()
        assert place.state(second) is CREATED
        go.set()
        await worker.drain()
    job = await place.job(job_id)
    assert (job.row_state, job.output["type"]) == (RowState.EXPIRED, "Expired")
    assert saw_cancellation == [True]
    assert (await place.job(second)).row_state is COMPLETED


async def test_threads_are_reused_with_a_copy_of_the_context() -> None:
    threads = Threads()
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")
    name.set("outer")
    seen: set[int] = set()

    def look() -> str:
        seen.add(threading.get_ident())
        was = name.get()
        name.set("inner")
        return was

    assert [await threads.run(look) for _ in range(5)] == ["outer"] * 5
    assert len(seen) == 1
    assert name.get() == "outer"
    threads.close()


async def test_each_concurrent_call_has_a_thread() -> None:
    threads, barrier = Threads(), threading.Barrier(5)
    await soon(asyncio.gather(*(threads.run(barrier.wait) for _ in range(5))))
    threads.close()


async def test_threads_busy_at_the_close_are_not_reused() -> None:
    threads, go = Threads(), threading.Event()
    busy = asyncio.ensure_future(threads.run(go.wait))
    await turns()
    threads.close()
    go.set()
    assert await busy
    assert await soon(threads.run(lambda: "ran")) == "ran"
    threads.close()


async def test_call_without_a_thread_is_not_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, made = Threads(), []

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await threads.run(lambda: made.append("first"))
    await soon(threads.run(lambda: made.append("second")))
    assert made == ["second"]
    threads.close()


async def test_exception_that_ends_programs_fails_only_the_job_of_a_thread() -> None:
    async def check(error: BaseException) -> None:
        place = Place()

        @place.catalog.task("end", retry_limit=0)
        def end() -> None:
            raise error

        job = await place.run_one(end)
        assert job.row_state is FAILED
        assert type(error).__name__ in job.output["type"] + job.output["message"]

    await check_each_async([KeyboardInterrupt(), GeneratorExit(), SystemExit(3)], check)


# Processes


async def test_process_runs_the_handler_and_its_events_are_stored(capfd: pytest.CaptureFixture[str]) -> None:
    place = Place(crunching.catalog)
    job = await place.run_one("crunch", {"what": "tell"}, meta={"trace": "abc"})
    assert job.row_state is COMPLETED, job.output
    assert job.output.pop("pid") != os.getpid()
    assert job.output == {"id": str(job.id), "attempt": 1, "meta": {"trace": "abc"}}
    events = [json.loads(event.data) for event in await place.storage.events({job.id: 0})]
    assert events == [{"level": "info", "message": "counting", "upto": 3}, {"value": 0.5, "message": "half"}]
    assert "a handler may print" in capfd.readouterr().out


OUTCOMES: dict[str, tuple[RowState, str, str]] = {
    "fail": (FAILED, "LookupError", "not here"),
    "never": (FAILED, "Fail", "never"),
    "retry": (RETRY, "Retry", "busy"),
    "exit": (RETRY, "SystemExit", "3"),
    "nan": (FAILED, "SerializationError", "The handler's result can't be stored"),
    "half": (FAILED, "SerializationError", "The handler's result can't be stored"),
    "deep": (FAILED, "SerializationError", "The handler's result can't be stored"),
    "odd": (RETRY, "LookupError", "as it was looked at"),
    "never-half": (FAILED, "Fail", "half ?"),
    "never-five": (FAILED, "Fail", "5"),
    "retry-half": (RETRY, "Retry", "half ?"),
    "retry-five": (RETRY, "Retry", "<object object at 0x"),
}
"""For each way in which a handler fails: the state of its job, and the type and message of its error."""


async def test_outcomes_of_one_process_are_those_of_its_handlers() -> None:
    place = Place(crunching.catalog)
    ways = [*OUTCOMES, "snooze", "send", "tell-half", "tell-long", "sum"]
    limits = {"fail": 0}
    sent = {
        what: await place.send("crunch", {"what": what}, retry_limit=limits.get(what, 5)) for what in ways
    }
    await place.drain(processes=Processes(1))
    jobs = {what: await place.job(job_id) for what, job_id in sent.items()}

    def check(what: str, state: RowState, kind: str, message: str) -> None:
        (attempt,) = jobs[what].history
        assert (jobs[what].row_state, attempt.error["type"]) == (state, kind)
        assert attempt.error["message"].startswith(message)

    check_each([(what, *expected) for what, expected in OUTCOMES.items()], check)
    assert "crunching.py" in jobs["fail"].output["traceback"]
    assert (jobs["snooze"].row_state, jobs["snooze"].retry_count) == (CREATED, 0)
    assert (
        "a handler in a process has no connection to the storage" in jobs["send"].history[0].error["message"]
    )
    for what in ("tell-half", "tell-long"):  # a line that can't be written ends no job
        assert jobs[what].row_state is COMPLETED
        assert await place.storage.events({jobs[what].id: 0})
    assert jobs["sum"].output == 499500


async def test_invalid_result_has_the_same_error_in_a_process_as_elsewhere() -> None:
    place = Place(crunching.catalog)
    job = await place.run_one("crunch", {"what": "nan"}, retry_limit=5)
    beside = Place()

    @beside.catalog.task("same", retry_limit=5)
    async def same() -> float:
        return float("nan")

    assert job.output == (await beside.run_one(same)).output


async def test_crash_of_a_process_fails_only_its_job() -> None:
    async def check(what: str, how: str) -> None:
        place = Place(crunching.catalog)
        crash = await place.send("crunch", {"what": what})
        others = [await place.send("crunch", {"what": "sum"}) for _ in range(3)]
        await place.drain(concurrency=2, processes=Processes(2))
        job = await place.job(crash)
        expected = (FAILED, "zeke_queue.worker.executors.executor.ProcessCrashed")
        assert (job.row_state, job.output["type"]) == expected
        assert how in job.output["message"]
        assert [(await place.job(job_id)).output for job_id in others] == [499500] * 3

    await check_each_async([("crash", "signal SIGSEGV"), ("leave", "exit code 9")], check)


async def test_coroutine_may_run_in_a_process() -> None:
    place = Place(crunching.catalog)
    assert (await place.run_one("async-crunch", {"what": "hello"})).output == "hello"


async def test_processes_are_reused_within_their_limit() -> None:
    place = Place(crunching.catalog)
    sent = [await place.send("crunch", {"what": "tell"}) for _ in range(6)]
    await place.drain(concurrency=4, processes=Processes(1))
    pids = {(await place.job(job_id)).output["pid"] for job_id in sent}
    assert len(pids) == 1
    assert not psutil.pid_exists(pids.pop())


async def hanging(place: Place, path: Path, **options: Any) -> tuple[Any, psutil.Process]:
    job_id = await place.send("crunch", {"what": "hang", "path": str(path)}, **options)
    await until(lambda: path.exists() and path.read_text(encoding="utf-8"))
    return job_id, psutil.Process(int(path.read_text(encoding="utf-8")))


async def test_process_is_killed_at_its_deadline(tmp_path: Path) -> None:
    place = Place(crunching.catalog)
    async with place.working() as worker:
        job_id, process = await hanging(place, tmp_path / "pid", expire_in=60)
        place.clock.advance(61)
        await worker.drain()
        assert (await place.job(job_id)).row_state is RowState.EXPIRED
        following = await place.send("crunch", {"what": "sum"})
        await worker.drain()
        assert (await place.job(following)).output == 499500
    assert not process.is_running()


async def test_process_is_killed_when_its_job_is_cancelled(tmp_path: Path) -> None:
    place = Place(crunching.catalog)
    async with place.working(heartbeat_interval=5) as worker:
        job_id, process = await hanging(place, tmp_path / "pid")
        await place.queue.cancel(job_id)
        place.clock.advance(5)
        await until(lambda: not process.is_running())
        await worker.drain()
    assert (await place.job(job_id)).row_state is RowState.CANCELLED


async def test_process_ends_with_the_worker(tmp_path: Path) -> None:
    place = Place(crunching.catalog)
    async with place.working():
        job_id, process = await hanging(place, tmp_path / "pid")
    assert not process.is_running()
    job = await place.job(job_id)
    assert (job.row_state, job.retry_count) == (CREATED, 0)


async def test_process_ignores_interrupts_of_the_terminal(tmp_path: Path) -> None:
    place = Place(crunching.catalog)
    async with place.working():
        _, process = await hanging(place, tmp_path / "pid")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        await SystemClock().sleep(0.05)
        assert process.is_running()


async def test_thread_past_its_deadline_is_logged(place: Place) -> None:
    """It occupies its slot, and a worker whose slots are all occupied would otherwise seem idle."""
    go = threading.Event()

    @place.catalog.task("endless", expire_in=60, retry_limit=0)
    def endless() -> None:
        go.wait()

    with logged() as lines:
        async with place.working(lease=1000, heartbeat_interval=RECANCEL_INTERVAL):
            job_id = await place.send(endless)
            await until(lambda: place.active("endless"))
            await turns()
            place.clock.advance(60)
            await turns()
            assert "cancellation_ignored" not in lines.messages
            place.clock.advance(RECANCEL_INTERVAL)
            await until(lambda: "cancellation_ignored" in lines.messages)
            go.set()
            await until(lambda: place.state(job_id) is RowState.EXPIRED)
