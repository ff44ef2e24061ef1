"""Places that only one job may have: singleton keys, and the slots of throttle and debounce.

Two programs send at the same time, with two keys and slots of a few seconds between them, so that most of
most sends conflict. Some sends set an id, and are repeated, on purpose or for lack
of an answer; some send several jobs at once, which are in each other's way. Handlers fail, snooze, and are
released, and a third program cancels, resumes and retries jobs, so that they return to keys and slots
that others have taken. Another program sends with a key that is held only while its job waits, as pg-boss's
singleton queues do; a running job of such a key finds the key taken when it must wait again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tests.workloads import Action, Known, Script, Step, Tending, act, doing, own_id, script, sending, tending
from zeke_queue.client.parts import parts_of
from zeke_queue.core.options import SendOptions
from zeke_queue.errors import JobConflictError
from zeke_queue.model import NewJob
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.task import Send
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Answered, Invoked
from zeke_sim.history.state import Broken, End, RunState
from zeke_sim.properties import ALL, holds
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node

PHASE: Final = 40.0

KEYS: Final = ("a", "b")
WHILE_WAITING: Final = "__pgboss__singleton_queue"


def build(draws: RandomStream) -> Setup:
    """Two keys, two senders, a user that cancels and resumes jobs, two workers."""
    catalog = Catalog()
    catalog.task("one", retry_limit=2, retry_delay=1, expire_in=draws.pick((4.0, 30.0)))(act)

    known = Known()
    plans: dict[str, list[tuple[float, Action]]] = {"c1": [], "c2": [], "c3": []}
    for number in range(5 + draws.below(5)):
        at = _moment(draws)
        for later, action in _send(draws, known, number):
            plans[draws.pick(("c1", "c2"))].append((at + later, action))
        for later, what in _tend(draws):
            plans["c3"].append((at + later, tending(known, number, what)))
    lease = draws.pick((3.0, 6.0))
    return Setup(
        catalog,
        clients={name: doing(plan) for name, plan in plans.items()},
        worker={
            "concurrency": 1 + draws.below(3),
            "lease": lease,
            "heartbeat_interval": lease / 3,
            "shutdown_timeout": 2.0,
        },
        sweep=2.0,
        phase=PHASE,
        archive_after=draws.pick((5.0, 20.0)),
        delete_after=20.0,
    )


def _moment(draws: RandomStream) -> float:
    """Draw a time; every five seconds now and then, so that actions of several programs meet."""
    at = draws.uniform(0.0, 0.7 * PHASE)
    return 5.0 * int(at / 5.0) if draws.chance(0.5) else at


def _tend(draws: RandomStream) -> list[tuple[float, Tending]]:
    """Draw the actions on a job after its send: cancelled, resumed, retried."""
    tends: list[tuple[float, Tending]] = []
    if draws.chance(0.4):
        at = draws.uniform(0.0, 4.0)
        tends.append((at, "cancel"))
        tends.append((at + draws.uniform(0.0, 6.0), "resume"))
    if draws.chance(0.4):
        tends.append((draws.uniform(1.0, 12.0), "retry"))
    return tends


def _send(draws: RandomStream, known: Known, number: int) -> list[tuple[float, Action]]:
    """Draw how a job is sent, and when, in seconds from its moment."""
    payload = script(draws, longest=4.0, steps=2)
    how = draws.pick(("as pg-boss", "together", "alone", "alone"))
    if how == "as pg-boss":
        return _in_turn(draws, known, number)
    options = _place(draws)
    if how == "together":
        several = [Send("one", payload, **options), Send("one", payload, **_place(draws))]
        return [(0.0, _together(known, number, several))]
    if draws.chance(0.5):
        options["id"] = own_id(draws)
    send = sending(known, number, "one", payload, options)
    sends = [(0.0, send)]
    if draws.chance(0.3):
        sends.append((draws.pick((0.0, 1.0)), send))
    if draws.chance(0.4):
        rival = options.copy()
        rival["id"] = None
        sends.append((draws.uniform(1.0, 6.0), sending({}, number, "one", payload, rival)))
    return sends


def _place(draws: RandomStream) -> SendOptions:
    """Draw the uniqueness of a job: a key, a slot, or a slot of a key; some start later."""
    options = SendOptions()
    half = 1 + draws.below(5)
    kind = draws.pick(("key", "key", "throttle", "debounce"))
    if kind == "throttle":
        options["throttle"] = 2 * half + 2
    elif kind == "debounce":
        options["debounce"] = 2 * half + 1  # odd ones are debounced, so that rows show it
    if kind == "key" or draws.chance(0.5):
        options["singleton_key"] = draws.pick(KEYS)
    if draws.chance(0.3):
        options["delay"] = round(draws.uniform(0.0, 5.0), 2)
    return options


def _in_turn(draws: RandomStream, known: Known, number: int) -> list[tuple[float, Action]]:
    """Send two jobs of a key that is held while they wait: the second, perhaps, while the first runs."""
    first = Step(seconds=round(draws.uniform(0.5, 4.0), 2), end=draws.pick(("raise", "snooze", "return")))
    scripts = Script(steps=[first]), script(draws, longest=4.0, steps=2)
    jobs = [
        NewJob(own_id(draws), "one", one.model_dump_json(), retry_limit=2, retry_delay=1, expire_in=10.0)
        for one in scripts
    ]
    moments = (0.0, draws.uniform(0.0, 3.0))
    return [
        (moment, _as_pgboss(known, number, replace(job, singleton_key=WHILE_WAITING)))
        for moment, job in zip(moments, jobs, strict=True)
    ]


def _as_pgboss(known: Known, number: int, job: NewJob) -> Action:
    """Insert a row with a key that this library's sends refuse."""

    async def insert(node: Node) -> None:
        (inserted,) = await parts_of(node.queue).storage.insert([job])
        if inserted is not None:
            known[number] = inserted

    return insert


def _together(known: Known, number: int, several: list[Send]) -> Action:
    async def send(node: Node) -> None:
        try:
            runs = await node.queue.send_many(several)
        except JobConflictError as conflict:  # as for a single send
            runs = conflict.sent
        for run in runs:
            if run.created:
                known[number] = run.id

    return send


@holds("a debounced send goes into the next slot", Answered, Invoked, End, verbs=("insert",))
def a_debounced_send_goes_into_the_next_slot(event: Answered | Invoked | End, state: RunState) -> None:
    """A debounced send that its slot refuses is tried in the slot that follows."""
    refused = state.of("debounced sends that were refused", dict[str, NewJob])
    if isinstance(event, End):
        for node, job in refused.items():
            raise Broken(f"{node} did not try {job.slot_seconds} s later", job=job.id)
    elif isinstance(event, Invoked):
        job = refused.pop(event.node, None)
        if job is not None and not any(_follows(other, job) for other in event.args["jobs"]):
            raise Broken(f"{event.node} went on, and did not try {job.slot_seconds} s later", job=job.id)
    elif event.outcome == "ok" and event.result == [None]:
        (job,) = state.calls[event.call].invoked.args["jobs"]
        if job.slot_seconds is not None and job.slot_seconds % 2 and job.slot_offset == 0:
            refused[event.node] = job


def _follows(job: NewJob, refused: NewJob) -> bool:
    return job.data == refused.data and job.slot_offset == refused.slot_seconds


SCENARIO = Scenario(
    __name__,
    "jobs that are in each other's place: keys and slots, taken while others want back",
    build,
    properties=(*ALL, a_debounced_send_goes_into_the_next_slot),
)
