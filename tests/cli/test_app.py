"""The assembly of commands, the choice of the catalog, and the cost of starting a command."""

from __future__ import annotations

import errno
import importlib.metadata
import inspect
import json
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import typer
from typer.testing import CliRunner

from tests.cases import check_each
from tests.cli.conftest import SHOP, Zeke
from tests.tidy import ROOT
from zeke_queue.cli.app import add_commands, parted
from zeke_queue.cli.catalog_loader import load_catalog

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[[str], str]

# fmt: off
HEAVY = [
    "asyncpg", "croniter", "psycopg", "pydantic", "structlog", "zeke_queue.client.queue", "zeke_queue.worker",
]
COMMANDS = [
    "worker", "migrate", "send", "jobs", "job", "queues", "queue", "schedules", "schedule", "doctor",
    "keys",
]
"""In the order in which they are listed."""
# fmt: on


# Calls that do no work


@pytest.fixture
def zeke(zeke_alone: Zeke) -> Zeke:
    return zeke_alone


def test_every_command_has_help_that_names_the_shared_options(nowhere: Zeke) -> None:
    shared = ["worker", "jobs", "job show", "queue pause", "schedules", "doctor"]

    def check(command: str) -> None:
        said = nowhere.good(*command.split(), "--help", COLUMNS="80")
        assert "Usage: " in said
        assert max(map(len, said.splitlines())) <= 80
        assert " --help " in said
        assert "<bool>" not in said
        if command in shared:
            assert "--database, --embedded, --schema and --json" in said

    check_each([*COMMANDS, "job show", "queue pause"], check)


def test_help_loads_nothing_that_it_does_not_need() -> None:
    # Imports take the time; how much depends on the machine.
    program = (
        "import sys\n"
        "from zeke_queue.cli import main\n"
        "sys.argv = ['zeke', '--help']\n"
        "try:\n    main()\n"
        f"except SystemExit:\n    print('loaded:', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "loaded: []" in told.stdout


def test_missing_command_prints_the_help_and_exits_with_2(nowhere: Zeke) -> None:
    result = nowhere()
    assert result.exit_code == 2
    assert "Usage: " in result.output


def test_misspelt_call_is_reported_as_json(nowhere: Zeke) -> None:
    def check(arguments: list[str], told: str) -> None:
        result = (
            nowhere(*arguments, "--json") if arguments[-1] != "--database" else nowhere("--json", *arguments)
        )
        assert result.exit_code == 2
        assert result.stdout == ""
        error = json.loads(result.stderr)
        assert error["error"] == "UsageError"
        assert told in error["message"]

    check_each(
        [
            (["send", "mail", "--delay", "soon"], "--delay"),
            (["jobs", "--stat", "failed"], "--stat"),
            (["job", "shwo", "42"], "shwo"),
            (["send"], "TASK"),
            (["--colour", "jobs"], "--colour"),
            (["jobs", "--database"], "--database"),
        ],
        check,
    )


def test_help_lists_the_commands_in_order(nowhere: Zeke) -> None:
    lines = [line.strip("│ ").split() for line in nowhere.good("--help").splitlines()]
    listed = [words[0] for words in lines if words and words[0] in COMMANDS]
    assert listed == COMMANDS


def test_usage_of_send_marks_the_payload_as_optional_once(nowhere: Zeke) -> None:
    usage = next(line for line in nowhere.good("send", "--help").splitlines() if "Usage" in line)
    assert "[PAYLOAD]" in usage
    assert "[[" not in usage


# Options that all commands share


def test_shared_options_are_accepted_at_every_position() -> None:
    def check(given: list[str], sorted_: list[str]) -> None:
        shared, rest = parted(given)
        assert shared + rest == sorted_

    check_each(
        [
            (["jobs", "--json"], ["--json", "jobs"]),
            (["doctor", "--database", "d", "-x"], ["--database", "d", "doctor", "-x"]),
            (["jobs", "--schema=s", "--json"], ["--schema=s", "--json", "jobs"]),
            (["send", "a", "--", "--json"], ["send", "a", "--", "--json"]),
            (["jobs", "--json=yes"], ["jobs", "--json=yes"]),
            (["jobs", "--database"], ["--database"]),
            ([], []),
        ],
        check,
    )


def test_database_option_overrides_the_environment(zeke: Zeke, nowhere: Zeke) -> None:
    assert zeke.dsn is not None
    unreachable = "postgresql://127.0.0.1:1/zeke"
    said = nowhere.good("jobs", "--database", zeke.dsn, DATABASE_PRIMARY_URL=unreachable)
    assert said == "No jobs yet.\n"


def test_schema_option_overrides_the_environment(zeke_empty: Zeke) -> None:
    zeke_empty.good("migrate", "--schema", "mine")
    assert zeke_empty.good("jobs", "--schema", "mine", JOBS_SCHEMA="theirs") == "No jobs yet.\n"
    assert "'theirs'" in zeke_empty.fails("jobs", code=1, JOBS_SCHEMA="theirs")


def test_database_error_is_reported_without_a_traceback(zeke: Zeke) -> None:
    # Pausing a queue then meets an error that nothing foresees.
    zeke.sql("alter table pgboss.queue add constraint odd check (name <> 'mail')")
    assert "odd" in zeke.fails("queue", "pause", "mail", "--force", code=1)


def test_full_disk_is_reported_without_a_traceback(zeke: Zeke, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr("zeke_queue.cli.queues.print_json", full)
    result = zeke("queues", "--json")
    assert result.exit_code == 1
    assert "No space left on device" in json.loads(result.stderr)["message"]


def test_error_names_the_database_option_if_it_was_used(nowhere: Zeke) -> None:
    for database, code in (("mysql://db/zeke", 2), ("nothing", 2), ("postgresql://127.0.0.1:1/zeke", 1)):
        said = nowhere.fails("jobs", "--database", database, code=code)
        assert "--database" in said
        assert "DATABASE_PRIMARY_URL" not in said


# The catalog


def test_catalog_may_come_from_the_environment(zeke: Zeke) -> None:
    assert len(zeke.good("send", "mail", '{"to": "ann"}', ZEKE_APP=SHOP[1])) == len(
        "01938c5e-7a3b-7c4d-9e2f-0123456789ab\n"
    )


def test_catalog_may_be_an_attribute_of_an_object(module: Write) -> None:
    name = module("import zeke_queue\nclass Place:\n    catalog = zeke_queue.Catalog()\n")
    assert not load_catalog(f"{name}:Place.catalog").tasks


def test_app_that_is_not_found_is_rejected(zeke: Zeke) -> None:
    def check(path: str, told: str) -> None:
        assert told in zeke.fails("worker", "--app", path, code=2)
        assert told in zeke.fails("send", "mail", "--app", path, code=2)

    check_each(
        [
            ("shop", "must be MODULE:CATALOG, got 'shop'"),
            (":catalog", "must be MODULE:CATALOG, got ':catalog'"),
            ("tests/cli/shop.py", "got the file 'tests/cli/shop.py'; pass --app tests.cli.shop:catalog"),
            ("shop:", "must be MODULE:CATALOG, got 'shop:'"),
            ("..shop:catalog", "must be MODULE:CATALOG, got '..shop:catalog'"),
            ("tests/cli/shop.py:catalog", "; pass --app tests.cli.shop:catalog"),
            ("tests/cli/shop.py:", "; pass --app tests.cli.shop:catalog"),
            ("tests/cli/shop:catalog", "; pass --app tests.cli.shop:catalog"),
            ("nowhere.to_be.found:catalog", "module 'nowhere' not found in "),
            ("tests.cli.nowhere:catalog", "module 'tests.cli.nowhere' not found in "),
            ("tests.cli.shop:shop", "which does not exist; pass tests.cli.shop:catalog"),
            (
                "tests.cli.shop:Letter",
                "got 'tests.cli.shop:Letter', which is a ModelMetaclass; pass tests.cli.shop:catalog",
            ),
        ],
        check,
    )


def test_missing_app_is_named_with_its_option(zeke: Zeke) -> None:
    for command in [("worker",), ("send", "mail")]:
        assert "--app module:catalog, or set ZEKE_APP" in zeke.fails(*command, code=2)


def test_app_that_raises_is_reported_with_its_line(zeke: Zeke, module: Write) -> None:
    def check(text: str, told: str) -> None:
        name = module(text)
        assert told in zeke.fails("worker", "--app", f"{name}:catalog", code=2)

    check_each(
        [
            ("\nimport nothing_like_it", "line 2): ModuleNotFoundError: No module named 'nothing_like_it'"),
            ("\n\ncatalog = 1 / 0", "line 3): ZeroDivisionError"),
            ("catalog = = 1", "line 1): SyntaxError"),
            ("from zeke_queue.cli.nowhere import x", "line 1): ModuleNotFoundError"),
            ("import sys\nsys.exit(0)", "line 2): SystemExit: 0"),
        ],
        check,
    )


# What other distributions add


def _commands(**values: str) -> typer.Typer:
    made = typer.Typer()
    made.callback()(lambda: None)
    add_commands(made, [EntryPoint(name, value, "zeke.commands") for name, value in values.items()])
    return made


def ring(bells: list[str], loud: bool = False) -> None:  # noqa: FBT001, FBT002 - a flag of the command line
    """Ring."""
    typer.echo(f"{bells} {loud}")  # noqa: TID251 - as a command of an application would


group = typer.Typer()
group.command("ring")(ring)


def test_function_of_another_distribution_is_a_command() -> None:
    made = _commands(bell="tests.cli.test_app:ring")
    assert CliRunner().invoke(made, ["bell", "a", "b", "--loud"]).stdout == "['a', 'b'] True\n"


def test_typer_of_another_distribution_is_a_command_group() -> None:
    made = _commands(bells="tests.cli.test_app:group")
    assert CliRunner().invoke(made, ["bells", "ring", "a"]).stdout == "['a'] False\n"


@pytest.mark.parametrize(
    ("point", "remedy"),
    [
        ("tests.cli.nowhere:command [web,sim]", 'python -m pip install ".[web,sim]" in a clone of Zeke'),
        ("tests.cli.nowhere:command", "install what tests.cli.nowhere needs"),
    ],
)
def test_command_that_can_not_be_loaded_names_its_cause_and_its_remedy(point: str, remedy: str) -> None:
    made = _commands(lost=point, bell="tests.cli.test_app:ring")
    assert CliRunner().invoke(made, ["bell", "a"]).output == "['a'] False\n"
    shown = " ".join(CliRunner().invoke(made, ["lost", "--help"]).output.replace("│", " ").split())
    assert f"Unavailable: No module named 'tests.cli.nowhere'; {remedy}." in shown
    failed = CliRunner().invoke(made, ["lost", "run", "--seeds", "2"]).exception
    assert str(failed) == f"lost: No module named 'tests.cli.nowhere'; {remedy}"


PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _declared(group: str) -> list[EntryPoint]:
    return [EntryPoint(name, value, group) for name, value in PROJECT["entry-points"][group].items()]


def test_declared_script_is_the_command_line() -> None:
    assert callable(EntryPoint("zeke", PROJECT["scripts"]["zeke"], "console_scripts").load())


def test_declared_commands_exist() -> None:
    made = _commands(**{point.name: point.value for point in _declared("zeke.commands")})
    for name in ("ingest", "demo"):
        said = CliRunner().invoke(made, [name, "--help"])
        assert said.exit_code == 0
        assert "Options" in said.stdout


def test_declared_migrations_have_the_documented_form() -> None:
    for point in _declared("zeke.migrations"):
        migrations = point.load()
        assert list(inspect.signature(migrations.migrate).parameters) == ["dsn"]
        assert "create" in migrations.sql()


def test_version_is_that_of_the_distribution(monkeypatch: pytest.MonkeyPatch, nowhere: Zeke) -> None:
    monkeypatch.setattr("zeke_queue.cli.app.version", lambda name: {"zeke-queue": "1.2.3"}[name])
    assert nowhere.good("--version") == "zeke 1.2.3\n"


def test_source_tree_has_no_version(monkeypatch: pytest.MonkeyPatch, nowhere: Zeke) -> None:
    monkeypatch.setattr("zeke_queue.cli.app.version", lambda _: importlib.metadata.version("no-such-thing"))
    assert nowhere.good("--version") == "zeke, run from its source without being installed\n"
