"""The parts of a torture run that can be wrong by themselves; a run is ``python -m tests.torture``."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import psycopg
import pytest

from tests.clocks import FrozenClock
from tests.torture import chaos, judging
from tests.torture.cluster import Cluster, Decoder, commits, happened, read_commits
from tests.torture.decoding import Commit, Tables, read_change, seconds
from tests.torture.proxy import SOCKET, Link
from tests.torture.recording import PASSED_ON, Journal, Recording, dumps, loads, recorded_verbs
from zeke_queue.clock import SystemClock
from zeke_queue.errors import BadOption, StorageUnavailable
from zeke_queue.model import CatchUp, Claimed, Failed, JobState, NewJob, Schedule, Want, WorkerInfo
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.storage.store import Storage, Transaction
from zeke_sim.history import (
    Answered,
    Began,
    Change,
    Ended,
    Event,
    Invoked,
    QueueRow,
    ScheduleRow,
    Violation,
    WorkerRow,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
JOB, WORKER = UUID(int=1), UUID(int=2)

# The history from the server's log

JOB_TEXT = (
    f"id[uuid]:'{JOB}' name[text]:'it''s [text]:''x'' new-tuple: a' priority[integer]:-5"
    " data[jsonb]:'{\"a\": \"b c\"}' state[pgboss.job_state]:'created' retrylimit[integer]:3"
    " retrycount[integer]:0 retrydelay[integer]:1 retrybackoff[boolean]:true"
    " startafter[timestamp with time zone]:'2026-01-02 03:04:05.678+00'"
    " startedon[timestamp with time zone]:null singletonkey[text]:'null'"
    " singletonon[timestamp without time zone]:'2026-01-02 03:04:00' expirein[interval]:'PT1M2.5S'"
    " createdon[timestamp with time zone]:'2026-01-02 03:04:05.678+00'"
    " completedon[timestamp with time zone]:null output[jsonb]:null attempt[integer]:0 worker[uuid]:null"
    " parent[uuid]:null retrydelaymax[integer]:null history[jsonb]:null"
)


def event(*rows: str) -> Any:
    (found,) = Tables(NOW).events(Commit(1, NOW + timedelta(seconds=2), list(rows)))
    return found


def test_an_inserted_row_is_read_with_every_type_of_its_columns() -> None:
    change = event(f"table pgboss.job: INSERT: {JOB_TEXT}")
    assert isinstance(change, Change)
    assert (change.at, change.table, change.before, change.commit) == (2.0, "job", None, 1)
    after = change.after
    assert after is not None
    assert (after.id, after.state, after.priority, after.expire_in) == (JOB, JobState.CREATED, -5, 62.5)
    assert after.name == "it's [text]:'x' new-tuple: a"
    assert (after.singleton_key, after.worker, after.started_on) == ("null", None, None)
    assert (after.start_after, after.singleton_on) == (NOW, datetime(2026, 1, 2, 3, 4))  # noqa: DTZ001
    assert (after.data, after.retry_backoff, after.failures) == ('{"a": "b c"}', True, 0)


def test_an_updated_row_has_both_sides_and_keeps_a_long_value_that_was_not_printed() -> None:
    new = JOB_TEXT.replace('data[jsonb]:\'{"a": "b c"}\'', "data[jsonb]:unchanged-toast-datum")
    new = new.replace("'created'", "'active'").replace("worker[uuid]:null", f"worker[uuid]:'{WORKER}'")
    # Nulls of an old row are left out.
    old = re.sub(r" \w+\[[^]]+\]:null", "", JOB_TEXT)
    change = event(f"table pgboss.job: UPDATE: old-key: {old} new-tuple: {new}")
    assert change.before.state is JobState.CREATED
    assert change.before.started_on is None
    assert (change.after.state, change.after.worker) == (JobState.ACTIVE, WORKER)
    assert change.after.data == change.before.data == '{"a": "b c"}'


def test_a_row_that_went_is_read_from_what_it_was() -> None:
    change = event(f"table pgboss.archive: DELETE: {JOB_TEXT}")
    assert (change.table, change.before.id, change.after) == ("archive", JOB, None)


def test_an_update_without_its_old_row_is_refused() -> None:
    with pytest.raises(ValueError, match="replica identity"):
        read_change(f"table pgboss.job: UPDATE: {JOB_TEXT}")


def test_tables_that_no_property_is_about_make_no_event() -> None:
    assert read_change("table pgboss.job_event: INSERT: seq[bigint]:1") is None


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("PT0S", 0),
        ("PT0.25S", 0.25),
        ("PT1H2M3S", 3723),
        ("P1DT-1H", 82_800),
        ("P1Y", 31_557_600),
        ("PT-0.5S", -0.5),
    ],
)
def test_intervals(text: str, length: float) -> None:
    assert seconds(text) == length


def test_commits_of_one_instant_or_out_of_order_keep_the_order_of_the_log() -> None:
    tables = Tables(NOW)
    row = f"table pgboss.job: INSERT: {JOB_TEXT}"
    first = list(tables.events(Commit(1, NOW + timedelta(seconds=2), [row, row])))
    second = list(tables.events(Commit(2, NOW + timedelta(seconds=1), [row])))
    assert [(e.at, cast("Change", e).commit) for e in [*first, *second]] == [(2.0, 1), (2.0, 1), (2.0, 2)]


def test_what_a_slot_gives_is_gathered_into_commits() -> None:
    row = f"table pgboss.job: INSERT: {JOB_TEXT}"
    texts = [
        ("0/1", "BEGIN 7"),
        ("0/1", row),
        ("1/2", "COMMIT 7 (at 2026-01-02 03:04:05.678+00)"),
        ("1/3", "BEGIN 8"),
    ]
    assert list(commits(texts)) == [Commit((1 << 32) + 2, NOW, [row])]


def test_changes_are_counted_by_what_happened_to_the_job() -> None:
    claimed = JOB_TEXT.replace("'created'", "'active'")
    texts = [
        f"table pgboss.job: INSERT: {JOB_TEXT}",
        f"table pgboss.job: UPDATE: old-key: {JOB_TEXT} new-tuple: {claimed}",
        f"table pgboss.job: UPDATE: old-key: {claimed} new-tuple: {claimed}",
        f"table pgboss.archive: INSERT: {JOB_TEXT}",
        "table pgboss.queue: INSERT: name[text]:'a'",
    ]
    assert [happened(text) for text in texts] == ["sent", "active", None, "archived", None]


async def test_every_commit_is_decoded_once_though_the_server_crashes(tmp_path: Path) -> None:
    job = NewJob(JOB, "it's", data='{"a": "' + "long" * 2000 + '"}', expire_in=61.5)
    with Cluster.started() as cluster, ExitStack() as stack:
        decoder = Decoder(cluster, tmp_path / "commits.jsonl")
        stack.callback(decoder.close)
        async with PostgresStorage.open(cluster.dsn, listen=False) as storage:
            await storage.insert([job])
            await storage.pause_queue("it's", paused=True)
            await storage.put_schedule(Schedule("s", "* * * * *", "it's", options={"retry_limit": 0}))
        await decoder.read()
        await cluster.restart("immediate")
        await decoder.read()
        async with PostgresStorage.open(cluster.dsn, listen=False) as storage:
            await storage.beat(WorkerInfo(WORKER, "here", 1, ("it's",), 15.0))
            await storage.cancel([JOB])
            stored = (await storage.get([JOB]))[JOB]
        await decoder.read()
    tables = Tables(stored.created_on)
    events = [one for commit in read_commits(tmp_path / "commits.jsonl") for one in tables.events(commit)]
    assert [type(one) for one in events] == [Change, QueueRow, ScheduleRow, WorkerRow, Change]
    after = cast("Change", events[-1]).after
    assert after is not None
    same = ("id", "name", "state", "attempt", "start_after", "created_on", "completed_on", "expire_in")
    assert [getattr(after, name) for name in same] == [getattr(stored, name) for name in same]
    assert after.data == job.data
    assert cast("ScheduleRow", events[2]).after == Schedule(
        "s", "* * * * *", "it's", options={"retry_limit": 0}
    )


# What processes write down


def written(path: Path) -> list[Event]:
    return [loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "w1.jsonl", "w1", 0.0, place=0, life=2)


VALUES: list[Any] = [
    Claimed._make((JOB, "a", b'{"a": 1}', 1, 0, 0, 3, 1, True, None, 60.0, NOW, None, None)),
    Failed(JOB, 1, None, "{}", JobState.EXPIRED),
    Schedule("s", "* * * * *", "a", options={"retry_limit": 1}, catch_up=CatchUp.ALL, last_tick=NOW),
    NewJob(JOB, "a", data="1", start_at=NOW),
    {JOB: 1},
    {"a": {"b": None}},
    {JOB, WORKER},
    (Want("a", 1),),
    [JOB, None],
]


@pytest.mark.parametrize("value", VALUES, ids=[type(value).__name__ for value in VALUES])
def test_what_is_written_is_read_again(value: Any) -> None:
    event = Answered(1.5, "w1", 7, "claim", "ok", value, NOW)
    line = dumps(event)
    assert "\n" not in line
    assert loads(line) == event
    assert type(loads(line).result) is type(value)


async def test_a_call_is_written_before_it_is_made_and_after_it_was_answered(
    journal: Journal, tmp_path: Path
) -> None:
    storage = cast("Storage", Recording(MemoryStorage(FrozenClock()), journal))
    assert await storage.insert([NewJob(JOB, "a")]) == [JOB]
    await storage.pause_queue("a", paused=True)
    invoked, answered, paused, _ = written(tmp_path / "w1.jsonl")
    assert isinstance(invoked, Invoked)
    assert isinstance(answered, Answered)
    assert (invoked.node, invoked.verb, invoked.transaction) == ("w1", "insert", None)
    assert invoked.args == {"jobs": (NewJob(JOB, "a"),)}
    assert (answered.call, answered.outcome, answered.result) == (invoked.call, "ok", [JOB])
    assert answered.issued is not None
    assert invoked.at <= answered.at
    assert cast("Invoked", paused).args == {"name": "a", "paused": True}


class Broken(MemoryStorage):
    """Fails as it is told to."""

    error: BaseException

    async def cancel(self, ids: Any) -> Any:  # noqa: ARG002 - as the protocol has it
        raise self.error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StorageUnavailable("gone"), "unknown"),
        (asyncio.CancelledError(), "unknown"),
        (RuntimeError("a slip"), "unknown"),
        (psycopg.OperationalError("the connection is lost"), "unknown"),
        (BadOption("limit"), "failed"),
        (psycopg.errors.UniqueViolation(), "failed"),
    ],
)
async def test_only_a_refusal_is_a_certain_failure(
    error: BaseException, outcome: str, journal: Journal, tmp_path: Path
) -> None:
    broken = Broken(FrozenClock())
    broken.error = error
    with pytest.raises(type(error)):
        await cast("Storage", Recording(broken, journal)).cancel([JOB])
    assert cast("Answered", written(tmp_path / "w1.jsonl")[-1]).outcome == outcome


async def insert_and_break_off(storage: Storage) -> None:
    async with storage.transaction() as transaction:
        await transaction.insert([NewJob(WORKER, "a")])
        raise StorageUnavailable


async def test_a_transactions_calls_name_it_and_its_commit_is_a_call(
    journal: Journal, tmp_path: Path
) -> None:
    storage = cast("Storage", Recording(MemoryStorage(FrozenClock()), journal))
    async with storage.transaction() as transaction:
        await transaction.insert([NewJob(JOB, "a")])
    with pytest.raises(StorageUnavailable):
        await insert_and_break_off(storage)
    calls = [one for one in written(tmp_path / "w1.jsonl") if isinstance(one, Invoked)]
    assert [call.verb for call in calls] == ["insert", "commit", "insert"]
    assert calls[0].transaction == calls[1].transaction != calls[2].transaction


class CommitLost(MemoryStorage):
    """Has no answer to a commit."""

    @asynccontextmanager
    async def transaction(self, connection: Any = None) -> AsyncIterator[Transaction]:
        async with super().transaction(connection) as opened:
            yield opened
        raise StorageUnavailable("gone")


async def test_a_commit_without_an_answer_is_unknown(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        async with cast(
            "Storage", Recording(CommitLost(FrozenClock()), journal)
        ).transaction() as transaction:
            await transaction.cancel([JOB])
    ended = cast("Answered", written(tmp_path / "w1.jsonl")[-1])
    assert (ended.verb, ended.outcome) == ("commit", "unknown")


def test_every_verb_is_written_down_or_passed_on_knowingly() -> None:
    verbs = {name for name in dir(Storage) if not name.startswith("_")}
    assert verbs - set(recorded_verbs(Storage)) == PASSED_ON
    assert {"claim", "settle", "insert", "beat", "get", "put_schedule"} <= set(recorded_verbs(Storage))


def test_no_two_calls_of_a_run_have_the_same_number(tmp_path: Path) -> None:
    journals = [Journal(tmp_path / "w1.jsonl", "w1", 0.0, place, life) for place in (0, 1) for life in (0, 1)]
    numbers = {journal.number() for _ in range(100) for journal in journals}
    assert len(numbers) == 400


# The link


class Place:
    """An echoing server, and a link to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = Link(folder / "server", folder / "link")
        self.heard = b""
        self.ended = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while data := await reader.read(100):
            self.heard += data
            writer.write(data.upper())
        self.ended.set()
        writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "link" / SOCKET))
        self.writers.append(writer)
        return reader, writer


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory(prefix="zeke-link-") as folder:
        made = Place(Path(folder))
        server = await asyncio.start_unix_server(made.serve, str(made.folder / "server"))
        await made.link.start()
        yield made
        await made.link.stop()
        server.close()
        for writer in made.writers:
            writer.transport.abort()
        await turn()


async def ask(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], text: bytes) -> bytes:
    connection[1].write(text)
    return await connection[0].read(100)


async def is_broken(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
    try:
        return await ask(connection, b"x") == b""
    except ConnectionError:
        return True


async def test_a_healthy_link_passes_on_what_is_said_and_that_it_ends(place: Place) -> None:
    connection = await place.connect()
    assert await ask(connection, b"a") == b"A"
    connection[1].write_eof()
    assert await connection[0].read() == b""
    assert place.ended.is_set()


@pytest.mark.parametrize(("way", "heard"), [("up", b""), ("down", b"a")])
async def test_what_a_cut_holds_arrives_when_it_is_healed(place: Place, way: Any, heard: bytes) -> None:
    connection = await place.connect()
    place.link.cut(way)
    answer = asyncio.ensure_future(ask(connection, b"a"))
    other = asyncio.ensure_future(ask(await place.connect(), b"b"))
    while place.link.connections < 2 or (way == "down" and len(place.heard) < 2):
        await turn()
    assert not answer.done()
    assert heard in place.heard
    assert bool(place.heard) is (way == "down")
    place.link.heal()
    assert (await answer, await other) == (b"A", b"B")


async def test_a_lost_answer_is_to_what_was_done(place: Place) -> None:
    connection, other = await place.connect(), await place.connect()
    assert await ask(other, b"o") == b"O"
    place.link.lose_answer()
    assert await is_broken(connection)
    assert place.heard == b"ox"
    assert await ask(other, b"p") == b"P"


async def test_an_answer_without_rows_is_passed_on_if_only_one_with_rows_is_to_be_lost(place: Place) -> None:
    connection = await place.connect()
    place.link.lose_answer(with_rows=True)
    assert await ask(connection, b"C\0\0\0\rSELECT 0\0") == b"C\0\0\0\rSELECT 0\0"
    connection[1].write(b"C\0\0\0\rSELECT 1\0")
    with suppress(ConnectionError):
        assert await connection[0].read(100) == b""
    assert place.heard.endswith(b"SELECT 1\0")


async def test_dropped_connections_break_and_new_ones_work(place: Place) -> None:
    connection = await place.connect()
    assert await ask(connection, b"a") == b"A"
    place.link.drop()
    assert await is_broken(connection)
    assert await ask(await place.connect(), b"b") == b"B"


async def test_a_link_that_refuses_breaks_new_connections_until_it_is_healed(place: Place) -> None:
    place.link.refuse()
    assert await is_broken(await place.connect())
    place.link.heal()
    assert await ask(await place.connect(), b"b") == b"B"


async def test_of_a_half_closed_connection_one_end_hears_only_when_it_is_healed(place: Place) -> None:
    connection = await place.connect()
    assert await ask(connection, b"a") == b"A"
    place.link.half_close("up")
    await place.ended.wait()
    ended = asyncio.ensure_future(connection[0].read())
    await turn()
    assert not ended.done()
    place.link.heal()
    assert await ended == b""


async def test_the_other_half_leaves_the_server_waiting(place: Place) -> None:
    connection = await place.connect()
    assert await ask(connection, b"a") == b"A"
    place.link.half_close("down")
    assert await connection[0].read() == b""
    connection[1].close()
    await turn()
    assert not place.ended.is_set()
    place.link.heal()
    await place.ended.wait()


async def test_each_piece_is_held_for_as_long_as_it_was_drawn(place: Place) -> None:
    drawn: list[float] = []

    def draw() -> float:
        drawn.append(0.0)
        return 0.0

    place.link.delay(draw)
    connection = await place.connect()
    assert await ask(connection, b"a") == b"A"
    assert len(drawn) == 2


async def turn() -> None:
    """Let whatever can run do so."""
    for _ in range(10):
        await SystemClock().sleep(0)


# The schedule, and what is put together


NODES = ["w1", "k1"]


def test_equal_seeds_give_equal_schedules_and_others_do_not() -> None:
    assert chaos.schedule(1, 60, NODES, 3) == chaos.schedule(1, 60, NODES, 3)
    assert chaos.schedule(1, 60, NODES, 3) != chaos.schedule(2, 60, NODES, 3)


def test_a_minute_has_every_fault_once_at_least() -> None:
    for seed in range(20):
        assert {one.kind for one in chaos.schedule(seed, 60, NODES, 3)} == set(chaos.KINDS)


def test_a_long_schedule_has_every_fault_and_ends_in_time() -> None:
    planned = chaos.schedule(1, 600, NODES, 3)
    assert {one.kind for one in planned} == set(chaos.KINDS)
    assert {one.node for one in planned} == {*NODES, "server", chaos.ALL}
    assert max(one.at + one.length for one in planned) <= 600
    assert {one.length > 3 for one in planned if one.kind == "stop"} == {True, False}


def test_what_processes_wrote_stands_between_the_commits_by_time(tmp_path: Path, journal: Journal) -> None:
    journal.close()
    about = f'{{"seed": 1, "began": "{NOW.isoformat()}", "rules": {{"lease": 3.0}}}}'
    (tmp_path / "about.json").write_text(about)
    rows = [f"table pgboss.job: INSERT: {JOB_TEXT}"]
    lines = [
        json.dumps([place, (NOW + timedelta(seconds=at)).isoformat(), rows]) for place, at in ((1, 1), (2, 3))
    ]
    (tmp_path / "commits.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "schedule.jsonl").write_text("{}\n")
    began, ended = Began(2.0, "w1", "a", JOB, 1), Ended(4.0, "w1", "a", JOB, 1, "returned", {"a": 1})
    (tmp_path / "w1.jsonl").write_text(f"{dumps(began)}\n{dumps(ended)}\n")
    assert [type(one) for one in judging.read(tmp_path)] == [Change, Began, Change, Ended]
    assert judging.rules(tmp_path).lease == 3.0
    broken = Violation("a rule", "a text", job=JOB, at=4.0)
    assert judging.life(judging.read(tmp_path), broken)[1] == "    2.000  w1       a 000001 begins attempt 1"
