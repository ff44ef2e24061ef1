"""The weights of scenarios: bugs that few seeds show, changed files, and the record of finds."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.table import TABLE
from tests.mutants.weights import Find, finds, names, weights
from tests.scenarios import names as scenarios
from zeke_sim.experiment.scenario import configured

HARD, EASY = TABLE[0], TABLE[1]
FOUND = {HARD.name: Find("waiting", 40), EASY.name: Find("plain", 1)}


def file_of(module: str) -> str:
    return module.replace(".", "/") + ".py"


def test_scenario_gets_seeds_for_bugs_that_few_show_and_for_those_in_changed_files() -> None:
    assert names(weights(FOUND, [])) == ["tests.scenarios", "tests.scenarios.waiting"]
    changed = weights(FOUND, [file_of(EASY.module), "docs/cli.md"])
    assert names(changed).count("tests.scenarios.plain") == 1
    assert EASY.module in changed["plain"][0]


def test_every_find_is_of_a_mutant_and_a_scenario() -> None:
    assert finds().keys() <= {mutant.name for mutant in TABLE}
    assert {find.scenario.partition(":")[0] for find in finds().values()} <= set(scenarios())


def test_project_names_scenarios_as_often_as_they_found_rare_bugs() -> None:
    assert configured(Path.cwd())[1] == names(weights(finds(), []))
