"""``zeke sim record`` and ``replay-history``: from a running system to a world that kills its workers."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

import zeke_sim
from tests.cli.conftest import Zeke
from zeke_queue import Catalog, JobContext
from zeke_queue.maintenance.scheduler import tick_id
from zeke_queue.model import RowState
from zeke_queue.system.clock import SystemClock
from zeke_sim.cli import sim
from zeke_sim.recorded import format as files
from zeke_sim.recorded import record

LETTER = '{"to": "ann", "copies": 12}'

TICK = datetime(2026, 3, 3, 3, 0, tzinfo=UTC)

careless = Catalog()


@careless.task("mail", aliases=["post"])
async def mail(_: object, job: JobContext) -> None:
    """Send a letter, and once more if the worker is killed within five seconds."""
    zeke_sim.effect(f"letter of {job.id}")
    await SystemClock().sleep(5.0)


class Post:
    async def deliver(self, *, letter: str, key: str) -> None:
        """Deliver a letter."""


@asynccontextmanager
async def the_real_post() -> AsyncGenerator[Post]:
    raise AssertionError("a replay reached the real post")
    yield


careful = Catalog(resources=the_real_post)


@careful.task("mail", aliases=["post"])
async def mail_with_key(_: object, job: JobContext) -> None:
    """Send a letter under a key, and do it again if its worker is killed."""
    await job.resources.deliver(letter="dear Ann", key=str(job.id))
    await SystemClock().sleep(5.0)


def post() -> Post:
    posts.append(zeke_sim.double(Post))
    return posts[-1]


posts: list[Post] = []


def rows_of(shop: Zeke) -> list[tuple[object, ...]]:
    """Return all jobs with the transactions that wrote them."""
    with psycopg.connect(shop.dsn or "") as connection:
        return connection.execute("select xmin::text, * from pgboss.job order by id").fetchall()


def sim_of(shop: Zeke, *args: str) -> Result:
    """Run a command of ``zeke sim`` on the shop's database."""
    return CliRunner().invoke(sim, args, env={"DATABASE_PRIMARY_URL": shop.dsn}, catch_exceptions=False)


def good(shop: Zeke, *args: str) -> str:
    result = sim_of(shop, *args)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def shop(zeke: Zeke) -> Zeke:
    """A shop whose jobs have completed, failed as the tick of a schedule, or are due later."""
    for _ in range(3):
        zeke.send("mail", LETTER)
    zeke.send("mail", LETTER, "--singleton-key", "ann@example.org")
    zeke.send("refuse")
    zeke.work()
    zeke.send("mail", LETTER, "--delay", "3600")
    zeke.on_queue(lambda queue: queue.schedules.put("nightly", "0 3 * * *", task="refuse"))
    zeke.sql("update pgboss.job set groupkey = 'ann', meta = %s", '{"by": "ann"}')
    tick = tick_id("nightly", TICK)
    zeke.sql("update pgboss.job set id = %s where name = 'refuse'", tick)
    return zeke


@pytest.mark.nightly
def test_history_of_a_running_system_is_recorded_and_replayed_with_workers_killed(
    shop: Zeke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "PAGE", 2)
    before = rows_of(shop)
    file = tmp_path / "day.jsonl.gz"
    assert "6 jobs" in good(shop, "record", str(file))
    assert rows_of(shop) == before
    recording = files.read(file)
    assert sorted(str(job.id) for job in recording.jobs) == sorted(str(row[1]) for row in before)
    assert [job.state for job in recording.jobs].count(RowState.COMPLETED) == 4
    refused = next(job for job in recording.jobs if job.name == "refuse")
    assert [(one.attempt, one.error) for one in refused.failures] == [(1, "Fail")]
    assert refused.tick == files.RecordedTick(schedule="nightly", at=TICK)
    text = gzip.decompress(file.read_bytes()).decode()
    assert "ann" not in text
    assert "no longer wanted" not in text
    shown = good(shop, "replay-history", str(file), "--kill-workers", "2", "--seeds", "2", "--workers", "3")
    assert "checked on the rows" in shown
    assert "not checked on the rows, since this needs the calls of processes" in shown
    assert "claims go in order" in shown
    assert shown.count("2 kill") == 2
    (completed, failed) = (
        next(line for line in shown.splitlines() if word in line) for word in ("completed  ", "failed  ")
    )
    assert completed.split()[1:] == ["4", "4"]
    assert failed.split()[1:] == ["1", "1"]


def test_payloads_are_recorded_as_requested(shop: Zeke, tmp_path: Path) -> None:
    redacted, full = tmp_path / "redacted.gz", tmp_path / "full.gz"
    good(shop, "record", str(redacted), "--payloads", "redacted")
    good(shop, "record", str(full), "--payloads", "full")
    assert "ann" not in gzip.decompress(redacted.read_bytes()).decode()
    jobs = [next(job for job in files.read(path).jobs if job.singleton_key) for path in (redacted, full)]
    assert [job.payload for job in jobs] == [{"to": "xxx", "copies": 11}, {"to": "ann", "copies": 12}]
    assert [job.output for job in jobs] == [{"sent": 11}, {"sent": 12}]
    assert jobs[1].singleton_key == "ann@example.org"
    assert jobs[0].singleton_key not in (None, "ann@example.org")
    (completed,) = re.findall(r"^ +completed +(.*)$", good(shop, "replay-history", str(full)), re.MULTILINE)
    assert completed.split() == ["4", "4"]


@pytest.mark.nightly
def test_violation_in_the_history_is_shown_and_fails_the_command(shop: Zeke, tmp_path: Path) -> None:
    shop.sql("update pgboss.job set retrycount = retrylimit + 1 where name = 'refuse'")
    file = tmp_path / "day.gz"
    good(shop, "record", str(file))
    result = sim_of(shop, "replay-history", str(file))
    assert result.exit_code == 1
    assert "✗ retries within the limit" in result.stdout
    assert "no faults, no failure" in result.stdout


def test_unusable_options_are_refused(shop: Zeke, tmp_path: Path) -> None:
    file = tmp_path / "day.gz"
    for options, told in (
        (("--since", "yesterday"), "--since: must be a time such as"),
        (("--since", "1h", "--until", "2h"), "--since: must be before"),
        (("--payloads", "some"), "--payloads: must be one of none, redacted, full"),
        (("--limit", "5"), "--limit: must be at least the number of jobs, got 5"),
    ):
        refused = sim_of(shop, "record", str(file), *options)
        assert (refused.exit_code, told in refused.output) == (2, True), refused.output
    assert list(tmp_path.iterdir()) == []
    good(shop, "record", str(file))
    for options, told in (
        (("--faults", "kil"), "--faults: must be some of refused, lost"),
        (("--catalog", "tests.cli.shop"), "--catalog: must be MODULE:CATALOG"),
        (("--catalog", "tests.cli.shop:catalog"), "which was recorded without"),
        (("--resources", f"{__name__}:post"), "--resources: must be given with --catalog, whose handlers"),
        (("--resources", f"{__name__}:pots"), "--resources: must be MODULE:FUNCTION, got"),
        (("--resources", f"{__name__}:LETTER"), "--resources: must name a function, got"),
    ):
        refused = sim_of(shop, "replay-history", str(file), *options)
        assert (refused.exit_code, told in refused.output) == (2, True), refused.output


@pytest.mark.nightly
def test_replay_runs_the_handlers_of_a_catalog(shop: Zeke, tmp_path: Path) -> None:
    file, folder = tmp_path / "day.gz", tmp_path / "plans"
    good(shop, "record", str(file), "--payloads", "full")
    replay = (
        "replay-history",
        str(file),
        "--folder",
        str(folder),
        "--catalog",
        f"{__name__}:careless",
    )
    assert "completed" in good(shop, *replay)
    failed = sim_of(shop, *replay, "--kill-workers", "2", "--seeds", "10")
    assert failed.exit_code == 1
    assert "no effect twice" in failed.stdout
    (plan,) = folder.glob("*.json")
    replayed = sim_of(shop, "replay", str(plan))
    assert replayed.exit_code == 1
    assert "letter of" in replayed.stdout


@pytest.mark.nightly
def test_workers_of_a_replay_share_the_resources_of_their_run(shop: Zeke, tmp_path: Path) -> None:
    """A double of each worker would not know the keys of others, and one of all runs would know too many."""
    file = tmp_path / "day.gz"
    good(shop, "record", str(file), "--payloads", "full")
    catalog, resources = (f"{__name__}:{name}" for name in ("careful", "post"))
    options = ("--kill-workers", "2", "--seeds", "3", "--folder", str(tmp_path / "plans"))
    good(shop, "replay-history", str(file), "--catalog", catalog, "--resources", resources, *options)
    assert len(posts) >= 3
