"""Every kind of fault is drawn, with every part of its decision, which takes more than one value."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from tests.cases import check_each
from zeke_sim.loop.decisions import Decisions, RandomStream
from zeke_sim.world import faults
from zeke_sim.world.faults import AIMED, AIMS, CALL, DATABASE, HANDLER, KINDS, NODE, NONE, STATEMENT, WAKE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

KNOBS: Final = NONE.but(kinds=tuple(KINDS), statement=1.0, wake=0.9, handler=0.9, call=0.9)
POINTS: Final = 5
LEASE: Final = 30.0

PARTS: Final[Mapping[str, set[str]]] = {
    "hung": {"for", "applied"},
    "pool": {"for"},
    "conflict": {"for"},
    "late": {"wait"},
    "abandoned": {"for", "wait"},
    "late_wakeup": {"for"},
    "spurious": {"after"},
    "clock": {"by"},
    "db_clock": {"by"},
    "drift": {"rate"},
    "foreign_lock": {"for", "which", "shared"},
    "kill_handler": {"after"},
    "kill_line": {"point"},
    "call_refused": {"error"},
    "call_lost": {"error"},
    "call_late": {"for", "wait", "back"},
    **{kind: {"for"} for kind in ("restart", "notify_full", "block", "freeze")},
    **{kind: {"for", "on"} for kind in AIMED},
}
"""The parts of the decision about a fault, by kind; the others have none."""

Decision = dict[str, Any]


def over_time(kinds: Mapping[str, str], role: str = "") -> Callable[[RandomStream], Iterable[Decision]]:
    """Return a function that draws the faults of a minute, without their times."""

    def draw(draws: RandomStream) -> list[Decision]:
        drawn = faults.faults_over_time(draws, [*kinds], 60.0, 60.0, LEASE, role=role)
        assert all(0.0 < one["at"] < 60.0 for one in drawn)
        return [{key: part for key, part in one.items() if key != "at"} for one in drawn]

    return draw


def one(draw: Callable[..., Decision | None], *given: Any, **named: Any) -> Any:
    """Return a function that draws one decision."""
    return lambda draws: filter(None, [draw(draws, KNOBS, *given, **named)])


def test_every_part_of_every_fault_is_drawn() -> None:
    def check(draw: Callable[[RandomStream], Iterable[Decision]], kinds: set[str]) -> None:
        parts: defaultdict[str, defaultdict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
        for seed in range(100):
            for decision in draw(Decisions(seed).stream("faults")):
                found = parts[decision.pop("fault")]
                for key, part in decision.items():
                    found[key].add(part)
        assert set(parts) == kinds
        for kind in kinds:
            assert set(parts[kind]) == PARTS.get(kind, set()), kind
            for key, values in parts[kind].items():
                assert len(values) > 1 or key == "on", f"{kind}: {key} is always {values}"

    roles = {role: (over_time(NODE, role), {*NODE}) for role in AIMS}
    others: dict[str, Any] = {
        "statement": (one(faults.statement_fault), {*STATEMENT}),
        "wake-up": (one(faults.wake_fault), {*WAKE}),
        "change feed": (one(faults.feed_fault), {"lost_wakeup"}),
        "handler": (one(faults.handler_fault), {"kill_handler"}),
        "line": (one(faults.line_fault, POINTS), {"kill_line"}),
        "call": (one(faults.call_fault, 2, waits=True), {*CALL}),
        "database": (over_time(DATABASE), {*DATABASE}),
    }
    check_each({**roles, **others}, check)
    assert {kind for _, kinds in (*roles.values(), *others.values()) for kind in kinds} == {*KINDS}
    assert {*HANDLER} == {"kill_handler", "kill_line"}


def test_faults_wait_for_every_moment_of_their_role() -> None:
    for role, moments in AIMS.items():
        drawn = [
            part for seed in range(50) for part in over_time(NODE, role)(Decisions(seed).stream("faults"))
        ]
        assert {part["on"] for part in drawn if "on" in part} == {*moments}


def test_points_are_drawn_from_the_first_to_beyond_the_handler() -> None:
    points = {
        decision["point"]
        for seed in range(200)
        for decision in one(faults.line_fault, POINTS)(Decisions(seed).stream("faults"))
    }
    # After the last point, the handler has returned; functions that it calls have more.
    assert {*range(1, POINTS + 2)} < points
    assert max(points) > 2 * POINTS


def test_slow_statements_wait_in_both_directions() -> None:
    slow = NONE.but(slow=1.0, latency=0.2)
    drawn = [faults.statement_fault(Decisions(seed).stream("faults"), slow) or {} for seed in range(50)]
    for key in ("wait", "back"):
        assert len({decision[key] for decision in drawn}) > 1
