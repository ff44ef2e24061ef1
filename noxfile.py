"""The project's commands, each in an environment of its own: demo, tests, lint, browser, sim and others.

`nox` alone runs tests and lint. Sessions use the interpreter that nox runs on; `-P` names others, as in
`nox -s tests -P 3.12 3.13`. What follows `--` goes on to the program: `nox -s tests -- --postgres 15`.
Every session installs within constraints.txt.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import nox

if sys.version_info < (3, 11):
    raise SystemExit("Zeke needs Python 3.11 or newer; run nox with one, for instance: python3.13 -m nox")

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")

nox.needs_version = ">=2025.5.1"
# uv where it is at hand, for it is fast; virtualenv came with nox.
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
    # As a user has it: from the built wheel, with the working tree out of sight.
    _install(session, extras="embedded,tasks", editable=False)
    session.run("python", "-m", "zeke_tasks.demo", *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests over both stores; `-- --postgres 15` chooses another database."""
    _install(session, "test")
    session.run("pytest", *(session.posargs or ["-n", "2"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, layers, SQL, and what only a test can check."""
    _install(session, "lint", "test", "bench", "browser")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("pyright", "--warnings")
    session.run("lint-imports")
    statements = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("zeke_*/**/*.sql"))
    session.run("sqlfluff", "lint", "--disable-progress-bar", *statements)
    session.run("pytest", "-q", "tests/test_tidy.py", "tests/test_public_api.py")


@nox.session
def sim(session: nox.Session) -> None:
    """Search simulated worlds for a broken property; `-- --seeds 2000 --budget 120s` for a longer search.

    By default 1000 runs over all scenarios, in which everything that can happen must have happened, and two
    weeks of the whole catalog with fifty sources. What follows `--` goes to `zeke sim run`, or to another of
    its commands: `nox -s sim -- mutants`.
    """
    _install(session, extras="embedded,tasks,sim")
    arguments = list(session.posargs)
    if not arguments or arguments[0].startswith("-"):
        arguments = ["run", "--jobs", "2", *(arguments or ["--seeds", "1000", "--complete"])]
    session.run("zeke", "sim", *arguments)
    if not session.posargs:
        session.run("zeke", "sim", "run", "zeke_sim.scenarios.catalog:WHOLE", "--seeds", "2", "--jobs", "2")


@nox.session
def downstream(session: nox.Session) -> None:
    """Run the tests of examples/downstream against the built wheel, as a project elsewhere would."""
    example = ROOT / "examples" / "downstream"
    asked = nox.project.dependency_groups(nox.project.load_toml(example / "pyproject.toml"), "test")
    others = [one for one in asked if not one.startswith("zeke-queue")]
    session.install("--constraint", "constraints.txt", ".[embedded,sim]", *others)
    # A copy elsewhere, with the working tree out of sight.
    with tempfile.TemporaryDirectory() as elsewhere:
        shutil.copytree(example, elsewhere, dirs_exist_ok=True)
        with session.chdir(elsewhere):
            for arguments in ([], ["-n", "2"]):
                session.run("pytest", *arguments, *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def interop(session: nox.Session) -> None:
    """Run the JavaScript client's tests, and clients in Node against the whole system; needs Node 20 and npm.

    What follows `--` goes to `node --test`, as in `nox -s interop -- --test-name-pattern=curl`.
    """
    _install(session, "test", extras="embedded,tasks,web")
    client, clients = ROOT / "clients" / "js", ROOT / "tests" / "interop"
    for project in (client, clients, clients / "trpc10"):
        with session.chdir(project):
            # Exactly what the lock file names, and no script of a package's own.
            session.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", external=True)
    with session.chdir(client):
        for script in ("types", "test"):
            session.run("npm", "run", script, external=True)
    session.run("python", "-m", "tests.interop", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Use the dashboard in the system's Chromium, on a real server and database; `-- -k dark` for a part."""
    _install(session, "test", "browser")
    session.run("pytest", "tests/browser", *session.posargs)


@nox.session
def torture(session: nox.Session) -> None:
    """Run real processes on a real Postgres, kill and cut off both, and judge what came of it (90 s)."""
    _install(session, "test")
    session.run("python", "-m", "tests.torture", *session.posargs)


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
