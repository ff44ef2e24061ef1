"""``zeke_sim.crash_test``, kills at statements in ``zeke_sim.test``, and the reports of their faults."""

from __future__ import annotations

import re

import pytest

from tests.sim.plugging import run

pytest_plugins = ["pytester"]

SHOP = '''
from pydantic import BaseModel
from zeke_queue import Catalog, JobContext
import zeke_sim

catalog = Catalog()


class Order(BaseModel):
    number: int


class Bank:
    """A double that never suspends, and does not recognise a charge."""

    def __init__(self):
        self.charges = []
        self.records = set()

    async def charge(self, number):
        zeke_sim.effect(f"order {number}")
        self.charges.append(number)

    async def record(self, number):
        self.records.add(number)


class SilentBank(Bank):
    """A double that does not report its effects to the simulation."""

    async def charge(self, number):
        self.charges.append(number)


@catalog.task("charge-card", retry_limit=5)
async def charge_card(order: Order, job: JobContext) -> str:
    bank = job.resources
    if order.number in bank.records:
        return "already"
    await bank.charge(order.number)
    await bank.record(order.number)
    return "charged"


def noted(order, bank):
    bank.records.add(order.number)


@catalog.task("note", retry_limit=5)
def note(order: Order, job: JobContext) -> int:
    noted(order, job.resources)
    return order.number


@catalog.task("twice-unlucky", retry_limit=5)
async def twice_unlucky(order: Order, job: JobContext) -> None:
    if job.attempt < 3:
        await job.resources.record(job.attempt)
        await job.resources.record(-job.attempt)
    else:
        assert {1, -1} & job.resources.records, "nothing is recorded"


class Proxy:
    def __getattribute__(self, name):
        raise RuntimeError("not bound")


_proxy = Proxy()


@catalog.task("gives-up", retry_limit=0)
async def gives_up() -> None:
    raise RuntimeError("no more")


@catalog.task("records-first", retry_limit=5)
async def records_first(order: Order, job: JobContext) -> None:
    if order.number not in job.resources.records:
        await job.resources.record(order.number)
        await job.resources.charge(order.number)
        await job.send(note, order)


@catalog.task("at-most-once", retry_limit=0)
async def at_most_once(order: Order, job: JobContext) -> None:
    await job.resources.charge(order.number)


left = [3]


@catalog.task("rations", retry_limit=5)
async def rations() -> None:
    left[0] -= 1
    if left[0] > 0:
        zeke_sim.effect("ration")


runs = iter(range(1000))


@catalog.task("changes", retry_limit=5)
async def changes(job: JobContext) -> None:
    if job.attempt == 1 and next(runs) % 2 == 0:
        len("more")
        len("and more")


exec("async def made():\\n    charged = 1\\n    return charged")
catalog.task("without-source", retry_limit=5)(made)
'''

HEAD = """
import pytest
import zeke_sim
from shop import *

short = {"days": 0.01, "resources": Bank, "catalog": catalog}
"""

FAILS = (
    HEAD
    + """
@zeke_sim.test(seeds=1, properties=[zeke_sim.unique_effects("charged once")], **short)
async def test_first_users_own(zeke):
    run = await zeke.trigger(charge_card, Order(number=1))
    assert (await zeke.wait(run)).status == "COMPLETED"


test_in_one_line = zeke_sim.crash_test(charge_card, Order(number=1), catalog=catalog, resources=Bank)


@zeke_sim.crash_test(catalog=catalog, resources=SilentBank)
async def test_assertion_of_its_own(zeke):
    await zeke.wait(await zeke.trigger(charge_card, Order(number=1)))
    assert zeke.resources.charges == [1], "charged again"


test_lost = zeke_sim.crash_test(records_first, Order(number=1), catalog=catalog, resources=Bank)
test_lost_job = zeke_sim.crash_test(records_first, Order(number=1), catalog=catalog, resources=SilentBank)
test_without_resources = zeke_sim.crash_test(records_first, Order(number=1), catalog=catalog)
test_without_retries = zeke_sim.crash_test(at_most_once, Order(number=1), catalog=catalog, resources=Bank)
test_rations = zeke_sim.crash_test("rations", catalog=catalog)
test_misspelt = zeke_sim.crash_test(
    note, Order(number=1), catalog=catalog, resources=Bank, may_lose=["ordr"]
)
test_pairs = zeke_sim.crash_test(twice_unlucky, Order(number=1), pairs=True, catalog=catalog, resources=Bank)
test_status = zeke_sim.crash_test("gives-up", catalog=catalog)
test_changing = zeke_sim.crash_test("changes", catalog=catalog)
test_without_source = zeke_sim.crash_test("without-source", catalog=catalog)


@zeke_sim.crash_test(catalog=catalog)
async def test_without_points(zeke):
    await zeke.sleep(1)


@zeke_sim.test(seeds=2, faults=["clock"], **short)
async def test_never_hit(zeke):
    await zeke.send(note, Order(number=1))


test_unknown_task = zeke_sim.crash_test("chrage", Order(number=1), catalog=catalog)
test_wrong_payload = zeke_sim.crash_test(note, {"number": "x"}, catalog=catalog)


class TestOfAClass:
    test_note = zeke_sim.crash_test(note, Order(number=1), catalog=catalog)


def test_faults_are_refused():
    zeke_sim.crash_test(note, faults="storm")


def test_payload_of_a_workload_is_refused():
    zeke_sim.crash_test(lambda zeke: None, {"number": 1})


def test_unknown_argument_is_refused():
    zeke_sim.crash_test(note, seeds=3)


test_unknown_module = zeke_sim.crash_test(note, Order(number=1), catalog=catalog, code=["shop.mial"])


def test_unknown_status_is_refused():
    zeke_sim.crash_test(note, status="DONE")


@pytest.mark.parametrize("given", ["order", [Bank.charge]])
def test_lost_effects_are_a_list_of_texts(given):
    zeke_sim.crash_test(note, may_lose=given)
"""
)

HOLDS = (
    HEAD
    + """
test_sync = zeke_sim.crash_test(note, Order(number=1), catalog=catalog, resources=Bank, pairs=True)
test_may_lose = zeke_sim.crash_test(
    records_first, Order(number=1), catalog=catalog, resources=Bank, may_lose=["order", "a job of note"]
)
test_single = zeke_sim.crash_test("twice-unlucky", Order(number=1), catalog=catalog, resources=Bank)


@zeke_sim.crash_test(catalog=catalog)
async def test_failing_job(zeke):
    await zeke.wait(await zeke.trigger(gives_up))


@zeke_sim.crash_test(catalog=catalog, resources=Bank)
async def test_job_that_fails_may_lose_its_effect(zeke):
    await zeke.wait(await zeke.trigger(at_most_once, Order(number=1)))


@zeke_sim.test(seeds=2, faults=["clock"], calm=True, **short)
async def test_calm(zeke):
    await zeke.send(note, Order(number=1))


@pytest.mark.parametrize("number", [1, 2])
@zeke_sim.crash_test(catalog=catalog, resources=Bank)
async def test_each(zeke, number):
    assert (await zeke.wait(await zeke.trigger(note, Order(number=number)))).output == number
"""
)


def test_crashes_that_break_something_are_found(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(shop=SHOP, test_shop=FAILS)
    result = run(pytester)
    result.assert_outcomes(failed=25)
    said = result.stdout.str()
    for test in ("test_without_source", "test_without_points"):
        assert f"FAILED test_shop.py::{test} - Failed: crash_test: must reach a s" in said
    for expected in (
        "test_shop:test_first_users_own, seed 0, strategy crashes",
        "✗ charged once",
        "✗ no effect happens twice",
        "✗ what the test asserts",
        "charged again",
        "nothing is recorded",
        "the job must end as COMPLETED, got FAILED",
        "no fault hit 'note', so its recovery is untested; allow more kinds of faults, run more seeds",
        "a test of a task must be assigned in a module, got an attribute of a class",
        "Input should be a valid integer",
        "crash_test: each run must pass the same points, and one did not reach shop.py:",
        "payload: must be given with a task; a workload sends and asserts by itself",
        "faults: must not be given, since crash_test only kills; use zeke_sim.test",
        "seeds: unknown argument; must be one of pairs, status, may_lose, catalog, workers, schedulers, days",
        "code: must name modules, got 'shop.mial': No module named 'shop.mial'; 'shop' is not a package",
        "✗ nothing is lost by a crash",
        "w1 ran it again 26.8 s later and returned.\n  A job that is killed and completes does what it",
        "'order 1' is missing: it happens without a kill; do it, with an idempotency key,",
        "'a job of note' is missing: it happens without a kill",
        "crash_test: each run without a kill must have the same effects, and two differed; create what",
        "may_lose: nothing begins with 'ordr'; jobs do nothing",
        "if that is job.resources,",
        "it has no retries left",
        "may_lose: must be a list of the beginnings of effects, got 'order'",
        "may_lose: must be the beginning of an effect, as in 'Mail.send', got <function Bank.charge",
        "status: must be one of QUEUED, EXECUTING, COMPLETED, FAILED, CANCELLED, got 'DONE'",
    ):
        assert expected in said, expected
    (pairs,) = re.findall(r"page +(\.zeke-sim/test_shop-test_pairs-0\.html)", said)
    page = (pytester.path / pairs).read_text(encoding="utf-8")
    assert "<td>not reached</td><td><code>        assert {1, -1}" not in page
    assert '<section class="source" aria-label="Faults beside the source">' in page
    for test in ("test_pairs", "test_lost"):
        plan = f".zeke-sim/test_shop-{test}-0.json"
        again = run(pytester, f"test_shop.py::{test}", "--zeke-plan", str(pytester.path / plan))
        again.assert_outcomes(failed=1)
        assert "replayed once" in again.stdout.str()


@pytest.mark.nightly
def test_survivors_of_crashes_pass_and_their_faults_are_shown(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(shop=f"import billing\n{SHOP}", test_shop=HOLDS, billing="def pay(): ...")
    result = run(pytester, "--zeke-faults", "-vv")
    result.assert_outcomes(passed=8)
    said = result.stdout.str()
    (page,) = re.findall(r"page: (\.zeke-sim/\S*test_single\S*)", said)
    source = (pytester.path / page).read_text(encoding="utf-8")
    for mark, text in (
        ("1 kill", "        await job.resources.record(job.attempt)"),
        ("", "    else:"),
    ):
        assert f"<td>{mark}</td><td><code>{text}</code></td></tr>" in source
    assert re.findall(r'<tr class="(\w+)"', source) == [*["affected"] * 3, "plain", "unreached"]
    assert re.search(
        r"test_shop\.py::test_single\n  twice-unlucky: (\d+) kills, \1 expiries, in \d+ att", said
    )
    assert re.search(r"test_shop\.py::test_sync\n  note: .*; lines hit: 3 of 3\n", said)
    assert (
        "\n  no effects: whether one is lost is not tested; pass resources made by zeke_sim.double\n" in said
    )
    assert "\n  gives-up fails without a kill, too: {" in said
    assert re.search(r"\n  killed at (\d+) of \1 points, and at (\d+) of \2 pairs of points\n", said)
    assert re.search(r"\n  killed at (\d+) of \1 points\n", said)
    assert "test_shop.py::test_calm\n  note: no faults, in 2 attempts; lines hit: 0 of 3\n" in said
    assert "    no fault at shop.py:" in said
    assert "  no kills in billing, which shop imports; name it in code=['billing']\n" in said
