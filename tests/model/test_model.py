"""The two storages are one: whatever is done to both, they answer alike and hold the same rows.

``pytest tests/model --model-examples 5000`` tries more, and other ones each time.
"""

from __future__ import annotations

import asyncio

import psycopg
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.clocks import FrozenClock
from tests.model.conftest import IN_CI
from tests.model.machine import StorageMachine
from tests.model.pair import Pair
from zeke_queue.storage.postgres import PostgresStorage


def test_both_storages_answer_alike_and_hold_the_same_rows(dsn: str, model_examples: int | None) -> None:
    clock = FrozenClock()
    with asyncio.Runner() as runner:
        opening = PostgresStorage.open(dsn, min_size=1, max_size=4, listen=False, now=clock.now)
        postgres = runner.run(opening.__aenter__())
        connection = runner.run(psycopg.AsyncConnection.connect(dsn, autocommit=True))

        class Machine(StorageMachine):
            pair = Pair(runner.run, postgres, connection, clock, dsn)

        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=model_examples or IN_CI,
                    derandomize=model_examples is None,
                    stateful_step_count=30,
                    deadline=None,
                    database=None,
                    print_blob=True,
                    suppress_health_check=[
                        HealthCheck.too_slow,
                        HealthCheck.data_too_large,
                        HealthCheck.filter_too_much,
                    ],
                ),
            )
        finally:
            runner.run(connection.close())
            runner.run(opening.__aexit__(None, None, None))
