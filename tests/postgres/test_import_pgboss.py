"""Imports from a pg-boss 10, 11 or 12: whole whatever interrupts them, and no job runs in both systems."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest

from tests.cases import check_each
from tests.postgres import pgboss_later
from tests.postgres.importing import (
    HERE,
    LATER,
    SLOT,
    KilledError,
    archive,
    fill,
    import_all,
    import_on,
    rows,
)
from tests.postgres.pgboss_later import add
from tests.tidy import ROOT
from zeke_queue.core.pgboss_import import NO_QUEUE
from zeke_queue.errors import LockTimeoutError, PermissionDeniedError, UsageError
from zeke_queue.storage.postgres.pgboss_import import Importer
from zeke_queue.storage.postgres.pgboss_source import CronState, Source, connect
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.postgres.many_jobs import Connection

pytestmark = pytest.mark.nightly

FETCHED_BY_PGBOSS = "select id from boss.job where state < 'active'"
WAITS = ("created", "scheduled", "retry")


@pytest.mark.parametrize("major", [10, 12])
def test_import_killed_anywhere_continues_and_no_job_is_in_both(
    dsn: str, here: Connection, empty_dsn: str, there: Connection, major: int
) -> None:
    # One database for one, and two for the other.
    source, sql = (dsn, here) if major == 10 else (empty_dsn, there)
    pgboss_later.create(sql, major)
    first = psycopg.connect(source)
    second = first if major == 10 else psycopg.connect(dsn)
    for left in count():
        here.execute("truncate pgboss.job")
        sql.execute("truncate boss.job")
        run = fill(sql, major)
        if major == 10:
            sql.execute("truncate boss.archive")
            archive(sql)
        try:
            import_on(first, second, left, active=True)
        except KilledError:
            stored = {row[0] for row in rows(here, HERE)}
            fetched = {row[0] for row in rows(sql, FETCHED_BY_PGBOSS)}
            assert not stored & fetched, f"after {left} calls both systems run it"
        else:
            break
        import_on(first, second, active=True)
        assert not rows(sql, FETCHED_BY_PGBOSS), left
        assert {row[0] for row in rows(here, HERE) if row[2] in ("created", "retry")} == run, left
        assert len(rows(here, HERE)) == len(run) + 3, left
    assert left > 20
    before = rows(here, HERE)
    assert not import_on(first, second, active=True).done.history
    assert rows(here, HERE) == before
    first.close()
    second.close()


def test_job_that_moved_on_is_left_to_pgboss(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 12)
    fetched, waiting = add(here, "mail"), add(here, "mail")
    with psycopg.connect(dsn) as worker:
        worker.execute("update boss.job set state = 'active' where id = %s", [fetched])
        import_all(dsn)
        worker.rollback()
    assert [row[0] for row in rows(here, HERE)] == [waiting]
    assert import_all(dsn).done.jobs == {"mail": 1}


def test_jobs_that_stay_do_not_end_the_import_of_those_behind_them(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 12)
    for at in range(1, 7):
        add(here, "mail", "created" if at % 2 else "failed", id=UUID(int=at), blocked=at in {1, 3})
        here.execute("update boss.job set output = '{\"zekeImport\": {}}' where id = %s", [UUID(int=4)])
    done = import_all(dsn).done
    assert (done.jobs, done.history) == ({"mail": 1}, {"mail": 2})


def test_active_jobs_are_not_taken_from_an_instance_that_registers_meanwhile(
    dsn: str, here: Connection
) -> None:
    pgboss_later.create(here, 12)
    add(here, "mail", "active", started_on=LATER, retry_limit=1)
    register = "insert into boss.instance values (60, now() - interval '{} seconds', {})"
    with connect(dsn) as session:
        importer = Importer(Source.find(session, "boss", writing=True), session, "pgboss")
        here.execute(register.format(170, "null").encode())
        with pytest.raises(UsageError, match="got 1 of its connections or instances"):
            importer.waiting(None, active=True)
        session.commit()
        here.execute("truncate boss.instance")
        here.execute(register.format(190, "null").encode())
        here.execute(register.format(1, "now()").encode())
        assert importer.waiting(None, active=True) == 1


def test_claimed_job_has_no_heartbeat_that_pgboss_could_miss(
    dsn: str, here: Connection, empty_dsn: str, there: Connection
) -> None:
    pgboss_later.create(there, 12)
    beat = {"heartbeat_on": datetime(2026, 1, 1, tzinfo=UTC), "heartbeat_seconds": 10}
    add(there, "mail", "active", started_on=LATER, retry_limit=1, **beat)
    with psycopg.connect(empty_dsn) as first, psycopg.connect(dsn) as second:
        for left in count():
            with suppress(KilledError):
                import_on(first, second, left, active=True)
            if rows(there, "select from boss.job where output is not null"):
                break
    assert not rows(
        there, "select from boss.job where heartbeat_on + interval '1s' * heartbeat_seconds < now()"
    )
    assert not rows(here, HERE)


def test_claimed_jobs_break_no_index_of_a_policy(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 12)
    add(here, "single", "active", policy="singleton", singleton_key="k")
    add(here, "single", policy="singleton", singleton_key="k")
    add(here, "single", policy="singleton", singleton_key="k")
    assert import_all(dsn).done.jobs == {"single": 2}


def test_jobs_of_one_id_in_two_queues_are_both_imported(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 12)
    add(here, "b", id=add(here, "a"))
    import_all(dsn)
    here.execute("update boss.job set state = 'created', output = null")
    import_all(dsn)
    assert sorted(row[1] for row in rows(here, HERE)) == ["a", "b"]


def test_job_whose_key_or_slot_is_taken_here_is_kept_without_it(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 12)
    here.execute("insert into pgboss.job (name, singletonkey) values ('one', 'k')")
    here.execute("insert into pgboss.job (name, singletonon) values ('slots', %s)", [SLOT])
    keyed = add(here, "one", policy="exclusive", singleton_key="k")
    slotted = add(here, "slots", singleton_on=SLOT)
    assert import_all(dsn).done.unkeyed == 2
    text = "select id, (singletonkey, singletonon, meta)::text from pgboss.job"
    found: Mapping[Any, Any] = dict(rows(here, text))
    assert found[keyed].startswith("(,,")
    assert "singleton_key" in found[keyed]
    assert found[slotted].startswith("(,,")


def test_completed_job_keeps_its_slot_in_both_systems(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 12)
    now = SystemClock().now().replace(tzinfo=None)
    add(here, "slots", singleton_on=now)
    add(here, "slots", "completed", singleton_on=now - timedelta(hours=1))
    add(here, "slots", "completed", singleton_on=SLOT - timedelta(days=30))
    with connect(dsn) as session:
        importer = Importer(Source.find(session, "boss", writing=True), session, "pgboss")
        importer.ended(None, history=False)
        importer.waiting(None)
    assert importer.done.history == {"slots": 1}
    check_each([now, now - timedelta(hours=1)], lambda slot: _refused(here, slot))


def _refused(sql: Connection, slot: datetime) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        sql.execute("insert into pgboss.job (name, singletonon) values ('slots', %s)", [slot])
    with pytest.raises(psycopg.errors.UniqueViolation):
        add(sql, "slots", singleton_on=slot)


def test_jobs_of_flows_and_past_retention_stay(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 12)
    add(here, "flow", blocked=True)
    add(here, "flow", blocking=True)
    add(here, "old", keep_until=datetime(2020, 1, 1, tzinfo=UTC))
    assert not import_all(dsn).done.jobs
    with connect(dsn) as session:
        found = Source.find(session, "boss", writing=False).preview(None)
    notes = " ".join(note for one in found.queues for note in one.notes)
    assert "2 of a flow" in notes
    assert "1 waiting past keep_until" in notes


@pytest.mark.parametrize("apart", [False, True], ids=["one database", "two"])
def test_schedules_start_where_the_cron_of_pgboss_ended_and_not_before_it_ends(
    dsn: str, here: Connection, empty_dsn: str, there: Connection, *, apart: bool
) -> None:
    source, sql = (empty_dsn, there) if apart else (dsn, here)
    pgboss_later.create(sql, 12)
    sql.execute("update boss.version set cron_on = now() - interval '130 seconds'")
    sql.execute("insert into boss.queue (name) values ('report')")
    sql.execute("insert into boss.schedule (name, cron) values ('report', '0 3 * * *')")

    class Busy(Source):
        """A pg-boss whose cron runs once its schedules were read."""

        def cron(self) -> CronState:
            state = super().cron()
            sql.execute("update boss.version set cron_on = now()")
            return state

    def imported(kind: type[Source]) -> Importer:
        with connect(source) as session, connect(dsn) as target:
            found = kind.find(session, "boss", writing=True)
            importer = Importer(found, target if apart else session, "pgboss")
            importer.schedules(None)
            return importer

    assert imported(Busy).done.cron_running
    assert not rows(here, "select from pgboss.zeke_schedule")
    sql.execute("update boss.version set cron_on = now() - interval '130 seconds'")
    assert imported(Source).done.schedules == ["report"]
    ((last, after),) = rows(here, "select last_tick, next_tick from pgboss.zeke_schedule")
    assert (last,) == rows(sql, "select cron_on from boss.version")[0]
    assert last < after <= last + timedelta(days=1)


def test_preview_counts_each_job_once_and_those_of_an_import_are_taken(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 12)
    fill(here, 12)
    add(here, "mail", "retry", blocked=True, keep_until=SLOT)
    add(here, "mail", start_after=LATER, keep_until=SLOT)
    mark = {"zekeImport": {"at": LATER.timestamp(), "job": {}}}
    add(here, "mail", "active", started_on=LATER, output=mark)
    add(here, "mail", "completed", started_on=LATER, output=mark)
    with connect(dsn) as session:
        reports = Source.find(session, "boss", writing=False).preview(None).queues
    counts = {one.name: dict(one.counts) for one in reports}
    assert sum(sum(one.values()) for one in counts.values()) == len(rows(here, "select from boss.job"))
    once = (
        "scheduled",
        "retry",
        "active",
        "completed",
        "failed",
        "cancelled",
        "flow",
        "past",
        "claimed",
        "taken",
    )
    assert counts["mail"] == {"created": 2, **dict.fromkeys(once, 1)}
    here.execute("delete from boss.job where state = 'active'")
    taken = {name: sum(one.get(state, 0) for state in WAITS) for name, one in counts.items()}
    assert import_all(dsn).done.jobs == taken


def test_preview_counts_the_archive_too(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 10)
    fill(here, 10)
    archive(here)
    add(here, "mail", "cancelled")
    here.execute("update boss.archive set name = 'gone' where id = (select id from boss.archive limit 1)")
    add(here, "mail", "cancelled")
    with connect(dsn) as session:
        reports = Source.find(session, "boss", writing=False).preview(None).queues
    counts = {one.name: dict(one.counts) for one in reports}
    assert {one.name for one in reports if one.left == NO_QUEUE} == {"gone"}
    assert counts["gone"] == {"cancelled": 1}
    once = ("scheduled", "retry", "active", "completed", "failed")
    assert counts["mail"] == {"created": 2, "cancelled": 2, **dict.fromkeys(once, 1)}


def test_batches_end_after_their_bytes_from_the_first_possible_id_to_the_last(
    dsn: str, here: Connection
) -> None:
    pgboss_later.create(here, 12)
    large = {"text": "".join(hashlib.sha256(bytes([at])).hexdigest() for at in range(40))}
    for at in range(5):
        add(here, "mail", id=UUID(int=at), data=large)
        add(here, "mail", "failed", id=UUID(int=2**128 - 1 - at), data=large)
    with connect(dsn) as session:
        source = Source.find(session, "boss", writing=True)
        source.batch_bytes = 1000
        assert [len(batch) for batch in source.ended("mail", history=True)] == [1, 1, 1, 1, 1]
        importer = Importer(source, session, "pgboss")
        importer.waiting(None)
    assert importer.done.jobs == {"mail": 5}


def test_values_out_of_range_become_readable(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 10)
    add(here, "mail", start_after="infinity", keep_until="infinity", expire_in="0 seconds", retry_delay=-1)
    import_all(dsn)
    ((start, expire, delay),) = rows(here, "select startafter, expirein, retrydelay from pgboss.job")
    assert start.year == 9998
    assert expire > timedelta(0)
    assert delay == 0


def test_locked_key_here_ends_the_import_and_it_continues(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 12)
    add(here, "one", policy="exclusive", singleton_key="k")
    with psycopg.connect(dsn) as application:
        application.execute("insert into pgboss.job (name, singletonkey) values ('one', 'k')")
        with pytest.raises(LockTimeoutError), connect(dsn) as session:
            Importer(Source.find(session, "boss", writing=True), session, "pgboss").waiting(None)
        application.rollback()
    assert import_all(dsn).done.jobs == {"one": 1}


def test_missing_rights_are_named_with_their_grants(dsn: str, here: Connection) -> None:
    pgboss_later.create(here, 12)
    here.execute("drop role if exists importer_of_jobs")
    here.execute("create role importer_of_jobs")

    def find(*, writing: bool) -> Source:
        with connect(dsn) as session:
            session.run("set local role importer_of_jobs")
            return Source.find(session, "boss", writing=writing)

    with pytest.raises(PermissionDeniedError, match="lacks the right select on boss"):
        find(writing=False)
    here.execute("grant usage on schema boss to importer_of_jobs")
    here.execute("grant select on all tables in schema boss to importer_of_jobs")
    assert find(writing=False).major == 12
    with pytest.raises(PermissionDeniedError, match="lacks the right update on boss"):
        find(writing=True)
    # Two servers may have databases of one name, so the origin of a job names the server too.
    ((server,),) = rows(here, "select system_identifier from pg_control_system()")
    assert find(writing=False).origin == f"{server}.{here.info.dbname}.boss"
    here.execute("revoke execute on function pg_control_system() from public")
    assert find(writing=False).origin == f"{here.info.host}:{here.info.port}.{here.info.dbname}.boss"
    here.execute("grant execute on function pg_control_system() to public")
    here.execute("drop owned by importer_of_jobs")
    here.execute("drop role importer_of_jobs")


@pytest.mark.parametrize(
    ("major", "column", "expiry"), [(10, "expire_in", timedelta(seconds=9)), (12, "expire_seconds", 9)]
)
def test_documented_statement_returns_jobs_that_did_not_start(
    dsn: str, here: Connection, major: int, column: str, expiry: object
) -> None:
    text = (
        (ROOT / "docs/migrate-from-pgboss.md").read_text(encoding="utf-8").split("```sql")[1].split("```")[0]
    )
    text = text.replace("jobs.job", "HERE").replace("pgboss.", "boss.").replace("HERE", "pgboss.job")
    text = text.replace("expire_seconds", column)
    pgboss_later.create(here, major)
    tried = {"retry_count": 1, "started_on": LATER, "output": {"message": "no"}}
    add(here, "mail", "retry", policy="short", **{column: expiry}, **tried)
    add(here, "other")
    shown = "select id, to_jsonb(job) from boss.job as job where name = 'mail'"
    before = rows(here, shown)
    import_all(dsn)
    here.execute(text.replace("NAME", "mail").encode())
    assert rows(here, shown) != before, "jobs that were not cancelled here return"
    here.execute("update pgboss.job set state = 'cancelled', attempt = attempt + 1")
    here.execute(text.replace("NAME", "mail").encode())
    assert rows(here, shown) != before, "jobs that have started here return"
    here.execute("update pgboss.job set attempt = attempt - 1")
    here.execute(text.replace("NAME", "mail").encode())
    assert rows(here, shown) == before
    assert [row[0] for row in rows(here, FETCHED_BY_PGBOSS)] == [before[0][0]]
    assert import_all(dsn).done.jobs == {"mail": 1}
