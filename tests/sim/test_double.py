"""Doubles of a typed client: in a world, their calls take time, fail, lose answers, and have effects once."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, Protocol
from uuid import UUID

import pytest

from tests.cases import check_each
from tests.sim.worlds import SKIPPING, played, scenario_of, sending
from zeke_queue import Catalog, JobContext, UsageError
from zeke_sim import Unscripted, double
from zeke_sim.experiment.run import run
from zeke_sim.history.events import Effect, Ended, Fault
from zeke_sim.loop.decisions import Decisions
from zeke_sim.properties import ALL
from zeke_sim.properties.user import unique_calls
from zeke_sim.testing.environment import with_resources
from zeke_sim.testing.worlds import WorldOptions
from zeke_sim.world.faults import CALL, KINDS, NONE, call_fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.testing.client import Client

TWICE = unique_calls.name
CHECKED = {"properties": (*ALL, unique_calls)}


class Bank:
    """A provider whose methods never suspend."""

    def __init__(self, currency: str = "EUR") -> None:
        self.currency = currency
        self.charged: list[str] = []
        self.records: list[str] = []

    async def charge(self, order: str, cents: int) -> str:
        self.charged.append(order)
        return f"{cents} {self.currency} for {order}"

    async def charge_once(self, cents: int, *, key: str) -> str:
        return await self.charge(key, cents)

    async def record(self, order: str) -> None:
        self.records.append(order)

    async def recorded(self, order: str) -> bool:
        return order in self.records

    async def refund_once(self, cents: int, *, key: str) -> str:
        self.records.append(key)
        return f"{cents} back"

    def charge_at_once(self, order: str) -> str:
        self.charged.append(order)
        return order

    def charge_all(self, *orders: str) -> None:
        for order in orders:
            self.charge_at_once(order)

    @property
    def total(self) -> int:
        return len(self.charged)


class Rates(Protocol):
    async def convert(self, cents: int, *, to: str = "EUR") -> int: ...
    async def find(self, name: str) -> str | None: ...
    async def state(self) -> Literal["open", "shut"]: ...
    def names(self) -> list[str]: ...
    def key(self) -> str: ...
    def odd(self) -> complex: ...
    @property
    def fee(self) -> int: ...


class Store(ABC):
    @abstractmethod
    def put(self, key: str, value: int) -> None: ...

    def put_all(self, **values: int) -> int:
        for key, value in values.items():
            self.put(key, value)
        return len(values)


# Outside of a world.


async def test_double_of_a_class_runs_its_methods() -> None:
    bank = double(Bank, "USD", reads=["recorded"])
    assert isinstance(bank, Bank)
    assert [await bank.charge("a", 5), await bank.charge("a", cents=5)] == ["5 USD for a"] * 2
    assert bank.charge_at_once("b") == "b"
    assert (bank.charged, bank.total) == (["a", "a", "b"], 3)
    assert not await bank.recorded("a")


async def test_call_with_a_used_key_gets_the_first_answer() -> None:
    bank = double(Bank)
    first = asyncio.gather(*(bank.charge_once(5, key="a") for _ in range(3)))
    assert await first == ["5 EUR for a"] * 3
    assert bank.charged == ["a"]
    with pytest.raises(UsageError, match="'a' must be used with the same arguments as before, in Bank"):
        await bank.charge_once(6, key="a")
    assert await bank.refund_once(5, key="a") == "5 back"
    assert bank.records == ["a"]
    bank = double(Bank, keys=())
    await bank.charge_once(5, key="a")
    await bank.charge_once(6, key="a")
    assert bank.charged == ["a", "a"]


async def test_double_of_a_protocol_answers_by_annotation() -> None:
    rates = double(Rates)
    assert [await rates.convert(5), await rates.convert(5)] == [1, 2]
    assert (await rates.find("x"), await rates.state(), rates.names()) == (None, "open", [])
    assert [rates.key(), rates.key()] == ["key-1", "key-2"]
    assert rates.fee == 1
    with pytest.raises(Unscripted, match=r"Rates.odd: no answer follows .*pass answers=\{'odd': …\}"):
        rates.odd()
    with pytest.raises(TypeError, match="cents"):
        await rates.convert()  # pyright: ignore[reportCallIssue]


async def test_given_answers_precede_derived_ones() -> None:
    async def convert(cents: int, *, to: str = "EUR") -> int:
        return 2 * cents if to == "EUR" else 0

    rates = double(Rates, answers={"convert": convert, "odd": 1j, "fee": 7})
    assert [await rates.convert(5), await rates.convert(5, to="USD")] == [10, 0]
    assert (rates.odd(), rates.fee) == (1j, 7)


def test_double_of_an_abstract_class_runs_what_is_implemented() -> None:
    store = double(Store)
    store.put("key", 1)
    store.put("key", 2)  # the first argument is the name of a value
    assert store.put_all(a=1, b=2) == 2


def test_invalid_arguments_are_rejected() -> None:
    def check(arguments: Mapping[str, Any], complaint: str) -> None:
        with pytest.raises(UsageError, match=complaint):
            double(**{"of": Bank, **arguments})

    check_each(
        [
            ({"of": Bank()}, "double: must be of a class or a Protocol, got"),
            ({"reads": ["balance"]}, "reads: must name methods of Bank, got 'balance'"),
            ({"reads": ["total"]}, "reads: must name methods of Bank, got 'total'"),
            ({"answers": {"pay": 1}}, "answers: must name methods of Bank, got 'pay'"),
            ({"reads": "recorded"}, r"reads: must be a list of names, got 'recorded'; pass \['recorded'\]"),
            ({"keys": ["oder"]}, "keys: must name arguments of methods of Bank, got 'oder'"),
            ({"errors": [1]}, "errors: must be types of errors, or functions that make them, got 1"),
        ],
        check,
    )


# In a world.


def catalog_of(retries: int = 3) -> Catalog:
    """Return tasks that charge, then record: without a key, with one, and in sync calls."""
    catalog = Catalog()
    options: Any = {"retry_limit": retries, "retry_delay": 1}

    @catalog.task("charge", **options)
    async def charge(job: JobContext) -> str:
        bank: Bank = job.resources
        if await bank.recorded("a"):
            return "done before"
        payment = await bank.charge("a", 5)
        await bank.record("a")
        return payment

    @catalog.task("charge-once", **options)
    async def charge_once(job: JobContext) -> str:
        bank: Bank = job.resources
        payment = await bank.charge_once(5, key="a")
        await bank.record("a")
        return payment

    @catalog.task("charge-at-once", **options)
    def charge_at_once(job: JobContext) -> str:
        bank: Bank = job.resources
        return bank.charge_at_once("a")

    @catalog.task("charge-all", **options)
    def charge_all(job: JobContext) -> None:
        bank: Bank = job.resources
        bank.charge_all("a", "b")

    return catalog


def simulate(bank: Bank, task: str, **faults: Any) -> Outcome:
    decisions = {f"call/{task}/0/{at}": fault for at, fault in faults.items()}
    scenario = scenario_of(with_resources(catalog_of(), bank), sending(task), phase=20.0, options=CHECKED)
    return played(scenario, decisions, SKIPPING)


def effects(outcome: Outcome) -> list[str]:
    return [event.key for event in outcome.events if isinstance(event, Effect)]


CHARGE = "Bank.charge(order='a', cents=5)"


def test_call_that_fails_before_its_effect_may_be_repeated() -> None:
    bank = double(Bank, reads=["recorded"])
    outcome = simulate(bank, "charge", **{"1/Bank.charge/1": {"fault": "call_refused", "error": 0}})
    assert outcome.violation is None
    assert effects(outcome) == [CHARGE, "Bank.record(order='a')"]
    assert bank.charged == ["a"]
    (error,) = [event.value for event in outcome.events if isinstance(event, Ended) and event.how == "raised"]
    assert error == f"ConnectionError: {CHARGE}: no answer"


def test_repeated_call_after_a_lost_answer_is_found() -> None:
    def check(task: str, method: str) -> None:
        bank = double(Bank, reads=["recorded"])
        outcome = simulate(bank, task, **{f"1/Bank.{method}/1": {"fault": "call_lost", "error": 1}})
        violation = outcome.violation
        assert violation is not None
        assert violation.rule == TWICE
        assert bank.charged == ["a", "a"]
        (fault,) = (event for event in outcome.events if isinstance(event, Fault))
        assert (fault.kind, [(one.task, one.attempt) for one in fault.affected]) == ("call_lost", [(task, 1)])

    check_each([("charge", "charge"), ("charge-at-once", "charge_at_once")], check)


def test_methods_that_call_own_methods_have_one_effect() -> None:
    bank = double(Bank)
    assert effects(simulate(bank, "charge-all")) == ["Bank.charge_all(orders=('a', 'b'))"]
    assert bank.charged == ["a", "b"]


def test_equal_call_of_another_job_is_found() -> None:
    bank, program = double(Bank), sending("charge-at-once", times=2)
    outcome = played(scenario_of(with_resources(catalog_of(), bank), program, phase=20.0, options=CHECKED))
    assert outcome.violation is not None
    assert outcome.violation.rule == TWICE


class Silence(Exception):
    """An error of a client library, which takes no text."""

    def __init__(self) -> None:
        super().__init__("silence")


class Garbage(Exception):
    """An error that needs more than a text."""

    def __init__(self, status: int, *, body: str) -> None:
        super().__init__(f"{status}: {body}")


def test_errors_of_a_client_library_are_raised() -> None:
    def check(error: int, raised: str) -> None:
        bank = double(
            Bank, reads=["recorded"], errors=[ConnectionError, Silence, lambda: Garbage(500, body="no")]
        )
        outcome = simulate(bank, "charge", **{"1/Bank.charge/1": {"fault": "call_refused", "error": error}})
        assert [one.value for one in outcome.events if isinstance(one, Ended) and one.how == "raised"] == [
            raised
        ]

    check_each(
        [(0, f"ConnectionError: {CHARGE}: no answer"), (1, "Silence: silence"), (2, "Garbage: 500: no")],
        check,
    )


def test_repeated_call_with_a_key_is_answered_without_effect() -> None:
    bank = double(Bank)
    outcome = simulate(bank, "charge-once", **{"1/Bank.charge_once/1": {"fault": "call_lost", "error": 1}})
    assert outcome.violation is None
    assert bank.charged == ["a"]
    assert effects(outcome) == ["Bank.charge_once(cents=5, key='a')", "Bank.record(order='a')"]


def test_call_takes_time_and_arrives_although_its_sender_was_killed() -> None:
    bank = double(Bank, reads=["recorded"])
    late = {"fault": "call_late", "wait": 10.0, "for": 10.0}
    killed = {"fault": "kill_handler", "after": 2.0}
    scenario = scenario_of(with_resources(catalog_of(), bank), sending("charge"), phase=20.0, options=CHECKED)
    decisions = {"handler/charge/0/1": killed, "call/charge/0/1/Bank.charge/1": late}
    outcome = played(scenario, decisions, SKIPPING.but(handler=1.0))
    assert outcome.violation is not None
    assert outcome.violation.rule == TWICE
    first = next(event for event in outcome.events if isinstance(event, Effect))
    assert (first.attempt, first.key, first.alive) == (1, CHARGE, True)
    assert 10.0 < first.at < 11.0


def test_request_that_arrives_after_its_senders_death_is_an_effect() -> None:
    bank = double(Bank, reads=["recorded"])
    late = {"fault": "call_late", "wait": 10.0, "for": 10.0}
    killed = {"fault": "kill", "at": 2.0, "for": 600.0}
    scenario = scenario_of(with_resources(catalog_of(), bank), sending("charge"), phase=20.0, options=CHECKED)
    decisions = {"node/w1/0": killed, "call/charge/0/1/Bank.charge/1": late}
    outcome = played(scenario, decisions, SKIPPING)
    assert [event.key for event in outcome.events if isinstance(event, Effect) and event.at < 20.0] == [
        CHARGE
    ]


def seeds(task: str, number: int, *reads: str) -> list[Outcome]:
    """Run one job of a task under the faults of ``zeke_sim.test``."""

    async def work(zeke: Client) -> None:
        await zeke.wait(await zeke.trigger(task, id=UUID(int=1)))

    worlds = WorldOptions(days=0.002, resources=lambda: double(Bank, reads=["recorded", *reads]))
    scenario = worlds.scenario("given", catalog_of(retries=10), work, Counter())
    return [run(scenario, scenario.plan(seed)) for seed in range(number)]


def test_charge_without_a_key_fails_within_a_few_seeds() -> None:
    broken = [outcome.violation for outcome in seeds("charge", 6) if outcome.violation is not None]
    assert {violation.rule for violation in broken} == {TWICE}


def test_charge_with_a_key_holds() -> None:
    outcomes = seeds("charge-once", 12, "record")
    assert [outcome.violation for outcome in outcomes if outcome.violation is not None] == []
    assert any(event.kind in CALL for one in outcomes for event in one.events if isinstance(event, Fault))


def test_faults_are_drawn_that_a_call_can_have() -> None:
    def kinds(errors: int, *, waits: bool) -> set[str]:
        knobs = NONE.but(call=0.5, slow=0.1, kinds=tuple(KINDS))
        decided = (
            call_fault(Decisions(seed).stream("call"), knobs, errors, waits=waits) or {} for seed in range(50)
        )
        return {one.get("fault", "slow" if one else "none") for one in decided}

    assert kinds(2, waits=True) == {*CALL, "slow", "none"}
    assert kinds(2, waits=False) == {"call_refused", "call_lost", "none"}
    assert kinds(0, waits=True) == {"call_late", "slow", "none"}
