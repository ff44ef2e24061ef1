"""Recorded histories: the file, what is redacted, what rows prove, and what a replay takes from them."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from zeke_queue.model import NewJob, RowState
from zeke_sim.errors import SimulationError
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import load
from zeke_sim.history.events import Fault
from zeke_sim.properties import ALL
from zeke_sim.recorded import format as files
from zeke_sim.recorded import profiles as recorded_profiles
from zeke_sim.recorded.check import OF_ROWS, check, described
from zeke_sim.recorded.compare import Comparison
from zeke_sim.recorded.format import (
    Header,
    RecordedAttempt,
    RecordedJob,
    RecordedQueue,
    RecordedWorker,
    Recording,
)
from zeke_sim.recorded.profiles import Attempt, Profiles, parts
from zeke_sim.recorded.redact import Redaction
from zeke_sim.recorded.replays import replays
from zeke_sim.recorded.scenario import Replay, scenario

BEGAN = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def header(seconds: float = 600.0) -> Header:
    return Header(version=files.VERSION, recorded_on=at(seconds), since=BEGAN, until=at(seconds))


def job(
    number: int,
    *,
    created: float = 1.0,
    started: float | None = 2.0,
    ended: float | None = 5.0,
    **more: object,
) -> RecordedJob:
    """Return a job that completed in its first attempt, with changes."""
    columns: dict[str, object] = {
        "id": UUID(int=number),
        "name": "mail",
        "state": RowState.COMPLETED,
        "attempt": 1,
        "retry_limit": 2,
        "retry_delay": 10,
        "start_after": at(created),
        "started_on": None if started is None else at(started),
        "expire_in": 60.0,
        "created_on": at(created),
        "completed_on": None if ended is None else at(ended),
        "worker": 1,
    }
    return RecordedJob.model_validate(columns | more)


def failed(
    attempt: int, seconds: float, state: RowState = RowState.RETRY, error: str = "TimeoutError"
) -> RecordedAttempt:
    return RecordedAttempt(attempt=attempt, at=at(seconds), state=state, worker=1, error=error)


def recording(*jobs: RecordedJob, limit: int | None = None) -> Recording:
    return Recording(header(), [RecordedQueue(name="mail", concurrency_limit=limit)], jobs=list(jobs))


def written(path: Path, *jobs: RecordedJob) -> Path:
    with files.writing(path) as file:
        file.add(header())
        file.add(RecordedQueue(name="mail", concurrency_limit=2))
        file.add(RecordedWorker(number=1, queues=("mail",), lease=23.0))
        for one in jobs:
            file.add(one)
        file.end()
    return path


# The file.


def test_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    jobs = [job(2, failures=(failed(1, 2.5),), attempt=2), job(1, created=0.5, payload={"a": [1, None]})]
    read = files.read(written(tmp_path / "day.gz", *jobs))
    assert read.header == header()
    assert read.jobs == [jobs[1], jobs[0]]
    assert [queue.concurrency_limit for queue in read.queues] == [2]
    assert read.workers[0].queues == ("mail",)


def test_recording_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with files.writing(tmp_path / "day.gz") as file:
            file.add(header())
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []


def _without(key: str) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        row = json.loads(lines[3])
        del row["job"][key]
        return [*lines[:3], json.dumps(row), *lines[4:]]

    return change


def _with(key: str, value: object) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        row = json.loads(lines[3])
        row["job"][key] = value
        return [*lines[:3], json.dumps(row), *lines[4:]]

    return change


BAD: list[tuple[str, Callable[[list[str]], list[str]]]] = [
    ("line 4: job.retry_limit: must be a valid integer, got 'two'", _with("retry_limit", "two")),
    ("line 4: job.state: must be 'created', 'retry'", _with("state", "done")),
    ("line 4: job.colour: extra inputs are not permitted, got 'red'", _with("colour", "red")),
    ("line 4: job.created_on: must have timezone info", _with("created_on", "2026-03-03T09:00:00")),
    ("line 4: job.name: must be given", _without("name")),
    ("line 2: invalid JSON", lambda lines: [lines[0], "{", *lines[1:]]),
    ("line 2: must be an object with one of `history`", lambda lines: [lines[0], "{}", *lines[1:]]),
    ("line 1: must be the `history`, got another line", lambda lines: lines[1:]),
    (
        "line 1: history.version: must be 1, got 2",
        lambda lines: [lines[0].replace('"version":1', '"version":2'), *lines[1:]],
    ),
    ("must have an `end` at its end, got 1 jobs", lambda lines: lines[:-1]),
    ("must have 1 jobs at its end, got 0 jobs", lambda lines: [*lines[:3], lines[-1]]),
    ("line 6: must not follow the `end`", lambda lines: [*lines, lines[3]]),
]


def test_bad_file_is_refused_with_its_line(tmp_path: Path) -> None:
    good = gzip.decompress(written(tmp_path / "good.gz", job(1)).read_bytes()).decode().splitlines()
    for told, change in BAD:
        path = tmp_path / "bad.jsonl"
        path.write_text("\n".join(change(good)), encoding="utf-8")
        with pytest.raises(SimulationError) as error:
            files.read(path)
        assert told in str(error.value)


def test_damaged_or_large_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "day.gz", job(1), job(2))
    with pytest.raises(SimulationError, match="line 5: must have at most 1 jobs"):
        files.read(path, limit=1)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SimulationError, match="damaged after line"):
        files.read(path)
    with pytest.raises(SimulationError, match="No such file"):
        files.read(tmp_path / "none.gz")


def test_documented_file_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/simulate.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(\{\"history\".*?)```", page, re.DOTALL)
    path = tmp_path / "day.jsonl"
    path.write_text(block, encoding="utf-8")
    assert [one.name for one in files.read(path).jobs] == ["charge"]


# Redaction.


def test_redacted_value_keeps_keys_types_and_lengths() -> None:
    value = {"to": "ann", "n": -1205, "x": 2.75, "on": True, "of": None, "all": ["b", {"c": ""}]}
    shape = {"to": "xxx", "n": -1111, "x": 0.0, "on": False, "of": None, "all": ["x", {"c": ""}]}
    assert Redaction("redacted", b"salt").value(value) == shape
    assert Redaction("none", b"salt").value(value) is None
    assert Redaction("full", b"salt").value(value) == value


def test_keys_are_digests_that_are_equal_for_equal_keys() -> None:
    one, other = Redaction("none", b"one"), Redaction("redacted", b"other")
    assert one.key("ann") == one.key("ann") != one.key("bob")
    assert "ann" not in (one.key("ann") or "")
    assert one.key("ann") != other.key("ann")
    assert one.key(None) is None
    assert (one.key("__pgboss__singleton_queue") or "").startswith("__pgboss__singleton_queue")
    assert Redaction("full", b"one").key("ann") == "ann"


# The check.

RETRY = (failed(1, 3.0),)
BROKEN: list[tuple[str, Recording]] = [
    ("nothing starts before its time", recording(job(1, start_after=at(2.5)))),
    ("retries within the limit", recording(job(1, retry_count=3, attempt=4))),
    (
        "no retry is skipped",
        recording(
            job(1, state=RowState.FAILED, error="TimeoutError", failures=(failed(1, 5, RowState.FAILED),))
        ),
    ),
    ("each state has its columns", recording(job(1, state=RowState.CREATED))),
    ("active jobs within the limit", recording(job(1, ended=20.0), job(2, started=3.0, ended=30.0), limit=1)),
    ("one job per key and slot", recording(*(job(n, ended=20.0, singleton_key="k") for n in (1, 2)))),
    (
        "one job per key and slot",
        recording(*(job(n, started=n, singleton_on=datetime(2026, 3, 3, 9)) for n in (1, 9))),  # noqa: DTZ001
    ),
    (
        "a waiting job holds nothing",
        recording(job(1, ended=None, state=RowState.CREATED, waits_for=UUID(int=2))),
    ),
    ("failed attempts are in order", recording(job(1, attempt=2, failures=(failed(2, 2), failed(1, 3))))),
    ("times of a row are in order", recording(job(1, created=1.0, started=9.0, ended=2.0))),
    (
        "a retry waits as long as its policy says",
        recording(job(1, attempt=2, retry_count=1, started=12.9, ended=14.0, failures=RETRY)),
    ),
]


def test_bad_rows_violate_their_property() -> None:
    for rule, history in BROKEN:
        violation = check(history).violation
        assert violation is not None, rule
        assert violation.rule == rule


def test_violation_begins_with_what_the_rows_say_and_where_they_are(tmp_path: Path) -> None:
    for rule, others in (("active jobs within the limit", 1), ("one job per key and slot", 1)):
        history = next(history for name, history in BROKEN if name == rule)
        file = written(tmp_path / "the day.gz", *history.jobs)
        first, *lives, _, _, rows, page = described(check(history), history, str(file)).splitlines()[:7]
        assert first == f"✗ {rule}"
        assert len(lives) == 1 + others
        assert lives[-1].startswith(f"  mail {UUID(int=2)} was created at 2026-03-03T09:00:01+00:00, began")
        assert "on worker 1, and is completed at 2026-03-03T09:00:" in lives[-1]
        assert page.startswith("  page    none")
        *command, pattern = shlex.split(rows)
        assert command == ["rows", "gzip", "-cdf", str(file), "|", "grep", "-E"]
        found = re.findall(pattern, gzip.decompress(file.read_bytes()).decode())
        assert len(found) == 1 + others


def test_cycle_of_waits_is_found() -> None:
    waiting = {"state": RowState.CREATED, "started": None, "ended": None, "worker": None, "attempt": 0}
    one = job(1, waits_for=UUID(int=2), **waiting)
    other = job(2, waits_for=UUID(int=1), **waiting)
    violation = check(recording(one, other)).violation
    assert violation is not None
    assert violation.rule == "no job waits in a cycle"


FINE: list[Recording] = [
    recording(job(1), job(2, created=4.0, started=6.0, ended=8.0), limit=1),
    # Statements that overlap for a moment; and a key that was free while its job was cancelled.
    recording(job(1, ended=7.0), job(2, started=6.0, ended=30.0), limit=1),
    recording(job(1, created=0.0, started=50.0, ended=60.0, singleton_key="k"), job(2, singleton_key="k")),
    # Cancelled while it waited for its next attempt.
    recording(job(1, state=RowState.CANCELLED, start_after=at(9.0), failures=RETRY)),
    recording(job(1, attempt=2, retry_count=1, started=13.0, ended=14.0, failures=RETRY)),
    # A user's retry of a job that had failed for good.
    recording(job(1, attempt=2, started=3.5, failures=(failed(1, 3.0, RowState.FAILED),))),
    # Another program's active job, which has no worker.
    recording(job(1, state=RowState.ACTIVE, ended=None, worker=None)),
    # The slot is free when its job is archived.
    recording(
        job(1, singleton_on=datetime(2026, 3, 3, 9), archived_on=at(30.0)),  # noqa: DTZ001
        job(2, created=40.0, started=41.0, ended=42.0, singleton_on=datetime(2026, 3, 3, 9)),  # noqa: DTZ001
    ),
]


def test_correct_rows_violate_nothing() -> None:
    for number, history in enumerate(FINE):
        assert check(history).violation is None, number


def test_every_property_is_checked_or_named_with_what_it_lacks() -> None:
    checked = check(recording(job(1)))
    unchecked = [name for names in checked.unchecked.values() for name in names]
    assert set(OF_ROWS) <= set(checked.checked)
    assert not set(OF_ROWS) & set(unchecked)
    assert "an output is what the handler returned" in unchecked
    assert len(unchecked) + len(OF_ROWS) == len(ALL)


# What a replay takes.


def test_attempts_take_the_recorded_time_and_end_as_recorded() -> None:
    jobs = [
        job(1, started=2.0, ended=6.0),
        job(
            2,
            attempt=3,
            started=40.0,
            ended=44.0,
            failures=(failed(1, 4.0), failed(2, 20.0, error="WorkerLost")),
        ),
        job(
            3,
            state=RowState.FAILED,
            ended=4.0,
            error="Fail",
            failures=(failed(1, 4.0, RowState.FAILED, "Fail"),),
        ),
        job(4, state=RowState.EXPIRED, started=2.0, ended=62.0, retry_limit=0, error="Expired"),
    ]
    attempts = Profiles(recording(*jobs)).attempts()
    assert attempts[UUID(int=1)] == [Attempt(4.0, "completed")]
    assert attempts[UUID(int=2)] == [Attempt(3.0, "failed", "TimeoutError"), Attempt(4.0, "completed")]
    assert attempts[UUID(int=3)] == [Attempt(2.0, "failed for good", "Fail")]
    assert attempts[UUID(int=4)] == [Attempt(60.0, "expired", "Expired")]


def test_job_that_waits_for_another_attempt_is_due_when_it_was_sent() -> None:
    """Its ``start_after`` is that of the next attempt: in a century for a parent that waits for a child."""
    later: dict[str, Any] = {"started": 2.0, "ended": None, "worker": None, "start_after": at(400.0)}
    parent = job(1, state=RowState.CREATED, waits_for=UUID(int=2), **later)
    delayed = job(2, started=401.0, ended=402.0, start_after=at(400.0))
    ((_, (one, other), _),) = Profiles(recording(parent, delayed)).arrivals()
    assert (one.start_at, other.start_at) == (None, at(400.0))


def test_jobs_are_sent_with_every_recorded_option_and_cancelled() -> None:
    options: dict[str, Any] = {
        "priority": 3,
        "retry_limit": 7,
        "retry_delay": 11,
        "retry_backoff": True,
        "retry_delay_max": 90,
        "expire_in": 61.0,
        "singleton_key": "key",
        "policy": "short",
        "group_key": "group",
        "parent": UUID(int=99),
    }
    plain = {name: getattr(job(1), name) for name in options}
    others = {"id", "name", "data", "delay", "start_at", "slot_seconds", "slot_offset", "meta", "fresh"}
    assert {field.name for field in fields(NewJob)} == {*options, *others}
    assert not any(plain[name] == value for name, value in options.items())
    gone = job(1, state=RowState.CANCELLED, ended=7.0, meta={"by": "ann"}, **options)
    sent, cancelled = Profiles(recording(gone)).arrivals()
    (new,) = sent.jobs
    assert {name: getattr(new, name) for name in options} == options
    assert (new.id, new.name, new.meta) == (gone.id, "mail", '{"by":"ann"}')
    assert (cancelled.at, cancelled.jobs, cancelled.cancelled) == (7.0, (), gone.id)


def test_slots_are_the_recorded_ones() -> None:
    slots = [datetime(2026, 3, 3, 9, minute) for minute in (0, 10)]  # noqa: DTZ001
    ahead = [job(1, singleton_on=slots[0]), job(2, created=1.5, singleton_on=slots[1])]
    (_, (one,), _), (_, (other,), _) = Profiles(recording(*ahead)).arrivals()
    assert one.slot_seconds is not None
    assert [one.slot_seconds % 600, one.slot_offset, other.slot_offset] == [0, 0, 599]


def test_jobs_of_handlers_are_compared_but_not_sent() -> None:
    history = recording(job(1), job(2, parent=UUID(int=1)), job(3, parent=UUID(int=9)))
    profiles = Profiles(history, ("mail",))
    assert [one.id.int for one in profiles.jobs] == [1, 3]
    comparison = Comparison()
    comparison.add(profiles.jobs, [], profiles.children)
    assert comparison.recorded.states.total() == 3


def test_number_of_workers_is_that_of_the_history() -> None:
    jobs = [job(1), job(2, worker=2), job(3, created=50.0, started=51.0, ended=52.0, worker=3)]
    history = recording(*jobs)
    assert Profiles(history).workers == 2
    history.workers += [RecordedWorker(number=n, queues=("mail",), lease=23.0) for n in (1, 2, 3, 4)]
    assert Profiles(history).workers == 4


def test_scenario_is_loaded_by_its_name(tmp_path: Path) -> None:
    path = written(tmp_path / "the day.gz", *(job(n) for n in range(1, 30)))
    replay = Replay(str(path), kill_workers=1, faults=("restart", "pause"), concurrency=2)
    made = scenario(replay)
    again = load(made.name)
    assert again.name == made.name
    one, other = (run(each, each.plan(3)) for each in (made, again))
    assert one.violation is None
    assert one.digest == other.digest
    assert run(again, one.plan).digest == one.digest


def test_large_history_is_replayed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_profiles, "PART_JOBS", 10)
    history = recording(*(job(n, created=n, started=n + 1, ended=n + 15) for n in range(1, 26)))
    assert parts(history) == 3
    sent = [{one.id.int for one in Profiles(history, part=part).jobs} for part in range(3)]
    assert set.union(*sent) == set(range(1, 26))
    # Jobs that a part begins with are those that had not ended.
    assert min(sent[2]) == 6
    replay = Replay(str(written(tmp_path / "day.gz", *history.jobs)), kill_workers=2)
    ran = [outcome.events for _, outcome, _ in replays(replay, range(4))]
    # Two kills for each seed; and parts without any are replayed once.
    assert sum(event.kind == "kill" for events in ran for event in events if isinstance(event, Fault)) == 8
    assert len(ran) < 12
    with pytest.raises(SimulationError, match="part: must be below 3"):
        scenario(replace(replay, part=3))
