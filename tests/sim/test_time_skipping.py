"""Skipping calm time changes nothing that happens, but how long it takes to simulate it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.cases import check_each
from tests.sim.worlds import SKIPPING, catalog_of, simulated
from tests.workloads import Known, act, doing, own_id, script, sending
from zeke_queue.client.parts import parts_of
from zeke_queue.core.options import SendOptions
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Change, Invoked, ScheduleRow
from zeke_sim.world.faults import NONE
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.history.events import Event
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node
    from zeke_sim.world.world import World

POLL = 2.0
SWEEP = 5.0
LATENCY = 0.1


def build(draws: RandomStream) -> Setup:
    """Jobs that are due at once or much later, that fail and snooze; schedules; short retention."""
    catalog = Catalog()
    # A fixed delay, since draws depend on the order of workers.
    catalog.task("work", retry_limit=2, retry_delay=draws.pick((1, 7, 40)), retry_backoff=False)(act)
    for number, cron in enumerate(("* * * * * */40", "*/2 * * * *", "30 2 * * *")):
        catalog.schedule(f"plan-{number}", cron, task="work", timezone="Europe/Berlin", catch_up="all")
    known = Known()
    sends = [
        sending(
            known,
            number,
            "work",
            script(draws, longest=10.0),
            SendOptions(id=own_id(draws), delay=draws.pick((0.0, 30.0, 200.0))),
        )
        for number in range(6)
    ]

    async def pause(node: Node) -> None:
        await node.queue.schedules.delete("plan-0")

    actions = [(draws.uniform(0.0, 100.0), action) for action in sends]
    return Setup(
        catalog,
        clients={"c1": doing([*actions, (draws.uniform(50.0, 110.0), pause)])},
        workers=1,
        schedulers=1,
        worker={"poll_interval": POLL, "concurrency": 20},
        sweep=SWEEP,
        archive_after=150.0,
        delete_after=200.0,
        phase=110.0,
        epoch=datetime(2026, 3, 29, 0, 59, 20, tzinfo=UTC),
        tail=700.0,
    )


def outcome(seed: int, *, skip_time: bool) -> Outcome:
    scenario = Scenario("calm", "", build)
    return run(scenario, Plan("calm", seed, "given", NONE.but(skip_time=skip_time)))


Step = tuple[str, "RowState | None", "RowState | None", int]


def lives(events: Sequence[Event]) -> dict[UUID, list[tuple[float, Step]]]:
    """Return the events of each job with their times, without extensions and the last event."""
    found: dict[UUID, list[tuple[float, Step]]] = defaultdict(list)
    for event in events:
        if isinstance(event, Change) and (row := event.after or event.before) is not None:
            was, became = event.before and event.before.state, event.after and event.after.state
            found[row.id].append((event.at, (event.table, was, became, row.attempt)))
    return found


def check_lives(calm: Outcome, full: Outcome) -> None:
    ours, theirs = lives(calm.events), lives(full.events)
    end = min(calm.seconds, full.seconds) - SWEEP - POLL
    common = [job for job, steps in theirs.items() if steps[0][0] < end and job in ours]
    assert len(common) >= len(theirs) - 3
    ended = 0
    for job in common:
        before = then_before = 0.0
        for (at, step), (then, other) in zip(ours[job], theirs[job], strict=False):
            assert step == other
            # A job is claimed within a poll interval, and ended jobs are archived within a sweep.
            swept = step[0] == "archive" or step[2] is None
            assert abs((at - before) - (then - then_before)) <= (SWEEP if swept else POLL) + LATENCY
            before, then_before = at, then
        ended += ours[job][-1][1][2] is None
    assert ended  # some went all the way, through the archive
    assert calm.ticks < full.ticks / 2


def check_ticks(calm: Outcome, full: Outcome) -> None:
    until = min(calm.seconds, full.seconds) - POLL
    limit = datetime(2026, 3, 29, 0, 59, 20, tzinfo=UTC) + timedelta(seconds=until)

    def ticks(one: Outcome) -> list[tuple[str, datetime]]:
        served = [
            (event.name, event.after.last_tick)
            for event in one.events
            if isinstance(event, ScheduleRow) and event.after is not None and event.before is not None
        ]
        # A schedule starts from when it is first looked at, which is no occurrence.
        return sorted((name, at) for name, at in served if at and not at.microsecond and at < limit)

    assert ticks(calm) == ticks(full)
    assert ("plan-2", datetime(2026, 3, 29, 1, 0, tzinfo=UTC)) in ticks(calm)  # of the gap


@pytest.mark.nightly
def test_jobs_and_ticks_are_the_same_if_time_is_skipped() -> None:
    def check(seed: int) -> None:
        calm, full = outcome(seed, skip_time=True), outcome(seed, skip_time=False)
        assert (calm.violation, full.violation) == (None, None)
        check_lives(calm, full)
        check_ticks(calm, full)

    check_each(range(6), check)


async def _look(node: Node) -> None:
    await parts_of(node.queue).storage.get([])


async def _hold(node: Node) -> None:
    async with node.queue.transaction():
        await node.clock.sleep(45)


async def _send(node: Node) -> None:
    await node.queue.send("long")


async def _cancel(node: Node) -> None:
    job = (await node.queue.send("long")).id
    await node.clock.sleep(1)
    assert job is not None
    await node.queue.cancel(job)


PROGRAMS: dict[str, Callable[[Node], Awaitable[None]]] = {
    "a statement is on its way": _look,
    "a transaction is open": _hold,
    "a job runs": _send,
    "a handler goes on that was cancelled": _cancel,
}
"""What a client does."""

TROUBLES: dict[str, Callable[[World], None]] = {
    "a process stands still": lambda world: world.nodes["w1"].pause(40.0),
    "a process is cut off": lambda world: world.nodes["w1"].partition("partition_in"),
    "the database is away": lambda world: world.go_away(40.0),
}
"""What happens besides."""


def _jumps(trouble: str) -> float:
    """Return how many of the seconds from the 10th to the 40th are skipped, with trouble from the 5th on."""
    catalog = Catalog()

    @catalog.task("long", expire_in=100.0)
    async def long() -> None:
        for _ in range(9):
            with suppress(asyncio.CancelledError):
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=45)

    async def program(node: Node) -> None:
        await node.clock.sleep(5)
        if trouble in PROGRAMS:
            await PROGRAMS[trouble](node)

    jumped: list[float] = []

    def before(world: World) -> None:
        if trouble in TROUBLES:
            world.later(5.0, TROUBLES[trouble], world)
        for at in (10.0, 40.0):
            world.later(at, lambda: jumped.append(world.time_skipper.jumped))

    del long
    late = {"c1/get/1": {"fault": "late", "wait": 45.0}}
    world = {"workers": 2, "schedulers": 1, "phase": 60.0, "before": before}
    simulated(catalog, program, decisions=late, knobs=SKIPPING, **world)
    return jumped[1] - jumped[0]


def test_idle_world_skips_nearly_all_time() -> None:
    assert _jumps("nothing") > 29.0


def test_time_is_skipped_only_while_nothing_happens() -> None:
    def check(trouble: str) -> None:
        assert _jumps(trouble) == 0.0

    check_each([*PROGRAMS, *TROUBLES], check)


def test_clock_of_process_advances_over_skipped_time() -> None:
    def check(rate: float) -> None:
        shown: list[float] = []
        jumped: list[float] = []

        def look(world: World) -> None:
            shown.append(world.nodes["w1"].clock.monotonic())
            jumped.append(world.time_skipper.jumped)

        def before(world: World) -> None:
            for at in (10.0, 40.0):
                world.later(at, look, world)

        async def rare() -> None:
            raise AssertionError("nobody sends it")

        drift = {"node/w1/0": {"fault": "drift", "at": 5.0, "rate": rate}}
        simulated(catalog_of(rare), decisions=drift, knobs=SKIPPING, phase=60.0, before=before)
        assert jumped[1] - jumped[0] > 29.0
        assert shown[1] - shown[0] == pytest.approx(30.0 * rate)

    check_each([1.0, 1.02], check)


def test_failed_settlement_is_repeated_soon() -> None:
    async def quick() -> None:
        pass

    async def program(node: Node) -> None:
        job = (await node.queue.send("look")).id
        await node.clock.sleep(2)
        assert job is not None
        await node.queue.cancel(job)

    hit = {"w1/settle/1": {"fault": "pool", "for": 5.0}}
    done = simulated(catalog_of(quick), program, decisions=hit, knobs=SKIPPING, maintenance=0, phase=60.0)
    settled = [event.at for event in done.events if isinstance(event, Invoked) and event.verb == "settle"]
    assert len(settled) == 2
    assert settled[1] < 6.0


def test_failed_archiving_is_repeated_before_time_is_skipped() -> None:
    async def quick() -> None:
        pass

    async def program(node: Node) -> None:
        await node.queue.send("look")

    hit = {"v1/archive/1": {"fault": "refused"}}
    times = {"archive_after": 5.0, "delete_after": 3600.0, "sweep": 1.0, "phase": 600.0}
    done = simulated(catalog_of(quick), program, decisions=hit, knobs=SKIPPING, **times)
    asked = [event.at for event in done.events if isinstance(event, Invoked) and event.verb == "archive"]
    assert asked[1] < 4.0


@pytest.mark.nightly
def test_week_of_two_schedules_takes_few_steps() -> None:
    async def poll() -> None:
        pass

    catalog = catalog_of(poll)
    catalog.schedule("poll", "*/5 * * * *", task="look")
    catalog.schedule("report", "0 */6 * * *", task="look")
    times = {"phase": 7 * 86_400.0, "archive_after": 3600.0, "delete_after": 3600.0, "tail": 1.0}
    done = simulated(catalog, decisions=None, schedulers=1, **times)
    completed = [
        event
        for event in done.events
        if isinstance(event, Change)
        and event.table == "job"
        and event.after is not None
        and event.after.state is RowState.COMPLETED
    ]
    assert len(completed) == 7 * 288 + 7 * 4
    # Instead of polls every second there are some dozens of steps a tick.
    assert done.ticks < 120 * len(completed)
