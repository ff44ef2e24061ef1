"""The server alone: statements that wait, and transactions whose client is silent."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.cases import check_each
from tests.sim.worlds import simulated
from zeke_queue.core.timeouts import LOCK_SECONDS
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.task.catalog import Catalog
from zeke_sim.history.events import Answered, Change
from zeke_sim.history.state import ENDS
from zeke_sim.world.faults import KINDS, NONE

if TYPE_CHECKING:
    from zeke_sim.experiment.run import Outcome
    from zeke_sim.world.node import Main, Node
    from zeke_sim.world.world import World

catalog = Catalog()


@catalog.task("work", retry_limit=0)
async def work() -> None:
    return


async def hold(node: Node) -> None:
    """Send a job in a transaction, and keep it open for longer than the run is faulty."""
    try:
        async with node.queue.transaction() as transaction:
            await transaction.send("work", singleton_key="one")
            await node.clock.sleep(3.0)
            await transaction.send("work")
            await node.clock.sleep(60.0)
    except StorageUnavailableError:
        return


async def hold_briefly(node: Node) -> None:
    """Send a job in a transaction that commits before others give up."""
    async with node.queue.transaction() as transaction:
        await transaction.send("work", singleton_key="one")
        await node.clock.sleep(2.0)


async def want(node: Node, after: float = 1.0) -> None:
    """Send a job that the transaction's is in the way of."""
    await node.clock.sleep(after)
    try:
        await node.queue.send("work", singleton_key="one")
    except StorageUnavailableError:
        return


def played(
    decisions: dict[str, Any], *, before: Any = None, first: Main = hold, second: Main = want
) -> Outcome:
    alone = {"workers": 0, "maintenance": 0, "phase": 50.0, "before": before, "options": {"properties": ()}}
    knobs = NONE.but(kinds=tuple(KINDS))
    return simulated(catalog, first, second, decisions=decisions, knobs=knobs, **alone)


def answer(outcome: Outcome) -> tuple[str, float]:
    """Return how the send that had to wait was answered first, and when."""
    sent = [e for e in outcome.events if isinstance(e, Answered) and e.node == "c2" and e.verb == "insert"]
    return sent[0].outcome, sent[0].at


def test_statement_waits_for_the_end_of_the_blocking_transaction() -> None:
    outcome, at = answer(played({}, first=hold_briefly))
    assert outcome == "ok"
    assert 2.0 < at < 2.1


def test_statement_waits_for_a_lock_no_longer_than_its_limit() -> None:
    outcome, at = answer(played({}))
    assert outcome == "failed"
    assert at == pytest.approx(1.0 + LOCK_SECONDS, abs=0.01)


def test_restart_fails_waiting_statements_without_executing_them() -> None:
    outcome = played({"db/0": {"fault": "restart", "at": 2.0, "for": 1.0}})
    assert answer(outcome)[0] == "unknown"
    assert all(event.at > 3.0 for event in outcome.events if isinstance(event, Change))


def test_transaction_cannot_begin_during_an_outage() -> None:
    told: list[float] = []

    async def begin(node: Node) -> None:
        await node.clock.sleep(2.5)
        with pytest.raises(StorageUnavailableError):
            async with node.queue.transaction():
                told.append(-1.0)
        told.append(node.world.time())

    played({"db/0": {"fault": "restart", "at": 2.0, "for": 5.0}}, first=begin)
    assert told == [pytest.approx(2.5, abs=0.01)]


def test_transaction_of_a_partitioned_client_ends_after_a_delay() -> None:
    def cut(world: World) -> None:
        world.later(2.0, world.nodes["c1"].partition, "partition")

    outcome, at = answer(played({}, before=cut, second=lambda node: want(node, 16.5)))
    assert outcome == "ok"
    # Its next statement is sent at 3 s, and gets no answer for 5 s; after that it is silent.
    assert 17.0 < at < 20.0


def test_transaction_ends_at_once_with_the_process_of_its_client() -> None:
    def kill(world: World) -> None:
        world.later(2.0, world.nodes["c1"].kill, 100.0)

    outcome, at = answer(played({}, before=kill))
    assert outcome == "ok"
    assert 2.0 < at < 2.1


async def give_up(node: Node) -> None:
    """Send a job in a transaction that is rolled back."""
    with suppress(ZeroDivisionError):
        async with node.queue.transaction() as transaction:
            await transaction.send("work", singleton_key="one")
            await node.clock.sleep(2.0)
            raise ZeroDivisionError


def test_end_of_a_transaction_is_recorded() -> None:
    def check(first: Main, decisions: dict[str, Any], end: str, at: float) -> None:
        ended = [
            event
            for event in played(decisions, first=first).events
            if isinstance(event, Answered) and event.verb in ENDS
        ]
        assert (ended[0].verb, ended[0].at) == (end, pytest.approx(at, abs=0.1))

    cases: dict[str, tuple[Main, dict[str, Any], str, float]] = {
        "it commits": (hold_briefly, {}, "commit", 2.0),
        "it is rolled back": (give_up, {}, "rollback", 2.0),
        "the server restarts": (hold, {"db/0": {"fault": "restart", "at": 1.5, "for": 1.0}}, "rollback", 1.5),
        "its process is killed": (hold, {"c1/insert/2": {"fault": "kill_before"}}, "rollback", 3.0),
    }
    check_each(cases, check)
