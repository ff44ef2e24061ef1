"""The scenarios of single jobs' lives: they run green, and what they are there for really happens in them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from zeke_queue.core import jsonb
from zeke_queue.model import FINAL, JobState, Released
from zeke_sim.history import Answered, Began, Change, Ended, Fault, Invoked, Lived, QueueRow
from zeke_sim.run import run
from zeke_sim.scenario import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from zeke_sim.history import Event, Image

SEEDS = range(40)

ACTIVE, FAILED = JobState.ACTIVE, JobState.FAILED


class Story:
    """A run's history, with what a test asks of it as it stood at each event.

    Attributes:
        row: how a job stands.
        calls: by their numbers.
        active: how many jobs of each queue run.
        queues: the settings as they stand.
        began, ended: handlers by job and attempt, with the nodes and with how they ended.
        stopping: nodes that were told to stop, and have not.
    """

    def __init__(self, events: list[Event]) -> None:
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


@functools.cache
def outcomes(name: str) -> list[Any]:
    """Return the runs of a scenario's first seeds."""
    scenario = load(name)
    return [run(scenario, scenario.plan(seed)) for seed in SEEDS]


def ends(story: Story) -> Iterator[tuple[Change, Image, str]]:
    """Yield the changes that ended an attempt, each with the row after it, and the type of its error."""
    for event in story:
        if isinstance(event, Change) and event.before is not None and event.after is not None:
            if event.before.state is not ACTIVE or event.after.state is ACTIVE:
                continue
            output = None if event.after.output is None else jsonb.loads(event.after.output)
            error = output.get("type") if isinstance(output, dict) else None
            yield event, event.after, str(error)


# What an expiry is.


def a_worker_gives_up_an_attempt_whose_time_is_over(story: Story) -> bool:
    return any(error == "Expired" and story.by(event).startswith("w") for event, _, error in ends(story))


def a_supervisor_gives_up_an_attempt_whose_time_is_over(story: Story) -> bool:
    return any(error == "Expired" and story.by(event).startswith("v") for event, _, error in ends(story))


def both_supervisors_give_back(story: Story) -> bool:
    return {"v1", "v2"} <= {story.by(event) for event, _, _ in ends(story)}


def a_dead_workers_job_comes_back(story: Story) -> bool:
    return any(error == "WorkerLost" for _, _, error in ends(story))


def a_handler_returns_after_its_time(story: Story) -> bool:
    for _, row, error in ends(story):
        if error == "Expired" and story.ended.get((row.id, row.attempt)) == "returned":
            return True
    return False


def an_attempt_is_over_before_its_handler_begins(story: Story) -> bool:
    return any(
        error == "Expired" and story.by(event).startswith("w") and (row.id, row.attempt) not in story.began
        for event, row, error in ends(story)
    )


def a_deadline_is_moved(story: Story) -> bool:
    return any(
        isinstance(event, Change)
        and event.before is not None
        and event.after is not None
        and event.before.state is event.after.state is ACTIVE
        for event in story
    )


def an_outcome_comes_too_late(story: Story) -> bool:
    """A settlement is answered, and leaves an attempt alone that is not current any more."""
    for event in story:
        if isinstance(event, Answered) and event.verb == "settle" and event.outcome == "ok":
            args = story.calls[event.call].args
            asked = {one.id for part in ("completed", "failed", "released") for one in args[part]}
            if asked - event.result:
                return True
    return False


# What limits are.


def a_limit_is_reached(story: Story) -> bool:
    return any(
        isinstance(event, Change) and any(_limit(story, name) == n for name, n in story.active.items())
        for event in story
    )


def an_alias_has_a_job_of_its_own(story: Story) -> bool:
    return any(story.active.get("narrow-old") for _ in story)


def a_limit_is_lowered_below_what_runs(story: Story) -> bool:
    return any(
        isinstance(event, QueueRow) and (event.concurrency_limit or 9) < story.active.get(event.name, 0)
        for event in story
    )


def a_queue_is_paused_while_jobs_wait_in_it(story: Story) -> bool:
    return any(
        isinstance(event, QueueRow) and event.paused_on is not None and _waiting(story, event.name)
        for event in story
    )


def a_job_overtakes_one_that_waited_longer(story: Story) -> bool:
    for event in story:
        if isinstance(event, Change) and event.after is not None and event.after.state is ACTIVE:
            rows = _waiting(story, event.after.name)
            if any(row.priority < event.after.priority and row.id < event.after.id for row in rows):
                return True
    return False


def _limit(story: Story, name: str) -> int | None:
    queue = story.queues.get(name)
    return None if queue is None else queue.concurrency_limit


def _waiting(story: Story, name: str) -> list[Image]:
    waiting = {JobState.CREATED, JobState.RETRY}
    return [row for row in story.row.values() if row.name == name and row.state in waiting]


# What places are.


def a_send_is_refused(story: Story) -> bool:
    return any(
        isinstance(event, Answered)
        and event.verb == "insert"
        and event.outcome == "ok"
        and None in event.result
        for event in story
    )


def a_job_finds_its_place_taken_when_it_has_to_wait_again(story: Story) -> bool:
    return any(row.superseded for _, row, _ in ends(story))


def a_job_that_is_brought_back_finds_its_place_taken(story: Story) -> bool:
    return any(
        isinstance(event, Answered) and event.node == "c3" and event.verb == "holder" and event.result
        for event in story
        if not isinstance(event, Answered) or event.outcome == "ok"
    )


def a_job_goes_to_the_next_slot(story: Story) -> bool:
    return any(
        row.singleton_on is not None and row.singleton_on > row.created_on.replace(tzinfo=None)
        for event in story
        if isinstance(event, Change) and (row := event.after) is not None
    )


def an_id_is_sent_twice(story: Story) -> bool:
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


# What changes of mind are.


def a_job_is_cancelled_while(state: JobState) -> Callable[[Story], bool]:
    def cancelled(story: Story) -> bool:
        return any(
            isinstance(event, Change)
            and event.before is not None
            and event.before.state is state
            and event.after is not None
            and event.after.state is JobState.CANCELLED
            for event in story
        )

    return cancelled


def a_job_is_brought_back_from(state: JobState) -> Callable[[Story], bool]:
    def back(story: Story) -> bool:
        return any(
            isinstance(event, Change)
            and event.before is not None
            and event.before.state is state
            and event.after is not None
            and event.after.state not in FINAL
            for event in story
        )

    return back


def a_handler_goes_on_though_its_job_was_cancelled(story: Story) -> bool:
    """A handler returns when its job is cancelled, or waits again, or runs elsewhere."""
    return any(
        isinstance(event, Ended)
        and event.how == "returned"
        and ((row := story.row[event.job]).state is not ACTIVE or row.attempt != event.attempt)
        for event in story
    )


def an_archived_job_is_wanted_back(story: Story) -> bool:
    """A retry comes too late, since the job has moved to the archive."""
    archived: set[UUID] = set()
    for event in story:
        if isinstance(event, Change) and event.table == "archive" and event.after is not None:
            archived.add(event.after.id)
        elif isinstance(event, Answered) and event.verb in {"retry", "resume"} and event.outcome == "ok":
            ids = story.calls[event.call].args["ids"]
            if not event.result and any(
                one in archived and story.row[one].state is not JobState.COMPLETED for one in ids
            ):
                return True
    return False


# What a shutdown is.


def _released(story: Story) -> Iterator[Released]:
    """Yield what processes that end give back, as they ask for it."""
    for event in story:
        if isinstance(event, Invoked) and event.verb == "settle" and event.node in story.stopping:
            yield from event.args["released"]


def a_stopping_worker_gives_back_what_runs(story: Story) -> bool:
    return any((one.id, one.attempt) in story.began for one in _released(story))


def a_stopping_worker_gives_back_what_it_claimed_ahead(story: Story) -> bool:
    return any((one.id, one.attempt) not in story.began for one in _released(story))


def a_process_ends_though_a_handler_does_not(story: Story) -> bool:
    for event in story:
        if isinstance(event, Lived) and event.what == "stopped" and event.node.startswith("w"):
            left = [which for which, node in story.began.items() if node == event.node]
            if any(which not in story.ended and story.row[which[0]].attempt == which[1] for which in left):
                return True
    return False


def a_worker_stops_while_the_database_is_away(story: Story) -> bool:
    away = (0.0, 0.0)
    for event in story:
        if isinstance(event, Fault) and event.kind == "restart" and event.until is not None:
            away = (event.at, event.until)
        if story.stopping and away[0] <= event.at < away[1]:
            return True
    return False


def a_worker_is_told_to_stop_while_it_claims(story: Story) -> bool:
    open_claims: dict[int, str] = {}
    for event in story:
        if isinstance(event, Invoked) and event.verb == "claim":
            open_claims[event.call] = event.node
        elif isinstance(event, Answered):
            node = open_claims.pop(event.call, None)
            if node in story.stopping and event.outcome == "ok" and event.result:
                return True
    return False


SITUATIONS: list[tuple[str, Callable[[Story], bool]]] = [
    ("expiry", a_worker_gives_up_an_attempt_whose_time_is_over),
    ("expiry", a_supervisor_gives_up_an_attempt_whose_time_is_over),
    ("expiry", both_supervisors_give_back),
    ("expiry", a_dead_workers_job_comes_back),
    ("expiry", a_handler_returns_after_its_time),
    ("expiry", an_attempt_is_over_before_its_handler_begins),
    ("expiry", a_deadline_is_moved),
    ("expiry", an_outcome_comes_too_late),
    ("limits", a_limit_is_reached),
    ("limits", an_alias_has_a_job_of_its_own),
    ("limits", a_limit_is_lowered_below_what_runs),
    ("limits", a_queue_is_paused_while_jobs_wait_in_it),
    ("limits", a_job_overtakes_one_that_waited_longer),
    ("unique", a_send_is_refused),
    ("unique", a_job_finds_its_place_taken_when_it_has_to_wait_again),
    ("unique", a_job_that_is_brought_back_finds_its_place_taken),
    ("unique", a_job_goes_to_the_next_slot),
    ("unique", an_id_is_sent_twice),
    ("cancel", a_job_is_cancelled_while(JobState.CREATED)),
    ("cancel", a_job_is_cancelled_while(JobState.RETRY)),
    ("cancel", a_job_is_cancelled_while(JobState.ACTIVE)),
    ("cancel", a_job_is_brought_back_from(JobState.CANCELLED)),
    ("cancel", a_job_is_brought_back_from(JobState.FAILED)),
    ("cancel", a_handler_goes_on_though_its_job_was_cancelled),
    ("cancel", an_archived_job_is_wanted_back),
    ("cancel", an_outcome_comes_too_late),
    ("shutdown", a_stopping_worker_gives_back_what_runs),
    ("shutdown", a_stopping_worker_gives_back_what_it_claimed_ahead),
    ("shutdown", a_process_ends_though_a_handler_does_not),
    ("shutdown", a_worker_stops_while_the_database_is_away),
    ("shutdown", a_worker_is_told_to_stop_while_it_claims),
]


@pytest.mark.parametrize("name", ["expiry", "limits", "unique", "cancel", "shutdown"])
def test_it_runs_green(name: str) -> None:
    assert [outcome.violation for outcome in outcomes(name) if outcome.violation is not None] == []


@pytest.mark.parametrize(("name", "happens"), SITUATIONS)
def test_what_it_is_there_for_happens(name: str, happens: Callable[[Story], bool]) -> None:
    seeds = [seed for seed in SEEDS if happens(Story(outcomes(name)[seed].events))]
    assert len(seeds) > 1, f"{happens.__name__} in {name}: with seeds {seeds} only"
