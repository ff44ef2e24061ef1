"""The scenarios of single jobs' lives: they run green, and the situations they are made for occur in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cases import check_each
from tests.sim.runs import changes, of, outcomes
from zeke_queue.core import jsonb
from zeke_queue.model import FINAL, Released, RowState
from zeke_sim.history.events import Answered, Began, Change, Ended, Fault, Invoked, Lived, QueueRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from zeke_sim.history.events import Event, Image

pytestmark = pytest.mark.nightly

CREATED, RETRY, ACTIVE = RowState.CREATED, RowState.RETRY, RowState.ACTIVE
CANCELLED, FAILED = RowState.CANCELLED, RowState.FAILED


class Story:
    """A run's history, with what a test asks of it as it stood at each event.

    Attributes:
        row: the row of a job.
        calls: by their numbers.
        active: how many jobs of each queue run.
        queues: the current settings.
        began, ended: handlers by job and attempt, with the nodes and with how they ended.
        stopping: nodes that were asked to stop, and have not.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.row: dict[UUID, Image] = {}
        self.calls: dict[int, Invoked] = {}
        self.active: dict[str, int] = {}
        self.queues: dict[str, QueueRow] = {}
        self.began: dict[tuple[UUID, int], str] = {}
        self.ended: dict[tuple[UUID, int], str] = {}
        self.stopping: set[str] = set()

    def __iter__(self) -> Iterator[Event]:
        """Yield each event after it was taken in."""
        for event in self.events:
            self._take(event)
            yield event

    def _take(self, event: Event) -> None:
        if isinstance(event, Change) and event.table == "job":
            self._change(event.before, event.after)
        elif isinstance(event, Invoked):
            self.calls[event.call] = event
        elif isinstance(event, QueueRow):
            self.queues[event.name] = event
        elif isinstance(event, Began):
            self.began[event.job, event.attempt] = event.node
        elif isinstance(event, Ended):
            self.ended[event.job, event.attempt] = event.how
        elif isinstance(event, Lived) and event.what == "stopping":
            self.stopping.add(event.node)
        elif isinstance(event, Lived) and event.what in {"stopped", "killed"}:
            self.stopping.discard(event.node)

    def _change(self, before: Image | None, after: Image | None) -> None:
        for row, number in ((before, -1), (after, 1)):
            if row is not None and row.state is ACTIVE:
                self.active[row.name] = self.active.get(row.name, 0) + number
        if after is not None:
            self.row[after.id] = after

    def by(self, event: Change) -> str:
        """Return the node that made a change."""
        return "" if event.call is None else self.calls[event.call].node


def ends(story: Story) -> Iterator[tuple[Change, Image, str]]:
    """Yield the changes that ended an attempt, each with the row after it, and the type of its error."""
    for event, before, after in changes(story):
        if before.state is ACTIVE and after.state is not ACTIVE:
            output = None if after.output is None else jsonb.loads(after.output)
            error = output.get("type") if isinstance(output, dict) else None
            yield event, after, str(error)


# expiry


def worker_expires_attempt(story: Story) -> bool:
    return any(error == "Expired" and story.by(event).startswith("w") for event, _, error in ends(story))


def maintenance_expires_attempt(story: Story) -> bool:
    return any(error == "Expired" and story.by(event).startswith("v") for event, _, error in ends(story))


def both_maintenance_processes_end_attempts(story: Story) -> bool:
    return {"v1", "v2"} <= {story.by(event) for event, _, _ in ends(story)}


def job_of_lost_worker_returns(story: Story) -> bool:
    return any(error == "WorkerLost" for _, _, error in ends(story))


def handler_returns_after_its_deadline(story: Story) -> bool:
    return any(
        error == "Expired" and story.ended.get((row.id, row.attempt)) == "returned"
        for _, row, error in ends(story)
    )


def attempt_expires_before_its_handler_begins(story: Story) -> bool:
    return any(
        error == "Expired" and story.by(event).startswith("w") and (row.id, row.attempt) not in story.began
        for event, row, error in ends(story)
    )


def deadline_is_extended(story: Story) -> bool:
    return any(before.state is after.state is ACTIVE for _, before, after in changes(story))


def settlement_comes_too_late(story: Story) -> bool:
    """Return whether a settlement is answered without changing an attempt that is no longer current."""
    for event in of(story, Answered, verb="settle", outcome="ok"):
        args = story.calls[event.call].args
        asked = {one.id for part in ("completed", "failed", "released") for one in args[part]}
        if asked - event.result:
            return True
    return False


# limits


def limit_is_reached(story: Story) -> bool:
    return any(
        isinstance(event, Change) and any(_limit(story, name) == n for name, n in story.active.items())
        for event in story
    )


def alias_has_active_job(story: Story) -> bool:
    return any(story.active.get("narrow-old") for _ in story)


def limit_falls_below_active_jobs(story: Story) -> bool:
    return any(
        isinstance(event, QueueRow) and (event.concurrency_limit or 9) < story.active.get(event.name, 0)
        for event in story
    )


def queue_with_waiting_jobs_is_paused(story: Story) -> bool:
    return any(
        isinstance(event, QueueRow) and event.paused_on is not None and _waiting(story, event.name)
        for event in story
    )


def job_of_higher_priority_overtakes(story: Story) -> bool:
    return any(
        after.state is ACTIVE
        and any(row.priority < after.priority and row.id < after.id for row in _waiting(story, after.name))
        for _, _, after in changes(story)
    )


def _limit(story: Story, name: str) -> int | None:
    queue = story.queues.get(name)
    return None if queue is None else queue.concurrency_limit


def _waiting(story: Story, name: str) -> list[Image]:
    waiting = {RowState.CREATED, RowState.RETRY}
    return [row for row in story.row.values() if row.name == name and row.state in waiting]


# unique


def send_is_refused(story: Story) -> bool:
    return any(None in event.result for event in of(story, Answered, verb="insert", outcome="ok"))


def key_of_waiting_job_is_taken(story: Story) -> bool:
    return any(row.superseded for _, row, _ in ends(story))


def key_of_resumed_job_is_taken(story: Story) -> bool:
    answers = of(story, Answered, node="c3", verb="find_conflicts", outcome="ok")
    return any(holder is not None for event in answers for holder in event.result)


def job_goes_to_next_slot(story: Story) -> bool:
    return any(
        row.singleton_on is not None and row.singleton_on > row.created_on.replace(tzinfo=None)
        for event in story
        if isinstance(event, Change) and (row := event.after) is not None
    )


def id_is_sent_twice(story: Story) -> bool:
    """A send of an id that is there is answered with the id, and inserts nothing."""
    inserted: set[int | None] = set()
    for event in story:
        if isinstance(event, Change) and event.before is None:
            inserted.add(event.call)
        elif isinstance(event, Answered) and event.verb == "insert" and event.outcome == "ok":
            known = [job for job in event.result if job is not None]
            if known and event.call not in inserted:
                return True
    return False


# cancel


def cancelled_while(state: RowState) -> Callable[[Story], bool]:
    return lambda story: any(
        before.state is state and after.state is RowState.CANCELLED for _, before, after in changes(story)
    )


def requeued_after(state: RowState) -> Callable[[Story], bool]:
    return lambda story: any(
        before.state is state and after.state not in FINAL for _, before, after in changes(story)
    )


def handler_goes_on_after_its_job_was_cancelled(story: Story) -> bool:
    """A handler returns when its job is cancelled, or waits again, or runs elsewhere."""
    return any(
        isinstance(event, Ended)
        and event.how == "returned"
        and ((row := story.row[event.job]).state is not ACTIVE or row.attempt != event.attempt)
        for event in story
    )


def archived_job_is_retried(story: Story) -> bool:
    """A retry comes too late, since the job has moved to the archive."""
    archived: set[UUID] = set()
    for event in story:
        if isinstance(event, Change) and event.table == "archive" and event.after is not None:
            archived.add(event.after.id)
        elif isinstance(event, Answered) and event.verb in {"retry", "resume"} and event.outcome == "ok":
            ids = story.calls[event.call].args["ids"]
            if not event.result and any(
                one in archived and story.row[one].state is not RowState.COMPLETED for one in ids
            ):
                return True
    return False


# shutdown


def _released(story: Story) -> Iterator[Released]:
    """Yield the jobs that ending processes release, at the time of the call."""
    for event in story:
        if isinstance(event, Invoked) and event.verb == "settle" and event.node in story.stopping:
            yield from event.args["released"]


def stopping_worker_releases_running_job(story: Story) -> bool:
    return any((one.id, one.attempt) in story.began for one in _released(story))


def stopping_worker_releases_prefetched_job(story: Story) -> bool:
    return any((one.id, one.attempt) not in story.began for one in _released(story))


def process_ends_before_its_handler(story: Story) -> bool:
    for event in story:
        if isinstance(event, Lived) and event.what == "stopped" and event.node.startswith("w"):
            left = [which for which, node in story.began.items() if node == event.node]
            if any(which not in story.ended and story.row[which[0]].attempt == which[1] for which in left):
                return True
    return False


def worker_stops_while_database_is_down(story: Story) -> bool:
    away = (0.0, 0.0)
    for event in story:
        if isinstance(event, Fault) and event.kind == "restart" and event.until is not None:
            away = (event.at, event.until)
        if story.stopping and away[0] <= event.at < away[1]:
            return True
    return False


def worker_is_stopped_while_it_claims(story: Story) -> bool:
    open_claims: dict[int, str] = {}
    for event in story:
        if isinstance(event, Invoked) and event.verb == "claim":
            open_claims[event.call] = event.node
        elif isinstance(event, Answered):
            node = open_claims.pop(event.call, None)
            if node in story.stopping and event.outcome == "ok" and event.result:
                return True
    return False


def _named(*situations: Callable[[Story], bool]) -> dict[str, Callable[[Story], bool]]:
    return {one.__name__: one for one in situations}


# plain


def worker_ends_attempt_of_another(story: Story) -> bool:
    return any(
        error in {"WorkerLost", "Expired"} and story.began.get((row.id, row.attempt), "w") != story.by(event)
        for event, row, error in ends(story)
    )


def worker_serves_tick(story: Story) -> bool:
    return any(
        isinstance(event, Change)
        and event.before is None
        and event.after is not None
        and event.after.name == "tick"
        and story.by(event).startswith("w")
        for event in story
    )


def worker_archives(story: Story) -> bool:
    return any(event.node.startswith("w") and event.result for event in of(story, Answered, verb="archive"))


SITUATIONS: dict[str, dict[str, Callable[[Story], bool]]] = {
    "expiry": _named(
        worker_expires_attempt,
        maintenance_expires_attempt,
        both_maintenance_processes_end_attempts,
        job_of_lost_worker_returns,
        handler_returns_after_its_deadline,
        attempt_expires_before_its_handler_begins,
        deadline_is_extended,
        settlement_comes_too_late,
    ),
    "limits": _named(
        limit_is_reached,
        alias_has_active_job,
        limit_falls_below_active_jobs,
        queue_with_waiting_jobs_is_paused,
        job_of_higher_priority_overtakes,
    ),
    "unique": _named(
        send_is_refused,
        key_of_waiting_job_is_taken,
        key_of_resumed_job_is_taken,
        job_goes_to_next_slot,
        id_is_sent_twice,
    ),
    "cancel": {
        **{f"cancelled while {state}": cancelled_while(state) for state in (CREATED, RETRY, ACTIVE)},
        **{f"requeued after {state}": requeued_after(state) for state in (CANCELLED, FAILED)},
        **_named(
            handler_goes_on_after_its_job_was_cancelled, archived_job_is_retried, settlement_comes_too_late
        ),
    },
    "plain": _named(
        job_of_lost_worker_returns, worker_ends_attempt_of_another, worker_serves_tick, worker_archives
    ),
    "shutdown": _named(
        stopping_worker_releases_running_job,
        stopping_worker_releases_prefetched_job,
        process_ends_before_its_handler,
        worker_stops_while_database_is_down,
        worker_is_stopped_while_it_claims,
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_scenario_violates_no_property_and_its_situations_occur(name: str) -> None:
    runs = outcomes(name)
    assert [outcome.violation for outcome in runs if outcome.violation is not None] == []

    def check(occurs: Callable[[Story], bool]) -> None:
        seeds = [seed for seed, outcome in enumerate(runs) if occurs(Story(outcome.events))]
        assert len(seeds) > 1, f"it occurs with seeds {seeds} only"

    check_each(SITUATIONS[name], check)
