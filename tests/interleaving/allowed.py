"""Whether the memory storage allows what came of an interleaving: the judge.

Allowed is what the memory storage would answer and hold if it were asked the same verbs one at a time, in
some order that keeps each client's own, and in which of two verbs that did not overlap the earlier one is
first. A transaction is begun, asked and ended in this order too, beside the verbs of others: the memory
storage has transactions, with locks, so it defines what is uncommitted and which client waits for which.
Where it would have to wait, the order is not one.

Statements on a server have this freedom beyond such an order, each for a reason, and no other:

1. *Rows that are locked are passed over* (SKIP LOCKED), by claims, sweeps, schedulers and archiving, and in a
   transaction, by the verb that ends a job, of the jobs that wait for it. Locked may be: the rows that a verb
   of another client, whose locks overlap this one, answered with; and those that it named, if it waited or
   locked them all beforehand, since a row that it then found changed stays locked. None of these must be
   passed over, unless they are locked in the order that is tried.
2. *A claim may count a row that it skips*: it ranks the rows of several queues and
   priorities before it locks them, to know how many it takes of each. So a locked row is either as if it were
   not there, or its place goes to the next of the same queue and priority, or, if there is none, to no job.
3. *A claim checks before it takes*: a limited queue that at some moment while the claim ran had no room, no
   due job or a pause may be left out, since locking it would be a useless write, and so may one whose row
   another client may have locked meanwhile: a claim waits for no queue. One that comes back short may claim
   again, and takes as often as its statement ran; one that does not may have left out a queue
   whose limit is new, of which a worker hears within a second.
4. *A verb that waited (for another, or inside), or took more than one statement, is no single moment*: it
   goes row by row, in its order (settlements by id, sends by name, key and position), each row decided at a
   moment of its own, all seen by others at the end. READ COMMITTED sees a row that it waited for as it
   became, but one that did not fit when the statement began stays out, whatever became of it meanwhile: so
   rows that a verb left alone, sends excepted, may be decided before all others.

What the server undoes for the sake of others (a deadlock, a lost race) the storage repeats, so an error is
never allowed that the memory storage does not raise as well. Only in a transaction that the caller opened it
is his to repeat: there the verb that was undone ends it, and nothing of it has happened.
"""

from __future__ import annotations

from itertools import chain, combinations, product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

from tests.clocks import START, FrozenClock
from tests.interleaving.history import COMMIT, HOLD, ROLLBACK, Op, brief
from tests.interleaving.reference import Blocked, Reference
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import QueueCapacity
from zeke_queue.storage.memory import Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from tests.interleaving.reference import ReferenceTransaction
    from tests.interleaving.steps import Do
    from zeke_queue.model import Claimed

Seen = dict[Op, frozenset[str]]

MOVES_MAX = 20_000
"""An order is found after some dozens; a search that is longer has to be heard of."""

READS = ("limited_queues", "ready", "known", "settled_before", "children", "cancelled_along")
"""Statements of a verb that only read."""

BY_ROW = ("settle", "cancel", "resume", "retry", "extend", "insert", HOLD)


class Move(NamedTuple):
    """One step of an order.

    Attributes:
        kind: the whole verb; one row of it; the end of a verb by rows; the resumption of jobs that wait
            for ended ones; one step of a claim, which becomes visible at its end; the last read of a
            claim.
        part: the arguments of the row, and the part of the answer that is the row's; of a claim, how often it
            takes after this.
    """

    op: Op
    kind: Literal["whole", "row", "end", "wake", "take", "look"]
    part: Any = None


class Way(NamedTuple):
    """How freedom is used.

    Attributes:
        left_out: limited queues that a claim leaves out.
        counted: rows that a claim skips, but counts.
        passed: rows that archiving skips, and waiting ones that the end of a job skips; for others the
            answer tells which.
    """

    left_out: frozenset[str] = frozenset()
    counted: frozenset[UUID] = frozenset()
    passed: frozenset[UUID] = frozenset()


class World:
    """A memory storage in the middle of an order."""

    def __init__(self, before: Sequence[Do | float]) -> None:
        clock = FrozenClock()
        assert clock.now() == START
        self.storage = Reference(clock)
        self.answers_before: list[Any] = []
        for step in before:
            if isinstance(step, (int, float)):
                clock.advance(step)
            else:
                self.answers_before.append(self.storage.do(None, step.verb, step.arguments, step.options, ()))
        self.transactions: dict[object, ReferenceTransaction] = {}
        self.taken: dict[Op, list[Claimed]] = {}
        self.left_out: dict[Op, frozenset[str]] = {}

    def fingerprint(self) -> object:
        """Return a key that distinguishes two worlds with the same beginning."""
        return (
            self.storage.fingerprint(),
            frozenset((key, t.fingerprint()) for key, t in self.transactions.items()),
            frozenset((op, tuple(job.id for job in jobs)) for op, jobs in self.taken.items()),
            frozenset(self.left_out.items()),
        )


class Verdict(NamedTuple):
    """What the search found.

    Attributes:
        order: the moves of an order that explains everything; None if there is none.
        moves: how many were tried.
        nearest: what went wrong where the search came furthest.
        world: as the order left it.
    """

    order: list[Move] | None
    moves: int
    nearest: str
    world: World


class TooLong(Exception):
    """The search exceeded its limit of attempts."""


class Search:
    """Looks for an order of the verbs of a history that the memory storage allows."""

    def __init__(self, before: Sequence[Do | float], ops: Sequence[Op], rows: Snapshot) -> None:
        self._before = before
        self._rows = rows
        clients = sorted({op.client for op in ops})
        self._lanes = [[op for op in ops if op.client == client] for client in clients]
        self._moves: list[list[Move]] = []
        self._needed: dict[Op, tuple[int, ...]] = {}
        declared = [
            queue
            for step in (*before, *ops)
            if not isinstance(step, (int, float)) and step.verb == "declare"
            for queue in step.arguments[0]
        ]
        self._new_limits = {queue.name for queue in declared}
        sharing = {queue.name: {queue.name, *queue.limited_with} for queue in declared}
        archived = {job.id for job in rows.archive}
        self._loose = {op: _may_be_locked(op, ops, archived) for op in ops}
        self._held = {op: _queues_held(op, ops, sharing) for op in ops if op.verb == "claim"}
        self._world = World(before)
        self._stale = False
        self._in_vain: set[object] = set()
        self._path: list[tuple[Move, Way]] = []
        self._tried = 0
        self._furthest = -1
        self._nearest = "nothing was tried"

    def run(self) -> Verdict:
        try:
            found = self._any_order()
        except TooLong:
            self._nearest, found = f"{MOVES_MAX} moves were too few; {self._nearest}", False
        order = [move for move, _ in self._path] if found else None
        return Verdict(order, self._tried, self._nearest, self._world)

    def _any_order(self) -> bool:
        ops = [op for lane in self._lanes for op in lane]
        for parts in product(*map(_moves_of, ops)):
            moves = dict(zip(ops, parts, strict=True))
            self._moves = [[move for op in lane for move in moves[op]] for lane in self._lanes]
            self._needed = {op: self._done_before(op) for op in ops}
            self._in_vain.clear()
            self._path.clear()
            self._stale = True
            if self._go(tuple(0 for _ in self._moves), {}):
                return True
        return False

    def _done_before(self, op: Op) -> tuple[int, ...]:
        """Return how many moves of each client must have been made before this verb."""
        return tuple(
            sum(move.op.end < (op.begin or 0) for move in moves) if lane[0].client != op.client else 0
            for lane, moves in zip(self._lanes, self._moves, strict=True)
        )

    def _go(self, places: tuple[int, ...], seen: Seen) -> bool:
        """Continue after the given number of moves of each client; return whether an end was found."""
        candidates = self._candidates(places)
        if not candidates:
            return self._ends_alike()
        seen = self._look(candidates, seen)
        here = places, self._fresh().fingerprint(), frozenset(seen.items())
        if here in self._in_vain:
            return False
        for lane, move in candidates:
            for way in self._ways(move, seen):
                if not self._make(move, way):
                    continue
                self._path.append((move, way))
                if self._go((*places[:lane], places[lane] + 1, *places[lane + 1 :]), seen):
                    return True
                self._path.pop()
                self._stale = True
        self._in_vain.add(here)
        return False

    def _candidates(self, places: tuple[int, ...]) -> list[tuple[int, Move]]:
        """Return the moves that may be next, ordered by the ends of their statements."""
        found = [
            (lane, moves[place])
            for lane, (moves, place) in enumerate(zip(self._moves, places, strict=True))
            if place < len(moves)
            and all(
                done >= needed for done, needed in zip(places, self._needed[moves[place].op], strict=True)
            )
        ]
        return sorted(found, key=lambda candidate: _likely_tick(candidate[1]))

    def _look(self, candidates: Iterable[tuple[int, Move]], seen: Seen) -> Seen:
        """Note which limited queues claims that are on their way may find with nothing to give."""
        looking = [move.op for _, move in candidates if move.op.verb == "claim"]
        if not looking:
            return seen
        storage = self._fresh().storage
        fresh: Seen = {}
        for op in looking:
            names = {want.name for want in op.arguments[1]}
            fresh[op] = seen.get(op, frozenset()) | {name for name in names if storage.gives_nothing(name)}
        return {**seen, **fresh}

    def _ways(self, move: Move, seen: Seen) -> Iterator[Way]:
        """Yield the ways in which a move can be made, the plain one first."""
        op, storage = move.op, self._fresh().storage
        if move.kind == "look":
            asked = frozenset(want.name for want in op.arguments[1])
            missed = self._fresh().left_out.get(op, asked) - seen[op] - self._held[op]
            if len(op.answer) == op.arguments[2]:
                missed -= self._new_limits
            if missed:
                self._note(
                    f"{op}\n  took nothing of {set(missed)}, where memory has room and a job that is due"
                )
            else:
                yield Way()
            return
        yield Way()
        if op.verb == "archive":
            yield from (Way(passed=passed) for passed in _subsets(self._loose[op]) if passed)
        passes = op.verb == "cancel" or (op.verb == "settle" and op.transaction is not None)
        if passes and (waiting := storage.waiting() & self._loose[op]):
            yield from (Way(passed=passed) for passed in _subsets(waiting) if passed)
        if move.kind != "take":
            return
        storage = self._fresh().storage
        names = {want.name for want in op.arguments[1]}
        limited = {name for name in names if storage.is_limited(name) or name in self._new_limits}
        due = set(storage.due(names))
        passed = {job_id for job_id in due & self._loose[op] if job_id not in _ids(op.answer)}
        passed |= storage.locked(due)
        for left_out in _subsets(limited):
            for counted in _subsets(passed):
                if left_out or counted:
                    yield Way(left_out, counted)

    def _fresh(self) -> World:
        """Return the world as the path left it."""
        if self._stale:
            self._world = World(self._before)
            for move, way in self._path:
                assert self._apply(self._world, move, way) is None
            self._stale = False
        return self._world

    def _make(self, move: Move, way: Way) -> bool:
        world = self._fresh()
        self._tried += 1
        if self._tried > MOVES_MAX:
            raise TooLong
        try:
            wrong = self._apply(world, move, way)
        except Blocked:
            self._note(f"{move.op}\n  would have to wait here, in memory")
            return False
        if wrong is not None:
            self._stale = True
            self._note(f"{move.op}\n  but in memory, here: {wrong}")
        return wrong is None

    def _note(self, what: str) -> None:
        if len(self._path) > self._furthest:
            self._furthest = len(self._path)
            order = "\n".join(f"  {move.kind} of {move.op}" for move, _ in self._path)
            self._nearest = f"after\n{order}\nthis: {what}"

    def _apply(self, world: World, move: Move, way: Way) -> str | None:
        """Make a move; returns what came instead of the answer, or None if it is the same."""
        op, storage = move.op, world.storage
        if move.kind == "look":
            return None if world.taken.get(op, []) == op.answer else brief(world.taken.get(op, []))
        if move.kind == "take":
            return self._take(world, move, way)
        if move.kind == "wake":
            storage.wake(op.answer)
            return None
        undone = op.undone and op.transaction is not None and op.answer is StorageUnavailableError
        if move.kind == "end" or undone or op.verb in (COMMIT, ROLLBACK):
            transaction = world.transactions.pop(_key(op), None)
            if transaction is not None:
                storage.end(transaction, ROLLBACK if undone or op.verb == ROLLBACK else COMMIT)
            return None
        by_itself = op.transaction is None and move.kind == "whole"
        transaction = None if by_itself else world.transactions.get(_key(op))
        if not by_itself and transaction is None:
            transaction = world.transactions[_key(op)] = storage.begin()
        arguments, expected = (op.arguments, op.answer) if move.part is None else move.part
        told = op.verb in ("archive", "settle", "cancel")
        passed = way.passed if told else self._loose[op] - _ids(expected)
        if _wakes_later(op):
            passed = storage.waiting()
        answer = storage.do(transaction, op.verb, arguments, op.options, passed)
        return None if _agree(answer, expected, move) else brief(answer)

    def _take(self, world: World, move: Move, way: Way) -> str | None:
        op, more = move.op, move.part
        before = world.taken.get(op, [])
        worker, capacity, limit = op.arguments
        left = [
            QueueCapacity(want.name, want.limit - sum(job.name == want.name for job in before))
            for want in capacity
            if want.name not in way.left_out
        ]
        transaction = world.storage.begin()
        world.transactions[_key(op)] = transaction
        taken = world.storage.take(
            transaction,
            [want for want in left if want.limit > 0],
            limit - len(before),
            worker,
            passed=self._loose[op] - _ids(op.answer),
            counted=way.counted,
        )
        together = sorted([*before, *taken], key=lambda job: (-job.priority, job.start_after, job.id))
        world.taken[op], world.left_out[op] = together, way.left_out
        right = together == op.answer if more == 0 else all(job in op.answer for job in together)
        return None if right else brief(together)

    def _ends_alike(self) -> bool:
        expected = self._fresh().storage.dump()
        for table in Snapshot.__slots__:
            mine, theirs = getattr(expected, table), getattr(self._rows, table)
            if mine != theirs:
                self._note(f"the end: {table}\n  memory   {mine}\n  postgres {theirs}")
                return False
        return True


def _agree(answer: Any, expected: Any, move: Move) -> bool:
    """Return whether memory answers as the server did; a row that is cancelled may take children along."""
    if move.op.verb != "cancel" or move.kind != "row":
        return answer == expected
    return answer <= move.op.answer and (answer >= expected or len(move.op.arguments[0]) > 1)


def _moves_of(op: Op) -> list[list[Move]]:
    """Return the ways in which a verb is made up of moves."""
    if op.verb == "claim":
        times = op.statements.count("claim")
        takes = [(Move(op, "take", more), Move(op, "end")) for more in range(times - 1, -1, -1)]
        return [[*chain.from_iterable(takes), Move(op, "look")]]
    if op.verb not in BY_ROW or isinstance(op.answer, type) or not (op.waited or len(op.statements) > 1):
        return [[Move(op, "whole")]]
    rows, ends = _rows_of(op), [Move(op, "end")] if op.transaction is None else []
    ends += [Move(op, "wake")] if _wakes_later(op) else []
    out = [n for n, (_, answer) in enumerate(rows) if not answer]
    at_once = [[Move(op, "whole")]] if op.verb == "cancel" else []
    return at_once + [
        [*(Move(op, "row", rows[n]) for n in sorted(range(len(rows)), key=lambda n: n not in early)), *ends]
        for early in _subsets(out)
    ]


def _wakes_later(op: Op) -> bool:
    """Return whether a verb ended jobs in one statement and resumed their parents in the next."""
    return op.verb == "settle" and op.transaction is None and "resume_parents_for_sure" in op.statements


def _likely_tick(move: Move) -> int:
    """Return when a move was made, if no freedom was used: it only sets the order of attempts."""
    op = move.op
    timed = [tick for name, tick in zip(op.statements, op.ended, strict=False) if name not in READS]
    if move.kind == "take":
        claims = [tick for name, tick in zip(op.statements, op.ended, strict=False) if name == "claim"]
        return claims[-1 - move.part] if move.part < len(claims) else op.end
    return timed[-1] if timed else op.end


def _rows_of(op: Op) -> list[tuple[tuple[Any, ...], Any]]:
    """Return the rows of a verb in its order: of each the arguments, and the part of the answer."""
    if op.verb == "insert":
        jobs = list(zip(op.arguments[0], op.answer, strict=True))
        jobs.sort(key=lambda pair: (pair[0].name, pair[0].singleton_key or ""))
        return [(([job],), [answer]) for job, answer in jobs]
    if op.verb == "settle":
        kinds = (*op.arguments, (), ())[:3]
        single = [
            (outcome, tuple([outcome] if kind == own else [] for kind in range(3)))
            for own, outcomes in enumerate(kinds)
            for outcome in outcomes
        ]
        single.sort(key=lambda pair: pair[0].id)
        return [(arguments, op.answer & {outcome.id}) for outcome, arguments in single]
    if op.verb == "extend":
        asked = sorted(op.arguments[0])
        return [(([one],), op.answer & {one.id}) for one in asked]
    if op.verb == HOLD:
        return [((job_id,), op.answer & {job_id}) for job_id in sorted(set(op.arguments))]
    return [(([job_id],), op.answer & {job_id}) for job_id in sorted(set(op.arguments[0]))]


def _may_be_locked(op: Op, ops: Sequence[Op], archived: set[UUID]) -> set[Any]:
    """Return the rows and schedules that others may have held locked while a verb ran."""
    ends = {(end.client, end.transaction): end.end for end in ops if end.verb in (COMMIT, ROLLBACK)}
    locked: set[Any] = set()
    for other in ops:
        until = other.end
        if other.transaction is not None:
            until = ends.get((other.client, other.transaction), op.end)
        if other.client != op.client and (other.begin or 0) < op.end and (op.begin or 0) < until:
            locked |= _ids(other.answer)
            if other.waited or other.verb in (HOLD, "insert_child") or "lock_jobs" in other.statements:
                locked |= _ids(other.arguments)
            if other.verb == "archive":
                locked |= archived
            if other.verb == "record_tick":
                locked.add(other.arguments[0])
    return locked


def _queues_held(claim: Op, ops: Sequence[Op], sharing: Mapping[str, set[str]]) -> set[str]:
    """Return the queues whose rows others may have held locked when a claim tried to lock its own."""
    held: set[str] = set()
    if "lock_queues" not in claim.statements:
        return held
    for other in ops:
        if other.client == claim.client or (other.begin or 0) >= claim.end or (claim.begin or 0) >= other.end:
            continue
        if other.verb == "declare":
            held |= {queue.name for queue in other.arguments[0]}
        elif other.verb == "pause_queue":
            held.add(other.arguments[0])
        elif other.verb == "claim" and "lock_queues" in other.statements:
            held |= {want.name for want in other.arguments[1]}
    return held.union(*(sharing.get(name, ()) for name in held))


def _ids(value: Any) -> set[Any]:
    """Return the ids of jobs, and the names of schedules, that an answer or arguments speak of."""
    if isinstance(value, UUID):
        return {value}
    if hasattr(value, "cron"):
        return {value.name}
    if hasattr(value, "id"):
        others = (getattr(value, name, None) for name in ("child", "parent"))
        return {value.id, *(other for other in others if other is not None)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return set(chain.from_iterable(map(_ids, value)))
    return set()


def _key(op: Op) -> object:
    """Return what names the transaction in which a verb goes."""
    return op if op.transaction is None else (op.client, op.transaction)


def _subsets(names: Collection[Any]) -> list[frozenset[Any]]:
    ordered = sorted(names, key=str)  # ids of jobs, and names of schedules
    return [frozenset(some) for n in range(len(ordered) + 1) for some in combinations(ordered, n)]
