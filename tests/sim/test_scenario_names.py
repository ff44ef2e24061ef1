"""How scenarios are named: packages, modules with a ``SCENARIO``, ``module:attribute``, pyproject.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from tests import scenarios
from zeke_sim.cli import sim
from zeke_sim.errors import SimulationError
from zeke_sim.experiment.scenario import configured, expand, load

if TYPE_CHECKING:
    from pathlib import Path


def test_package_names_all_its_scenarios() -> None:
    assert expand(["tests.scenarios"]) == [scenarios.full(name) for name in scenarios.names()]
    assert expand(["tests.scenarios.cron", "tests.scenarios.catalog:WHOLE"]) == [
        "tests.scenarios.cron",
        "tests.scenarios.catalog:WHOLE",
    ]
    with pytest.raises(SimulationError, match=r"no module of the package 'tests\.unit' has a SCENARIO"):
        expand(["tests.unit"])


def test_every_scenario_is_loaded_by_the_name_that_its_plans_have() -> None:
    for name in [*scenarios.names(), "catalog:WHOLE", "catalog:FEW_SOURCES"]:
        assert load(scenarios.full(name)).name == scenarios.full(name)


def test_name_without_a_scenario_is_refused() -> None:
    with pytest.raises(SimulationError, match="pass a module with a SCENARIO"):
        load("tests.scenarios")
    with pytest.raises(SimulationError, match="is a function"):
        load("tests.scenarios:names")


def test_scenarios_are_read_from_the_nearest_project(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    with pytest.raises(SimulationError, match="none is named; pass a package"):
        configured(inner)
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.zeke.sim]\nscenarios = ["shop.worlds"]\n')
    assert configured(inner) == (tmp_path, ["shop.worlds"])
    project.write_text("[tool.zeke.sim]\nscenarios = []\n")
    with pytest.raises(SimulationError, match="none is named"):
        configured(inner)
    project.write_text('[tool.zeke.sim]\nscenarios = "shop.worlds"\n')
    with pytest.raises(SimulationError, match=r"tool\.zeke\.sim\.scenarios must be a list"):
        configured(inner)
    project.write_text("not TOML")
    with pytest.raises(SimulationError, match=r"pyproject\.toml: "):
        configured(inner)


def test_command_line_explains_how_to_name_a_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(sim, ["run"])
    assert result.exit_code == 2
    assert "scenario: none is named" in result.output
    assert "[tool.zeke.sim]" in CliRunner().invoke(sim, ["run", "--help"]).output
