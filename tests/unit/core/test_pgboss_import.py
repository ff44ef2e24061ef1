"""What rows of pg-boss 10 to 12 become: values, states, keys, schedules, and what can't be carried."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cases import check_each
from zeke_queue.core import pgboss_import as core
from zeke_queue.errors import SchemaVersionError
from zeke_queue.model import CatchUp, RowState, Schedule

ID = "01938c5e-7a3b-7c4d-9e2f-0123456789ab"
ROW: dict[str, Any] = {
    "id": ID,
    "name": "mail",
    "priority": 3,
    "state": "created",
    "retry_limit": 4,
    "retry_count": 0,
    "retry_delay": 7,
    "retry_backoff": True,
    "start_after": "2026-01-01T00:00:00+00:00",
    "started_on": None,
    "singleton_key": None,
    "singleton_on": None,
    "created_on": "2026-01-01T00:00:00+00:00",
    "completed_on": None,
    "keep_until": "2026-02-01T00:00:00+00:00",
    "dead_letter": None,
    "policy": "standard",
    "expire_seconds": 90,
}


def job(**columns: Any) -> core.ImportedJob:
    return core.job_of({**ROW, **columns}, '{"a": 1.0}', None)


def meta(given: core.ImportedJob) -> dict[str, Any]:
    return json.loads(given.meta)["pgboss"] if given.meta else {}


def test_versions() -> None:
    def check(version: int, major: int) -> None:
        assert core.major_version(version, "pgboss") == major

    check_each([(21, 10), (24, 10), (25, 11), (26, 11), (27, 12), (46, 12)], check)


def test_other_versions_are_refused_with_a_remedy() -> None:
    def check(version: int, remedy: str) -> None:
        with pytest.raises(SchemaVersionError) as refused:
            core.major_version(version, "jobs")
        assert remedy in str(refused.value)

    cases = [(20, "zeke --schema jobs migrate"), (13, "pg-boss 9.0.3"), (47, "Upgrade zeke-queue")]
    check_each(cases, check)


def test_values_are_kept() -> None:
    plain = job()
    assert (plain.priority, plain.retry_limit, plain.retry_delay, plain.expire_in) == (3, 4, 7, "90 seconds")
    assert (plain.data, plain.meta, plain.attempt) == ('{"a": 1.0}', None, 0)
    assert job(expire_in="00:15:00").expire_in == "00:15:00"
    assert job(retry_delay_max=60).retry_delay_max == 60
    assert job(retry_delay=0).retry_delay == 1
    assert job(retry_delay=0, retry_backoff=False).retry_delay == 0
    assert job(state="retry", retry_count=2, started_on="2026-01-01T00:00:00+00:00").attempt == 3
    kept = job(dead_letter="dead", group_id="g", group_tier="gold", policy="singleton", singleton_key="k")
    assert kept.group_key == "g"
    assert meta(kept) == {
        "dead_letter": "dead", "group_tier": "gold", "policy": "singleton", "singleton_key": "k"
    }  # fmt: skip


def test_active_job_becomes_a_retry_while_it_has_one() -> None:
    started = {"state": "active", "started_on": "2026-01-01T00:00:00+00:00"}
    assert job(**started, retry_count=3).state is RowState.RETRY
    assert job(**started, retry_count=4).state is RowState.EXPIRED


def test_keys_exclude_here_what_they_excluded_there() -> None:
    slot = {"singleton_on": "2026-01-01T00:00:00"}

    def check(columns: dict[str, Any], key: str | None) -> None:
        assert job(**columns).key == key

    cases: list[tuple[dict[str, Any], str | None]] = [
        ({"singleton_key": "k"}, None),
        ({"singleton_key": "k", "policy": "singleton"}, None),
        ({"singleton_key": "k", "policy": "key_strict_fifo"}, None),
        ({"singleton_key": "k", "policy": "short"}, "k"),
        ({"singleton_key": "k", "policy": "stately"}, "k"),
        ({"singleton_key": "", "policy": "exclusive"}, "mail"),
        ({"policy": "exclusive"}, "mail"),
        ({"singleton_key": "k", "upsert_by_key": True}, "k"),
        ({"singleton_key": "k" * 2000, "policy": "short"}, None),
        ({"singleton_key": "__pgboss__singleton_queue", "policy": "short"}, None),
        ({"singleton_key": "k", **slot}, "k"),
        ({"policy": "exclusive", **slot}, None),
        ({"singleton_key": "k", "state": "failed"}, "k"),
        ({"policy": "exclusive", "state": "completed"}, None),
    ]
    check_each(cases, check)


def test_refused_job_is_known_renamed_or_stored_without_its_key() -> None:
    refused = job(singleton_key="k", policy="short", dead_letter="dead")
    assert core.next_try(refused, "mail") is None
    renamed = core.next_try(refused, "other")
    assert renamed is not None
    assert renamed == core.next_try(refused, "another")
    assert renamed.id != refused.id
    bare = core.next_try(refused, None)
    assert bare is not None
    assert (bare.key, bare.slot) == (None, None)
    assert meta(bare) == {"dead_letter": "dead", "policy": "short", "singleton_key": "k"}


def test_queues_that_stay_have_a_reason() -> None:
    assert core.left_out("mail", None) is None
    assert core.left_out("mail", {"mail"}) is None
    assert core.left_out("other", {"mail"}) == "not in the catalog"
    assert core.left_out("__pgboss__send-it", None) == "pg-boss's own"
    assert "not a name here" in (core.left_out("two words", None) or "")


def schedule(**columns: Any) -> core.ScheduleReport:
    row = {"name": "mail", "cron": "0 3 * * *", "timezone": "Europe/Berlin", "options": None, **columns}
    return core.schedule_of(row, "{}", {"mail"})


def test_schedules_keep_zone_data_options_and_keys() -> None:
    options = {"retryLimit": 2, "retryDelayMax": 9, "singletonSeconds": 60, "tz": "Europe/Berlin"}
    plain = schedule(options=options).schedule
    assert plain is not None
    assert (plain.name, plain.task, plain.zone, plain.data) == ("mail", "mail", "Europe/Berlin", "{}")
    assert plain.options == {"retry_limit": 2, "retry_delay_max": 9, "throttle": 60}
    assert plain.catch_up is CatchUp.SKIP
    keyed = schedule(key="second", timezone=None, options={"missed": "once"}).schedule
    assert keyed is not None
    assert (keyed.name, keyed.task, keyed.zone, keyed.catch_up) == (
        "mail/second",
        "mail",
        "UTC",
        CatchUp.ONCE,
    )


def test_schedules_that_stay_have_a_reason() -> None:
    def check(columns: dict[str, Any], reason: str) -> None:
        found = schedule(**columns)
        assert found.schedule is None
        assert reason in (found.left or "")

    cases: list[tuple[dict[str, Any], str]] = [
        ({"name": "other"}, "not in the catalog"),
        ({"kind": "rrule", "cron": "FREQ=DAILY"}, "recurrence rule"),
        ({"cron": "0 99 * * *"}, "cron"),
        ({"timezone": "Mars/Base"}, "IANA"),
        ({"key": "two words"}, "ASCII"),
        ({"options": {"retryLimit": -1}}, "retry_limit"),
    ]
    check_each(cases, check)


def test_seconds_are_first_there_and_last_here() -> None:
    def check(expression: str, ours: str) -> None:
        found = schedule(cron=expression).schedule
        assert found is not None
        assert found.cron == ours

    cases = [
        ("30 0 3 * * *", "0 3 * * * 30"),
        ("0 30 4 * * 1", "30 4 * * 1"),
        ("*/10 * * * * *", "* * * * *"),
        ("15,45 0 3 1 * *", "0 3 1 * *"),
        ("5 4 * * *", "5 4 * * *"),
    ]
    check_each(cases, check)


def test_second_schedule_with_the_same_name_here_is_left() -> None:
    row = {"cron": "0 3 * * *", "timezone": "UTC", "options": None}
    rows = [({**row, "name": "mail", "key": "early"}, None), ({**row, "name": "mail/early", "key": ""}, None)]
    first, second = core.schedules_of(rows, None)
    assert first.schedule is not None
    assert second.schedule is None
    assert second.left == "the schedule of mail with key early has its name here"


def test_first_tick_is_the_one_after_the_last_check_of_pgboss() -> None:
    checked = datetime(2026, 1, 1, 12, 0, 10, tzinfo=UTC)
    minutely, daily = (schedule(cron=cron, timezone="UTC").schedule for cron in ("* * * * *", "0 3 * * *"))
    caught = schedule(cron="* * * * *", options={"missed": "once"}).schedule
    assert minutely is not None
    assert daily is not None
    assert caught is not None
    first = datetime(2026, 1, 1, 12, 1, tzinfo=UTC)

    def check(given: tuple[Schedule, int], found: tuple[datetime | None, datetime | None]) -> None:
        one, later = given
        assert core.first_ticks(one, checked, checked + timedelta(seconds=later)) == found

    cases = [
        ((minutely, 100), (first, None)),
        ((minutely, 130), (first, first)),
        ((caught, 130), (first, None)),
        ((daily, 130), (datetime(2026, 1, 2, 3, 0, tzinfo=UTC), None)),
    ]
    check_each(cases, check)
    assert core.first_ticks(minutely, None, checked) == (None, None)


def test_policies_and_traits_are_explained() -> None:
    counts = {"past": 1, "flow": 2, "claimed": 4, "taken": 6}
    details = {"labels": 3, "dead_letters": ["dead"], "backoff": 5}
    queue = {
        "name": "mail",
        "policy": "standard",
        "retry_limit": 4,
        "expire_seconds": 90,
        "retry_delay": None,
    }
    notes = " ".join(core.report(counts, details, queue, None, 26).notes)
    words = ["1 waiting past", "2 of a flow", "3 with a key", "4 claimed", "dead letter dead"]
    words += ["5 with a backoff and a delay", "6 imported before", "retry_limit=4, expire_in=90"]
    check_each(words, lambda words: _contains(notes, words))
    assert not core.report({}, {"backoff": 5}, {"name": "mail"}, None, 27).notes
    assert not core.report({}, {}, {**queue, "name": "other"}, "not in the catalog").notes
    for policy in ("short", "singleton", "stately", "exclusive", "key_strict_fifo"):
        assert core.report({}, {}, {"name": "mail", "policy": policy}, None).notes[0].startswith(policy)
    assert core.report({}, {}, {"name": "mail", "policy": None}, None).policy == "standard"


def _contains(text: str, words: str) -> None:
    assert words in text
