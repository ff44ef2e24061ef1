"""The compose file and the image say what operators are told: variables, defaults, who the worker runs as."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.tidy import ROOT


@pytest.fixture
def services() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]


@pytest.fixture
def image() -> list[str]:
    """The instructions of the last stage, which is the image."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    instructions = [line for line in text.splitlines() if line and not line.startswith("#")]
    last = max(number for number, line in enumerate(instructions) if line.startswith("FROM "))
    return instructions[last:]


def test_the_worker_gets_the_documented_variables_and_defaults(services: dict[str, Any]) -> None:
    assert services["jobs-worker"]["environment"] == {
        "DATABASE_PRIMARY_URL": "postgresql://zeke:${POSTGRES_PASSWORD}@postgres:5432/zeke",
        "OPENAI_API_KEY": "${OPENAI_API_KEY:-}",
        "JOBS_CRON_TZ": "${JOBS_CRON_TZ:-UTC}",
    }


def test_the_worker_waits_for_a_healthy_database_and_its_tables(services: dict[str, Any]) -> None:
    healthy = {"postgres": {"condition": "service_healthy"}}
    assert services["migrate"]["depends_on"] == healthy
    assert services["migrate"]["command"] == "zeke migrate"
    assert services["jobs-worker"]["depends_on"] == {
        **healthy,
        "migrate": {"condition": "service_completed_successfully"},
    }
    assert "pg_isready" in services["postgres"]["healthcheck"]["test"][-1]


def test_the_worker_may_finish_its_jobs_before_it_is_killed(services: dict[str, Any]) -> None:
    grace = services["jobs-worker"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > 30


def test_the_worker_runs_the_catalog_in_compose_as_in_the_image(
    services: dict[str, Any], image: list[str]
) -> None:
    (command,) = (yaml.safe_load(line.removeprefix("CMD ")) for line in image if line.startswith("CMD "))
    assert command == services["jobs-worker"]["command"].split()
    assert command == ["zeke", "worker", "--app", "zeke_tasks.catalog:catalog"]


def test_the_image_does_not_run_as_root(image: list[str]) -> None:
    assert [line for line in image if line.startswith("USER ")] == ["USER zeke"]
