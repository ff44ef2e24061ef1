"""The two storages are one: whatever is done to both, they answer alike and hold the same rows.

``pytest tests/model --model-examples 5000`` tries more, and with ``--hypothesis-profile=random`` other ones.
"""

from __future__ import annotations

import asyncio
import faulthandler

import psycopg
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.clocks import FrozenClock
from tests.model.machine import StorageMachine
from tests.model.pair import Pair
from tests.model.strategies import ZONE
from tests.selecting import is_random
from zeke_queue.storage.postgres import PostgresStorage, retention, session

SETTINGS = settings(
    stateful_step_count=30,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
SMALL_SECONDS = 900


class _OfOneRow(retention.BatchSize):
    """Makes archiving and purging move row by row, as after statements that took too long."""

    def of(self, limit: int) -> int:
        return min(limit, 1)


def test_both_storages_answer_alike_and_hold_the_same_rows(
    request: pytest.FixtureRequest, dsn: str, part: int, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if part % 2:
        # No statement depends on the session's time zone, also where a pooler drops the settings of sessions.
        monkeypatch.setattr(session, "RELIED_ON", {**session.RELIED_ON, "timezone": ZONE})
    if part % 4 > 1:
        monkeypatch.setattr(retention, "BatchSize", _OfOneRow)
    # Making a failure small takes minutes of Postgres; the run's limit for a test would cut it off.
    faulthandler.dump_traceback_later(SMALL_SECONDS, exit=True)
    clock = FrozenClock()
    with asyncio.Runner() as runner:
        opening = PostgresStorage.open(dsn, min_size=1, max_size=4, listen=False, now=clock.now)
        postgres = runner.run(opening.__aenter__())
        connection = runner.run(psycopg.AsyncConnection.connect(dsn, autocommit=True))

        class Machine(StorageMachine):
            pair = Pair(runner.run, postgres, connection, clock, dsn)

        try:
            run_state_machine_as_test(
                Machine if is_random(request.config) else seed(part)(Machine),
                settings=settings(SETTINGS, max_examples=examples, derandomize=False),
            )
        finally:
            runner.run(connection.close())
            runner.run(opening.__aexit__(None, None, None))
            faulthandler.cancel_dump_traceback_later()
