"""The schedule of faults, and the merged history; a run is ``python -m tests.torture``."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.torture import chaos, merged_history
from tests.torture.recording import dumps
from tests.torture.samples import JOB, JOB_TEXT, NOW
from zeke_sim.history.events import Began, Change, Ended, Fault, Lived, Violation

pytestmark = pytest.mark.nightly

NODES = ["w1", "k1"]


def test_equal_seeds_give_equal_schedules() -> None:
    assert chaos.schedule(1, 60, NODES, 3) == chaos.schedule(1, 60, NODES, 3)
    assert chaos.schedule(1, 60, NODES, 3) != chaos.schedule(2, 60, NODES, 3)


def test_schedule_of_a_minute_has_every_fault() -> None:
    for seed in range(20):
        assert {one.kind for one in chaos.schedule(seed, 60, NODES, 3)} == set(chaos.KINDS)


def test_long_schedule_has_every_fault_and_ends_in_time() -> None:
    planned = chaos.schedule(1, 600, NODES, 3)
    assert {one.kind for one in planned} == set(chaos.KINDS)
    assert {one.node for one in planned} == {*NODES, "server", chaos.ALL}
    assert max(one.at + one.length for one in planned) <= 600
    assert {one.length > 3 for one in planned if one.kind == "pause"} == {True, False}
    ends = [one.at + one.length for seed in range(40) for one in chaos.schedule(seed, 60, NODES, 3)]
    assert 59 < max(ends) <= 60


def test_records_of_processes_are_merged_with_the_commits_by_time(tmp_path: Path) -> None:
    about = f'{{"seed": 1, "began": "{NOW.isoformat()}", "rules": {{"lease": 3.0}}}}'
    (tmp_path / "about.json").write_text(about)
    rows = [f"table pgboss.job: INSERT: {JOB_TEXT}"]
    lines = [
        json.dumps([place, (NOW + timedelta(seconds=at)).isoformat(), rows]) for place, at in ((1, 1), (2, 3))
    ]
    (tmp_path / "commits.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "schedule.jsonl").write_text("{}\n")
    began, ended = Began(2.0, "w1", "a", JOB, 1), Ended(4.0, "w1", "a", JOB, 1, "returned", {"a": 1})
    (tmp_path / "w1.jsonl").write_text(f"{dumps(began)}\n{dumps(ended)}\n")
    assert [type(one) for one in merged_history.read(tmp_path)] == [Change, Began, Change, Ended]
    assert merged_history.rules(tmp_path).lease == 3.0
    w1, *_ = put_together = merged_history.put_together(tmp_path)
    assert (len(put_together), type(w1)) == (4, Change), "nobody lived, as far as is known"
    with (tmp_path / "w1.jsonl").open("a") as file:
        file.write(f"{dumps(Lived(0.5, 'w1', 'started'))}\n")
    freeze, *_ = merged_history.put_together(tmp_path)
    assert freeze == Fault(0.0, "w1", "w1/freeze", "freeze", None), "it may stand still at any time"
    broken = Violation("a rule", "a text", job=JOB, at=4.0)
    assert (
        merged_history.life(merged_history.read(tmp_path), broken)[1]
        == "    2.000  w1       a 000001 begins attempt 1"
    )
