"""Which jobs that only the storage knows are released, and when."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from tests.runtime.workers.samples import claimed_job
from zeke_queue.model import Released
from zeke_queue.worker.unknown_jobs import Sent, UnknownJobs

ONE, TWO = UUID(int=1), UUID(int=2)


class Answers:
    """Answers to heartbeats, each sent after the previous answer."""

    def __init__(self) -> None:
        self.jobs = UnknownJobs()

    def sent(self, ended: int = 0) -> Sent:
        return Sent(0.0, ended, self.jobs.answers)

    def find(
        self, known: Mapping[UUID, int], answer: Mapping[UUID, int], *, ended: int = 0, begun: int = 0
    ) -> list[Released] | None:
        return self.jobs.find(known, answer, self.sent(ended), begun=begun)


def test_job_that_is_unknown_twice_is_released() -> None:
    answers = Answers()
    assert answers.find({}, {ONE: 1}) == []
    assert answers.find({}, {ONE: 1, TWO: 1}) == [Released(ONE, 1)]
    assert list(answers.jobs.suspected) == [(ONE, 1), (TWO, 1)]


def test_known_job_is_not_released() -> None:
    answers = Answers()
    for _ in range(3):
        assert answers.find({ONE: 1}, {ONE: 1}) == []


def test_other_attempt_of_a_known_job_is_released() -> None:
    """The claim of the second attempt had no answer; the worker still settles the first."""
    answers = Answers()
    assert answers.find({ONE: 1}, {ONE: 2}) == []
    assert answers.find({ONE: 1}, {ONE: 2}) == [Released(ONE, 2)]


def test_claim_under_way_at_the_first_answer_must_have_ended_when_the_second_heartbeat_is_sent() -> None:
    answers = Answers()
    assert answers.find({}, {ONE: 1}, ended=0, begun=1) == []
    assert answers.find({}, {ONE: 1}, ended=0, begun=1) is None
    assert answers.find({}, {ONE: 1}, ended=1, begun=2) == [Released(ONE, 1)]


def test_job_that_arrives_and_is_settled_between_two_answers_is_not_released() -> None:
    """The second heartbeat was sent before the settlement, and answered after it."""
    answers = Answers()
    assert answers.find({}, {ONE: 1}, ended=0, begun=1) == []
    answers.jobs.learn([claimed_job(ONE.int)])
    assert answers.find({}, {ONE: 1}, ended=1, begun=1) == []


def test_job_that_arrives_between_two_answers_is_kept() -> None:
    answers = Answers()
    assert answers.find({}, {ONE: 1}, ended=0, begun=1) == []
    assert answers.find({ONE: 1}, {ONE: 1}, ended=1, begun=1) == []
    assert answers.find({}, {ONE: 1}, ended=1, begun=1) == []


def test_job_that_was_settled_after_two_heartbeats_were_sent_is_not_released() -> None:
    answers = Answers()
    first, second = answers.sent(), answers.sent()
    # Here the job is settled, and then both answers arrive.
    assert answers.jobs.find({}, {ONE: 1}, first, begun=0) == []
    assert answers.jobs.find({}, {ONE: 1}, second, begun=0) is None
    assert answers.find({}, {}) == []


def test_job_whose_outcomes_are_all_refused_is_left_to_its_deadline() -> None:
    answers = Answers()
    answers.jobs.leave(ONE, 1)
    for _ in range(3):
        assert answers.find({}, {ONE: 1}) == []
    assert answers.find({}, {ONE: 2}) == []
    assert answers.find({}, {ONE: 2}) == [Released(ONE, 2)]


def test_job_stays_left_after_the_answer_to_a_heartbeat_that_was_sent_before_its_claim() -> None:
    answers = Answers()
    early = answers.sent()
    # Here a claim brings the job, the storage refuses its outcomes, and then the early heartbeat is answered.
    answers.jobs.leave(ONE, 1)
    assert answers.jobs.find({}, {}, early, begun=1) == []
    for _ in range(3):
        assert answers.find({}, {ONE: 1}, ended=1, begun=1) == []


def test_job_that_was_left_is_forgotten_once_it_is_not_held_any_more() -> None:
    answers = Answers()
    answers.jobs.leave(ONE, 1)
    for _ in range(2):
        assert answers.find({}, {}) == []
    assert answers.find({}, {ONE: 1}) == []
    assert answers.find({}, {ONE: 1}) == [Released(ONE, 1)]
