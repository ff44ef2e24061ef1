"""The project's commands, each in an environment of its own: demo, tests, lint, nightly, sim and others.

`nox` alone runs tests and lint. Sessions use the interpreter that nox runs on; `-P` names others, as in
`nox -s tests -P 3.12 3.13`. Arguments after `--` are passed to the program: `nox -s tests -- --postgres 15`.
Every session installs within constraints.txt.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import nox

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """Run the tests that a landing takes; `-- -n 3` runs all, `-- --postgres 15` on another database."""
    _install(session, "test")
    if not any(shutil.which("pgbouncer", path=path) for path in (None, "/usr/sbin:/usr/local/sbin")):
        _left_out("what Zeke does behind PgBouncer, which is not here")
    session.run("pytest", *(session.posargs or ["-n", "3", *_landing()]))


class Part(NamedTuple):
    """Tests of which a landing runs a sample, unless it changes one of the paths; a share runs all."""

    tests: str
    sample: int
    changes: tuple[str, ...]
    keep: tuple[str, ...] = ()


PAGES = ("tests/sim/test_pages.py", "tests/sim/test_plugin_page.py")
"""Projects of the documentation, whose simulations take minutes."""


def _landing() -> list[str]:
    """Return pytest's options that leave out what `nox -s nightly` runs by turns."""
    keep = (
        "tests/postgres/test_plans.py",
        "tests/postgres/test_plans_of_lists.py",
        "tests/postgres/test_plans_of_overviews.py",
        "tests/postgres/test_plans_of_places.py",
        "tests/postgres/test_plans_of_priorities.py",
        "tests/postgres/test_migrate.py",
    )
    tasks = ("zeke_tasks/", "zeke_queue/task", "zeke_queue/storage/", "tests/tasks/")
    parts = (
        Part("tests/tasks", 250, tasks, ("tests/tasks/test_crashes.py",)),
        Part("tests/postgres", 60, ("zeke_queue/storage/", "tests/postgres/"), keep),
        Part("tests/interleaving", 0, ("tests/interleaving/", "zeke_queue/storage/postgres/")),
        Part("tests/torture", 0, ("tests/torture/",)),
        *(Part(file, 0, ("docs/", "tests/sim/", "zeke_sim/", "zeke_tasks/testing/")) for file in PAGES),
        Part("tests/web/test_openapi.py", 0, ("zeke_queue/web/", "tests/web/test_openapi.py")),
    )
    # Each landing kills the tasks at different points. Lint checks what is tidy.
    options = ["--crash-turn", _git("rev-list", "--count", "HEAD") or "0", "--ignore=tests/test_tidy.py"]
    for part in parts:
        if _changed(*part.changes):
            continue
        if part.sample:
            options += ["--sample", f"{part.tests}={part.sample}"]
            options += [word for file in part.keep for word in ("--keep", file)]
        else:
            options.append(f"--ignore={part.tests}")
    return options


def _git(*arguments: str) -> str:
    """Return what git says; nothing where there is no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _before() -> str:
    """Return the commit of six hours before the last one, or an older one; empty if git fails."""
    until = int(_git("log", "-1", "--format=%ct") or 0) - 6 * 3600
    return _git("rev-list", "-1", f"--before=@{until}", "HEAD") or _git("rev-parse", "--verify", "HEAD~1")


def _changes() -> list[str] | None:
    """Return the files that changed since six hours before the last commit; None if git fails."""
    if not (before := _before()):
        return None
    others = _git("ls-files", "--others", "--exclude-standard")
    return sorted({*_git("diff", "--name-only", before).splitlines(), *others.splitlines()})


def _changed(*paths: str) -> bool:
    """Return whether a file with one of these prefixes is among the changes; True if git fails."""
    files = _changes()
    return files is None or any(file.startswith(paths) for file in files)


# The shares of nightly


STAGES: list[tuple[str, float]] = []

SMOKES = (
    "tests/unit",
    "tests/memory",
    "tests/conformance/test_claim.py",
    "tests/runtime/test_worker.py",
    "tests/sim/test_loop.py",
    "tests/cli/test_app.py",
)
"""Run on other Pythons: what depends on the interpreter, and one file of each layer."""

REPLAY_SECONDS = 90
"""Seconds for which a landing's share 3 replays the calls of simulated runs on Postgres."""

REPLAY_RUNS = 100_000
REPLAY_HOURS = 8
"""Replayed runs of a night, and the hours after which it replays no more of them."""

CLEAN_SEEDS = 1_500
NIGHTLY_SEEDS = 25_000
"""Runs over all scenarios in which no property may be violated, in a landing and in a night."""

INTERLEAVINGS = 100
NIGHTLY_INTERLEAVINGS = 5_000
"""Drawn scripts whose interleavings are played, in a landing and in a night."""

NIGHTLY_EXAMPLES = 2_500
"""Drawn examples of the differential test of both storages, in a night."""

HISTORIES = ("retries,unique,storm,cron,slice,waiting,catalog", "1", "2", "3", "5", "8", "13")


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Time a stage, for the table at the end and for the file that ZEKE_STAGES names."""
    print(f"\n===== {name}", flush=True)
    begun = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - begun
        STAGES.append((name, seconds))
        print(f"===== {name}: {seconds:.0f} s", flush=True)
        if path := os.environ.get("ZEKE_STAGES"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(f"{seconds:.0f}\t  {name}\n")


def _left_out(what: str) -> None:
    """Report what cannot run here, for the list at the end of .ci/run too."""
    print(f"LEFT OUT: {what}", flush=True)
    if path := os.environ.get("ZEKE_LEFT_OUT"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{what}\n")


def _due() -> int:
    """Return the share whose turn it is."""
    return int(_git("rev-list", "--count", "HEAD") or 0) % len(SHARES)


def _is_landing(session: nox.Session) -> bool:
    """Return whether a landing waits for the share, for which a night has hours."""
    return session.posargs == ["landing"]


def _other_seeds() -> int:
    """Return the first of seeds that the last runs did not have."""
    return 1 + 1000 * int(_git("rev-list", "--count", "HEAD") or 0)


def _part(of: int) -> list[str]:
    """Return the options for the mutants of a landing: a part, another one each time, and what changed."""
    turn = int(_git("rev-list", "--count", "HEAD") or 0) // len(SHARES)
    before = _before()
    return ["--part", f"{turn % of + 1}/{of}", *(["--since", before] if before else [])]


def _mutants(session: nox.Session) -> None:
    # Beside the share whose turn it is there is no time for all, which run when this one is due.
    part = _part(5) if _is_landing(session) and _due() != 0 else []
    which = f"part {part[1]} and what changed" if part else "all"
    with _stage(f"share 0: planted bugs are found, {which}"):
        session.run("python", "-m", "tests.mutants", "--jobs", "2", *part)
    with _stage(f"share 0: mutants of the simulator are found, {which}"):
        session.run("python", "-m", "tests.mutants", "--simulator", *part)
    with _stage(f"share 0: mutants that named tests find are found, {which}"):
        session.run("python", "-m", "tests.mutants.tested", *part)


def _postgres_mutants(session: nox.Session) -> None:
    part = _part(3) if _is_landing(session) else []
    which = f"part {part[1]} and what changed" if part else "all"
    with _stage(f"share 1: mutants of the Postgres storage are found, {which}"):
        session.run("python", "-m", "tests.interleaving.mutants_postgres", "--jobs", "2", *part)
    many = INTERLEAVINGS if _is_landing(session) else NIGHTLY_INTERLEAVINGS
    # Each run draws other scripts, so a second run that passes would say nothing of the first.
    drawn = ("pytest", "-n", "2", "--flaky", "0")
    with _stage(f"share 1: {many} drawn interleavings"):
        session.run(*drawn, "tests/interleaving", "--interleavings", str(many))
    if not _is_landing(session):
        with _stage(f"share 1: {NIGHTLY_EXAMPLES} examples of what both storages do alike"):
            session.run(*drawn, "tests/model/test_model.py", "--model-examples", str(NIGHTLY_EXAMPLES))


def _postgres_versions(session: nox.Session) -> None:
    for version in ("17", "15"):
        if not Path(f"/usr/lib/postgresql/{version}/bin/initdb").exists():
            _left_out(f"PostgreSQL {version} is not here")
            continue
        with _stage(f"share 2: PostgreSQL {version}"):
            session.run("pytest", "-n", "2", "--postgres", version, "tests/conformance", "tests/postgres")
    with _stage("share 2: PostgreSQL 18, what a landing leaves out"):
        session.run("pytest", "-n", "2", "--postgres", "embedded", "tests/postgres")


def _long_sim(session: nox.Session) -> None:
    landing = _is_landing(session)
    seeds = CLEAN_SEEDS if landing else NIGHTLY_SEEDS
    jobs = ("--jobs", "2" if landing else str(os.cpu_count() or 2))
    other = ("--from", str(_other_seeds()))
    # A landing's runs are the same each time, so that its change is to blame for what they find.
    first = () if landing else other
    with _stage(f"share 3: {seeds} runs in which everything happens"):
        session.run("zeke", "sim", "run", "--seeds", str(seeds), "--complete", *jobs, *first)
    with _stage("share 3: the calls of other simulated runs each time, replayed on Postgres"):
        seconds = REPLAY_SECONDS if landing else REPLAY_HOURS * 3600
        limits = ("--runs", str(REPLAY_RUNS), "--seconds", str(seconds))
        session.run("python", "-m", "tests.model.replays", *other, *limits, *jobs)
    with _stage("share 3: a history that Postgres wrote, replayed with faults"):
        session.run("python", "-m", "tests.model.history", "--seed", str(_other_seeds()))
    with _stage("share 3: the projects of the documentation"):
        session.run("pytest", "-n", "2", *PAGES)
    with _stage("share 3: two weeks of the whole catalog"):
        session.run("zeke", "sim", "run", "tests.scenarios.catalog:WHOLE", "--seeds", "2", "--jobs", "2")


def _torture(session: nox.Session) -> None:
    turn = int(_git("rev-list", "--count", "HEAD") or 0) // len(SHARES)
    pooler = ["--pooler"] if turn % 2 else []
    if (
        pooler
        and shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") is None
    ):
        _left_out("torture through PgBouncer, which is not here")
        pooler = []
    with _stage(" ".join(["share 4: torture", *pooler])):
        session.run("python", "-m", "tests.torture", *pooler)
    with _stage("share 4: chaos, one or two faults by turns"):
        session.run("python", "-m", "tests.chaos", "--short", "--seed", str(turn))
    with _stage("share 4: all tests of the catalog"):
        session.run("pytest", "-n", "2", "tests/torture", "tests/tasks")
    crashes = ("tests/tasks/test_crashes.py", "--crash-turn", str(turn), "--crash-points")
    with _stage("share 4: each task killed at every statement, in memory"):
        session.run("pytest", "-n", "2", *crashes, "0", "-k", "memory")
    with _stage("share 4: each task killed at a hundred points by turns, on Postgres"):
        session.run("pytest", "-n", "2", *crashes, "100", "-k", "postgres")
    # Afterwards, in its own environment, with what landings leave out.
    session.notify("interop", posargs=())


def _pythons(session: nox.Session) -> None:
    with _stage("share 5: schemathesis"):
        session.run("pytest", "tests/web/test_openapi.py")
    told = session.run("python", "-m", "tests.sim.histories_of", *HISTORIES, silent=True)
    own = session.run("python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])", silent=True)
    for version in ("3.11", "3.12", "3.13", "3.14"):
        if version == str(own).strip():
            continue
        if not _runs(f"python{version}"):
            _left_out(f"Python {version} is not here")
            continue
        with _stage(f"share 5: Python {version}"):
            # An environment of its own, which only nox makes; nothing inherited from this one.
            another = [sys.executable, "-m", "nox", "-s", "tests", "-P", version, "--", "-n", "2", *SMOKES]
            session.run(*another, external=True)
        with _stage(f"share 5: equal histories on Python {version}"):
            python = ROOT / ".nox" / f"tests-{version.replace('.', '-')}" / "bin" / "python"
            command = [str(python), "-m", "tests.sim.histories_of", *HISTORIES]
            other = session.run(*command, external=True, silent=True)
            if other != told:
                session.error(f"histories differ:\n{told}\nand on Python {version}:\n{other}")


def _runs(python: str) -> bool:
    """Return whether there is such an interpreter, and more than a wrapper's name for it."""
    if (found := shutil.which(python)) is None:
        return False
    return subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0  # noqa: S603


SHARES = (_mutants, _postgres_mutants, _postgres_versions, _long_sim, _torture, _pythons)


@nox.session
def nightly(session: nox.Session) -> None:
    """Run what landings take by turns: all of it, or `-- 3` a share; `-- landing` the one that is due.

    0 planted bugs, 1 mutants of the Postgres storage, interleavings and, at night, examples of what both
    storages do alike, 2 other versions of Postgres, 3 the long simulations, others and a recorded history
    replayed, and the projects of the documentation, 4 torture, chaos, all tests of the catalog, its tasks
    killed at each statement and all of interop, 5 other Pythons. At night more is drawn than in a landing.
    Which share a landing takes is the number of commits modulo 6; one that touches the worker or the storage
    takes share 0 too, a fifth of its mutants and those that changed. Of the mutants of the Postgres storage a
    landing tries a third, and those that changed.
    """
    _install(session, "test", extras="client,embedded,sim,tasks,web")
    asked = session.posargs or [str(number) for number in range(len(SHARES))]
    if asked == ["landing"]:
        critical = _changed("zeke_queue/worker", "zeke_queue/storage/")
        asked = [str(number) for number in sorted({_due(), 0} if critical else {_due()})]
    if not all(one.isdecimal() and int(one) < len(SHARES) for one in asked):
        session.error(f"shares: must be 0 to {len(SHARES) - 1} or landing, got {' '.join(asked)}")
    try:
        for number in asked:
            SHARES[int(number)](session)
    finally:
        for name, seconds in STAGES:
            print(f"{seconds:6.0f} s  {name}", flush=True)


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

    By default 1500 runs over all scenarios, in which everything that can happen must have happened, and two
    weeks of the whole catalog with fifty sources. Scenarios that have found bugs which few runs show get more
    runs, and most those that have found bugs in the files that changed. Arguments after `--` are passed to
    `zeke sim run`, or to another of its commands: `nox -s sim -- replay PLAN`.
    """
    _install(session, extras="embedded,tasks,sim")
    arguments = list(session.posargs)
    if not arguments or arguments[0].startswith("-"):
        chosen = session.run("python", "-m", "tests.mutants.weights", *(_changes() or []), silent=True)
        names, _, reasons = str(chosen).partition("\n")
        session.log(reasons)
        options = arguments or ["--seeds", "1500", "--complete"]
        arguments = ["run", "--jobs", "2", *options, *names.split()]
    session.run("zeke", "sim", *arguments)
    if not session.posargs:
        session.run("zeke", "sim", "run", "tests.scenarios.catalog:WHOLE", "--seeds", "2", "--jobs", "2")


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
    docs/adopt-pgboss.md; `-- landing` leaves out the last two, which take minutes.
    """
    landing = _is_landing(session)
    posargs = [] if landing else session.posargs
    _install(session, "test", "interop", extras="embedded,tasks,web")
    client, clients = ROOT / "clients" / "js", ROOT / "tests" / "interop"
    for project in (client, clients, clients / "trpc10", clients / "pgboss_later", clients / "pgboss9"):
        with session.chdir(project):
            # Exactly what the lock file names, and no script of a package's own.
            session.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", external=True)
    with session.chdir(client):
        for script in ("types", "test"):
            session.run("npm", "run", script, external=True)
    session.run("python", "-m", "tests.interop", *posargs)
    if not posargs:
        session.run("python", "-m", "tests.interop.pgboss_import")
        session.run("python", "-m", "tests.interop.foreign_ai")
    if not session.posargs:
        session.run("python", "-m", "tests.interop.adopt")
        session.run("python", "-m", "tests.interop.guide")


@nox.session
def browser(session: nox.Session) -> None:
    """Use the dashboard in the system's Chromium, on a real server and database; `-- -k dark` for a part."""
    _install(session, "test", "browser")
    session.run("pytest", "-n", "2", "tests/browser", *session.posargs)


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
