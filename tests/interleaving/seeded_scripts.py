"""Scripts that follow from a seed: few jobs, queues and keys, so that clients meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.interleaving.scripts import (
    DEAD,
    LONG,
    OTHER_TICK,
    QUEUE_KEY,
    TICK,
    A,
    B,
    by_ids,
    claim,
    heartbeat,
    hold,
    insert,
    job,
    job_id,
    limit,
    pause,
    settle,
)
from tests.interleaving.steps import (
    Do,
    Ending,
    FallAsleep,
    RecordTicks,
    ReleaseExpired,
    Script,
    SettleClaimed,
    Transaction,
)
from zeke_queue.model import Extended
from zeke_queue.system.entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random  # noqa: TID251 - only the type

    from tests.interleaving.scheduler import Step
    from zeke_queue.model import NewJob

ENDINGS: tuple[Ending, ...] = ("complete", "retry", "retry", "fail", "expire", "release")
ENDED = "complete", "fail", "expire"
KEYS = None, None, "k", "l", QUEUE_KEY


def drawn(seed: int) -> Script:
    return _Drawing(SeededEntropy(seed).stream("script")).script(seed)


class _Drawing:
    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._count = 0

    def script(self, seed: int) -> Script:
        before = self._before()
        clients = self._chance.choice((2, 3, 3, 4))
        scripts = [tuple(self._steps()) for _ in range(clients)]
        return Script(f"drawn from {seed}", before, tuple(scripts))

    def _before(self) -> tuple[Do | float, ...]:
        """Return jobs in every state, some overdue, some of a worker that is dead by then."""
        chance = self._chance
        before: list[Do | float] = [insert(self._job()) for _ in range(chance.randint(2, 4))]
        before += [heartbeat(DEAD), claim("a", "b", worker=DEAD, limit=chance.randint(1, 3))]
        before += [settle(chance.choice(ENDINGS), *self._some(2)), by_ids("cancel", *self._some(1))]
        before += [LONG, heartbeat(A), heartbeat(B), insert(self._job())]
        if chance.random() < 0.6:
            before.append(claim("a", "b", worker=A, limit=chance.randint(1, 2)))
        for name, likely in (("a", 0.5), ("b", 0.2)):
            if chance.random() < likely:
                before.append(limit(chance.choice((1, 2, 3)), name))
        if chance.random() < 0.1:
            before.append(pause("b"))
        if chance.random() < 0.3:
            before += [TICK, OTHER_TICK]
        return tuple(before)

    def _steps(self) -> list[Step]:
        """Return what one client does, one to three things."""
        chance = self._chance
        alone: tuple[Callable[[], Step], ...] = (self._settle, self._send, self._change)
        kinds: tuple[Callable[[], list[Step]], ...] = (
            self._work,
            self._work,
            *(lambda: [chance.choice(alone)()] for _ in range(6)),
            *(self._transact for _ in range(3)),
            self._run_time,
            self._tend,
        )
        steps: list[Step] = []
        while len(steps) < chance.choice((1, 2, 2, 3)):
            steps.extend(chance.choice(kinds)())
        if chance.random() < 0.15:
            steps.append(FallAsleep(B, chance.choice((("a",), ("a", "b")))))
        return steps

    def _job(self) -> NewJob:
        """Return a job that has not been sent yet."""
        chance = self._chance
        self._count += 1
        options: dict[str, Any] = {"singleton_key": chance.choice(KEYS), "priority": chance.choice((0, 0, 5))}
        if chance.random() < 0.1:
            options["slot_seconds"] = 3600
        if chance.random() < 0.3:
            options["expire_in"] = 5.0
        return job(self._count, chance.choice("aaab"), **options)

    def _some(self, number: int) -> list[int]:
        """Return the numbers of jobs that were sent, or may have been, in any order."""
        known = range(1, self._count + 1)
        return self._chance.sample(known, min(number, len(known)))

    def _any(self) -> list[int]:
        return self._some(self._chance.choice((1, 2, 2, 3)))

    def _work(self) -> list[Step]:
        chance = self._chance
        names = chance.choice((("a",), ("a",), ("a", "b"), ("b", "a")))
        taking = claim(
            *names, worker=chance.choice((A, B)), limit=chance.choice((1, 2, 10)), free=chance.choice((1, 10))
        )
        return [taking, SettleClaimed(chance.choice(ENDINGS))] if chance.random() < 0.5 else [taking]

    def _settle(self) -> Do:
        chance = self._chance
        attempt = chance.choice((1, 1, 1, 2))
        return settle(chance.choice(ENDINGS), *self._any(), attempt=attempt, repeated=chance.random() < 0.2)

    def _send(self) -> Do:
        return insert(*(self._job() for _ in range(self._chance.choice((1, 1, 2, 3)))))

    def _change(self) -> Do:
        return by_ids(self._chance.choice(("cancel", "cancel", "resume", "retry")), *self._any())

    def _transact(self) -> list[Step]:
        chance = self._chance
        kinds: tuple[Callable[[], Do], ...] = (
            self._send,
            self._settle,
            lambda: by_ids("cancel", *self._any()),
            lambda: hold(*self._any()),
        )
        steps = [chance.choice(kinds)() for _ in range(chance.choice((1, 1, 2)))]
        return [Transaction(*steps, commit=chance.random() < 0.7)]

    def _run_time(self) -> list[Step]:
        chance = self._chance
        maintenance = ReleaseExpired(chance.choice((1, 10)), chance.choice(("retry", "expire")))
        return [chance.choice((maintenance, maintenance, RecordTicks(chance.choice((1, 10)))))]

    def _tend(self) -> list[Step]:
        chance = self._chance
        queue = chance.choice("ab")
        steps: list[Step] = [
            Do("archive", 50.0, chance.choice((1, 10))),
            limit(chance.choice((1, 2, None)), queue),
            pause(queue, paused=chance.random() < 0.6),
            heartbeat(DEAD),
            Do("deregister", A),
            Do("extend", [Extended(job_id(number), 1, 500.0) for number in self._any()]),
            Do("queue_stats"),
            Do("get", [job_id(number) for number in self._any()]),
        ]
        return [chance.choice(steps)]
