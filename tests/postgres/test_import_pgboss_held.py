"""Imports between two databases: a held job runs once, whatever pg-boss or its users did meanwhile."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.postgres import pgboss_later
from tests.postgres.importing import (
    ACTIVE_IN_PGBOSS,
    HERE,
    KilledError,
    fill,
    import_all,
    import_on,
    rows,
    started,
)
from tests.postgres.pgboss_later import add
from zeke_queue.storage.postgres.pgboss_source import Session, Source

if TYPE_CHECKING:
    from tests.postgres.many_jobs import Connection

pytestmark = pytest.mark.nightly


@pytest.mark.parametrize("fails", [False, True], ids=["purged here", "failed there"])
def test_job_between_two_databases_runs_once_wherever_the_import_was_killed(
    dsn: str, here: Connection, empty_dsn: str, there: Connection, *, fails: bool
) -> None:
    pgboss_later.create(there, 12)
    with psycopg.connect(empty_dsn) as first, psycopg.connect(dsn) as second:
        for left in count():
            here.execute("truncate pgboss.job")
            there.execute("truncate boss.job")
            sent = fill(there, 12)
            try:
                import_on(first, second, left)
            except KilledError:
                run = started(here)
                held = {row[0] for row in rows(here, "select id from pgboss.job where waitsfor = id")}
                back = held & {row[0] for row in rows(there, ACTIVE_IN_PGBOSS)}
                if fails:
                    # A user has pg-boss fail what the import has claimed, and it runs all of it.
                    run += [row[0] for row in rows(there, ACTIVE_IN_PGBOSS)]
                    there.execute(
                        "update boss.job set state = 'completed', output = null where state = 'active'"
                    )
                done = import_on(first, second).done
                assert done.taken_back == len(back) * fails
                run += started(here)
                run += [row[0] for row in rows(there, ACTIVE_IN_PGBOSS)]
                assert sorted(run) == sorted(sent), left
            else:
                break
    assert left > 20


def test_claimed_job_that_a_user_cancels_is_not_imported(dsn: str, here: Connection, empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as sql:
        pgboss_later.create(sql, 11)
        add(sql, "mail")
        with psycopg.connect(empty_dsn) as first, psycopg.connect(dsn) as second:
            for left in count():
                with suppress(KilledError):
                    import_on(first, second, left)
                if rows(sql, "select from boss.job where state = 'active'"):
                    break
        sql.execute("update boss.job set state = 'cancelled'")
        import_all(dsn, empty_dsn)
    assert rows(here, HERE) == []


@pytest.mark.parametrize("major", [10, 12])
def test_claimed_job_that_a_user_resumes_and_pgboss_fetches_is_its_own(
    dsn: str, here: Connection, empty_dsn: str, there: Connection, major: int
) -> None:
    pgboss_later.create(there, major)
    add(there, "mail")
    with psycopg.connect(empty_dsn) as first, psycopg.connect(dsn) as second:
        hold(first, second)
        # Cancel, resume and fetch of pg-boss, which keep the output.
        there.execute("update boss.job set state = 'cancelled', completed_on = now()")
        there.execute("update boss.job set state = 'created', completed_on = null")
        there.execute("update boss.job set state = 'active', started_on = now()")
        (queue,) = Source.find(Session(first), "boss", writing=False).preview(None).queues
        assert queue.counts == {"active": 1}
        done = import_on(first, second).done
        assert (done.taken_back, rows(here, HERE)) == (1, [])
        assert rows(there, "select state::text from boss.job") == [("active",)]
        assert import_on(first, second, active=True).done.jobs == {"mail": 1}
    assert len(started(here)) == 1


def test_held_job_whose_row_in_pgboss_is_gone_stays_held_and_is_listed(
    dsn: str, here: Connection, empty_dsn: str, there: Connection
) -> None:
    pgboss_later.create(there, 12)
    gone = add(there, "mail")
    with psycopg.connect(empty_dsn) as first, psycopg.connect(dsn) as second:
        hold(first, second)
        there.execute("delete from boss.job")
        add(there, "mail")
        done = import_on(first, second).done
        assert (done.jobs, done.held, done.taken_back) == ({"mail": 1}, {gone: "mail"}, 0)
        assert len(started(here)) == 1
        assert import_on(first, second).done.held == {gone: "mail"}
        assert rows(here, "select id from pgboss.job where waitsfor = id") == [(gone,)]


@pytest.mark.parametrize("ran", [False, True], ids=["confirmed", "ran there"])
def test_held_job_that_pgboss_archived_runs_where_it_belongs(
    dsn: str, here: Connection, empty_dsn: str, there: Connection, *, ran: bool
) -> None:
    pgboss_later.create(there, 10)
    add(there, "mail")
    with psycopg.connect(empty_dsn) as first, psycopg.connect(dsn) as second:
        hold(first, second)
        there.execute("update boss.job set state = 'completed'")
        if ran:
            there.execute("update boss.job set output = null, started_on = now()")
        there.execute("with gone as (delete from boss.job returning *) insert into boss.archive table gone")
        done = import_on(first, second).done
        assert (done.taken_back, done.held) == (int(ran), {})
        assert len(started(here)) == 1 - ran
        assert rows(here, HERE) == []


def test_confirmed_job_that_pgboss_deletes_at_once_is_released(
    dsn: str, here: Connection, empty_dsn: str, there: Connection
) -> None:
    pgboss_later.create(there, 12)
    there.execute(
        "create function boss.gone() returns trigger language plpgsql as"
        " 'begin delete from boss.job where id = new.id; return null; end'"
    )
    there.execute(
        "create trigger gone after update on boss.job for each row when (new.state = 'completed')"
        " execute function boss.gone()"
    )
    sent = add(there, "mail")
    assert import_all(dsn, empty_dsn).done.held == {}
    assert started(here) == [sent]


def hold(first: Connection, second: Connection) -> None:
    """Interrupt an import between the insert here and the confirmation."""
    for left in count():
        with suppress(KilledError):
            import_on(first, second, left)
        if rows(second, "select from pgboss.job where waitsfor = id"):
            break
    second.rollback()
