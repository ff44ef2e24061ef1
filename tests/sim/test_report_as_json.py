"""Events as JSON and as lines: complete, the same in every process, and free of what breaks a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tests.cases import check_each
from tests.sim.report_samples import EPOCH, JOB, Script, overlap
from zeke_queue.model import NewJob, QueueCapacity, RowState
from zeke_sim.history.events import EVENTS, Answered, Change, Fault, Invoked, Phase
from zeke_sim.report import as_json

OTHER = UUID("0195e0f4-8a1c-7c40-9d2e-00000000beef")


def test_every_kind_of_event_has_its_name() -> None:
    assert len({as_json.kind_of(one) for one in EVENTS}) == len(EVENTS)


def test_whole_history_is_json() -> None:
    events = json.loads(json.dumps(as_json.events(overlap()), allow_nan=False))
    assert [event["at"] for event in events] == [event.at for event in overlap()]
    assert {event["kind"] for event in events} >= {
        "change",
        "invoked",
        "answered",
        "fault",
        "effect",
        "notified",
    }


def test_fault_has_its_kind_and_that_of_the_event() -> None:
    told = as_json.event(Fault(1.0, "w1", "w1/settle/1", "lost", None))
    assert (told["kind"], told["fault"]) == ("fault", "lost")


def test_values_become_json() -> None:
    def check(value: object, told: object) -> None:
        assert as_json.value(value) == told

    check_each(
        [
            (RowState.ACTIVE, "active"),
            (OTHER, str(OTHER)),
            (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
            (timedelta(minutes=1), 60.0),
            (b'{"a": "\xc3\xa4"}', '{"a": "ä"}'),
            (b"\xff", "\\xff"),
            (float("inf"), "inf"),
            (True, True),
            ({f"{n:02}" for n in range(40)}, [f"{n:02}" for n in range(40)]),
            ({OTHER: 1}, {str(OTHER): 1}),
            (QueueCapacity("mail", 2), {"name": "mail", "limit": 2}),
            (NewJob(OTHER, "mail", priority=3), {"id": str(OTHER), "name": "mail", "priority": 3}),
            (ValueError("no"), "ValueError: no"),
            (object(), "<object>"),
        ],
        check,
    )


def test_change_has_its_differences() -> None:
    script = Script()
    script.insert(JOB, "mail.send")
    script.change(JOB, RowState.ACTIVE, attempt=1)
    script.archive(JOB)
    new, claimed, gone, archived = as_json.events(script.events)
    assert new["row"]["state"] == "created"
    assert "output" not in new["row"], "a null needs no room"
    assert claimed["was"] == {"state": "created", "attempt": 0}
    assert claimed["set"] == {"state": "active", "attempt": 1}
    assert (gone["table"], gone["state"]) == ("job", None)
    assert (archived["table"], archived["row"]["archived_on"]) == ("archive", EPOCH.isoformat())


def test_change_of_nothing_is_described() -> None:
    nothing = Change(0.0, EPOCH, "job", None, None, None, 1)
    assert as_json.event(nothing)["kind"] == "change"
    assert as_json.line(nothing) == "job: nothing"


def test_ids_are_found_at_any_depth() -> None:
    call = Invoked(0.0, "api", 1, "insert", {"jobs": [NewJob(JOB, "mail")], "by": {OTHER: {JOB}}}, None)
    assert list(as_json.ids(call)) == [JOB, OTHER, JOB]


def test_event_lines_have_short_ids() -> None:
    def check(event: Invoked | Answered | Phase, line: str) -> None:
        assert as_json.line(event) == line

    check_each(
        [
            (Invoked(0.0, "w1", 1, "cancel", {"ids": [JOB]}, None), "cancel(ids=[91c2e4])"),
            (Answered(0.0, "w1", 1, "cancel", "ok", {JOB}, None), "cancel → [91c2e4]"),
            (Answered(0.0, "w1", 1, "cancel", "unknown", "cut", None), "cancel unknown: cut"),
            (Phase(0.0, "quiet"), "phase quiet begins"),
            (Answered(0.0, "c1", 1, "get", "ok", [RowState.ACTIVE], None), "get → [active]"),
        ],
        check,
    )


def test_line_is_printable_and_short() -> None:
    call = Invoked(0.0, "w1", 1, "append_events", {"text": "\x1b[2J\n" + "long " * 1000}, None)
    line = as_json.line(call)
    assert line.isprintable()
    assert len(line) <= as_json.LONG_TEXT
    assert "\\x1b[2J\\n" in line
