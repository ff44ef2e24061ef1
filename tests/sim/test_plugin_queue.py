"""The fixtures ``zeke`` and ``zeke_sync``: a single task, and a queue in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sim.plugging import application, run

if TYPE_CHECKING:
    from collections.abc import Sequence

pytest_plugins = ["pytester"]

ASYNC = """
import asyncio
from datetime import UTC, date, datetime, timedelta

import anyio
import pytest

from shop import Order, charge, gather, receipt, report
from zeke_queue import Job, JobFailedError, PayloadValidationError

{mark}

async def test_task_runs_without_a_queue(zeke):
    assert await zeke.run_task(charge, Order(number=1)) == {{"charged": 1}}
    done = zeke.last_run
    (child,) = done.children
    assert (child.task, child.payload, child.options) == ("receipt", {{"number": 1}}, {{"delay": 60}})
    assert done.progress == [(0.5, "half way")]
    (line,) = done.log
    assert (line.level, line.message, line.fields["order"]) == ("info", "charging", 1)
    assert zeke.jobs() == []
    with pytest.raises(PayloadValidationError, match="number"):
        await zeke.run_task("charge", {{"number": "x"}})
    with pytest.raises(RuntimeError, match="declined"):
        await zeke.run_task(charge, {{"number": 13}})
    assert await zeke.run_task(gather, results={{"receipt": "four"}}) == 4


async def test_jobs_wait_until_the_test_runs_them(zeke):
    run = await zeke.trigger(charge, Order(number=1))
    (job,) = zeke.assert_enqueued(charge, {{"number": 1}}, count=1)
    assert job.row_state == "created"
    assert zeke.job(run) == zeke.job(job) == zeke.job(run.id)
    await zeke.drain()
    assert zeke.job(job.id).output == {{"charged": 1}}
    assert timedelta(seconds=30) <= zeke.now - datetime(2026, 3, 2, 9, tzinfo=UTC) < timedelta(seconds=31)
    for parent in (job.id, job, run):
        zeke.assert_enqueued(receipt, Order(number=1), parent=parent)
        assert len(zeke.jobs(parent=parent)) == 1


async def test_deferred_job_runs_at_its_exact_time(zeke):
    await zeke.send(receipt, Order(number=1), delay=timedelta(hours=5))
    zeke.assert_enqueued(receipt, delay=5 * 3600)
    await zeke.advance(hours=4, minutes=59)
    zeke.assert_enqueued(receipt, count=1)
    await zeke.advance(minutes=2)
    assert zeke.enqueued() == []
    assert [job.output for job in zeke.jobs(receipt)] == ["2026-03-02T14:00:00+00:00"]
    assert zeke.now == datetime(2026, 3, 2, 14, 1, tzinfo=UTC)


async def test_calls_run_as_tasks(zeke):
    first = asyncio.create_task(zeke.send(receipt, Order(number=1)))
    async with asyncio.TaskGroup() as group:
        second = group.create_task(zeke.trigger(receipt, Order(number=2)))
    async with anyio.create_task_group() as group:
        group.start_soon(zeke.send, receipt, Order(number=3))
        group.start_soon(zeke.queue.send, receipt, Order(number=4))
    await asyncio.gather(zeke.drain(), asyncio.wait_for(zeke.cancel(await first), 60))
    assert (await second).id in [job.id for job in zeke.jobs(receipt, status="COMPLETED")]
    assert [job.data["number"] for job in zeke.jobs(receipt)] == [1, 2, 3, 4]


async def test_handler_continues_over_several_calls(zeke):
    await zeke.send(charge, Order(number=1))
    await zeke.advance(seconds=20)
    assert [job.row_state for job in zeke.jobs()] == ["active"]
    await zeke.advance(seconds=10)
    assert [job.row_state for job in zeke.jobs()] == ["completed", "created"]


async def test_retry_waits_for_its_time(zeke):
    run = await zeke.trigger(charge, Order(number=13))
    await zeke.drain()
    assert (await run.job()).row_state == "retry"
    zeke.assert_enqueued(charge, delay=10, attempt=1)
    with pytest.raises(JobFailedError, match="declined"):
        await run.result(timeout=60)
    assert zeke.jobs(charge, status="FAILED")


async def test_ticks_of_schedules(zeke):
    assert await zeke.next_tick() == datetime(2026, 3, 3, 2, tzinfo=UTC)
    assert await zeke.next_tick("report") == zeke.now.replace(second=0, microsecond=0)
    assert [job.output for job in zeke.jobs(report)] == ["2026-03-03", "2026-03-04"]
    await zeke.advance(days={days})
    assert zeke.jobs("report")[-1].output == str(date(2026, 3, 4) + timedelta(days={days}))


async def test_queue_is_available_to_the_code_under_test(zeke):
    async with zeke.queue.transaction() as transaction:
        await transaction.send(receipt, Order(number=1))
    zeke.assert_enqueued(receipt, {{"number": 1}})
    with pytest.raises(ZeroDivisionError):
        async with zeke.queue.transaction() as transaction:
            await transaction.send(receipt, Order(number=2))
            1 / 0
    zeke.assert_enqueued(receipt, {{"number": 2}}, count=0)
    run = await zeke.queue.trigger(charge, Order(number=3))
    news = [one async for one in run.watch()]
    assert [one.status for one in news if isinstance(one, Job)] == ["QUEUED", "EXECUTING", "COMPLETED"]
    assert {{one.kind for one in news[2:-1]}} == {{"log", "progress"}}
    assert await run.result(timeout=1) == {{"charged": 3}}


async def test_job_is_cancelled_and_the_code_under_test_sees_virtual_time(zeke):
    run = await zeke.trigger(charge, Order(number=1))
    await zeke.advance(seconds=10)
    assert datetime.now(UTC) == zeke.now
    assert await zeke.cancel(run)
    await zeke.drain()
    assert zeke.jobs(receipt) == []
    with pytest.raises(JobFailedError):
        await zeke.result(run)
"""

SYNC = """
from datetime import UTC, datetime

from shop import Order, charge, receipt


def test_sync_test_uses_every_method(zeke_sync):
    assert zeke_sync.run_task("receipt", Order(number=1)) == "2026-03-02T09:00:00+00:00"
    run = zeke_sync.trigger(charge, Order(number=1))
    zeke_sync.assert_enqueued(charge)
    zeke_sync.drain()
    assert zeke_sync.result(run) == {"charged": 1}
    zeke_sync.advance(to=datetime(2026, 3, 2, 12, tzinfo=UTC))
    assert [job.row_state for job in zeke_sync.jobs(receipt)] == ["completed"]
    assert zeke_sync.next_tick().hour == 2
    assert zeke_sync.send(receipt, {"number": 2}).id in [job.id for job in zeke_sync.jobs(status="QUEUED")]
"""


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("mark", "arguments"),
    [
        ("", ["-o", "asyncio_mode=auto"]),
        ("pytestmark = pytest.mark.asyncio", ["-o", "asyncio_mode=strict"]),
        ("pytestmark = pytest.mark.anyio", ["-p", "no:asyncio"]),
        ("", ["-o", "asyncio_mode=auto", "-n", "2"]),
    ],
    ids=["pytest-asyncio, auto", "pytest-asyncio, strict", "anyio", "xdist"],
)
def test_async_tests_run_with_every_plugin(
    pytester: pytest.Pytester, mark: str, arguments: Sequence[str]
) -> None:
    backend = "\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    application(pytester, ASYNC.format(mark=mark + backend, days=365))
    run(pytester, *arguments).assert_outcomes(passed=9)


@pytest.mark.nightly
def test_random_numbers_are_the_same_in_each_run_and_leave_others_alone(pytester: pytest.Pytester) -> None:
    application(
        pytester,
        """
        import random
        from zeke_queue import Catalog
        import pytest

        drawing = Catalog()

        @drawing.task("draw")
        def draw() -> list[float]:
            return [random.random(), random.random()]

        @pytest.mark.zeke_catalog(drawing)
        def test_draws(zeke_sync):
            random.seed(1)
            own = [random.random() for _ in range(2)]
            random.seed(1)
            drawn = []
            for _ in range(2):
                assert random.random() == own.pop(0)
                drawn += zeke_sync.run_task(draw)
            assert len(set(drawn)) == 4
            print("drawn", drawn)
        """,
    )
    drawn = [[line for line in run(pytester, "-rP").outlines if line.startswith("drawn")] for _ in range(2)]
    assert drawn[0]
    assert drawn[0] == drawn[1]


STARTS = """
from datetime import UTC, datetime
import pytest

@pytest.mark.zeke_options(start="2026-12-31T23:59:00+00:00", freeze=False)
def test_new_year(zeke_sync):
    before = datetime.now(UTC)
    zeke_sync.advance(minutes=1)
    assert zeke_sync.now == datetime(2027, 1, 1, tzinfo=UTC)
    assert before <= datetime.fromisoformat(zeke_sync.run_task("receipt", {"number": 1}))
"""

RESOURCES = """
from contextlib import asynccontextmanager
import pytest
from zeke_queue import Catalog, JobContext

@asynccontextmanager
async def real():
    yield "the real thing"

catalog = Catalog(resources=real)

@catalog.task("ask")
async def ask(job: JobContext) -> str:
    return job.resources

pytestmark = pytest.mark.zeke_catalog(catalog)

def test_resources_are_those_of_the_catalog(zeke_sync):
    assert zeke_sync.run_task(ask) == "the real thing"

class TestDouble:
    @pytest.fixture
    def zeke_resources(self):
        return "a double"

    def test_resources_are_those_of_the_fixture(self, zeke_sync):
        assert zeke_sync.run_task(ask) == "a double"
        run = zeke_sync.trigger(ask)
        assert zeke_sync.result(run) == "a double"
"""

DEADLINES = """
import asyncio
import time
import pytest
from zeke_queue import Catalog, JobContext

catalog = Catalog()

@catalog.task("plain", expire_in=900)
def plain(job: JobContext) -> float:
    return job.deadline - time.monotonic()

@catalog.task("extends", expire_in=900, retry_limit=0)
async def extends(seconds: int, job: JobContext) -> list[float]:
    left = [job.deadline - time.monotonic()]
    await job.extend(300)
    left.append(job.deadline - time.monotonic())
    await asyncio.sleep(seconds)
    return left

pytestmark = pytest.mark.zeke_catalog(catalog)

def test_deadlines_agree_with_the_clock_of_the_handler(zeke_sync):
    for _ in range(2):
        zeke_sync.advance(hours=1)
        run = zeke_sync.trigger(plain)
        assert zeke_sync.result(run) == pytest.approx(900.0, abs=0.1)
        run = zeke_sync.trigger(extends, 200)
        assert zeke_sync.result(run, timeout=400) == pytest.approx([900.0, 300.0], abs=0.1)

def test_extended_deadline_expires_the_job(zeke_sync):
    zeke_sync.advance(hours=1)
    zeke_sync.send(extends, 400)
    zeke_sync.advance(seconds=301)
    (job,) = zeke_sync.jobs(extends)
    assert job.row_state == "expired"
"""


def test_sync_fixture_start_resources_and_deadlines(pytester: pytest.Pytester) -> None:
    application(pytester, SYNC)
    pytester.makepyfile(test_starts=STARTS, test_resources=RESOURCES, test_deadlines=DEADLINES)
    run(pytester).assert_outcomes(passed=6)
