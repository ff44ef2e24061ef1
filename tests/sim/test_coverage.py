"""Coverage: what happened, and what never did."""

from __future__ import annotations

from tests.sim.histories import CANCELLED, History
from zeke_queue.model import Completed
from zeke_sim.experiment.coverage import Coverage, expected
from zeke_sim.history.events import Began, Fault


def fault(h: History, node: str, address: str, kind: str) -> None:
    h.events.append(Fault(h.at, node, address, kind, None))


def coverage_of(*histories: History) -> Coverage:
    coverage = Coverage()
    for h in histories:
        coverage.take(h.events)
    return coverage


def test_steps_of_the_state_machine_are_counted() -> None:
    h = History()
    h.complete(h.send())
    job = h.send()
    h.by_hand("cancel", job, CANCELLED)
    h.wait(60)
    h.archive(job)
    assert coverage_of(h, h).edges == {
        "none > created": 4,
        "created > active": 2,
        "active > completed": 2,
        "created > cancelled": 2,
        "cancelled > none": 2,
    }


def test_faults_are_counted_by_what_they_hit() -> None:
    h = History()
    fault(h, "db", "db/0", "restart")
    job = h.send()
    fault(h, "w1", "node/w1/0", "pause")
    fault(h, "w1", "w1/claim/1", "lost")
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    fault(h, "w1", "node/w1/1", "kill")
    fault(h, "w1", "handler/a/1/1", "kill_handler")
    fault(h, "db", "db/1", "restart")
    fault(h, "w1", "w1/settle/1", "lost")
    h.lived("w1", "killed")
    fault(h, "w1", "node/w1/2", "pause")
    assert coverage_of(h).faults == {
        "restart in idle": 1,
        "pause in waiting": 1,
        "lost in being claimed": 1,
        "kill in running": 1,
        "kill_handler in running": 1,
        "restart in running": 1,
        "lost in settling": 1,
        "pause in idle": 1,
    }


def test_fault_of_a_node_counts_for_its_current_activity() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    for verb in ("extend", "append_events"):
        fault(h, "w1", f"w1/{verb}/1", "lost")
    h.invoke("settle", "w1", completed=(), failed=(), released=(), repeated=False)
    fault(h, "w1", "node/w1/0", "pause")
    assert coverage_of(h).faults == {"lost in running": 2, "pause in settling": 1}


def test_calls_are_counted_by_how_they_ended() -> None:
    h = History()
    h.lived("w1", "started")
    job = h.send()
    h.claim(job)
    h.run(job)
    h.settle(job, Completed(job, 1, None))
    h.answer(h.invoke("get", ids=()), "gone", outcome="unknown")
    h.invoke("claim", "w1", worker=None, capacity=(), limit=1)
    h.lived("w1", "killed")
    h.invoke("get", ids=())
    assert coverage_of(h).calls == {
        "insert: ok": 1,
        "claim: ok": 1,
        "settle: ok": 1,
        "get: unknown": 1,
        "claim: none": 1,
        "get: none": 1,
    }


def test_coverage_is_merged_and_stored_as_json() -> None:
    one, two = History(), History()
    one.send()
    two.complete(two.send())
    merged = coverage_of(one)
    merged.merge(coverage_of(two))
    assert merged.as_json() == coverage_of(one, two).as_json()
    assert merged.runs == 2


def test_coverage_names_what_never_happened() -> None:
    h = History()
    h.complete(h.send())
    fault(h, "w1", "w1/claim/1", "lost")
    wanted = expected(["lost"], ["claim"], but=["faults: lost in idle", "calls: claim: none"])
    never = coverage_of(h).never(wanted)
    assert "edges: active > completed" not in never
    assert "edges: active > retry" in never
    assert [what for what in never if what.startswith("faults")] == [
        "faults: lost in waiting",
        "faults: lost in running",
        "faults: lost in settling",
    ]
    assert [what for what in never if what.startswith("calls")] == [
        "calls: claim: failed",
        "calls: claim: unknown",
    ]
