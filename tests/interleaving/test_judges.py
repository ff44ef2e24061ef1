"""The judge of interleavings finds faults: in hand-made histories, and in conflicts of locks on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cases import check_each
from tests.interleaving import arena as playing
from tests.interleaving.allowed import Search, World
from tests.interleaving.families import wait
from tests.interleaving.history import COMMIT, Op
from tests.interleaving.lines import missed_lines
from tests.interleaving.meeting import unexcused
from tests.interleaving.scheduler import Drawn
from tests.interleaving.scripts import B, begun, by_ids, claim, hold, insert, job, job_id, limit, settle
from tests.interleaving.steps import Do, Script, Transaction
from tests.interleaving.wakeups import never_woken
from zeke_queue.model import JobEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tests.interleaving.arena import Arena
    from zeke_queue.storage.memory import Snapshot

WAITING = (insert(job(1), job(2)),)


def done(*steps: Do) -> tuple[list[Any], Snapshot]:
    """Run verbs in order; return their answers, and the final rows."""
    world = World(steps)
    return world.answers_before, world.storage.dump()


def asked(client: int, step: Do, answer: Any, ticks: tuple[int, int]) -> Op:
    """Return a verb of one statement that lasted from one tick to another."""
    begin, end = ticks
    return Op(client, step.verb, step.arguments, step.options, None, answer, begin, end, [step.verb], [end])


def allowed(before: Sequence[Do], rows: Snapshot, *ops: Op) -> bool:
    return Search(before, ops, rows).run().order is not None


def test_job_claimed_twice_is_not_allowed() -> None:
    (_, first, rest), rows = done(*WAITING, claim(limit=1), claim())
    assert allowed(WAITING, rows, asked(0, claim(limit=1), first, (1, 4)), asked(1, claim(), rest, (2, 3)))
    assert not allowed(
        WAITING, rows, asked(0, claim(limit=1), first, (1, 4)), asked(1, claim(), first, (2, 3))
    )
    assert not allowed(
        WAITING, rows, asked(0, claim(limit=1), first, (1, 4)), asked(1, claim(), [*first, *rest], (2, 3))
    )


def test_claims_over_a_limit_are_not_allowed() -> None:
    before = (limit(1), *WAITING)
    (*_, one), full = done(*before, claim())
    (_, both), too_full = done(*WAITING, claim())
    assert allowed(before, full, asked(0, claim(), one, (1, 2)))
    assert not allowed(before, too_full, asked(0, claim(), both, (1, 2)))


def test_due_job_that_is_not_claimed_is_not_allowed() -> None:
    (_, first), rows = done(*WAITING, claim(limit=1))
    assert allowed(WAITING, rows, asked(0, claim(limit=1), first, (1, 2)))
    assert not allowed(WAITING, rows, asked(0, claim(), first, (1, 2)))


def test_unclaimed_job_of_a_queue_below_its_limit_is_not_allowed() -> None:
    for most, right in ((1, True), (2, False)):
        before = (limit(most), *begun(job(1)), insert(job(2)))
        _, rows = done(*before)
        assert allowed(before, rows, asked(0, claim(), [], (1, 2))) is right


def test_different_result_is_not_allowed() -> None:
    cancel = by_ids("cancel", 1, 3)
    (_, cancelled), rows = done(*WAITING, cancel)
    assert allowed(WAITING, rows, asked(0, cancel, cancelled, (1, 2)))
    for other in (set[Any](), {job_id(1), job_id(3)}):
        assert not allowed(WAITING, rows, asked(0, cancel, other, (1, 2)))


def test_result_without_its_rows_is_not_allowed() -> None:
    (_, first, rest), rows = done(*WAITING, claim(limit=1), claim())
    assert not allowed(WAITING, rows, asked(0, claim(limit=1), first, (1, 2)))
    assert not allowed(WAITING, done(*WAITING)[1], asked(0, claim(), [*first, *rest], (1, 2)))


async def test_sequential_calls_keep_their_order() -> None:
    cancel = by_ids("cancel", 1)
    (_, claimed, cancelled), rows = done(*WAITING, claim(), cancel)
    assert cancelled == {job_id(1)}
    for ticks, right in (((2, 4), True), ((4, 5), False)):
        ops = asked(0, cancel, cancelled, (1, 3)), asked(1, claim(), claimed, ticks)
        assert allowed(WAITING, rows, *ops) is right


# Wake-ups


def sleeper(heard: Sequence[str], *ops: Op) -> str | None:
    """Check a worker that sleeps on queue "a" from tick 3 on, beside a world with what others sent."""
    falls_asleep = [
        Op(0, "set_idle", (B, ["a"]), begin=0, end=1, answer=None),
        Op(0, "claim", claim().arguments, begin=2, end=3, answer=[]),
    ]
    sent = [insert(*op.arguments[0]) for op in ops if op.verb == "insert"]
    return never_woken([*falls_asleep, *ops], ["asleep 0", *heard], World(sent))


def send(client: int, number: int, ticks: tuple[int, int], transaction: int | None = None) -> Op:
    op = asked(client, insert(job(number)), [job_id(number)], ticks)
    op.transaction = transaction
    return op


def test_missing_notification_to_an_idle_worker_is_reported() -> None:
    assert "sleeps on 'a'" in (sleeper([], send(1, 1, (4, 5))) or "")
    assert "sleeps on 'a'" in (sleeper(["b"], send(1, 1, (4, 5))) or "")
    assert sleeper(["a"], send(1, 1, (4, 5))) is None
    assert sleeper([]) is None
    assert sleeper([], send(1, 1, (1, 2))) is None, "the worker claimed again afterwards"


def test_each_transaction_that_adds_work_must_notify() -> None:
    one, other = send(1, 1, (4, 5)), send(2, 2, (6, 7))
    assert sleeper(["a"], one, other) is not None
    assert sleeper(["a", "a"], one, other) is None
    together = send(1, 1, (4, 5), 0), send(1, 2, (6, 7), 0), Op(1, COMMIT, transaction=0, begin=8, end=9)
    assert sleeper(["a"], *together) is None
    assert sleeper([], *together) is not None


def test_requeued_job_counts_once() -> None:
    released = settle("release", 1)
    cancelled, back, again = (
        asked(n, step, {job_id(1)}, (2 * n + 2, 2 * n + 3))
        for n, step in enumerate((by_ids("cancel", 1), released, by_ids("resume", 1)), 1)
    )
    sent = send(4, 1, (0, 1))
    assert sleeper(["a"], sent, cancelled, again) is None, "a cancelled job is no work"
    assert sleeper(["a"], sent, cancelled, back, again) is not None
    assert sleeper(["a", "a"], sent, cancelled, back, again) is None


# Deadlocks


KEYED = (insert(job(1, singleton_key="k"), job(2)),)
ELSE_KEYED = (insert(job(1), job(2), job(3, singleton_key="k")),)
OF_ITSELF = insert(job(9, singleton_key="z"))


def test_deadlock_is_allowed_for_a_verb_that_takes_a_slot() -> None:
    def check(before: tuple[Do, ...], step: Do, excused: bool) -> None:  # noqa: FBT001 - a column
        victim, other = asked(0, by_ids("cancel", 1, 2), set(), (1, 5)), asked(1, step, set(), (2, 4))
        third, alone = asked(2, by_ids("cancel", 2), set(), (2, 4)), asked(3, OF_ITSELF, [], (1, 6))
        victim.deadlocked = True
        victim.kept_by, third.kept_by, other.kept_by = {third}, {other}, {victim}
        script = Script("", before, ())
        assert unexcused(script, [victim, other, third, alone]) == ([] if excused else [victim])
        victim.deadlocked = False
        assert unexcused(script, [victim, other, third]) == []

    check_each(
        [
            (WAITING, by_ids("cancel", 2, 1), False),
            (KEYED, by_ids("cancel", 2, 1), False),
            (KEYED, settle("complete", 1, 2), False),
            (WAITING, settle("retry", 1, 2), False),
            (KEYED, settle("retry", 1, 2), True),
            (KEYED, settle("release", 2, 1), True),
            (KEYED, by_ids("retry", 2, 1), True),
            (KEYED, by_ids("resume", 2), False),
            (KEYED, insert(job(3, singleton_key="l")), True),
            (KEYED, insert(job(3, slot_seconds=60)), True),
            (WAITING, insert(job(3, singleton_key="l")), False),
            (ELSE_KEYED, settle("retry", 1, 2, 3), False),
            (WAITING, insert(job(3)), False),
        ],
        check,
    )


def test_deadlock_is_allowed_between_a_job_and_one_that_it_waits_for_or_resumes() -> None:
    def check(key: str | None, parent: UUID | None, steps: tuple[Do, Do], excused: bool) -> None:  # noqa: FBT001 - a column
        before = insert(job(1, singleton_key=key), job(2, parent=parent), job(4))
        victim, other = (asked(n, step, None, (1, 5)) for n, step in enumerate(steps))
        victim.deadlocked, victim.kept_by, other.kept_by = True, {other}, {victim}
        assert unexcused(Script("", (before,), ()), [victim, other]) == ([] if excused else [victim])

    keyed, cancel = insert(job(3, singleton_key="k")), by_ids("cancel", 2, 4)
    complete = settle("complete", 2, 4)
    check_each(
        [
            ("k", job_id(1), (complete, keyed), True),
            ("k", job_id(4), (complete, keyed), False),
            (None, job_id(1), (complete, keyed), False),
            (None, job_id(1), (cancel, complete), True),
            (None, None, (cancel, complete), False),
            (None, None, (wait(4, 2), complete), True),
        ],
        check,
    )


def test_deadlock_is_allowed_for_a_transaction_of_several_verbs() -> None:
    victim, other = (asked(n, by_ids("cancel", 1, 2), set(), (1, 5)) for n in (0, 1))
    first = asked(1, by_ids("cancel", 2), set(), (0, 1))
    victim.deadlocked, victim.kept_by = True, {other}
    first.transaction = other.transaction = 0
    commit = Op(1, COMMIT, transaction=0)
    assert unexcused(Script("", WAITING, ()), [victim, other, commit]) == [victim]
    assert unexcused(Script("", WAITING, ()), [first, victim, other, commit]) == []


# On a server


async def test_conflicting_locks_are_reported(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    crossed = (Transaction(hold(1), hold(2)),), (Transaction(hold(2), hold(1)),)
    script = Script("two who lock in other orders", WAITING, crossed)
    played = [await arena.play(script, Drawn(seed)) for seed in range(8)]
    assert [one.wrong for one in played] == [None] * 8, "an application may"
    met = [op for one in played for op in one.ran.history.ops if op.deadlocked]
    assert met
    assert all({other.client for other in op.kept_by} == {1 - op.client} for op in met)
    monkeypatch.setattr(playing, "unexcused", lambda _, ops: [op for op in ops if op.deadlocked])
    told = [(await arena.play(script, Drawn(seed))).wrong for seed in range(8)]
    assert any(one is not None and "locks have an order, and the server undid" in one for one in told)


async def test_unexpected_wait_is_reported(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = by_ids("cancel", 1)
    script = Script("one waits for the other", WAITING, ((Transaction(cancel),), (cancel,)))
    assert [(await arena.play(script, Drawn(seed))).wrong for seed in range(4)] == [None] * 4
    monkeypatch.setattr(playing, "NEVER_WAIT", frozenset({"cancel"}))
    told = [(await arena.play(script, Drawn(seed))).wrong for seed in range(4)]
    assert any(one is not None and "was kept waiting" in one for one in told)


def test_line_that_becomes_visible_behind_a_read_is_missed() -> None:
    lines = [
        JobEvent(job_id(number), 1, "log", f'{{"n": {seq}}}', seq) for number, seq in ((1, 1), (2, 2), (1, 3))
    ]
    read = Do("events", {job_id(1): 0})

    def missed(*seen: JobEvent) -> bool:
        return missed_lines([asked(0, read, list(seen), (1, 2))], lines) is not None

    assert [missed(), missed(lines[0]), missed(lines[0], lines[2])] == [False, False, False]
    assert [missed(lines[2]), missed(lines[2], lines[0])] == [True, True]
    written = asked(0, Do("append_events", [lines[2], lines[0]]), None, (1, 2))
    assert missed_lines([written], lines) is not None
