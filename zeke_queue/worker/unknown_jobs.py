"""Jobs that the storage holds for a worker that does not know them, since the claim's answer was lost.

A server may finish a claim long after its client has given up on the connection. Nothing else would find
such a job before its deadline, since its worker lives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zeke_queue.model import Released

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from zeke_queue.model import Claimed


class Sent(NamedTuple):
    """What had happened when a heartbeat was sent.

    Attributes:
        at: when that was, on the monotonic clock.
        claims_ended: how many claims were answered or had failed.
        answers: in how many answers unknown jobs were looked for.
    """

    at: float
    claims_ended: int
    answers: int


class UnknownJobs:
    """Finds unknown jobs in the answers to heartbeats, each of which has the attempt of each held job.

    A job that is unknown in one answer may be about to arrive with a claim under way, or was settled after
    the heartbeat was sent. So it is released when a second answer has it as well, whose heartbeat was sent
    after the first answer, and after these claims had ended.

    Attributes:
        suspected: the jobs that were unknown in the last answer, with their attempts.
        answers: in how many answers it has looked.
    """

    def __init__(self) -> None:
        self.suspected: dict[tuple[UUID, int], None] = {}
        self.answers = 0
        self._claims = 0
        self._left: dict[tuple[UUID, int], int] = {}

    def learn(self, claimed: Iterable[Claimed]) -> None:
        """Stop suspecting jobs that a claim brought; a later answer may name them after they were settled."""
        if self.suspected:
            for job in claimed:
                self.suspected.pop((job.id, job.attempt), None)

    def leave(self, job: UUID, attempt: int) -> None:
        """Leave an attempt to its deadline, since the storage refuses all its outcomes."""
        self._left[job, attempt] = self.answers

    def find(
        self, known: Mapping[UUID, int], answer: Mapping[UUID, int], sent: Sent, *, begun: int
    ) -> list[Released] | None:
        """Return the jobs to release; None if the heartbeat was sent too early to tell.

        Args:
            known: the attempts of the jobs that the worker knows now.
            answer: the attempts of those that the storage holds for it.
            sent: what had happened when the heartbeat was sent.
            begun: how many claims have begun by now.
        """
        # Only a heartbeat sent after an answer that came after ``leave`` was surely sent after the claim.
        self._left = {
            key: answers
            for key, answers in self._left.items()
            if sent.answers <= answers or answer.get(key[0]) == key[1]
        }
        if sent.claims_ended < self._claims or sent.answers < self.answers:
            return None
        unknown = {
            key: None for key in answer.items() if known.get(key[0]) != key[1] and key not in self._left
        }
        before, self.suspected, self._claims = self.suspected, unknown, begun
        self.answers += 1
        return [Released(*key) for key in unknown if key in before]
