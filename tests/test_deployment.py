"""The compose file and the image match the documentation: variables, defaults, the user of the worker."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.tidy import ROOT
from zeke_queue.cli.app import app
from zeke_queue.web import WebSettings
from zeke_queue.web.server import SHUTDOWN_TIMEOUT


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


def test_worker_gets_the_documented_variables_and_defaults(services: dict[str, Any]) -> None:
    assert services["jobs-worker"]["environment"] == {
        "DATABASE_PRIMARY_URL": "postgresql://zeke_app:${APP_PASSWORD}@postgres:5432/zeke",
        "OPENAI_API_KEY": "${OPENAI_API_KEY:-}",
        "JOBS_CRON_TZ": "${JOBS_CRON_TZ:-UTC}",
    }


def test_worker_waits_for_a_healthy_database_and_its_tables(services: dict[str, Any]) -> None:
    healthy = {"postgres": {"condition": "service_healthy"}}
    assert services["app-role"]["depends_on"] == healthy
    assert services["migrate"]["depends_on"] == {
        **healthy,
        "app-role": {"condition": "service_completed_successfully"},
    }
    assert services["migrate"]["command"] == "zeke migrate --grant zeke_app"
    assert services["jobs-worker"]["depends_on"] == {
        **healthy,
        "migrate": {"condition": "service_completed_successfully"},
    }
    assert "pg_isready" in services["postgres"]["healthcheck"]["test"][-1]


def test_worker_and_api_do_not_know_the_password_of_the_superuser(services: dict[str, Any]) -> None:
    superuser = services["postgres"]["environment"]["POSTGRES_USER"]
    for name in ("jobs-worker", "jobs-api"):
        written = yaml.safe_dump(services[name])
        assert "POSTGRES_PASSWORD" not in written
        assert f"//{superuser}:" not in written
    (script,) = services["app-role"]["command"]
    assert "alter role zeke_app login nosuperuser" in script


def test_worker_may_finish_its_jobs_before_it_is_killed(services: dict[str, Any]) -> None:
    grace = services["jobs-worker"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > 30


def test_api_gets_the_documented_variables_and_port(services: dict[str, Any], image: list[str]) -> None:
    api = services["jobs-api"]
    assert api["environment"] == {
        "DATABASE_PRIMARY_URL": "postgresql://zeke_app:${APP_PASSWORD}@postgres:5432/zeke",
        "JOBS_CRON_TZ": "${JOBS_CRON_TZ:-UTC}",
    }
    port = WebSettings.model_fields["api_port"].default
    assert api["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"EXPOSE {port}" in image
    assert f":{port}/readyz" in api["healthcheck"]["test"][-1]


def test_api_waits_for_the_dependencies_of_the_worker(services: dict[str, Any]) -> None:
    assert services["jobs-api"]["depends_on"] == services["jobs-worker"]["depends_on"]
    assert services["jobs-api"]["build"] == services["jobs-worker"]["build"]


def test_api_may_finish_its_requests_before_it_is_killed(services: dict[str, Any]) -> None:
    assert int(services["jobs-api"]["stop_grace_period"].removesuffix("s")) > SHUTDOWN_TIMEOUT


def test_command_of_the_api_exists(services: dict[str, Any]) -> None:
    zeke, command, *arguments = services["jobs-api"]["command"].split()
    assert (zeke, command) == ("zeke", "api")
    params = get_command(app).commands[command].make_context("api", arguments).params  # pyright: ignore[reportAttributeAccessIssue]
    assert (params["app"], params["host"]) == ("zeke_tasks.catalog:catalog", "0.0.0.0")  # noqa: S104 - in a container


def test_image_has_the_extras_that_its_commands_need() -> None:
    (installed,) = re.findall(r'"\.\[(.*?)\]"', (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert set(installed.split(",")) == {"tasks", "web"}


def test_api_can_be_served_with_the_extra_web_alone() -> None:
    program = (
        "import sys\n"
        "sys.modules['httpx2'] = None\n"
        "import zeke_queue.web.server\n"
        "from zeke_queue.api_client import Run, ServerUnavailableError\n"
        "try:\n"
        "    from zeke_queue.api_client import JobsClient\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error.name)\n"
    )
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True) == "httpx2\n"


def test_worker_runs_the_catalog_in_compose_as_in_the_image(
    services: dict[str, Any], image: list[str]
) -> None:
    (command,) = (yaml.safe_load(line.removeprefix("CMD ")) for line in image if line.startswith("CMD "))
    assert command == services["jobs-worker"]["command"].split()
    assert command == ["zeke", "worker", "--app", "zeke_tasks.catalog:catalog"]


def test_image_does_not_run_as_root(image: list[str]) -> None:
    assert [line for line in image if line.startswith("USER ")] == ["USER zeke"]
