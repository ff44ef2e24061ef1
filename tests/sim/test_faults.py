"""Every kind of fault has its documented effect, at the address in a plan, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from tests.cases import check_each
from tests.sim.worlds import catalog_of, played, scenario_of, sending, simulated
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_sim.errors import SimulationError
from zeke_sim.experiment.run import Outcome
from zeke_sim.history.events import Answered, Began, Change, Ended, Event, Fault, Invoked, Lived, WorkerRow
from zeke_sim.testing.client import through_faults
from zeke_sim.world.faults import KINDS, NONE
from zeke_sim.world.node import Node

E = TypeVar("E", bound=Event)

Program = Callable[[Node], Awaitable[None]]

catalog = Catalog()


@catalog.task("work", retry_limit=3, retry_delay=1, retry_backoff=False, expire_in=30)
async def work() -> str:
    await asyncio.sleep(2)
    return "done"


send = sending("work")


def outcome_of(
    decisions: dict[str, Any], program: Program = send, *, catalog: Catalog = catalog, **setup: Any
) -> Outcome:
    """Run one client and one worker under these decisions; properties must hold all the same."""
    made = {"phase": 60.0, "worker": {"lease": 6.0, "heartbeat_interval": 2.0}, **setup}
    # A plan with given decisions draws nothing; the chances only enable faults.
    knobs = NONE.but(kinds=tuple(KINDS), wake=1.0, handler=1.0, skip=0.5)
    return simulated(catalog, program, decisions=decisions, knobs=knobs, **made)


def of(kind: type[E], outcome: Outcome, **fields: Any) -> Iterator[E]:
    return (
        event
        for event in outcome.events
        if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())
    )


def sole(kind: type[E], outcome: Outcome, **fields: Any) -> E:
    (event,) = of(kind, outcome, **fields)
    return event


def attempts(outcome: Outcome) -> list[int]:
    return [event.attempt for event in of(Began, outcome)]


def completed(outcome: Outcome) -> list[float]:
    """Return when the job was completed in the database."""
    return [
        event.at
        for event in of(Change, outcome, table="job")
        if event.after is not None and event.after.state is RowState.COMPLETED and event.before is not None
    ]


def test_job_runs_once_without_faults() -> None:
    outcome = outcome_of({})
    assert attempts(outcome) == [1]
    assert not list(of(Fault, outcome))
    assert completed(outcome)[0] == pytest.approx(2, abs=0.1)


# Statements


def test_refused_statement_fails_and_does_nothing() -> None:
    outcome = outcome_of({"c1/insert/1": {"fault": "refused"}})
    refused = next(of(Answered, outcome, verb="insert"))
    assert refused.outcome == "failed"
    assert not list(of(Change, outcome, call=refused.call))


def test_statement_with_lost_answer_is_done() -> None:
    outcome = outcome_of({"c1/insert/1": {"fault": "lost"}})
    lost, again = of(Answered, outcome, verb="insert")
    assert (lost.outcome, again.outcome) == ("unknown", "ok")
    assert sole(Change, outcome, call=lost.call).after is not None
    assert not list(of(Change, outcome, call=again.call))
    assert attempts(outcome) == [1]


def test_hung_statement_fails_late_and_may_be_done() -> None:
    def check(applied: bool) -> None:  # noqa: FBT001 - a column of the table
        outcome = outcome_of({"c1/insert/1": {"fault": "hung", "for": 9.0, "applied": applied}})
        hung = next(of(Answered, outcome, verb="insert"))
        assert hung.outcome == "unknown"
        assert hung.at == pytest.approx(9.0, abs=0.01)
        assert bool(list(of(Change, outcome, call=hung.call))) is applied

    check_each([True, False], check)


def test_late_statement_is_done_and_answered() -> None:
    outcome = outcome_of({"c1/insert/1": {"fault": "late", "wait": 8.0}})
    late = sole(Answered, outcome, verb="insert")
    assert (late.outcome, round(late.at)) == ("ok", 8)
    assert sole(Change, outcome, call=late.call).at == pytest.approx(8.0, abs=0.01)


def test_statement_that_times_out_waiting_is_not_executed() -> None:
    def check(kind: str) -> None:
        outcome = outcome_of({"c1/insert/1": {"fault": kind, "for": 4.0}})
        failed = next(of(Answered, outcome, verb="insert"))
        assert (failed.outcome, round(failed.at)) == ("failed", 4)
        assert not list(of(Change, outcome, call=failed.call))

    check_each(["pool", "conflict"], check)


def test_node_is_killed_before_or_after_its_statement_arrives() -> None:
    def check(fault: str, ran: list[int]) -> None:
        outcome = outcome_of({"w1/settle/1": {"fault": fault}})
        settlement = next(of(Invoked, outcome, verb="settle"))
        assert not list(of(Answered, outcome, call=settlement.call))
        assert len(list(of(Change, outcome, call=settlement.call))) == (1 if fault == "kill_after" else 0)
        assert sole(Lived, outcome, what="killed").node == "w1"
        assert attempts(outcome) == ran

    check_each([("kill_before", [1, 2]), ("kill_after", [1])], check)


def test_slow_answer_arrives_late() -> None:
    outcome = outcome_of({"c1/insert/1": {"wait": 1.0, "back": 2.0}})
    answer = sole(Answered, outcome, verb="insert")
    assert (answer.outcome, answer.at) == ("ok", pytest.approx(3.0, abs=0.01))
    assert sole(Change, outcome, call=answer.call).at == pytest.approx(1.0, abs=0.01)


def test_cancelled_statement_may_be_done() -> None:
    def check(arrives: bool | None) -> None:  # noqa: FBT001 - a column of the table
        async def impatient(node: Node) -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await node.queue.send("work")

        decisions: dict[str, Any] = {"c1/insert/1": {"wait": 5.0}}
        if arrives:
            decisions["c1/insert/1/cancelled"] = True
        outcome = outcome_of(decisions, impatient)
        assert sole(Answered, outcome, verb="insert").outcome == "unknown"
        assert attempts(outcome) == ([1] if arrives else [])

    check_each([True, None], check)


def test_claim_may_skip_due_job() -> None:
    outcome = outcome_of({f"w1/claim/{n}/skip/1": True for n in range(1, 8)})
    assert next(of(Began, outcome)).at > 0.04


# Waiting for work


def woken(outcome: Outcome) -> float:
    return next(of(Began, outcome)).at


async def send_later(node: Node) -> None:
    await asyncio.sleep(10.5)
    await through_faults(lambda: node.queue.send("work"))


def _every_wait(decision: dict[str, Any]) -> dict[str, Any]:
    return {f"w1/wake/{n}": decision for n in range(1, 30)}


def test_lost_wakeup_costs_at_most_one_poll() -> None:
    prompt, lost = (
        woken(outcome_of(waits, send_later)) for waits in ({}, _every_wait({"fault": "lost_wakeup"}))
    )
    assert prompt == pytest.approx(10.5, abs=0.02)
    assert prompt + 0.02 < lost <= prompt + 2.1


def test_late_wakeup_is_late() -> None:
    late = woken(outcome_of(_every_wait({"fault": "late_wakeup", "for": 0.7}), send_later))
    assert late == pytest.approx(11.2, abs=0.05)


def test_spurious_wakeup_causes_a_claim() -> None:
    spurious = outcome_of(_every_wait({"fault": "spurious", "after": 0.5}), send_later)
    assert woken(spurious) == pytest.approx(10.5, abs=0.02)
    assert len(list(of(Invoked, spurious, verb="claim"))) > len(
        list(of(Invoked, outcome_of({}, send_later), verb="claim"))
    )


# Nodes


def test_killed_process_is_replaced() -> None:
    outcome = outcome_of({"node/w1/0": {"fault": "kill", "at": 1.0, "for": 3.0}})
    killed = sole(Lived, outcome, what="killed")
    first, second = of(Lived, outcome, node="w1", what="started")
    assert (killed.at, first.at, second.at) == (1.0, 0.0, 4.0)
    # The first attempt never ended, not even by a cancellation.
    assert [event.attempt for event in of(Ended, outcome)] == [2]
    assert not [event for event in of(Invoked, outcome, node="w1") if 1.0 < event.at < 4.0]


def test_paused_process_resumes_and_its_outcome_is_fenced() -> None:
    outcome = outcome_of({"node/w1/0": {"fault": "pause", "at": 1.0, "for": 20.0}}, workers=2)
    assert attempts(outcome) == [1, 2]
    assert not [event for event in of(Invoked, outcome, node="w1") if 1.0 < event.at < 21.0]
    first, *_ = of(Ended, outcome, attempt=1)
    assert first.at >= 21.0
    assert len(completed(outcome)) == 1


def test_freeze_is_a_short_pause() -> None:
    outcome = outcome_of({"node/w1/0": {"fault": "freeze", "at": 1.0, "for": 2.5}})
    assert attempts(outcome) == [1]
    assert sole(Ended, outcome).at >= 3.5


def test_process_after_sigterm_ends_its_jobs_and_is_replaced() -> None:
    outcome = outcome_of({"node/w1/0": {"fault": "sigterm", "at": 1.0, "for": 20.0}})
    assert attempts(outcome) == [1]
    lived = [(event.what, event.at) for event in of(Lived, outcome, node="w1") if event.what != "stopping"]
    (_, began), (stopped, ended), (started, again) = lived
    assert (began, stopped, started) == (0.0, "stopped", "started")
    assert ended >= 2.0
    assert again - ended == pytest.approx(20.0)


def test_partitioned_node_gets_no_answer() -> None:
    def check(kind: str, applied: bool) -> None:  # noqa: FBT001 - a column of the table
        async def send_when_cut(node: Node) -> None:
            await asyncio.sleep(2)
            with pytest.raises(StorageUnavailableError):
                await node.storage.insert([parts_of(node.queue).factory.prepare("work", None, {}).job])

        outcome = outcome_of({"node/c1/0": {"fault": kind, "at": 1.0, "for": 30.0}}, send_when_cut)
        answer = sole(Answered, outcome, node="c1", verb="insert")
        assert answer.outcome == "unknown"
        assert bool(list(of(Change, outcome, call=answer.call))) is applied

    check_each([("partition", False), ("partition_out", False), ("partition_in", True)], check)


def test_partitioned_node_gets_no_wakeup() -> None:
    outcome = outcome_of({"node/w1/0": {"fault": "partition", "at": 9.0, "for": 8.0}}, send_later)
    assert woken(outcome) > 17.0


def test_clock_of_one_node_jumps_or_drifts() -> None:
    ahead: list[float] = []
    shown: list[float] = []

    async def look(node: Node) -> None:
        for _ in range(4):
            shown.append(node.clock.monotonic())
            await asyncio.sleep(1)
        ahead.append((node.clock.now() - node.world.database_clock.now()).total_seconds())

    outcome_of({"node/c1/0": {"fault": "clock", "at": 1.0, "by": 90.0}}, look)
    assert ahead == [90.0]
    shown.clear()
    outcome_of({"node/c1/0": {"fault": "drift", "at": 1.5, "rate": 1.5}}, look)
    assert shown == pytest.approx([0, 1, 2.25, 3.75])


def test_fault_can_wait_for_a_call() -> None:
    outcome = outcome_of({"node/w1/0": {"fault": "kill", "at": 0.5, "for": 1.0, "on": "settle"}})
    settlement = next(of(Invoked, outcome, verb="settle"))
    killed = sole(Lived, outcome, what="killed")
    assert settlement.at < killed.at < settlement.at + 0.0005
    # It was on its way, so it is executed, without an answer.
    assert completed(outcome)[0] > killed.at
    assert attempts(outcome) == [1]


def test_fault_can_wait_for_a_handler() -> None:
    outcome = outcome_of({"node/w1/0": {"fault": "pause", "at": 0.0, "for": 3.0, "on": "handler"}})
    began = next(of(Began, outcome))
    assert began.at < sole(Lived, outcome, what="paused").at < began.at + 0.001


# The database


def test_database_restart_loses_no_job() -> None:
    outcome = outcome_of({"db/0": {"fault": "restart", "at": 10.0, "for": 5.0}}, send_later)
    assert not [event for event in of(Change, outcome) if 10.0 < event.at < 15.0]
    assert len(completed(outcome)) == 1


def test_database_restart_rolls_back_open_transaction() -> None:
    async def hold(node: Node) -> None:
        async def send_slowly() -> None:
            async with node.queue.transaction() as transaction:
                await transaction.send("work")
                await asyncio.sleep(5)

        with pytest.raises(StorageUnavailableError):
            await send_slowly()

    outcome = outcome_of({"db/0": {"fault": "restart", "at": 2.0, "for": 1.0}}, hold)
    assert attempts(outcome) == []


def test_jump_of_database_clock_is_in_all_rows() -> None:
    outcome = outcome_of({"db/0": {"fault": "db_clock", "at": 5.0, "by": 8.0}}, send_later)
    sent = next(event for event in of(Change, outcome) if event.before is None)
    assert (sent.now - outcome.epoch).total_seconds() == pytest.approx(18.5, abs=0.02)


# Going round in circles


async def spin() -> None:
    while True:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            continue


def test_handler_that_never_waits_is_named() -> None:
    violation = played(scenario_of(catalog_of(spin, expire_in=5), sending("look")), {}).violation
    assert violation is not None
    assert violation.rule == "time passes"
    assert "on node w1, which runs look: something there does not let time pass" in violation.text


# Handlers


def test_process_is_killed_in_the_middle_of_a_handler() -> None:
    outcome = outcome_of({"handler/work/0/1": {"fault": "kill_handler", "after": 1.0}})
    assert attempts(outcome) == [1, 2]
    assert sole(Lived, outcome, what="killed").at == pytest.approx(1.0, abs=0.1)
    ended = outcome_of({"handler/work/0/1": {"fault": "kill_handler", "after": 3.0}})
    assert attempts(ended) == [1]
    assert not list(of(Lived, ended, what="killed"))


def test_task_left_by_a_handler_continues() -> None:
    rang: list[float] = []

    async def ring() -> None:
        await asyncio.sleep(25)
        rang.append(asyncio.get_running_loop().time())

    async def leave() -> None:
        asyncio.ensure_future(ring())  # noqa: RUF006 - it is left behind on purpose

    for skip_time in (True, False):
        simulated(
            catalog_of(leave), sending("look"), decisions={}, knobs=NONE.but(skip_time=skip_time), phase=60.0
        )
    assert rang == pytest.approx([25, 25], abs=0.1)


def test_handler_that_cancels_itself_was_not_interrupted() -> None:
    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    outcome = simulated(catalog_of(cancel_itself, retry_limit=0), sending("look"), decisions={})
    assert sole(Ended, outcome).how == "raised"


def test_program_that_exits_breaks_a_rule() -> None:
    async def leave(_node: Node) -> None:
        raise SystemExit(3)

    violation = played(scenario_of(catalog, leave, workers=0), {}).violation
    assert violation is not None
    assert (violation.rule, "sys.exit(3)" in violation.text) == ("a client's program ends", True)


def test_client_name_must_be_unique_and_without_slash() -> None:
    def check(name: str) -> None:
        with pytest.raises(SimulationError, match="another node's name, or has a slash"):
            played(scenario_of(catalog, clients={name: send}), {})

    check_each(["w1", "a/b"], check)


# Phases


def test_quiet_phase_injects_no_fault() -> None:
    decisions: dict[str, Any] = {"node/w1/0": {"fault": "kill", "at": 50.0, "for": 1.0}}
    decisions |= {f"w1/heartbeat/{n}": {"fault": "refused"} for n in range(1, 60)}
    outcome = outcome_of(decisions, phase=30.0)
    faults = list(of(Fault, outcome))
    assert faults
    assert max(fault.at for fault in faults) <= 30.0


def test_quiet_phase_ends_all_faults() -> None:
    outcome = outcome_of(
        {
            "node/w1/0": {"fault": "kill", "at": 5.0, "for": 500.0},
            "node/c1/0": {"fault": "partition", "at": 1.0, "for": 500.0},
        },
        send_later,
        phase=30.0,
    )
    assert len(completed(outcome)) == 1
    assert 30.0 < completed(outcome)[0] < 45.0


def test_fault_of_killed_process_is_not_injected() -> None:
    kill = {"fault": "kill", "at": 1.0, "for": 10.0}
    pause = {"fault": "pause", "at": 3.0, "for": 20.0}
    outcome = outcome_of({"node/w1/0": kill, "node/w1/1": pause})
    assert [event.kind for event in of(Fault, outcome)] == ["kill"]
    assert not list(of(Lived, outcome, what="paused"))


def test_pause_of_killed_process_does_not_end_its_successors() -> None:
    faults = [("pause", 1.0, 20.0), ("kill", 2.0, 1.0), ("pause", 5.0, 30.0)]
    planned = {f"node/w1/{n}": {"fault": f, "at": at, "for": s} for n, (f, at, s) in enumerate(faults)}
    outcome = outcome_of(planned)
    assert [event.at for event in of(Lived, outcome, node="w1", what="resumed")] == [35.0]


def test_longer_of_two_partitions_counts() -> None:
    cuts = {
        "node/w1/0": {"fault": "partition", "at": 1.0, "for": 30.0},
        "node/w1/1": {"fault": "partition_in", "at": 2.0, "for": 3.0},
    }
    assert [event.at for event in of(Lived, outcome_of(cuts), node="w1", what="reconnected")] == [31.0]


def test_overlapping_restarts_end_with_the_later_one() -> None:
    outcome = outcome_of(
        {
            "db/0": {"fault": "restart", "at": 5.0, "for": 5.0},
            "db/1": {"fault": "restart", "at": 8.0, "for": 20.0},
        }
    )
    away = [event for event in of(Answered, outcome) if 10.5 < event.at < 28.0]
    assert away
    assert {event.outcome for event in away} == {"failed"}


def test_successor_has_another_worker_id() -> None:
    outcome = outcome_of({"node/w1/0": {"fault": "kill", "at": 5.0, "for": 2.0}})
    workers = {event.worker: event for event in of(WorkerRow, outcome)}
    assert len(workers) == 2


def test_killed_worker_waits_for_no_queue_after_one_had_work() -> None:
    queues = Catalog()

    @queues.task("rare")
    async def rare() -> None:
        raise AssertionError("nobody sends it")

    @queues.task("usual")
    async def usual() -> None:
        pass

    asleep: list[bool] = []

    async def program(node: Node) -> None:
        notifier = node.world.store.notifier
        await node.clock.sleep(5)
        asleep.append(notifier.has_waiters)
        node.nodes["w1"].kill(back=5.0)
        await node.queue.send(usual)
        asleep.append(notifier.has_waiters)
        await node.clock.sleep(20)
        asleep.append(notifier.has_waiters)

    del rare
    simulated(queues, program, maintenance=0, phase=60.0)
    assert asleep == [True, False, True]
