"""What is written of a failure: a plan and a page, in a folder that no repository takes up."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.sim.planted import SCENARIO
from zeke_sim.plan import Plan
from zeke_sim.run import run
from zeke_sim.scenario import load
from zeke_sim.search import find
from zeke_sim.show import sentence, shown, write

if TYPE_CHECKING:
    from pathlib import Path

    from zeke_sim.run import Outcome


@pytest.fixture(scope="module")
def failed() -> Outcome:
    finding = find([SCENARIO.name], itertools.count(), 60)
    assert finding is not None
    return finding.outcome


def test_the_plan_that_is_written_is_the_failure(failed: Outcome, tmp_path: Path) -> None:
    files, told = write(failed, tmp_path / "new" / "folder", SCENARIO.properties)
    again = run(SCENARIO, Plan.loads(files.plan.read_text()))
    assert again.digest == failed.digest
    assert told.sentence == "Every claim is answered, which no network promises."
    assert told.sentence in files.page.read_text()
    assert str(files.plan) in told.command


def test_no_repository_takes_up_what_is_written(failed: Outcome, tmp_path: Path) -> None:
    write(failed, tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_each_failure_has_files_of_its_own_whatever_it_is_called(failed: Outcome, tmp_path: Path) -> None:
    names = ("a:b", "../a b", "c")
    plans = [replace(failed.plan, scenario=name) for name in names]
    written = [write(replace(failed, plan=plan), tmp_path)[0] for plan in plans]
    assert len({path for files in written for path in (files.plan, files.page)}) == 2 * len(names)
    assert all(path.parent == tmp_path for files in written for path in (files.plan, files.page))


def test_a_rule_of_nobody_is_its_own_sentence() -> None:
    assert sentence("a client's program ends", SCENARIO.properties) == "a client's program ends"


def test_a_run_in_which_nothing_broke_is_not_shown(failed: Outcome, tmp_path: Path) -> None:
    files, _ = write(failed, tmp_path)
    retries = load("retries")
    calm = run(retries, retries.plan(1).with_decisions({}))
    with pytest.raises(ValueError, match="nothing broke"):
        shown(calm, files)
