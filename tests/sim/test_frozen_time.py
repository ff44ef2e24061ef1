"""Handlers that read clocks directly see virtual time, and later code the machine's."""

# ruff: noqa: DTZ002, DTZ003, DTZ005, DTZ011, TID251 - the clocks themselves are what is tested

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import subprocess
import sys
import threading
import time
from datetime import UTC, date, timedelta
from datetime import datetime as datetime_by_name
from time import monotonic as monotonic_by_name
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from freezegun import freeze_time
from pydantic import TypeAdapter, create_model

from tests.cases import check_each
from tests.sim.worlds import SKIPPING, catalog_of, sending, simulated
from zeke_queue import JobContext
from zeke_sim.world.frozen_time import showing
from zeke_sim.world.setup import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable

REAL_MONOTONIC = time.monotonic
REAL_NOW = dt.datetime.now


class Times:
    """A clock with a fixed time."""

    def __init__(self, now: dt.datetime, monotonic: float = 5.0) -> None:
        self._now = now
        self._monotonic = monotonic

    def now(self) -> dt.datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic


NOON = dt.datetime(2031, 5, 6, 12, 0, tzinfo=UTC)


def simulate(handler: Callable[[], Any], *, freeze: bool = True) -> None:
    """Run one job of this handler half a minute after the start."""
    catalog = catalog_of(handler, retry_limit=0, expire_in=7200)
    simulated(catalog, sending("look", first=30.0), options={"freeze": freeze}, quiet=8000.0)


def test_handler_sees_virtual_time_by_every_clock() -> None:
    seen: dict[str, Any] = {}

    def look() -> None:
        seen["now"] = dt.datetime.now(UTC)
        seen["by name"] = datetime_by_name.now(UTC)
        seen["naive"] = dt.datetime.now()
        seen["today"] = date.today()
        seen["time"] = time.time()
        seen["ns"] = time.time_ns()
        seen["gmtime"] = time.gmtime()
        seen["monotonic"] = time.monotonic()
        seen["monotonic by name"] = monotonic_by_name()
        seen["perf_counter"] = time.perf_counter()

    simulate(look)
    began = EPOCH + timedelta(seconds=30)
    soon = timedelta(seconds=3)
    assert began <= seen["now"] <= began + soon
    assert seen["by name"] == seen["now"]
    assert seen["naive"].replace(tzinfo=UTC) == seen["now"]
    assert seen["today"] == EPOCH.date()
    assert seen["time"] == pytest.approx(seen["now"].timestamp(), abs=1e-3)
    assert seen["ns"] == pytest.approx(seen["time"] * 1e9, abs=1e6)
    assert seen["gmtime"][:5] == seen["now"].timetuple()[:5]
    assert 0 < seen["monotonic"] < 40
    assert seen["monotonic by name"] == seen["perf_counter"] == seen["monotonic"]


def test_time_passes_from_one_job_to_the_next() -> None:
    seen: list[float] = []
    catalog = catalog_of(lambda: seen.append(time.monotonic()))
    hourly = sending("look", times=2, every=3600.0)
    simulated(catalog, hourly, knobs=SKIPPING, quiet=10_000.0, options={"freeze": True})
    assert seen[1] - seen[0] == pytest.approx(3600.0, abs=5.0)


def test_deadline_is_by_the_clock_of_the_handler_after_skipped_time() -> None:
    def check(rate: float, kind: str) -> None:
        left: list[float] = []

        def look(job: JobContext) -> None:
            left.append(job.deadline - time.monotonic())

        async def extend(job: JobContext) -> None:
            look(job)
            await job.extend(300)
            look(job)

        catalog = catalog_of(extend if kind == "async" else look, expire_in=900)
        hourly = sending("look", times=3, every=3600.0)
        drift = {"node/w1/0": {"fault": "drift", "at": 0.5, "rate": rate}}
        options = {"freeze": True}
        simulated(catalog, hourly, decisions=drift, knobs=SKIPPING, quiet=20_000.0, options=options)
        assert left == pytest.approx([900.0, 300.0] * 3 if kind == "async" else [900.0] * 3, abs=1.0)

    check_each([(rate, kind) for rate in (1.0, 1.02) for kind in ("async", "thread")], check)


def test_time_passes_for_a_handler_that_sleeps() -> None:
    seen: list[dt.datetime] = []

    async def nap() -> None:
        seen.append(dt.datetime.now(UTC))
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=3600)
        seen.append(dt.datetime.now(UTC))

    simulate(nap)
    assert seen[1] - seen[0] == timedelta(hours=1)


def test_handler_sees_real_time_without_freezing() -> None:
    seen: list[dt.datetime] = []
    before = REAL_NOW(UTC)
    simulate(lambda: seen.append(dt.datetime.now(UTC)), freeze=False)
    assert before <= seen[0] <= REAL_NOW(UTC)


def test_every_clock_is_real_after_a_simulation() -> None:
    with showing(Times(NOON)):
        assert dt.datetime.now(UTC) == NOON
    for stands_in, real in (
        (time.monotonic, REAL_MONOTONIC),
        (monotonic_by_name, REAL_MONOTONIC),
        (time.perf_counter, time.perf_counter),
    ):
        before = real()
        assert before <= stands_in() <= real()
    assert abs(time.time() - REAL_NOW(UTC).timestamp()) < 3600
    assert abs(dt.datetime.now(UTC) - REAL_NOW(UTC)) < timedelta(hours=1)
    assert abs(dt.datetime.today() - REAL_NOW()) < timedelta(hours=1)
    assert dt.datetime.fromtimestamp(0, UTC) == dt.datetime(1970, 1, 1, tzinfo=UTC)


def test_real_loop_times_out_after_a_simulation() -> None:
    with showing(Times(NOON)):
        pass

    async def wait() -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            return "timed out"
        return "woken"

    assert asyncio.run(wait()) == "timed out"


def test_other_threads_see_real_time() -> None:
    seen: list[Any] = []
    with showing(Times(NOON)):
        thread = threading.Thread(target=lambda: seen.append((dt.datetime.now(UTC), time.monotonic())))
        thread.start()
        thread.join()
        assert time.monotonic() == 5.0
    now, monotonic = seen[0]
    assert now != NOON
    assert monotonic <= REAL_MONOTONIC()


def test_inner_block_gives_way_to_the_outer_one() -> None:
    later = NOON + timedelta(days=1)
    with showing(Times(NOON)):
        with showing(Times(later)):
            assert dt.datetime.now(UTC) == later
        assert dt.datetime.now(UTC) == NOON


def test_models_defined_later_have_dates() -> None:
    with showing(Times(NOON)):
        pass
    # The replacements, in a module imported now.
    late_model = create_model("Late", at=(dt.datetime, ...), on=(dt.date, ...))
    late: Any = late_model.model_validate_json('{"at": "2031-05-06T12:00:00Z", "on": "2031-05-06"}')
    assert late.at == NOON
    assert TypeAdapter(datetime_by_name).validate_python("2031-05-06T12:00:00Z") == NOON


def test_repeated_hour_has_its_fold() -> None:
    with showing(Times(NOON)):
        pass
    berlin = ZoneInfo("Europe/Berlin")
    first = dt.datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    again = first + timedelta(hours=1)
    assert [first.astimezone(berlin).fold, again.astimezone(berlin).fold] == [0, 1]
    assert again.astimezone(berlin).astimezone(UTC) == again
    assert copy.copy(again.astimezone(berlin)).fold == 1
    for shown in (first, again):
        with showing(Times(shown)):
            assert dt.datetime.now(berlin).astimezone(UTC) == shown


LOCAL = """
import datetime, time
real = datetime.datetime
before = real.now()
from zeke_sim.world.frozen_time import showing
class Times:
    def now(self): return real(2031, 5, 6, 12, 0, tzinfo=datetime.UTC)
    def monotonic(self): return 5.0
with showing(Times()):
    print(datetime.datetime.now().isoformat(), datetime.datetime.now(datetime.UTC).isoformat())
after = datetime.datetime.now()
print((after - before).total_seconds() < 3600, datetime.datetime.fromtimestamp(0).hour)
print(datetime.datetime(2026, 1, 1).timestamp(), datetime.datetime(2026, 1, 1).astimezone().utcoffset())
"""


def printed(program: str, timezone: str) -> list[str]:
    """Return the lines that a program prints in a process of a time zone."""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, env={"TZ": timezone}, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_local_time_is_utc_only_in_a_world() -> None:
    assert printed(LOCAL, "IST-5:30") == [
        "2031-05-06T12:00:00 2031-05-06T12:00:00+00:00",
        "True 5",
        "1767205800.0 5:30:00",
    ]


OWN = dt.datetime(2029, 2, 3, 4, 5, 6, tzinfo=UTC)


def _own() -> list[Any]:
    """Return the time seen by an application that has frozen its own time."""
    return [dt.datetime.now(UTC), dt.datetime.utcnow(), datetime_by_name.now(), date.today(), time.time()]


OWN_SEEN = [OWN, OWN.replace(tzinfo=None), OWN.replace(tzinfo=None), OWN.date(), OWN.timestamp()]


def test_application_freezes_time_after_a_simulation() -> None:
    with showing(Times(NOON)):
        pass
    with freeze_time(OWN) as frozen:
        assert _own() == OWN_SEEN
        began = time.monotonic()
        frozen.tick(60)
        assert time.monotonic() - began == 60
        assert dt.datetime.now(UTC) - OWN == timedelta(minutes=1)
    assert abs(dt.datetime.now(UTC) - REAL_NOW(UTC)) < timedelta(hours=1)


def test_application_freezes_time_in_a_simulation() -> None:
    with showing(Times(NOON)):
        with freeze_time(OWN):
            assert _own() == OWN_SEEN
        assert (dt.datetime.now(UTC), time.monotonic()) == (NOON, 5.0)


FROZEN_BEFORE = """
import datetime, time
from freezegun import freeze_time
real = datetime.datetime
with freeze_time("2029-02-03"):
    from zeke_sim.world.frozen_time import showing
    class Times:
        def now(self): return real(2031, 5, 6, 12, 0, tzinfo=datetime.UTC)
        def monotonic(self): return 5.0
    with showing(Times()):
        print(datetime.datetime.now().isoformat(), time.monotonic())
    print(datetime.datetime.now().isoformat())
print(abs(datetime.datetime.now() - real.now()).total_seconds() < 3600, time.time() > 1.7e9)
"""


def test_world_in_frozen_time_shows_its_own() -> None:
    assert printed(FROZEN_BEFORE, "UTC") == ["2031-05-06T12:00:00 5.0", "2029-02-03T00:00:00", "True True"]
