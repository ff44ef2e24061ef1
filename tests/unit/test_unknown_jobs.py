"""Which jobs that only the storage knows are released, and when."""

from __future__ import annotations

from uuid import UUID

from zeke_queue.model import Released
from zeke_queue.worker.unknown_jobs import UnknownJobs

ONE, TWO = UUID(int=1), UUID(int=2)


def test_job_that_is_unknown_twice_is_released() -> None:
    jobs = UnknownJobs()
    assert jobs.find({}, {ONE: 1}, ended=0, begun=0) == []
    assert jobs.find({}, {ONE: 1, TWO: 1}, ended=0, begun=0) == [Released(ONE, 1)]
    assert list(jobs.suspected) == [(ONE, 1), (TWO, 1)]


def test_known_job_is_not_released() -> None:
    jobs = UnknownJobs()
    for _ in range(3):
        assert jobs.find({ONE: 1}, {ONE: 1}, ended=0, begun=0) == []


def test_other_attempt_of_a_known_job_is_released() -> None:
    """The claim of the second attempt had no answer; the worker still settles the first."""
    jobs = UnknownJobs()
    assert jobs.find({ONE: 1}, {ONE: 2}, ended=0, begun=0) == []
    assert jobs.find({ONE: 1}, {ONE: 2}, ended=0, begun=0) == [Released(ONE, 2)]


def test_claim_under_way_at_the_first_answer_must_have_ended_when_the_second_heartbeat_is_sent() -> None:
    jobs = UnknownJobs()
    assert jobs.find({}, {ONE: 1}, ended=0, begun=1) == []
    assert jobs.find({}, {ONE: 1}, ended=0, begun=1) == []
    assert jobs.find({}, {ONE: 1}, ended=1, begun=2) == [Released(ONE, 1)]


def test_job_that_arrives_between_two_answers_is_kept() -> None:
    jobs = UnknownJobs()
    assert jobs.find({}, {ONE: 1}, ended=0, begun=1) == []
    assert jobs.find({ONE: 1}, {ONE: 1}, ended=1, begun=1) == []
    assert jobs.find({}, {ONE: 1}, ended=1, begun=1) == []


def test_job_whose_outcomes_are_all_refused_is_left_to_its_deadline() -> None:
    jobs = UnknownJobs()
    jobs.leave(ONE, 1)
    for _ in range(3):
        assert jobs.find({}, {ONE: 1}, ended=0, begun=0) == []
    assert jobs.find({}, {ONE: 2}, ended=0, begun=0) == []
    assert jobs.find({}, {ONE: 2}, ended=0, begun=0) == [Released(ONE, 2)]
