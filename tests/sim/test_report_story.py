"""The story of a history: leases, handler runs, calls, faults, and a scale for distant times."""

from __future__ import annotations

import pytest

from tests.cases import check_each
from tests.sim.report_samples import JOB, WORKERS, Script, claim, claimed_by, long, overlap, settle
from zeke_queue.model import RowState
from zeke_sim.history.events import Began, Fault, Invoked, Lived, Phase
from zeke_sim.report import story


def test_lease_lasts_from_claim_to_end() -> None:
    told = story.read(overlap(), ["api", "w1", "w2", "s1"])
    assert [
        (lease.node, lease.attempt, lease.since, lease.until, lease.outcome) for lease in told.leases
    ] == [("w1", 1, 0.4, 3.2, "retry"), ("w2", 2, 3.5, None, "open")]
    assert told.tracks == ["api", "w1", "w2", "s1", "database"]


def test_lease_has_its_events() -> None:
    events = overlap()
    for lease in story.read(events).leases:
        assert events[lease.first].at == lease.since
        assert lease.last is None or events[lease.last].at == lease.until


def test_claim_of_leased_job_ends_the_other_lease() -> None:
    script = claimed_by("w1")
    script.at = 2.0
    claim(script, "w2", JOB)
    script.at = 3.0
    script.change(JOB, RowState.ACTIVE, priority=1)
    script.at = 4.0
    settle(script, "w2", JOB)
    leases = story.read(script.history()).leases
    assert [(lease.node, lease.until, lease.outcome) for lease in leases] == [
        ("w1", 2.0, "active"),
        ("w2", 4.0, "completed"),
    ]


def test_two_workers_with_one_attempt_are_two_leases() -> None:
    script = Script()
    script.insert(JOB, "mail.send")
    script.change(JOB, RowState.ACTIVE, attempt=1, worker=WORKERS["w1"])
    script.at = 2.0
    script.change(JOB, RowState.ACTIVE, attempt=1, worker=WORKERS["w2"])
    leases = story.read(script.history()).leases
    assert [(lease.attempt, lease.since, lease.until) for lease in leases] == [(1, 0.0, 2.0), (1, 2.0, None)]


def test_archiving_ends_lease() -> None:
    script = claimed_by("w1")
    script.at = 2.0
    script.archive(JOB)
    (lease,) = story.read(script.history()).leases
    assert (lease.until, lease.outcome) == (2.0, "gone")


def test_lease_without_a_claim_is_in_the_row_of_its_worker() -> None:
    script = Script()
    script.insert(JOB, "mail.send")
    row = script.rows[JOB]
    script.change(JOB, RowState.ACTIVE, attempt=1, worker=JOB)
    assert story.read(script.history()).leases[0].node == "worker 91c2e4"
    known = [Invoked(0.0, "w9", 1, "heartbeat", {"worker": {"id": JOB}}, None), *script.history()]
    assert story.read(known).leases[0].node == "w9"
    assert row.worker is None


def test_kill_ends_handlers_and_calls_of_its_node() -> None:
    begun = [Began(1.0, "w1", "mail.send", JOB, 1), Began(1.0, "w2", "mail.send", JOB, 2)]
    asked = [Invoked(1.0, node, call, "settle", {}, None) for call, node in enumerate(("w1", "w2"))]
    told, ended = story.read([*begun, *asked, Lived(2.0, "w1", "killed")]), [("w1", 2.0, "killed")]
    assert [(work.node, work.until, work.how) for work in told.works] == [*ended, ("w2", None, "open")]
    assert [(call.node, call.until, call.outcome) for call in told.calls] == [*ended, ("w2", None, "open")]


def test_call_without_answer_is_open() -> None:
    events = overlap()
    assert {call.outcome for call in story.read(events).calls} == {"ok", "unknown"}
    cut = [event for event in events if event.at < 4.0]
    assert [call.verb for call in story.read(cut).calls if call.outcome == "open"] == ["settle"]


def test_spans_of_lives() -> None:
    events = [
        Lived(0.0, "w1", "started"),
        Lived(1.0, "w1", "paused"),
        Lived(2.0, "w1", "resumed"),
        Lived(3.0, "w1", "partitioned"),
        Lived(4.0, "w1", "reconnected"),
        Lived(5.0, "w1", "stopping"),
        Lived(6.0, "w1", "killed"),
        Lived(7.0, "w1", "started"),
        Lived(8.0, "w1", "paused"),
        Lived(9.0, "w1", "killed"),
        Lived(10.0, "w1", "started"),
        Lived(11.0, "w1", "stopping"),
        Lived(12.0, "w1", "stopped"),
    ]
    spans = [(span.what, span.since, span.until) for span in story.read(events).spans]
    assert spans == [
        ("paused", 1.0, 2.0),
        ("partitioned", 3.0, 4.0),
        ("stopping", 5.0, 6.0),
        ("down", 6.0, 7.0),
        ("paused", 8.0, 9.0),
        ("down", 9.0, 10.0),
        ("stopping", 11.0, 12.0),
        ("stopped", 12.0, None),
    ]


def test_phase_lasts_until_the_next() -> None:
    phases = story.read([Phase(0.0, "faults"), Phase(5.0, "quiet"), Phase(9.0, "end")]).phases
    assert [(phase.what, phase.until) for phase in phases] == [("faults", 5.0), ("quiet", 9.0), ("end", None)]


def test_database_faults_are_in_its_track() -> None:
    def check(name: str) -> None:
        told = story.read([Fault(0.0, name, "db/clock/1", "jump", float("inf"))], ["w1"])
        assert told.tracks == ["w1", "database"]
        assert told.faults[0].node == "database"
        assert told.end == 0.0, "what never ends does not make the run endless"

    check_each(["db", "database", ""], check)


def test_events_know_their_jobs() -> None:
    events = overlap()
    told = story.read(events)
    for event, touched in zip(events, told.touched, strict=True):
        if isinstance(event, Began):
            assert touched == [JOB]
        if isinstance(event, Phase | Lived | Fault):
            assert touched == []
    assert told.jobs == {JOB: "mail.send"}


def test_long_history_has_tracks_and_ordered_leases() -> None:
    events = long(2000)
    told = story.read(events)
    assert len(told.track_of) == len(told.touched) == len(events)
    assert set(told.track_of) <= set(told.tracks)
    assert all(lease.until is None or lease.until >= lease.since for lease in told.leases)


def test_scale_keeps_order_and_shortens_idle_time() -> None:
    times = [0.0, 0.1, 0.2, 0.3, 86_400.0, 86_400.1]
    knots = story.squeeze(times)
    places = [story.placed(knots, time) for time in times]
    assert places == sorted(places)
    assert places[1] - places[0] == pytest.approx(0.1)
    assert places[4] - places[3] < 20
    assert story.placed(knots, 43_200.0) == pytest.approx((places[3] + places[4]) / 2, rel=1e-3)


def test_scale_of_at_most_one_moment() -> None:
    def check(times: list[float]) -> None:
        knots = story.squeeze(times)
        assert len(knots) == 2
        assert knots[0][0] < knots[1][0]
        assert story.placed(knots, -1.0) == knots[0][1]
        assert story.placed(knots, 99.0) == knots[1][1]

    check_each([[], [1.0], [1.0, 1.0], [2.0, float("inf")]], check)
