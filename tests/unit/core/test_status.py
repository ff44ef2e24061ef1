"""Words, rows and attempts of a job's status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cases import check_each
from tests.unit.test_model import job
from zeke_queue.core.status import attempt_of, output_of, read_status, states_of
from zeke_queue.errors import JobFailedError
from zeke_queue.model import STATUS_OF, JobStatus, RowState

if TYPE_CHECKING:
    from zeke_queue.model import Job


def test_statuses_divide_the_row_states() -> None:
    assert sorted(states_of(JobStatus)) == sorted(RowState)
    assert {state: status for status in JobStatus for state in states_of([status])} == STATUS_OF


def test_status_is_read_from_its_name_and_from_deprecated_row_states() -> None:
    def check(word: str, status: JobStatus, deprecated: bool) -> None:  # noqa: FBT001 - a column of the table
        assert read_status(word) == (status, deprecated)

    check_each([(one.value, one, False) for one in JobStatus], check)
    check_each([(one.lower(), one, False) for one in JobStatus], check)
    old = [RowState.CREATED, RowState.RETRY, RowState.ACTIVE, RowState.EXPIRED]
    check_each([(one.value, STATUS_OF[one], True) for one in old], check)
    with pytest.raises(ValueError, match="running"):
        read_status("running")


def test_job_that_pgboss_expired_has_an_error() -> None:
    """It stores none; the error has the type of those that are stored here."""
    expired = job(RowState.EXPIRED, output=None)
    assert output_of(expired)["type"] == str(JobFailedError.of(expired)).rpartition(": ")[2]
    assert output_of(job(RowState.CANCELLED, output=None)) is None
    assert output_of(job(RowState.EXPIRED, output={"type": "E"})) == {"type": "E"}


def test_attempts_count_claims_and_the_retries_that_are_left() -> None:
    def check(state: RowState, attempt: int, retries: int, limit: int, text: str) -> None:
        assert attempt_of(tried(state, attempt, retries, limit)) == text

    check_each(
        [
            (RowState.CREATED, 0, 0, 3, "1 of 4"),
            (RowState.ACTIVE, 1, 0, 3, "1 of 4"),
            (RowState.RETRY, 1, 0, 3, "2 of 4"),
            (RowState.ACTIVE, 2, 1, 3, "2 of 4"),
            (RowState.FAILED, 4, 3, 3, "4 of 4"),
            (RowState.CREATED, 1, 0, 3, "2 of 5"),  # released once
            (RowState.RETRY, 4, 3, 4, "5 of 5"),  # retried by a user
            (RowState.RETRY, 1, 9, 3, "2 of 2"),  # as another program may write
        ],
        check,
    )


def tried(state: RowState, attempt: int, retries: int, limit: int) -> Job:
    return job(state, attempt=attempt, retry_count=retries, retry_limit=limit)
