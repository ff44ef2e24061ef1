"""Failures to report: a small one as the search would leave it, and a long one of any length."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.sim.histories import BLANK, claimed
from zeke_queue.model import Completed, JobStatus, NewJob, QueueCapacity, RowState
from zeke_queue.system.entropy import SeededEntropy
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import Outcome
from zeke_sim.experiment.shrink import Shrunk
from zeke_sim.history.events import (
    Answered,
    Began,
    Change,
    Effect,
    Ended,
    Event,
    Fault,
    Image,
    Invoked,
    Lived,
    Notified,
    Phase,
    Violation,
    WorkerRow,
)
from zeke_sim.report.failure import Failure
from zeke_sim.world.faults import NONE

if TYPE_CHECKING:
    from collections.abc import Mapping

EPOCH = datetime(2026, 3, 29, 0, 58, tzinfo=UTC)
NODES = ("api", "w1", "w2", "s1")
JOB = UUID("0195e0f4-8a1c-7c40-9d2e-5b7f3a91c2e4")
WORKERS = {
    "w1": UUID("0195e0f4-0000-7000-8000-0000000000a1"),
    "w2": UUID("0195e0f4-0000-7000-8000-0000000000b2"),
    "w3": UUID("0195e0f4-0000-7000-8000-0000000000c3"),
}


class Script:
    """Writes a history: one method for each thing that happens, at ``self.at``."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.at = 0.0
        self.calls = 0
        self.commit = 0
        self.rows: dict[UUID, Image] = {}

    @property
    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.at)

    def call(
        self, node: str, verb: str, took: float, outcome: Any = "ok", result: Any = None, **args: Any
    ) -> int:
        """Record a call and its answer; ``change`` writes the changed rows between them."""
        self.calls += 1
        number = self.calls
        self.events.append(Invoked(self.at, node, number, verb, args, None))
        self.events.append(Answered(self.at + took, node, number, verb, outcome, result, self.now))
        return number

    def insert(self, job: UUID, task: str, data: str | None = None, call: int | None = None) -> None:
        image = BLANK._replace(
            id=job, name=task, start_after=self.now, expire_in=5.0, created_on=self.now, data=data
        )
        self._written(None, image, call)

    def change(self, job: UUID, state: RowState, call: int | None = None, **columns: Any) -> None:
        before = self.rows[job]
        self._written(before, before._replace(state=state, **columns), call)

    def archive(self, job: UUID) -> None:
        row = self.rows.pop(job)
        self.commit += 1
        self.events.append(Change(self.at, self.now, "job", row, None, None, self.commit))
        gone = row._replace(archived_on=self.now)
        self.events.append(Change(self.at, self.now, "archive", None, gone, None, self.commit))

    def _written(self, before: Image | None, after: Image, call: int | None) -> None:
        self.commit += 1
        self.rows[after.id] = after
        self.events.append(Change(self.at, self.now, "job", before, after, call, self.commit))

    def history(self) -> list[Event]:
        return sorted(self.events, key=lambda event: event.at)


def claimed_by(node: str) -> Script:
    """Return a script in which the node's worker has claimed the job."""
    script = Script()
    script.insert(JOB, "mail.send")
    claim(script, node, JOB)
    return script


def claim(script: Script, node: str, job: UUID, took: float = 0.01) -> None:
    """The node's worker claims the job, its row being changed within the call."""
    row = script.rows[job]
    row = row._replace(state=RowState.ACTIVE, attempt=row.attempt + 1, worker=WORKERS[node])
    capacity = [QueueCapacity(row.name, 1)]
    call = script.call(
        node, "claim", took, result=[claimed(row)], worker=WORKERS[node], capacity=capacity, limit=1
    )
    script.change(job, RowState.ACTIVE, call, attempt=row.attempt, worker=row.worker, started_on=script.now)


def settle(script: Script, node: str, job: UUID, took: float = 0.02, outcome: str = "ok") -> None:
    """The node's worker settles its attempt as completed."""
    row = script.rows[job]
    done = [Completed(job, row.attempt, "204")]
    call = script.call(node, "settle", took, outcome=outcome, result=1, outcomes=done)
    script.change(job, RowState.COMPLETED, call, output="204", completed_on=script.now)


def overlap(data: str | None = '{"to": "ann@example.org"}') -> list[Event]:
    """A worker is paused beyond its lease, another one takes the job, the first continues."""
    script = Script()
    script.events += [Phase(0.0, "faults"), *(Lived(0.0, node, "started") for node in NODES)]
    script.events.append(WorkerRow(0.0, EPOCH, WORKERS["w1"], EPOCH, 2.0, gone=False))
    script.at = 0.1
    new = NewJob(JOB, "mail.send", data)
    sent = script.call("api", "insert", 0.03, result=[JOB], jobs=[new])
    script.insert(JOB, "mail.send", data, sent)
    script.at = 0.4
    claim(script, "w1", JOB)
    script.events.append(Notified(0.41, "api", 1, JOB, JobStatus.EXECUTING, 1))
    script.events.append(Began(0.42, "w1", "mail.send", JOB, 1))
    script.events.append(Lived(0.9, "w1", "paused"))
    script.events.append(Fault(0.9, "w1", "node/w1/1", "pause", 4.6))
    script.at = 3.0
    swept = script.call("s1", "lock_expired", 0.4, limit=100, result=[{"id": JOB, "reason": "lease"}])
    script.events.append(Fault(3.0, "s1", "s1/overdue/2", "latency", None))
    script.at = 3.2
    script.change(JOB, RowState.RETRY, swept, retry_count=1, failures=1, start_after=script.now)
    script.at = 3.5
    claim(script, "w2", JOB)
    script.events.append(Began(3.52, "w2", "mail.send", JOB, 2))
    script.events.append(Effect(3.8, "w2", JOB, 2, "mail ann@example.org", alive=True))
    script.events.append(Ended(3.9, "w2", "mail.send", JOB, 2, "returned", 204))
    script.at = 3.91
    script.calls += 1
    lost = script.calls
    script.events.append(Fault(3.91, "w2", "w2/settle/1", "lost", None))
    done = [Completed(JOB, 2, "204")]
    script.events.append(Invoked(3.91, "w2", lost, "settle", {"outcomes": done}, None))
    script.events.append(Answered(4.9, "w2", lost, "settle", "unknown", "the answer was lost", script.now))
    script.events.append(Lived(4.6, "w1", "resumed"))
    script.events.append(Effect(4.7, "w1", JOB, 1, "mail ann@example.org", alive=True))
    return script.history()


BROKEN = Violation(
    "unique_effects",
    "attempt 1 on w1 had the effect 'mail ann@example.org' at 4.7 s; attempt 2 on w2 had had it at 3.8 s",
    job=JOB,
    since=3.8,
    at=4.7,
)
SENTENCE = "An effect with a key of its own happens at most once, whatever dies, waits or is repeated."
DECISIONS: dict[str, Any] = {
    "node/w1/1": {"fault": "pause", "at": 0.9, "back": 4.6},
    "s1/overdue/2": {"latency": 0.4},
    "w2/settle/1": {"fault": "lost"},
}


def failure(
    *,
    scenario: str = "storm",
    strategy: str = "permuted",
    seed: int = 7,
    decisions: Mapping[str, Any] = DECISIONS,
    actions: int = 0,
    left_out: int = 0,
    before: int = 214,
    seconds: float | None = 4.1,
    replays: int = 3,
    command: str = "zeke sim replay .zeke/plans/storm-7.json",
    page: str = ".zeke/plans/storm-7.html",
    **changes: Any,
) -> Failure:
    """The small failure, with whatever a test wants otherwise."""
    addresses = tuple(f"action/c1/{number}" for number in range(actions))
    decided = {**decisions, **dict.fromkeys(addresses[:left_out], True)}
    outcome = Outcome(
        plan=Plan(scenario, seed, strategy, NONE, decided),
        events=overlap(),
        violation=BROKEN,
        seconds=5.0,
        ticks=0,
        nodes=NODES,
        epoch=EPOCH,
        actions=addresses,
        sentence=SENTENCE,
    )
    return Failure(Shrunk(replace(outcome, **changes), before, seconds, replays, minimal=True), command, page)


TASKS = ("mail.send", "feed.fetch", "story.rank", "image.resize")
KINDS = ("latency", "lost", "refused", "serialization", "pool")


def long(length: int = 5000, seed: int = 1) -> list[Event]:
    """A history of at least ``size`` events: three workers under many faults, with an idle night."""
    script = Script()
    entropy = SeededEntropy(seed).stream("history")
    script.events.append(Phase(0.0, "faults"))
    script.events += [Lived(0.0, node, "started") for node in ("api", "w1", "w2", "w3", "s1")]
    number = 0
    while len(script.events) < length:
        number += 1
        script.at += entropy.expovariate(1 / 0.12)
        if number == 120:
            script.at += 36_000.0
        _job(script, entropy, number)
    script.events.append(Phase(script.at, "quiet"))
    return script.history()


def _job(script: Script, entropy: Any, number: int) -> None:
    """One job's whole life, in which anything may go wrong; others' lives overlap it."""
    start, node = script.at, f"w{entropy.randint(1, 3)}"
    job = UUID(int=(0x0195E0F4 << 96) | (7 << 76) | (number << 62) | entropy.getrandbits(60))
    task = TASKS[entropy.randrange(4)]
    script.insert(
        job, task, f'{{"n": {number}}}', script.call("api", "insert", 0.01, jobs=[NewJob(job, task)])
    )
    for attempt in range(1, 4):
        script.at += entropy.uniform(0.02, 0.3)
        claim(script, node, job, entropy.uniform(0.005, 0.05))
        script.at += entropy.uniform(0.01, 0.05)
        script.events.append(Began(script.at, node, task, job, attempt))
        script.at += entropy.expovariate(1 / 0.4)
        chance = entropy.random()
        how = "returned" if chance < 0.75 else "raised"
        script.events.append(Ended(script.at, node, task, job, attempt, how, "TimeoutError: late"))
        if entropy.random() < 0.12:
            address = f"{node}/settle/{number}-{attempt}"
            script.events.append(Fault(script.at, node, address, KINDS[entropy.randrange(5)], None))
        script.at += 0.01
        if how == "returned":
            settle(script, node, job, entropy.uniform(0.005, 0.3), "unknown" if chance < 0.03 else "ok")
            break
        state = RowState.FAILED if attempt == 3 else RowState.RETRY
        script.change(job, state, script.call(node, "settle", 0.02, result=1), retry_count=attempt)
    if number % 40 == 0:
        back = script.at + entropy.uniform(1, 4)
        what: Any = ("killed", "started") if number % 80 else ("paused", "resumed")
        script.events += [Lived(script.at, node, what[0]), Lived(back, node, what[1])]
        script.events.append(Fault(script.at, node, f"node/{node}/{number}", what[0], back))
    if number % 3 == 0:
        script.events.append(Invoked(script.at, "s1", 10_000 + number, "archive", {"after": 2.0}, None))
        script.events.append(
            Answered(script.at + 0.02, "s1", 10_000 + number, "archive", "ok", 1, script.now)
        )
    script.at = start
