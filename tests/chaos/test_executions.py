"""The log of executions, the speeds in it, the jobs that are expected, and the table."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from tests.cases import check_each
from tests.chaos.__main__ import parser, size_of
from tests.chaos.checker import Row, Verdict
from tests.chaos.executions import (
    BEGAN,
    CANCELLED,
    CLAIMED,
    RETURNED,
    WIDTH,
    ExecutionLog,
    Line,
    Tail,
    executions,
    parse,
)
from tests.chaos.experiment import WORKLOADS, Result, expected_jobs, joined
from tests.chaos.faults import FAULTS
from tests.chaos.page import PAGE, merged, with_table
from tests.chaos.peers.__main__ import FAULTS as PEER_FAULTS
from tests.chaos.peers.__main__ import PEERS
from tests.chaos.report import HEAD, as_json, complaints, conditions, from_json, table
from tests.chaos.speeds import RECOVERY_MAX, TARGET, TOLERANCE, Speeds, longest_gap, speeds
from tests.chaos.tasks import SCHEDULE
from zeke_queue.maintenance.scheduler import tick_id

PLACE = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end of table -->", re.DOTALL)
JOBS = [UUID(int=number) for number in range(1, 4)]


async def test_log_has_every_step_and_is_read_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "w1"
    tail = Tail(path, "w1")
    assert tail.read() == []
    log = ExecutionLog(path)
    await asyncio.gather(*(log.write(BEGAN, "limited", job, 1) for job in JOBS))
    first = tail.read()
    assert {line.job for line in first} == set(JOBS)
    await log.write(RETURNED, "limited", JOBS[0], 1)
    with path.open("ab") as file:
        file.write(b"B half of a li")
    done = tail.read()
    assert [(line.what, line.job, line.attempt) for line in done] == [(RETURNED, JOBS[0], 1)]
    one, *others = executions("w1", [*first, *done])
    assert (one.node, one.how, one.ended) == ("w1", "returned", done[0].at)
    assert [other.how for other in others] == [None, None]


async def test_cancelled_handler_does_not_cancel_the_shared_fsync(tmp_path: Path) -> None:
    log = ExecutionLog(tmp_path / "w1")
    one, other = (asyncio.ensure_future(log.write(BEGAN, "plain", job, 1)) for job in JOBS[:2])
    one.cancel()
    await other
    await log.write(RETURNED, "plain", JOBS[1], 1)
    assert [line.job for line in Tail(tmp_path / "w1", "w1").read()][-1] == JOBS[1]


def test_handler_that_is_cancelled_while_its_return_is_written_was_cancelled() -> None:
    lines = [
        Line(what, "plain", JOBS[0], 1, at) for what, at in ((BEGAN, 1.0), (RETURNED, 2.0), (CANCELLED, 2.1))
    ]
    (one,) = executions("w1", lines)
    assert (one.ended, one.how) == (2.1, "cancelled")


def test_claim_belongs_to_the_next_execution_of_its_attempt() -> None:
    steps = ((CLAIMED, 1, 1.0), (CLAIMED, 2, 2.0), (BEGAN, 2, 3.0), (BEGAN, 1, 4.0), (BEGAN, 1, 5.0))
    lines = [Line(what, "plain", JOBS[0], attempt, at) for what, attempt, at in steps]
    assert [one.asked for one in executions("w1", lines)] == [2.0, 1.0, 5.0]


def test_lines_have_one_width() -> None:
    assert parse(f"R streamed {JOBS[0]} 000012 0000012.500000") == ("R", "streamed", JOBS[0], 12, 12.5)
    assert len(f"R streamed {JOBS[0]} 000012 0000012.500000\n") == WIDTH


def test_recovery_is_the_first_second_at_nearly_the_speed_before() -> None:
    ends = [number / 100 for number in range(1000)]  # 100 a second until 10
    ends += [13 + number / 50 for number in range(100)]  # 50 a second until 15
    ends += [15 + number / 100 for number in range(1000)]
    found = speeds(ends, 2.0, 10.0, 12.0, 25.0)
    assert found.before == 100
    assert found.recovery is not None
    assert 2.5 < found.recovery < 3.0
    assert found.ratio is not None
    assert 0.95 < found.ratio <= 1


def test_recovery_is_missing_if_the_speed_does_not_return() -> None:
    ends = [number / 100 for number in range(1000)] + [12 + number / 10 for number in range(100)]
    found = speeds(ends, 2.0, 10.0, 12.0, 22.0)
    assert (found.recovery, found.ratio, round(found.after)) == (None, None, 10)


def test_longest_gap_may_be_at_an_end_of_the_period() -> None:
    gaps = [longest_gap(ends, 10.0, 50.0) for ends in ([], [1.0, 20.0, 60.0], [45.0, 30.0], [12.0, 49.0])]
    assert gaps == [40.0, 30.0, 20.0, 37.0]


def test_whole_run_on_an_idle_machine_is_judged_by_its_speed() -> None:
    least = TARGET - TOLERANCE
    assert not [*Speeds(100.0, 100.0, 0.0).complaints()]
    assert not [*Speeds(100.0, 100 * least, 9.0).complaints()]
    (slow,) = Speeds(100.0, 100 * least - 1, 0.0).complaints()
    assert f"{least - 0.01:.2f}" in slow
    (never,) = Speeds(100.0, 10.0, None).complaints()
    assert "10 jobs/s after 100" in never
    assert str(Speeds(100.0, 10.0, None)) == "100 jobs/s before, 10 after; recovered never"
    (nothing,) = Speeds(0.0, 0.0, 0.0).complaints()
    assert "0 jobs/s after 0" in nothing
    assert not [*Speeds(100.0, 100.0, RECOVERY_MAX).late()]
    (late,) = Speeds(100.0, 100.0, RECOVERY_MAX + 1).late()
    assert "16.0 s" in late
    (none,) = Speeds(100.0, 10.0, None).late()
    assert "none" in none
    given = parser().parse_args
    judged = {" ".join(words): size_of(given([*words])).is_speed_judged for words in ((), ("--short",))}
    assert judged == {"": True, "--short": False}
    assert not size_of(given(["--load", "10"])).is_speed_judged


def test_every_second_of_a_schedule_is_expected() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    instants = [first + timedelta(seconds=number) for number in range(6)]
    rows = {tick_id(SCHEDULE, at): Row("tick", "completed", 1, 1) for at in (instants[0], instants[3])}
    rows[JOBS[1]] = Row("child", "completed", 1, 1)
    expected = expected_jobs({JOBS[0]: "plain"}, rows, first + timedelta(seconds=5))
    ticks = dict.fromkeys((tick_id(SCHEDULE, at) for at in instants), "tick")
    assert expected == {JOBS[0]: "plain", JOBS[1]: "child"} | ticks


def results_with_reasons() -> dict[str, Result]:
    good = Verdict(sent=2, once=1, again=Counter({"worker killed": 1}))
    bad = Verdict(sent=3, once=1, again=Counter({"worker killed": 2}))
    bad.complain("executed again", JOBS[0])
    return {"kill": Result({"plain": good, "ticks": bad}, Speeds(10.0, 9.5, 1.25), ["w1 did not stop"])}


def test_table_has_reasons_and_complaints() -> None:
    results = results_with_reasons()
    shown = table(results)
    assert "| kill  | plain    |    2 |    1 |     1 |    0 |     0 |           0 |" in shown
    assert "0.95" in shown
    assert "- kill: worker killed: 1 of plain; 2 of ticks" in shown
    assert "- kill: w1 did not stop" in shown
    assert "- kill: UNEXPLAINED: executed again: 1 of ticks" in shown
    assert complaints(results) == ["kill: w1 did not stop", f"kill: ticks: executed again: job {JOBS[0]}"]
    assert not results["kill"].is_passed


def test_workload_without_jobs_fails_a_run() -> None:
    good, bad = (Result({"ticks": Verdict(sent=sent, once=sent)}, Speeds(10.0, 9.5, 1.25)) for sent in (1, 0))
    together = joined([good, bad])
    assert together.complaints == ["ticks: no job was sent"]
    assert not together.is_passed
    assert joined([good]).is_passed


def test_results_are_the_same_after_a_file() -> None:
    results = results_with_reasons()
    about = conditions("loaded", jobs=8000, load=10, minutes=3.4, date=datetime(2026, 1, 2, tzinfo=UTC))
    found, found_about = from_json(as_json(results, about))
    assert (found, found_about) == (results, about)
    assert table(found) == table(results)
    assert complaints(found) == complaints(results)


def test_several_runs_are_one_row_with_the_speed_of_the_median_one() -> None:
    one = results_with_reasons()["kill"]
    slow, quick, never = Speeds(10.0, 8.0, 1.0), Speeds(10.0, 11.0, 1.0), Speeds(10.0, 12.0, None)
    together = joined([replace(one, speeds=speed) for speed in (quick, never, one.speeds, slow, quick)])
    assert together.speeds == one.speeds
    assert len(together.complaints) == 5
    ticks = together.verdicts["ticks"]
    assert (ticks.sent, ticks.once, ticks.again.total(), ticks.unexplained.total()) == (15, 5, 10, 5)
    shown = table({"kill": together})
    assert "0.95 (0.00–1.10)" in shown
    assert "after/before in 4 of 5 runs with a fault: 0.98 (geometric mean)" in shown
    assert from_json(as_json({"kill": together}, {}))[0] == {"kill": together}


def test_page_shows_a_table_in_its_place_and_nothing_else_changes() -> None:
    results = results_with_reasons()
    about = conditions("peers", jobs=None, load=0, minutes=3.4, date=datetime(2026, 1, 2, tzinfo=UTC))
    page = PAGE.read_text(encoding="utf-8")
    once = with_table(page, results, about)
    assert table(results) in once
    assert "3 minutes on 2 January 2026." in once
    assert with_table(once, results, about) == once
    assert re.sub(PLACE, "", once) == re.sub(PLACE, "", page)


def test_later_files_replace_the_rows_of_their_faults() -> None:
    old, new = results_with_reasons()["kill"], Result({}, Speeds(1.0, 1.0, 0.0))
    about = conditions("idle", jobs=8000, load=0, minutes=3.0, date=datetime(2026, 1, 2, tzinfo=UTC))
    ((results, together),) = merged([({"kill": old, "crash": old}, about), ({"kill": new}, about)])
    assert results == {"kill": new, "crash": old}
    assert list(results) == ["kill", "crash"]
    assert together == {**about, "minutes": 6}


def test_tables_of_the_page_add_up() -> None:
    """Each job of a row is in one column, and every fault has its rows in each table."""
    faults = {fault: len(WORKLOADS) for fault in FAULTS}
    of_peers = {f"{peer}, {fault}": 1 for peer in PEERS for fault in PEER_FAULTS}
    expected = {"idle": faults, "loaded": faults, "peers": of_peers}
    places = re.findall(PLACE, PAGE.read_text(encoding="utf-8"))
    assert [name for name, _ in places] == list(expected)

    def check(name: str, text: str) -> None:
        assert "minutes on" in text
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
        assert rows[:1] == [list(HEAD)]
        shown: Counter[str] = Counter()
        fault = ""
        for first, _, *numbers in rows[2:]:
            fault = first or fault
            shown[fault] += 1
            sent, *counts = (int(cell) for cell in numbers[:6])
            assert sent == sum(counts), fault
        assert shown == expected[name]

    check_each(places, check)
