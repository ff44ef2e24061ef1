"""Whole worlds of an application: ``zeke_sim.test`` and the fixture ``simulation``."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cases import check_each
from tests.sim.plugging import application, run
from zeke_queue import Catalog, UsageError
from zeke_sim import sometimes, test, unique_effects
from zeke_sim.cli import sim
from zeke_sim.properties import ALL
from zeke_sim.testing.simulations import TOGETHER, named, span

pytest_plugins = ["pytester"]

HEAD = """
import asyncio
import pytest
import zeke_sim
from pydantic import BaseModel
from zeke_queue import Catalog, JobContext, JobQuery
from zeke_sim.history.events import Effect

catalog = Catalog()

class Order(BaseModel):
    number: int

@catalog.task("charge", retry_limit=5)
async def charge(order: Order, job: JobContext) -> int:
    await asyncio.sleep(2)
    zeke_sim.effect(f"charge {order.number}")
    await asyncio.sleep(1)
    await job.send(receipt, order)
    return order.number

@catalog.task("receipt")
def receipt(order: Order) -> str:
    return f"receipt {order.number}"

short = {"catalog": catalog, "days": 0.002}
"""

HOLDS = (
    HEAD
    + """
made = []

def double():
    made.append([])
    return made[-1]

@zeke_sim.test(
    seeds=3,
    resources=double,
    properties=[zeke_sim.sometimes("something happens", lambda state: True)],
    **short,
)
async def test_orders_are_charged(zeke, tmp_path):
    assert tmp_path.exists()
    assert zeke.nodes == ("w1", "w2", "w3", "v1", "client")
    assert zeke.resources == [] and zeke.resources is made[-1]
    zeke.kill("w1", back=2)
    zeke.pause("w2", 5)
    zeke.partition("w3", 5)
    run = await zeke.trigger(charge, Order(number=1))
    began = asyncio.get_running_loop().time()  # faults move the clock of zeke.now
    await zeke.sleep(minutes=1)
    assert 59 < asyncio.get_running_loop().time() - began < 200
    assert await zeke.result(run) == 1
    assert (await zeke.wait(run)).status == "COMPLETED"
    zeke.stop("w1")
    late = await zeke.send(charge, Order(number=2), delay=3600)
    assert not (await zeke.job(late)).output
    assert await zeke.cancel(late)
    assert (await zeke.wait(late)).status == "CANCELLED"
    assert 0 <= zeke.random.random() < 1


@catalog.task("twice-removed")
async def twice_removed(job: JobContext) -> None:
    await job.send(charge, Order(number=1), delay=3600)


@zeke_sim.test(seeds=1, faults="none", resources=double, **short)
async def test_jobs_of_jobs_are_waited_for(zeke):
    await zeke.send(twice_removed)
    await zeke.drain()
    charged = (await zeke.queue.find(JobQuery(names=("charge",)))).jobs
    assert [job.status for job in charged] == ["COMPLETED"]


never = zeke_sim.always("nothing is charged", lambda state: False, on=(Effect,))


@zeke_sim.test(seeds=1, faults="none", properties=[never], **short)
async def test_nothing_is_charged(zeke):
    await zeke.send("receipt", {"number": 7})


def test_each_run_has_its_own_resources():
    assert len(made) == len({id(one) for one in made}) > 3  # of seeds, and of kills at lines


def test_queue_keeps_its_guarantees(simulation):
    world = simulation(catalog, workers=3, faults="storm", seeds=2)
    world.send(charge, Order(number=7), times=10)
    world.run(until="drained", within="2 days")
    world.check("no job is lost", "no two leases overlap", "retries stay within their limit")


def test_without_faults(simulation):
    world = simulation(catalog, faults="none", seeds=1)
    world.send("receipt", {"number": 7})
    world.run()
"""
)

BREAKS = (
    HEAD
    + """
@zeke_sim.test(seeds=60, properties=[zeke_sim.unique_effects("no order is charged twice")], **short)
async def test_no_order_is_charged_twice(zeke):
    for number in range(3):
        await zeke.send(charge, Order(number=number))


@zeke_sim.test(seeds=60, faults=["kill_handler"], **short)
async def test_first_attempt_succeeds(zeke):
    job = await zeke.wait(await zeke.trigger(charge, Order(number=1)))
    assert job.attempt == 1, "it took more"


@catalog.task("refuse", retry_limit=0)
def refuse() -> None:
    raise RuntimeError("the card is stolen")


@zeke_sim.test(seeds=1, faults="none", **short)
async def test_refused(zeke):
    job = await zeke.wait(await zeke.trigger(refuse))
    assert job.row_state == "completed"


@zeke_sim.test(seeds=1, faults="none", **short)
async def test_forgetful(zeke):
    zeke.send(charge, Order(number=1))


@zeke_sim.test(seeds=2, properties=[zeke_sim.sometimes("pigs fly", lambda state: False)], **short)
async def test_never(zeke):
    await zeke.sleep(1)


@zeke_sim.test(seeds=2, faults="none", properties=[zeke_sim.unique_effects("one receipt")], **short)
async def test_effect_is_missing(zeke):
    await zeke.send("receipt", {"number": 7})


@zeke_sim.test(seeds=1, **short)
async def test_unknown_node_is_refused(zeke):
    zeke.kill("w9")


def test_wrong_name(simulation):
    world = simulation(catalog, faults="none", seeds=1)
    world.send(receipt, Order(number=1))
    world.run()
    world.check("no job is lots")


def test_effect_is_missing_in_a_world(simulation):
    world = simulation(catalog, faults="none", seeds=1, properties=[zeke_sim.unique_effects("one letter")])
    world.send("receipt", {"number": 7})
    world.run()


@zeke_sim.test(
    seeds=2,
    faults="none",
    properties=[zeke_sim.unique_effects("one parcel", key=lambda effect: None)],
    **short,
)
async def test_other_effects_do_not_count(zeke):
    await zeke.send("charge", {"number": 7})


def test_async(simulation):
    async def in_a_loop():
        simulation(catalog, faults="none", seeds=1).run()

    asyncio.run(in_a_loop())


def test_checked_before_it_ran(simulation):
    simulation(catalog).check()


@catalog.task("stubborn")
def stubborn() -> None:
    from zeke_queue import Snooze
    raise Snooze(60)


def test_endless_job_is_reported(simulation):
    world = simulation(catalog, faults="none", seeds=1)
    world.send(stubborn)
    world.run(within="1 hour")


@pytest.mark.parametrize("number", [7, 8])
@zeke_sim.test(seeds=1, faults="none", **short)
async def test_each(zeke, number):
    assert number == 0
"""
)

SENT = (
    HEAD
    + """
def test_forgotten(simulation):
    simulation(catalog).send(charge, Order(number=1))
"""
)


def test_worlds_without_violation_pass(pytester: pytest.Pytester) -> None:
    application(pytester, HOLDS)
    run(pytester).assert_outcomes(passed=6)


def test_worlds_with_violation_fail_and_are_reported(pytester: pytest.Pytester) -> None:
    application(pytester, BREAKS)
    result = run(pytester)
    result.assert_outcomes(failed=14, passed=1, errors=1)
    said = result.stdout.str()
    assert re.search(r"  errors  refuse \w{6}, attempt 1: RuntimeError: the card is stolen\n", said)
    for expected in (
        "✗ no order is charged twice",
        "replayed 3 times",
        "replay  pytest test_shop.py::test_no_order_is_charged_twice --zeke-plan .zeke-sim/",
        "page    .zeke-sim/test_shop-test_no_order_is_charged_twice-",
        "✗ what the test asserts",
        "it took more",
        'assert job.attempt == 1, "it took more"',
        "it called but did not await zeke.send() at",
        "did not happen in any of 2 runs: pigs fly; run more seeds, or extend the workload",
        "did not happen in any of 2 runs: a call of zeke_sim.effect that 'one receipt' counts",
        "did not happen in any of 1 runs: a call of zeke_sim.effect that 'one letter' counts",
        "did not happen in any of 2 runs: a call of zeke_sim.effect that 'one parcel' counts",
        "process: must be one of w1, w2, w3, v1",
        "check: no property has the name 'no job is lots'; did you mean 'no job is lost'",
        "check: nothing has run yet; call run() first",
        "run: must be called in a test that is not async; write `def` for `async def`",
        "✗ everything ends in time",
        "1 jobs have not ended 1:00:00 after all faults ended: job",
        "✗ no order is charged twice\n  charge ",
        "  A property of the test's own.\n",
        "✗ everything ends in time\n",
        "  Within this time after the last fault, every job has ended.\n",
        "A workload's assertions hold under all faults.",
        "replay  pytest 'test_shop.py::test_each[7]' --zeke-plan .zeke-sim/test_shop-test_each-7--0.json",
        "replay  pytest 'test_shop.py::test_each[8]' --zeke-plan .zeke-sim/test_shop-test_each-8--0.json",
    ):
        assert expected in said
    (plan,) = Path(pytester.path, ".zeke-sim").glob("test_shop-test_no_order_is_charged_twice-*.json")
    assert json.loads(plan.read_text(encoding="utf-8"))["scenario"].endswith("test_no_order_is_charged_twice")
    page = plan.with_suffix(".html").read_text(encoding="utf-8")
    assert "no order is charged twice" in page
    again = run(pytester, "test_shop.py::test_no_order_is_charged_twice", "--zeke-plan", str(plan))
    again.assert_outcomes(failed=1)
    assert "✗ no order is charged twice" in again.stdout.str()
    assert "replayed once" in again.stdout.str()
    other = run(pytester, "test_shop.py::test_never", "--zeke-plan", str(plan))
    other.assert_outcomes(failed=1)
    assert "is a plan of test_shop:test_no_order_is_charged_twice, and this test is test_shop:test_never" in (
        other.stdout.str()
    )
    shown = CliRunner().invoke(sim, ["replay", str(plan)])
    assert shown.exit_code == 2
    assert f"pytest test_shop.py::test_no_order_is_charged_twice --zeke-plan {plan}" in shown.stderr


@pytest.mark.nightly
def test_invalid_plan_is_rejected(pytester: pytest.Pytester) -> None:
    application(pytester, BREAKS)
    pytester.makefile(".json", plan="no JSON")
    for name in ("test_never", "test_endless_job_is_reported"):
        result = run(pytester, f"test_shop.py::{name}", "--zeke-plan", "plan.json")
        result.assert_outcomes(failed=1)
        said = result.stdout.str()
        assert "--zeke-plan: plan.json: must be a plan written by `zeke sim run`: JSONDecodeError" in said
        assert "plan.py" not in said  # whose lines do not matter to the user that passed the file


@pytest.mark.nightly
def test_world_replays_a_plan(pytester: pytest.Pytester) -> None:
    application(pytester, BREAKS)
    run(pytester, "test_shop.py::test_endless_job_is_reported").assert_outcomes(failed=1)
    (plan,) = Path(pytester.path, ".zeke-sim").glob("*.json")
    again = run(pytester, "test_shop.py::test_endless_job_is_reported", "--zeke-plan", str(plan))
    again.assert_outcomes(failed=1)
    assert "✗ everything ends in time" in again.stdout.str()
    other = run(pytester, "test_shop.py::test_wrong_name", "--zeke-plan", str(plan))
    assert "is a plan of test_shop.py::test_endless_job_is_reported, and this test is" in other.stdout.str()


@pytest.mark.nightly
def test_failure_is_shown_in_read_only_project(pytester: pytest.Pytester) -> None:
    application(pytester, BREAKS)
    Path(pytester.path, ".zeke-sim").write_text("a file, and no folder", encoding="utf-8")
    result = run(pytester, "test_shop.py::test_first_attempt_succeeds")
    result.assert_outcomes(failed=1)
    said = result.stdout.str()
    assert "✗ what the test asserts" in said
    (page,) = re.findall(r"page +(/.*\.html)", said)
    assert Path(page).exists()
    shutil.rmtree(Path(page).parent)


@pytest.mark.nightly
@pytest.mark.parametrize("more", [[], ["-n", "1"]])
def test_failure_is_shown_once_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.setenv("CI", "true")
    application(pytester, BREAKS)
    said = run(pytester, "test_shop.py::test_first_attempt_succeeds", *more).stdout.str()
    assert len(re.findall("page +[^ ]+[.]html", said)) == 1
    assert re.search("FAILED test_shop.py::test_\\w+ - ✗ what the test asserts\n", said)


INTERRUPTED = (
    HEAD
    + """
import os, signal, weakref

class Thing:
    pass

def interrupt(_):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(10):
        pass

@zeke_sim.test(seeds=20, faults="none", **short)
async def test_it(zeke):
    thing = Thing()
    gone = weakref.ref(thing, interrupt)
    del thing
    assert gone() is None
"""
)


@pytest.mark.nightly
def test_dropped_interrupt_is_heeded(pytester: pytest.Pytester) -> None:
    application(pytester, INTERRUPTED)
    result = run(pytester, "-W", "ignore")
    assert result.ret == pytest.ExitCode.INTERRUPTED


@pytest.mark.nightly
def test_world_that_is_not_run_is_an_error(pytester: pytest.Pytester) -> None:
    application(pytester, SENT)
    result = run(pytester, "-k", "forgotten")
    result.assert_outcomes(passed=1, errors=1)
    assert "jobs were sent, but the world was not run; call run(), then check()" in result.stdout.str()


@pytest.mark.nightly
@pytest.mark.parametrize("text", ["0", "-1", "many"])
def test_invalid_number_of_seeds_is_rejected(pytester: pytest.Pytester, text: str) -> None:
    application(pytester, SENT)
    result = run(pytester, f"--zeke-seeds={text}")
    assert f"argument --zeke-seeds: must be a positive number of seeds, got {text!r}" in result.stderr.str()


@pytest.mark.nightly
def test_invalid_arguments_are_rejected() -> None:
    def check(arguments: dict[str, object], complaint: str) -> None:
        with pytest.raises(UsageError) as told:
            test(**arguments)  # pyright: ignore[reportArgumentType]
        assert complaint in str(told.value)

    check_each(
        [
            ({"seeds": 0}, "seeds: must be 1 or more, got 0"),
            ({"days": 0}, "days: must be a positive number, got 0"),
            ({"days": "2"}, "days: must be a positive number, got '2'"),
            ({"schedulers": -1}, "schedulers: must be 0 or more, got -1"),
            ({"start": "soon"}, "start: must be a datetime, or text such as"),
            ({"start": "2026-03-28"}, "start: must be an aware datetime"),
            ({"worker": {"concurency": 1}}, "worker: must be some of concurrency"),
            ({"properties": ["no job is lost"]}, "properties: must be made by zeke_sim.always"),
            ({"properties": sometimes("it rains", bool)}, "; pass [Sometimes(name='it rains'"),
            ({"workers": 0}, "workers: must be 1 or more, got 0"),
            ({"faults": "all"}, "faults: must be one of default, storm, none, or as in ['kill'], got 'all'"),
            ({"faults": ["flood"]}, "faults: must be some of refused, lost"),
            ({"resources": 7}, "resources: must be a function that opens them for a run, got 7"),
            ({"code": "shop.mail"}, "code: must be a list of modules, got 'shop.mail'; pass ['shop.mail']"),
            ({"allow": ["disk"]}, "allow: must be some of socket"),
            ({"catalog": {}}, "catalog: must be a Catalog, got {}"),
            (
                {"worker": {}, "wrokers": 1},
                "wrokers: unknown argument; must be one of seeds, catalog, workers",
            ),
        ],
        check,
    )


def test_sync_workload_is_rejected() -> None:
    def workload() -> None:
        """Do nothing."""

    with pytest.raises(UsageError, match="is not async; write `async def`, and await what it calls"):
        test(catalog=Catalog())(workload)


def test_properties_are_found_by_name() -> None:
    for name in (*TOGETHER, *(one.name for one in ALL)):
        assert named(name)
    with pytest.raises(UsageError, match=r"name 'gravity'; pass one of: no job is lost"):
        named("gravity")


def test_spans_are_parsed() -> None:
    def check(text: str | float, seconds: float) -> None:
        assert span(text) == seconds

    check_each([("2 days", 172800), ("1 hour", 3600), ("90 seconds", 90), (5, 5)], check)


def test_invalid_span_is_rejected() -> None:
    def check(text: str | float) -> None:
        with pytest.raises(UsageError, match="within: must be a duration such as '2 days'"):
            span(text)

    check_each(["soon", "2days", "-1 day", 0], check)


def test_property_factories_are_public() -> None:
    assert unique_effects("no order twice").name == "no order twice"
    assert sometimes("it rains", lambda state: True).name == "it rains"
