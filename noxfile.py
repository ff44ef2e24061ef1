"""The project's commands, each in an environment of its own: demo, tests, lint, nightly, sim and others.

`nox` alone runs tests and lint. Sessions use the interpreter that nox runs on; `-P` names others, as in
`nox -s tests -P 3.12 3.13`. Arguments after `--` are passed to the program: `nox -s tests -- --postgres 15`.
Every session installs within constraints.txt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import nox
from nox.command import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

if sys.version_info < (3, 11):
    raise SystemExit("Zeke needs Python 3.11 or newer; run nox with one, for instance: python3.13 -m nox")

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")

nox.needs_version = ">=2025.5.1"
# uv where it is installed, since it is fast; nox depends on virtualenv.
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint"]
nox.options.error_on_missing_interpreters = False


def _install(
    session: nox.Session, *groups: str, extras: str = "client,embedded,tasks,web", editable: bool = True
) -> None:
    """Install the project with its extras and the named dependency groups, within constraints.txt."""
    requirements = nox.project.dependency_groups(PROJECT, *groups) if groups else ()
    project = ["-e", f".[{extras}]"] if editable else [f".[{extras}]"]
    session.install("--constraint", "constraints.txt", *project, *requirements)


@nox.session
def demo(session: nox.Session) -> None:
    """Start a private Postgres and a sample site, ingest it, and show what came of it."""
    # As a user installs it: from the built wheel, with the working tree out of reach.
    _install(session, extras="embedded,tasks", editable=False)
    session.run("python", "-m", "zeke_tasks.demo", *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def tests(session: nox.Session) -> None:
    """Run the fixed selection of tests, those that are not marked nightly; arguments go to pytest instead."""
    _install(session, "test")
    session.run("pytest", *(session.posargs or ["-n", "2", "-m", "not nightly", "--bar", "-r", "N"]))


class Night:
    """Runs commands, all of them although some fail, and keeps their results and times for the table.

    Attributes:
        session: runs them, in its environment.
        allowed: the names of programs that may be missing.
    """

    def __init__(self, session: nox.Session, allowed: Sequence[str]) -> None:
        self.session = session
        self.allowed = allowed
        self.rows: list[tuple[str, float, str]] = []

    def run(self, name: str, *command: str, outside: bool = False) -> None:
        """Run a command of the environment, or one from ``outside``, and note how it ended."""
        print(f"\n===== {name}", flush=True)
        begun, result = time.monotonic(), "green"
        try:
            self.session.run(*command, external=outside)
        except CommandFailed:
            result = "RED"
        self.rows.append((result, time.monotonic() - begun, name))

    def pytest(self, name: str, *arguments: str) -> None:
        """Run tests, of which none may be skipped but for a program that may be missing."""
        self.run(name, "pytest", "-n", "2", "-q", "--no-skips", *self.allow(), *arguments)

    def nox(self, name: str, *arguments: str) -> None:
        """Run another session, in its own environment."""
        self.run(name, sys.executable, "-m", "nox", *arguments, outside=True)

    def allow(self) -> list[str]:
        """Return the options that name what may be missing."""
        return [f"--allow-missing={program}" for program in self.allowed]

    def has(self, name: str, program: str | None = None) -> bool:
        """Return whether a program answers, by default the one of this name; note in the table if not."""
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
        found = shutil.which(program or name, path=path)
        if found and not subprocess.run([found, "--version"], capture_output=True, check=False).returncode:  # noqa: S603
            return True
        self.miss(name, f"{name} is not here")
        return False

    def miss(self, name: str, why: str) -> None:
        """Note that a part was left out, which is red unless this may be missing."""
        self.rows.append(("left out" if name in self.allowed else "RED", 0.0, why))


RANDOM = "--hypothesis-profile=random"
HISTORIES = ("retries,unique,storm,cron,slice,waiting,catalog", "1", "2", "3", "5", "8", "13")

SMOKES = (
    "tests/unit",
    "tests/memory",
    "tests/conformance/test_claim.py",
    "tests/runtime/test_worker.py",
    "tests/sim/test_loop.py",
    "tests/cli/test_app.py",
)
"""Run on other Pythons: what depends on the interpreter, and one file of each layer."""


def _mutants(night: Night) -> None:
    # Plants each bug of the list, which its test or its scenario has to find.
    night.run("planted bugs", "python", "-m", "tests.mutants", "--jobs", "2", *night.allow())


def _slow(night: Night) -> None:
    night.pytest("tests marked nightly", "-m", "nightly", RANDOM)


def _random(night: Night) -> None:
    folders = ("tests/unit", "tests/conformance", "tests/sim")
    night.pytest("other examples", RANDOM, "-m", "not nightly", *folders)
    night.pytest("interleavings", RANDOM, "tests/interleaving", "--interleavings", "2000", "--plans", "25")
    night.pytest("model", RANDOM, "tests/model", "--model-examples", "1000")


def _crashes(night: Night) -> None:
    crashes = ("tests/tasks/test_crashes.py", "--crash-points")
    night.pytest("tasks killed at every statement, in memory", *crashes, "0", "-k", "memory")
    night.pytest("tasks killed at a hundred points, on Postgres", *crashes, "100", "-k", "postgres")


def _simulations(night: Night) -> None:
    other = ("--jobs", "2", "--from", str(int(time.time())))
    night.run("20,000 runs", "zeke", "sim", "run", "--seeds", "20000", "--complete", *other)
    whole = ("tests.scenarios.catalog:WHOLE", "--seeds", "4")
    night.run("two weeks of the whole catalog", "zeke", "sim", "run", *whole, *other)
    night.run("replays on Postgres", "python", "-m", "tests.model.replays", "--seconds", "600", *other)
    night.run("a recorded history", "python", "-m", "tests.model.history", "--seed", other[-1])


def _torture(night: Night) -> None:
    night.run("torture", "python", "-m", "tests.torture", "--seed", str(int(time.time())))
    if night.has("pgbouncer"):
        night.run("torture, through PgBouncer", "python", "-m", "tests.torture", "--pooler")
    night.run("chaos, 12,000 jobs a fault", "python", "-m", "tests.chaos", "--jobs", "12000")


def _postgres(night: Night) -> None:
    brought = nox.project.dependency_groups(PROJECT, "postgres")
    night.session.install("--constraint", "constraints.txt", *brought)
    wheel = Path(night.session.virtualenv.location).glob("lib/python*/site-packages/*/pginstall/bin/initdb")
    programs = {"15": "/usr/lib/postgresql/15/bin/initdb", "16": str(next(wheel))}
    programs["17"] = "/usr/lib/postgresql/17/bin/initdb"
    for version, program in programs.items():
        if night.has(f"postgresql-{version}", program):
            folder = str(Path(program).parent)
            night.pytest(f"PostgreSQL {version}", "--postgres", folder, "tests/conformance", "tests/postgres")


def _pythons(night: Night) -> None:
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    told = night.session.run("python", "-m", "tests.sim.histories_of", *HISTORIES, silent=True)
    for version in ("3.11", "3.12", "3.13", "3.14"):
        if version == own or not night.has(f"python{version}"):
            continue
        # An environment of its own, which only nox makes; nothing inherited from this one.
        night.nox(f"Python {version}", "-s", "tests", "-P", version, "--", "-n", "2", *SMOKES)
        python = ROOT / ".nox" / f"tests-{version.replace('.', '-')}" / "bin" / "python"
        command = [str(python), "-m", "tests.sim.histories_of", *HISTORIES]
        other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout  # noqa: S603
        result = "green" if other == told else "RED"
        night.rows.append((result, 0.0, f"equal histories on Python {version}"))


def _interop(night: Night) -> None:
    if night.has("node") and night.has("npm"):
        night.nox("clients in Node, imports from pg-boss, faulty AI servers", "-s", "interop")


def _browser(night: Night) -> None:
    if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))) or night.has("chromium"):
        night.nox("the dashboard in Chromium", "-s", "browser")


def _docker(night: Night) -> None:
    if not night.has("docker"):
        return
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:  # noqa: S607
        night.miss("docker", "no Docker engine answers")
        return
    night.pytest("tests in a container", "--postgres", "testcontainers", "tests/conformance")
    night.nox("the example project beside a Docker engine", "-s", "downstream")


PARTS = {
    "mutants": _mutants,
    "slow": _slow,
    "random": _random,
    "crashes": _crashes,
    "simulations": _simulations,
    "torture": _torture,
    "postgres": _postgres,
    "pythons": _pythons,
    "interop": _interop,
    "browser": _browser,
    "docker": _docker,
}


@nox.session
def nightly(session: nox.Session) -> None:
    """Run everything heavy, each part to its end, and print a table; `-- mutants slow` for some parts.

    mutants: planted bugs are found. slow: tests marked nightly. random: examples, interleavings and model
    steps drawn anew. crashes: tasks killed at each statement. simulations: 20,000 seeds, replays on Postgres.
    torture: real processes killed, and each fault injected. postgres: 15 to 17. pythons: 3.11 to 3.14.
    interop, browser, docker: as their names say. `--allow-missing pgbouncer` leaves out what needs a program
    that is not here; without it a missing program is red.
    """
    parser = argparse.ArgumentParser(prog="nox -s nightly --")
    parser.add_argument("--allow-missing", action="append", default=[], metavar="PROGRAM")
    asked, parts = parser.parse_known_args(session.posargs)
    if unknown := [part for part in parts if part not in PARTS]:
        session.error(f"parts: must be among {', '.join(PARTS)}, got {', '.join(unknown)}")
    _install(session, "test", extras="client,embedded,sim,tasks,web")
    night = Night(session, asked.allow_missing)
    try:
        for part in parts or PARTS:
            begun = time.monotonic()
            PARTS[part](night)
            print(f"===== {part}: {time.monotonic() - begun:.0f} s", flush=True)
    finally:
        for result, seconds, name in night.rows:
            print(f"{result:>8} {seconds:6.0f} s  {name}", flush=True)
    if any(result == "RED" for result, _, _ in night.rows):
        session.error("something is red")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, layers, SQL, and what only a test can check."""
    _install(session, "lint", "test", "interop", "bench", "browser")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("pyright", "--warnings")
    session.run("python", "-m", "tests.types")
    session.run("lint-imports")
    statements = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("zeke_*/**/*.sql"))
    session.run("sqlfluff", "lint", "--disable-progress-bar", *statements)
    session.run("pytest", "-q", "tests/test_tidy.py", "tests/test_architecture.py")


@nox.session
def sim(session: nox.Session) -> None:
    """Search simulated worlds for a broken property; `-- --seeds 2000 --budget 120s` for a longer search.

    By default the first 1500 runs over all scenarios, the same ones each time, in which everything that can
    happen must have happened. Arguments after `--` are passed to `zeke sim run`, or to another of its
    commands: `nox -s sim -- replay PLAN`.
    """
    _install(session, extras="embedded,tasks,sim")
    arguments = list(session.posargs)
    if not arguments or arguments[0].startswith("-"):
        arguments = ["run", "--jobs", "2", *(arguments or ["--seeds", "1500", "--complete"])]
    session.run("zeke", "sim", *arguments)


@nox.session
def downstream(session: nox.Session) -> None:
    """Run the tests of examples/downstream against the built wheel, as a project elsewhere would."""
    example = ROOT / "examples" / "downstream"
    asked = nox.project.dependency_groups(nox.project.load_toml(example / "pyproject.toml"), "test")
    others = [one for one in asked if not one.startswith("zeke-queue")]
    session.install("--constraint", "constraints.txt", ".[embedded,hypothesis,sim]", *others)
    # A copy elsewhere, with the working tree out of sight.
    with tempfile.TemporaryDirectory() as elsewhere:
        shutil.copytree(example, elsewhere, dirs_exist_ok=True)
        with session.chdir(elsewhere):
            for arguments in ([], ["-n", "2"]):
                session.run("pytest", *arguments, *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def interop(session: nox.Session) -> None:
    """Run the JavaScript client's tests, clients in Node against the whole system, and imports from pg-boss.

    It needs Node 20 and npm. Arguments after `--` are passed to `node --test`, as in
    `nox -s interop -- --test-name-pattern=curl`. Without any it also imports jobs of later versions, gets
    briefs from two faulty AI servers, migrates a million rows of a pg-boss 9 in use, and follows
    docs/adopt-pgboss.md, which takes minutes; `-- smoke` is for the clients alone.
    """
    posargs = [one for one in session.posargs if one != "smoke"]
    _install(session, "test", "interop", extras="embedded,tasks,web")
    client, clients = ROOT / "clients" / "js", ROOT / "tests" / "interop"
    imported = () if session.posargs else (clients / "pgboss_later", clients / "pgboss9")
    for project in (client, clients, clients / "trpc10", *imported):
        with session.chdir(project):
            # Exactly what the lock file names, and no script of a package's own.
            session.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", external=True)
    with session.chdir(client):
        for script in ("types", "test"):
            session.run("npm", "run", script, external=True)
    session.run("python", "-m", "tests.interop", *posargs)
    if not session.posargs:
        for program in ("pgboss_import", "foreign_ai", "adopt", "guide"):
            session.run("python", "-m", f"tests.interop.{program}")


@nox.session
def browser(session: nox.Session) -> None:
    """Use the dashboard in the system's Chromium, on a real server and database; `-- FILE` for a part."""
    _install(session, "test", "browser")
    session.run("pytest", "-n", "2", *(session.posargs or ["tests/browser"]))


@nox.session
def torture(session: nox.Session) -> None:
    """Run real processes on a real Postgres, kill and cut off both, and judge what came of it (90 s)."""
    _install(session, "test")
    session.run("python", "-m", "tests.torture", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Inject each fault into real workers, and print what it cost; `-- --short` for two small ones."""
    _install(session, "test")
    session.run("python", "-m", "tests.chaos", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the queue against the raw limit of its statements, and the simulator beside its peers.

    `-- sim` for one of the benches, `-- --quick` for a smaller run.
    """
    _install(session, "bench", extras="client,embedded,sim,tasks,web")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def constraints(session: nox.Session) -> None:
    """Choose the newest versions of everything that the sessions install, for every Python from 3.11 on."""
    session.install("uv")
    groups = [word for name in PROJECT["dependency-groups"] for word in ("--group", name)]
    command = ["uv", "pip", "compile", "pyproject.toml", "--all-extras", *groups, "--upgrade", "--quiet"]
    command += ["--universal", "--python-version", "3.11", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--custom-compile-command", "nox -s constraints", "--output-file", "constraints.txt"]
    session.run(*command)
