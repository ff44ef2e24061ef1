"""The history from the server's log: printed changes are read back, and each commit once."""

from __future__ import annotations

import re
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from tests.cases import each
from tests.torture.cluster import Cluster, Decoder, commits, happened, read_commits
from tests.torture.decoding import Commit, Tables, read_change, seconds
from tests.torture.samples import COMMITTED, JOB, JOB_TEXT, NOW, WORKER
from zeke_queue.model import NewJob, RowState, Schedule, WorkerInfo
from zeke_queue.storage.postgres import PostgresStorage
from zeke_sim.history.events import Change, QueueRow, ScheduleRow, WorkerRow


def event(*rows: str) -> Any:
    (found,) = Tables(NOW).events(Commit(1, COMMITTED, list(rows)))
    return found


def test_inserted_row_is_read_with_every_column_type() -> None:
    change = event(f"table pgboss.job: INSERT: {JOB_TEXT}")
    assert isinstance(change, Change)
    assert (change.at, change.table, change.before, change.commit) == (2.0, "job", None, 1)
    after = change.after
    assert after is not None
    assert (after.id, after.state, after.priority, after.expire_in) == (JOB, RowState.CREATED, -5, 62.5)
    assert after.name == "it's [text]:'x' new-tuple: a"
    assert (after.singleton_key, after.worker, after.started_on) == ("null", None, None)
    assert (after.start_after, after.singleton_on) == (NOW, datetime(2026, 1, 2, 3, 4))  # noqa: DTZ001
    assert (after.data, after.retry_backoff, after.failures) == ('{"a": "b c"}', True, 0)


def test_updated_row_has_both_versions_and_keeps_unprinted_long_values() -> None:
    new = JOB_TEXT.replace('data[jsonb]:\'{"a": "b c"}\'', "data[jsonb]:unchanged-toast-datum")
    new = new.replace("'created'", "'active'").replace("worker[uuid]:null", f"worker[uuid]:'{WORKER}'")
    # Nulls of an old row are left out.
    old = re.sub(r" \w+\[[^]]+\]:null", "", JOB_TEXT)
    change = event(f"table pgboss.job: UPDATE: old-key: {old} new-tuple: {new}")
    assert change.before.state is RowState.CREATED
    assert change.before.started_on is None
    assert (change.after.state, change.after.worker) == (RowState.ACTIVE, WORKER)
    assert change.after.data == change.before.data == '{"a": "b c"}'


def test_deleted_row_is_read_from_its_old_version() -> None:
    change = event(f"table pgboss.archive: DELETE: {JOB_TEXT}")
    assert (change.table, change.before.id, change.after) == ("archive", JOB, None)


def test_heartbeat_has_its_own_time_and_other_changes_that_of_their_commit() -> None:
    row = f"id[uuid]:'{WORKER}' lease[interval]:'PT3S' asleep[boolean]:{{}} beat_on[timestamptz]:'{{}}+00'"
    awake, at_rest, again = (
        row.format(flag, f"2026-01-02 03:04:0{second}")
        for flag, second in (("false", 5), ("true", 5), ("true", 6))
    )
    new = event(f"table pgboss.worker: INSERT: {awake}")
    asleep = event(f"table pgboss.worker: UPDATE: old-key: {awake} new-tuple: {at_rest}")
    beat = event(f"table pgboss.worker: UPDATE: old-key: {at_rest} new-tuple: {again}")
    gone = event(f"table pgboss.worker: DELETE: {again}")
    assert [one.now - one.beat_on for one in (new, beat)] == [timedelta(0)] * 2
    assert (asleep.now, asleep.beat_on, asleep.lease) == (COMMITTED, new.beat_on, 3.0)
    assert (gone.now, gone.beat_on, gone.gone) == (COMMITTED, None, True)


def test_update_without_its_old_row_is_refused() -> None:
    with pytest.raises(ValueError, match="replica identity"):
        read_change(f"table pgboss.job: UPDATE: {JOB_TEXT}")


def test_tables_without_properties_produce_no_events() -> None:
    assert read_change("table pgboss.job_event: INSERT: seq[bigint]:1") is None


@each(
    ("PT0S", 0),
    ("PT0.25S", 0.25),
    ("PT1H2M3S", 3723),
    ("P1DT-1H", 82_800),
    ("P1Y", 31_557_600),
    ("PT-0.5S", -0.5),
)
def test_intervals_are_read_as_seconds(text: str, length: float) -> None:
    assert seconds(text) == length


def test_commits_of_one_instant_or_out_of_order_keep_the_order_of_the_log() -> None:
    tables = Tables(NOW)
    row = f"table pgboss.job: INSERT: {JOB_TEXT}"
    first = list(tables.events(Commit(1, NOW + timedelta(seconds=2), [row, row])))
    second = list(tables.events(Commit(2, NOW + timedelta(seconds=1), [row])))
    assert [(e.at, cast("Change", e).commit) for e in [*first, *second]] == [(2.0, 1), (2.0, 1), (2.0, 2)]


def test_changes_of_a_slot_are_grouped_by_commit() -> None:
    row = f"table pgboss.job: INSERT: {JOB_TEXT}"
    texts = [
        ("0/1", "BEGIN 7"),
        ("0/1", row),
        ("1/2", "COMMIT 7 (at 2026-01-02 03:04:05.678+00)"),
        ("1/3", "BEGIN 8"),
    ]
    assert list(commits(texts)) == [Commit((1 << 32) + 2, NOW, [row])]


def test_changes_are_counted_by_their_transition() -> None:
    claimed = JOB_TEXT.replace("'created'", "'active'")
    texts = [
        f"table pgboss.job: INSERT: {JOB_TEXT}",
        f"table pgboss.job: UPDATE: old-key: {JOB_TEXT} new-tuple: {claimed}",
        f"table pgboss.job: UPDATE: old-key: {claimed} new-tuple: {claimed}",
        f"table pgboss.archive: INSERT: {JOB_TEXT}",
        f"table pgboss.archive: DELETE: {JOB_TEXT}",
        "table pgboss.queue: INSERT: name[text]:'a'",
    ]
    assert [happened(text) for text in texts] == ["sent", "active", None, "archived", "purged", None]


@pytest.mark.nightly
async def test_commits_are_decoded_once_despite_a_server_crash(tmp_path: Path) -> None:
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
            await storage.heartbeat(WorkerInfo(WORKER, "here", 1, ("it's",), 15.0))
            await storage.cancel([JOB])
            stored = (await storage.get([JOB]))[JOB]
        await decoder.read()
    tables = Tables(stored.created_on)
    events = [one for commit in read_commits(tmp_path / "commits.jsonl") for one in tables.events(commit)]
    assert [type(one) for one in events] == [Change, QueueRow, ScheduleRow, WorkerRow, Change]
    after = cast("Change", events[-1]).after
    assert after is not None
    assert after.state is stored.row_state
    same = ("id", "name", "attempt", "start_after", "created_on", "completed_on", "expire_in")
    assert [getattr(after, name) for name in same] == [getattr(stored, name) for name in same]
    assert after.data == job.data
    assert cast("ScheduleRow", events[2]).after == Schedule(
        "s", "* * * * *", "it's", options={"retry_limit": 0}
    )
