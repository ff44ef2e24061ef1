"""The values: statuses of states, equality and immutability."""

from __future__ import annotations

import dataclasses
from typing import Any, Final
from uuid import UUID

from zeke_queue import model
from zeke_queue.errors import JobExpiredError, JobFailedError
from zeke_queue.model import FINAL, STATUS_OF, WAITING, Job, JobStatus, RowState


def job(state: RowState, **columns: Any) -> Job:
    values: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(Job))
    return Job(**{**values, **columns, "row_state": state})


def test_each_state_has_a_status() -> None:
    statuses = {
        RowState.CREATED: JobStatus.QUEUED,
        RowState.RETRY: JobStatus.QUEUED,
        RowState.ACTIVE: JobStatus.EXECUTING,
        RowState.COMPLETED: JobStatus.COMPLETED,
        RowState.EXPIRED: JobStatus.FAILED,
        RowState.FAILED: JobStatus.FAILED,
        RowState.CANCELLED: JobStatus.CANCELLED,
    }
    assert {state: job(state).status for state in RowState} == STATUS_OF == statuses


def test_every_state_waits_runs_or_has_ended() -> None:
    assert WAITING | FINAL | {RowState.ACTIVE} == set(RowState)
    assert not WAITING & FINAL


def test_states_are_in_the_order_of_the_shared_enum() -> None:
    words = "created retry active completed expired cancelled failed"
    assert " ".join(state.value for state in RowState) == words


VALUES: Final[list[Any]] = [v for v in vars(model).values() if dataclasses.is_dataclass(v)]


def test_values_are_frozen_and_slotted() -> None:
    for value in VALUES:
        assert value.__dataclass_params__.frozen, value
        assert "__slots__" in vars(value), value


def test_types_of_the_hot_path_are_tuples() -> None:
    settling = (model.Completed, model.Failed, model.Released, model.Extended)
    claiming = (model.Claimed, model.ExpiredJob, model.QueueCapacity)
    assert all(issubclass(value, tuple) for value in (*settling, *claiming))


def test_error_of_a_job_that_pgboss_expired_names_the_type() -> None:
    error = JobFailedError.of(job(RowState.EXPIRED, id=UUID(int=1), name="mail"))
    assert isinstance(error, JobExpiredError)
    assert str(error) == f"Job {UUID(int=1)} of 'mail' ended FAILED: Expired"
