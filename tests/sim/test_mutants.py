"""The kill table: its patches apply, touch nothing else, and a search finds what they break."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests.cases import check_each
from tests.mutants import TABLE, DoesNotApply, Mutant
from tests.mutants import run as mutants
from tests.mutants.planted import PLANTED
from tests.mutants.processes import ForkedError, forked
from tests.mutants.run import (
    UnknownMutant,
    Verdict,
    passed,
    searched,
    simulator_summary,
    simulator_table,
    summary,
    table,
)
from tests.mutants.simulator import FAULTS, FAULTS_KEPT, PROPERTIES, SIMULATOR_MUTANTS
from tests.mutants.tested import TESTED
from tests.scenarios import full, names
from tests.tasks import beginnings
from zeke_sim.experiment.scenario import load
from zeke_sim.properties import ALL
from zeke_sim.world.faults import KINDS

ROOT = Path(__file__).parents[2]
EVERYTHING = [
    *TABLE,
    *PLANTED,
    *(one.breaks for one in SIMULATOR_MUTANTS),
    *(one.mutant for one in TESTED),
]


@cache
def source_of(module: str) -> str:
    path = ROOT / module.replace(".", "/")
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter, as a mutant is."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_mutant_has_its_own_name_and_effect_and_compiles() -> None:
    assert [name for name, n in Counter(mutant.name for mutant in EVERYTHING).items() if n > 1] == []
    effects: set[tuple[str, str]] = set()

    def check(mutant: Mutant) -> None:
        source = source_of(mutant.module)
        patched = mutant.apply(source)
        assert patched != source
        compile(patched, mutant.module, "exec")
        assert (mutant.module, patched) not in effects, "another mutant has this effect"
        effects.add((mutant.module, patched))

    check_each({mutant.name: mutant for mutant in EVERYTHING}, check)


def test_every_part_of_the_runtime_has_enough_mutants() -> None:
    parts = Counter(mutant.module.removeprefix("zeke_queue.").partition(".")[0] for mutant in TABLE)
    assert len(TABLE) >= 215
    assert len(SIMULATOR_MUTANTS) >= 80
    for part, least in (("core", 10), ("storage", 20), ("worker", 10), ("maintenance", 6)):
        assert parts[part] >= least


def test_mutant_is_searched_in_its_scenarios_or_where_its_module_runs() -> None:
    runtime, own = Mutant("a", "zeke_queue.a", "", "", ""), Mutant("b", "zeke_tasks.b", "", "", "")
    assert set(searched(runtime)) == {full(name) for name in names()} - {full("catalog")}
    assert searched(own) == [full("catalog"), full("slice")]
    limited = replace(runtime, where=("cron",))
    assert searched(limited) == [full("cron")]
    assert searched(limited, everywhere=True) == searched(runtime)


def test_mutants_name_scenarios_and_mutants_that_exist() -> None:
    def check(name: str) -> None:
        assert load(full(name)).name == full(name)

    check_each(sorted({name for mutant in TABLE for name in mutant.where}), check)
    planted, blinded = {mutant.name for mutant in PLANTED}, {one.blinds for one in SIMULATOR_MUTANTS}
    for one in SIMULATOR_MUTANTS:
        assert one.breaks.module.startswith("zeke_sim."), one.name
    assert planted <= blinded <= planted | {mutant.name for mutant in TABLE}


def test_mutants_name_tests_that_exist() -> None:
    def check(_: Mutant, tests: tuple[str, ...]) -> None:
        at = tests.index("-k") if "-k" in tests else len(tests)
        defined = set(vars(beginnings))  # they label cases of tests/tasks
        for path in (one for one in tests[:at] if ".py" in one):
            file, *names = path.partition("[")[0].split("::")
            text = (ROOT / file).read_text(encoding="utf-8")
            found = set(re.findall(r"^ *(?:async def|def|class) (\w+)", text, re.MULTILINE))
            assert set(names) <= found, path
            defined |= found
        words = set(re.findall(r"\w+", " ".join(tests[at + 1 :]))) - {"and", "or", "not"}
        assert [word for word in words if not any(word in name for name in defined)] == []

    check_each({one.mutant.name: one for one in TESTED}, check)


def test_every_property_and_fault_kind_has_a_mutant_or_a_reason_against() -> None:
    asked, kinds = {one.name for one in ALL}, {kind for together in FAULTS for kind in together}
    assert set(PROPERTIES) == asked
    assert kinds & set(FAULTS_KEPT) == set()
    assert kinds | set(FAULTS_KEPT) == set(KINDS)
    assert all(FAULTS_KEPT.values())
    assert [name for name, n in Counter(PROPERTIES.values()).items() if n > 1] == []


def test_patch_is_seen_by_importers_and_not_written_to_disk(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / f"part{number}.py").write_text(f"VALUE = {number}\n")
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from tests.mutants import Mutant, install
install([Mutant("three", "part1", "VALUE = 1", "VALUE = 3", "")])
import part1, part2
print(part1.VALUE, part2.VALUE)
"""
    assert python(program).stdout == "3 2\n"
    assert (tmp_path / "part1.py").read_text() == "VALUE = 1\n"
    assert list(tmp_path.glob("__pycache__/part1.*")) == []


def test_cached_bytecode_does_not_hide_a_patch(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text("VALUE = 1\n")
    plain = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import part; print(part.VALUE)"
    patched = (
        "from tests.mutants import Mutant, install\n"
        'install([Mutant("two", "part", "1", "2", "")])\n' + plain.replace("; ", "\n")
    )
    said = [python(program).stdout for program in (plain, patched, plain)]
    assert said == ["1\n", "2\n", "1\n"]


def test_runner_imports_no_part_of_the_runtime() -> None:
    program = """
import sys
import tests.mutants.run
print([name for name in sys.modules if name.startswith("zeke_queue")])
"""
    assert python(program).stdout == "[]\n"


def test_late_or_unapplicable_patch_is_rejected() -> None:
    with pytest.raises(DoesNotApply, match=r"tests\.mutants is imported already"):
        sys.modules["tests.mutants"].install([Mutant("late", "tests.mutants", "a", "b", "")])
    mutant = Mutant("gone", "some.module", "a", "b", "")
    with pytest.raises(DoesNotApply, match="is there 0 times"):
        mutant.apply("xyz")
    with pytest.raises(DoesNotApply, match="is there 2 times"):
        mutant.apply("aa")


def test_unknown_mutant_name_is_rejected_with_known_names() -> None:
    with pytest.raises(UnknownMutant, match=r"'fifo'.*last-in-first-out"):
        table(["fifo"])


def test_obvious_mutants_are_found_and_reported_within_few_runs() -> None:
    names = ["claims-count-as-retries", "attempt-not-counted"]
    told: list[Verdict] = []
    verdicts = table(names, runs=200, told=told.append)
    assert [verdict.name for verdict in verdicts] == names
    assert sorted(map(str, told)) == sorted(map(str, verdicts))
    for verdict in verdicts:
        assert verdict.found, verdict
        assert 1 <= verdict.runs <= 200
        assert verdict.cpu > 0


def test_failed_process_reports_its_error_and_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(error: str, work: Callable[..., object], *arguments: object) -> None:
        with pytest.raises(ForkedError, match=error):
            forked(work, *arguments, seconds=5)

    check_each(
        [("exit code -9", signal.raise_signal, signal.SIGKILL), ("ValueError: invalid", int, "x")], check
    )
    with pytest.raises(ForkedError, match="ended after 0 s"):
        forked(signal.pause, seconds=0)

    def failing(*_: object, seconds: float) -> object:
        return forked(divmod, 1, 0, seconds=seconds)

    monkeypatch.setattr(mutants, "forked", failing)
    name = SIMULATOR_MUTANTS[0].name
    ((verdict,), (under,)) = table(["attempt-not-counted"]), simulator_table([name])
    assert (verdict.tried, verdict.found) == (False, False)
    assert "ZeroDivisionError" in str(verdict.error)
    assert (under.tried, under.shown, under.under) == (False, False, name)


def test_interrupt_cancels_mutants_that_have_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    permits, tried = threading.Semaphore(1), list[str]()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its base
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            permits.release(100)
            super().shutdown(wait=wait)

    def elsewhere(command: list[str]) -> Verdict:
        permits.acquire()
        tried.append(command[0])
        return Verdict(command[0], found=True, cpu=1.0)

    def interrupt(_: Verdict) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mutants, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(mutants, "_elsewhere", elsewhere)
    with pytest.raises(KeyboardInterrupt):
        table(["attempt-not-counted"] * 40, jobs=1, told=interrupt)
    assert len(tried) <= 2


def test_verdict_table_passes_if_all_mutants_were_found_in_time() -> None:
    found = Verdict(
        "one", found=True, cpu=100.0, runs=7, scenario="storm", seed=3, rule="limit", text="6 > 5"
    )
    missed = Verdict("two", found=False, cpu=100.0, runs=9)
    slow = Verdict("three", found=True, cpu=201.0)
    hung = Verdict("four", found=False, cpu=0.0, error="it hung")
    assert [passed([found]), passed([found, missed]), passed([found, slow])] == [True, False, True]
    assert not passed([found, hung])
    assert summary([found, missed]) == "1 of 2 mutants found, 16 runs, 200 CPU s; not found: two"
    assert summary([found, slow]) == "2 of 2 mutants found, 7 runs, 301 CPU s (more than 300)"
    assert summary([found, hung]) == "1 of 2 mutants found, 7 runs, 100 CPU s; not tried: four"
    assert Verdict(**json.loads(json.dumps(found.as_json()))) == found
    assert "limit in storm, seed 3" in str(found)
    assert "NOT FOUND" in str(missed)
    assert "NOT TRIED: it hung" in str(hung)


def test_mutant_is_useless_if_its_bug_is_found_without_it_or_not_at_all() -> None:
    found = Verdict("bug", found=True, cpu=1.0, under="a")
    elsewhere = replace(found, under="b", other="limit in storm, seed 3: 6 > 5")
    missed, hung = replace(found, under="c", found=False), replace(found, under="d", error="it hung")
    assert [one.shown for one in (found, elsewhere, missed, hung)] == [True, False, False, False]
    tried = f"of {len(SIMULATOR_MUTANTS)} mutants of the simulator tried"
    assert simulator_summary([found]) == f"1 {tried}\ndead weight: nothing"
    assert simulator_summary([found, elsewhere, missed, hung]) == (
        f"3 {tried}, not tried: d\ndead weight: b; c"
    )
    assert "FOUND UNDER THE MUTANT by limit in storm" in str(elsewhere)


def test_planted_bug_is_found_by_its_property_only() -> None:
    alone = "unasked: attempts are numbered by claims"
    (verdict,) = simulator_table([alone])
    assert verdict.shown, verdict
    assert verdict.rule == "attempts are numbered by claims"
