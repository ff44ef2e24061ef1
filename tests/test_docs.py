"""The pages agree with the code on names, options and examples."""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import re
import subprocess
import sys
import time  # noqa: TID251 - sets the zone, and asks for no time
import tomllib
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import typer
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from typer.main import get_command

from tests.cases import check_each
from tests.postgres.sqlalchemy_url import url
from tests.tidy import ROOT
from zeke_queue import Catalog, Queue, SendOptions, Worker
from zeke_queue.cli.app import add_commands
from zeke_queue.cli.app import app as command_line
from zeke_queue.core.leases import validity
from zeke_queue.core.options import DEFAULTS
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.settings import Settings
from zeke_queue.web import WebSettings
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.fetch.settings import FetchSettings
from zeke_tasks.keywords import KeywordSettings
from zeke_tasks.store.retention import Retention
from zeke_tasks.youtube.settings import YouTubeSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path
    from types import CodeType


EXEMPLARY = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.glob("zeke_*/**/*.py")
    if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
)
"""Modules with examples in their docstrings."""

_LOGS = re.compile(r"\.(warning|error|exception)\b|^self\._log$")

_URL_OF_THE_PAGE = "postgresql+psycopg://zeke:secret@db.example.com/zeke"

SETTINGS = (Settings, AISettings, KeywordSettings, Retention, YouTubeSettings, FetchSettings, WebSettings)


def _variables(page: str) -> dict[str, str]:
    """Each documented variable with its default, as the page writes it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*?) +\|", text, re.MULTILINE))


def _defaults() -> dict[str, str]:
    """Each setting's variable with its default, as a page would write it."""
    written: dict[str, str] = {}
    for name, setting in [field for settings in SETTINGS for field in settings.model_fields.items()]:
        value = setting.default
        text = f"{value:g}" if isinstance(value, float) and value < 1e5 else str(value).removesuffix(".0")
        shown = f"`{str(value).lower() if isinstance(value, bool) else text}`"
        written[name.upper()] = "not set" if value in (None, ()) else shown
    return {**written, "DATABASE_PRIMARY_URL": "required"}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock shows another time than UTC's."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")  # a slim system knows no zones by name
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
def test_examples_in_docstrings_hold() -> None:
    def check(name: str) -> None:
        failed, attempted = doctest.testmod(import_module(name))
        assert (failed, attempted > 0) == (0, True)

    check_each(EXEMPLARY, check)


def test_every_setting_is_documented_with_its_default() -> None:
    assert _variables("docs/settings.md") == _defaults()


def test_readme_names_existing_settings_with_their_defaults() -> None:
    named = _variables("README.md")
    assert named
    assert named == {name: default for name, default in _defaults().items() if name in named}


def test_pages_name_existing_variables_only() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"\b((?:API|JOBS|LOG|DATABASE|OPENAI|YOUTUBE)_[A-Z_]+)\b", text))
        assert named <= _defaults().keys(), page.name


def test_documented_lease_equals_the_code() -> None:
    lease, interval = (
        Settings.model_fields[name].default for name in ("jobs_lease", "jobs_heartbeat_interval")
    )
    valid = f"{validity(lease, interval):g}"
    for page in ("docs/guide.md", "docs/troubleshooting.md"):
        assert f"{valid} seconds" in (ROOT / page).read_text(encoding="utf-8"), page
    glossary = " ".join((ROOT / "docs/glossary.md").read_text(encoding="utf-8").split())
    assert f"({lease:g} seconds" in glossary
    assert f"by default {valid} seconds" in glossary


def test_readme_program_prints_the_documented_output(dsn: str, tmp_path: Path) -> None:
    program, _ = _blocks("README.md")
    (tmp_path / "app.py").write_text(program, encoding="utf-8")
    (said,) = re.findall(r"`python app\.py` prints `(.*?)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env={"DATABASE_PRIMARY_URL": dsn, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{said}\n", "")


async def test_readme_test_passes(app: ModuleType) -> None:
    program, test = _blocks("README.md")
    exec(program, vars(app))  # noqa: S102 - our own page
    exec(test, vars(app))  # noqa: S102 - as above
    await app.test_my_task_succeeds()


def _blocks(page: str) -> list[str]:
    """Return the page's blocks of Python, each after as many empty lines as it has above it there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        "\n" * text.count("\n", 0, found.start(1)) + found[1]
        for found in re.finditer(r"```python\n(.*?)```", text, re.DOTALL)
    ]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that contains the guide's blocks, which may import it."""
    module = ModuleType("app")
    monkeypatch.setitem(sys.modules, "app", module)
    return module


def _code(block: str) -> CodeType:
    """Return a block that may await at its top level."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(block, "docs/guide.md", "exec", dont_inherit=True, flags=flags)


async def _run(code: CodeType, app: ModuleType) -> None:
    """Run a block; a worker with the definitions of the previous blocks runs the jobs that it sends."""
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, vars(app))  # noqa: S102 - our own page
        return
    async with Queue.connect(app.catalog) as queue, Worker(queue):
        app.__dict__["queue"] = queue
        await eval(code, vars(app))  # noqa: S307 - as above


def _needs_database(block: str) -> bool:
    return "connection" in block or "engine" in block


async def test_guide_examples_work(app: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks but those of the next test, in the order of the page; ``main`` and tests are called too."""
    storage = MemoryStorage(SystemClock())

    @asynccontextmanager
    async def connect(catalog: Catalog) -> AsyncIterator[Queue]:
        yield Queue(catalog, storage)

    monkeypatch.setattr(Queue, "connect", connect)
    for block in _blocks("docs/guide.md"):
        if not _needs_database(block):
            await _run(_code(block), app)
    await app.test_loud_greeting_is_in_capitals()
    async with Worker(Queue(app.catalog, storage)):
        await app.main()


async def test_guide_transactions_work(app: ModuleType, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PRIMARY_URL", dsn)
    app.__dict__["dsn"] = dsn
    app.__dict__["engine"] = create_async_engine(
        "postgresql+psycopg://",
        async_creator=lambda: psycopg.AsyncConnection.connect(dsn),
        poolclass=NullPool,
    )
    for block in _blocks("docs/guide.md"):
        code = _code(block)
        if _needs_database(block) or not code.co_flags & inspect.CO_COROUTINE:
            await _run(code, app)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        found = await (await connection.execute("SELECT name FROM person ORDER BY name")).fetchall()
        sent = await (
            await connection.execute("SELECT data->>'name' FROM pgboss.job WHERE name = 'greet' ORDER BY 1")
        ).fetchall()
    assert found == sent == [("Ada",), ("Edsger",), ("Grace",)]


async def test_sync_page_examples_work(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.postgres.applications import django_on  # noqa: PLC0415 - Django, which no other page needs

    monkeypatch.setenv("DATABASE_PRIMARY_URL", dsn)
    tasks, script, in_django, in_flask, joined, tested = _blocks("docs/sync.md")
    page: dict[str, Any] = {"__name__": "tasks", "dsn": dsn}

    def run_all() -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE person (name text)")
        for block in (script, joined, tested + "\n\ntest_greeting()"):
            exec(block, {**page})  # noqa: S102 - our own page
        address = url(dsn, "psycopg").render_as_string(hide_password=False)
        for block in (in_django, in_flask.replace(_URL_OF_THE_PAGE, address)):
            exec(block, page)  # noqa: S102 - as above
        with django_on(dsn):
            assert page["sign_up"](None, "Ada").status_code == 201
            with pytest.raises(ValueError, match="letters only"):
                page["sign_up"](None, "R2D2")
        client = page["app"].test_client()
        assert client.post("/people/Edsger").status_code == 201
        assert client.post("/people/C3PO").status_code == 400
        with page["app"].app_context():
            page["db"].engine.dispose()
        page["queue"].close()

    exec(tasks, page)  # noqa: S102 - as above
    async with Queue.connect(page["catalog"]) as queue, Worker(queue):
        await asyncio.to_thread(run_all)
    assert capsys.readouterr().out == "Hello Ada\n"
    with psycopg.connect(dsn) as connection:
        people = connection.execute("SELECT name FROM person ORDER BY name").fetchall()
        sent = connection.execute("SELECT data->>'name' FROM pgboss.job ORDER BY 1").fetchall()
    assert people == [("Ada",), ("Edsger",), ("Grace",)]
    assert sent == [("Ada",), *people]


def test_guide_lists_the_send_options_with_their_defaults() -> None:
    text = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    listed: dict[str, str] = {}
    for names, default in re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \| ([^|]*?) \|", text, re.MULTILINE):
        listed |= dict.fromkeys(names.replace("`", "").split(", "), default)
    assert listed.keys() == SendOptions.__required_keys__ | SendOptions.__optional_keys__
    for name, default in listed.items():
        value: Any = getattr(DEFAULTS, name, None)
        assert value is None or default == f"`{value}`", name


def _commands() -> dict[str, Any]:
    """Each command by its words, as in ``job show``."""
    whole = typer.Typer()
    # Not those of the installation, which may be older than the checkout.
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    add_commands(whole, [EntryPoint(name, value, "") for name, value in declared["zeke.commands"].items()])
    found: dict[str, Any] = {}
    own: Any = get_command(command_line)
    others: Any = get_command(whole)
    for name, command in (*own.commands.items(), *others.commands.items()):
        below = getattr(command, "commands", {})
        found |= {f"{name} {word}": one for word, one in below.items()} if below else {name: command}
    return found


def test_cli_page_lists_every_command() -> None:
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    listed: set[str] = set()
    for cell in re.findall(r"^\| (`zeke .*?) \|", text, re.MULTILINE):
        # A row names several commands of a group, of which the first has the group's name.
        group = ""
        for said in re.findall(r"`([^`]*)`", cell):
            words = said.removeprefix("zeke ").split()
            group = words[0] if said.startswith("zeke ") else group
            names = [word for word in (words if words[0] == group else [group, *words]) if word.islower()]
            listed.add(" ".join(names))
    assert listed == _commands().keys()


def test_pages_name_existing_options_only() -> None:
    commands = [get_command(command_line), *_commands().values()]
    options = {
        name for one in commands for option in one.params for name in (*option.opts, *option.secondary_opts)
    }
    pages = ("adopt-pgboss", "catalog", "cli", "data", "guide", "http", "migrate-from-pgboss", "settings")
    for page in (*pages, "troubleshooting"):
        named = set(
            re.findall(r"(?<![-\w])--[a-z][a-z-]+", (ROOT / f"docs/{page}.md").read_text(encoding="utf-8"))
        )
        assert named <= options | {"--help"}, page


def _logged() -> set[str]:
    """Return the event of each warning and error that the runtime logs, with ``*`` for what a value names."""
    found: set[str] = set()
    for path in (ROOT / "zeke_queue").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and _LOGS.search(ast.unparse(node.func)):
                event = node.args[0]
                for one in (event.body, event.orelse) if isinstance(event, ast.IfExp) else (event,):
                    parts = one.values if isinstance(one, ast.JoinedStr) else [one]
                    found.add("".join(str(p.value) if isinstance(p, ast.Constant) else "*" for p in parts))
    return found - {"*"}


def test_every_warning_and_error_in_the_log_is_explained() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"## What log lines mean\n(.*?)\n## ", text, re.DOTALL)
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    explained = [name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)]
    logged = _logged()
    assert sorted(explained) == sorted(set(explained))
    assert [name for name in explained if not any(fnmatchcase(name, one) for one in logged)] == []
    assert [one for one in sorted(logged) if not any(fnmatchcase(name, one) for name in explained)] == []


def test_operator_queries_are_those_of_the_earlier_system() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    (_, queries) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert [
        line for line in queries.split("\n") if line.startswith(("SELECT", "ORDER", "WHERE", "LIMIT"))
    ] == [
        "SELECT * FROM pgboss.job",
        "ORDER BY createdon DESC",
        "LIMIT 20;",
        "SELECT * FROM pgboss.job",
        "WHERE state = 'failed'",
        "ORDER BY createdon DESC;",
        "SELECT * FROM pgboss.archive",
        "ORDER BY archivedon DESC",
        "LIMIT 100;",
    ]
