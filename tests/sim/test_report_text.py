"""A failure on one screen: it fits, it has the essential facts, and no control characters."""

from __future__ import annotations

import re

from rich.cells import cell_len
from rich.text import Text

from tests.cases import check_each
from tests.sim.report_samples import JOB, NODES, Script, claim, failure, long, overlap
from zeke_queue.model import RowState
from zeke_sim.history.events import Fault, Lived, Violation
from zeke_sim.report import text
from zeke_sim.report.failure import Failure

SENTENCE = "An effect with a key of its own happens at most once. " * 20


def violation(**changes: object) -> Violation:
    return Violation("unique_effects", str(changes.get("text", "twice")), since=3.8, at=4.7)


CASES = {
    "small": failure(),
    "no job": failure(violation=violation()),
    "no faults": failure(decisions={}),
    "nothing shrunk": failure(seconds=None, before=3, replays=1),
    "long words": failure(sentence=SENTENCE, violation=violation(text="x" * 5000)),
    "wide letters": failure(
        sentence="任务" * 200, nodes=tuple("节点名称很长" * 3 + str(n) for n in range(9))
    ),
    "many faults": failure(decisions={f"w1/claim/{n}": {"latency": n} for n in range(60)}),
    "many tracks": failure(
        nodes=tuple(f"worker-with-a-long-name-{n}" for n in range(30)),
        events=[Fault(float(n), f"worker-with-a-long-name-{n}", f"n{n}", "kill", None) for n in range(30)],
        decisions={f"n{n}": {"fault": "kill"} for n in range(30)},
    ),
    "empty": failure(events=[], decisions={}),
    "long": failure(events=long(1500), violation=violation()),
}


def test_report_fits_one_screen() -> None:
    def check(shown: Failure) -> None:
        lines = text.screen(shown).split("\n")
        assert len(lines) <= text.LINES
        assert max(cell_len(line) for line in lines) <= text.COLUMNS

    check_each(CASES, check)


def test_colour_changes_no_letter() -> None:
    def check(shown: Failure) -> None:
        coloured = text.screen(shown, colour=True)
        assert "\x1b[" in coloured
        assert Text.from_ansi(coloured).plain == text.screen(shown)

    check_each(CASES, check)


def test_report_has_all_facts() -> None:
    told = text.screen(failure())
    for part in (
        "unique_effects",
        "An effect with a key of its own happens at most once, whatever dies, waits or is repeated.",
        f"mail.send 91c2e4 ({JOB})",
        "scenario storm, seed 7, strategy permuted",
        "had the effect 'mail ann@example.org' at 4.7 s",
        "214 decisions → 3, in 4.1 s, replayed 3 times",
        "replay  zeke sim replay .zeke/plans/storm-7.json\n",
        "a node/w1/1: pause, at 0.9, back 4.6",
        "  kinds   pause: the process is suspended for half of its lease up to three times its lease\n",
        ".zeke/plans/storm-7.html",
    ):
        assert part in told


def test_report_begins_with_what_happened() -> None:
    assert (
        text.screen(failure()).split("\n")[1].startswith("  mail.send ran on w1; at 0.9 s, w1 was suspended")
    )


def test_time_line_shows_leases_and_the_violation() -> None:
    lines = text.screen(failure()).split("\n")
    axis = next(n for n, line in enumerate(lines) if line.lstrip().startswith("0.4 s"))
    first, second, third, broken = lines[axis + 1 : axis + 5]
    assert first.split()[0] == "w1"
    assert first.index("├1") == lines[axis].index("0.4 s")
    assert first[lines[axis].index("3.2 s")] == "↻"
    assert first[lines[axis].index("0.9 s")] == "a"
    assert "~~~" in first, "it is paused"
    assert first.rstrip().endswith("══"), "its handler goes on without a lease"
    assert second.index("├2") == lines[axis].index("3.5 s")
    assert third[lines[axis].index("3 s")] == "b"
    assert broken.index("╰") == lines[axis].index("3.8 s")
    assert broken.endswith("▲")


def test_time_line_shows_the_end_of_a_long_life() -> None:
    script = Script()
    script.insert(JOB, "mail.send")
    for _ in range(60):
        script.at += 1.0
        claim(script, "w1", JOB)
        script.at += 1.0
        script.change(JOB, RowState.RETRY)
    broken = Violation("unique_effects", "twice", job=JOB, since=119.0, at=120.0)
    lines = text.screen(failure(events=script.history(), violation=broken, decisions={})).split("\n")
    (track,) = [line for line in lines if line.startswith("  w1 ")]
    assert "├60" in track
    assert "├1─" not in track


def test_killed_handler_is_marked() -> None:
    killed = [event for event in overlap() if event.at < 2.0 and not isinstance(event, Fault)]
    shown = failure(events=[*killed, Lived(2.0, "w1", "killed")], decisions={})
    (track,) = [line for line in text.screen(shown).split("\n") if line.startswith("  w1 ")]
    assert "├1" in track
    assert "†" in track
    assert not track.partition("†")[2].strip()


def test_faults_of_one_instant_are_side_by_side() -> None:
    both = [Fault(3.0, "w1", "a/1", "lost", None), Fault(3.0, "w1", "a/2", "lost", None)]
    shown = failure(
        events=[*overlap(), *both], decisions={"a/1": {"fault": "lost"}, "a/2": {"fault": "lost"}}
    )
    (track,) = [line for line in text.screen(shown).split("\n") if line.startswith("  w1 ")]
    assert "ab" in track


def test_uninvolved_node_has_no_track() -> None:
    assert not [line for line in text.screen(failure()).split("\n") if line.startswith("  api ")]


def test_command_is_never_cut() -> None:
    command = "zeke sim replay " + "deep/" * 40 + "plan.json"
    assert f"  {command}\n" in text.screen(failure(command=command))
    assert f"  {command}\n" in Text.from_ansi(text.screen(failure(command=command), colour=True)).plain


def test_report_moves_no_cursor() -> None:
    def check(colour: bool) -> None:  # noqa: FBT001 - a column of the table
        bad = "\x1b]0;title\x07\r\n\x1b[2J"
        shown = failure(
            sentence=bad,
            violation=violation(text=bad),
            command=f"zeke {bad}",
            page=bad,
            decisions={bad: {"latency": bad}},
            nodes=(*NODES, bad),
            events=[*overlap(), Fault(4.0, bad, bad, "kill", None)],
        )
        told = text.screen(shown, colour=colour)
        if colour:
            told = re.sub(r"\x1b\[[0-9;]*m", "", told)
        assert all(line.isprintable() for line in told.split("\n"))
        assert len(told.split("\n")) <= text.LINES

    check_each([False, True], check)


def test_decisions_are_described() -> None:
    def check(decision: object, told: str) -> None:
        assert text.decided(decision) == told

    check_each(
        [
            ("w2", "w2"),
            ({"fault": "lost"}, "lost"),
            ({"latency": 0.4}, "latency 0.4"),
            ({"fault": "hung", "applied": True}, "hung, applied"),
            ({"fault": "hung", "applied": False}, "hung, not applied"),
            ({"fault": "kill", "at": 3.2, "back": 1.0}, "kill, at 3.2, back 1.0"),
        ],
        check,
    )


def test_shrinking_is_described() -> None:
    def check(before: int, seconds: float | None, replays: int, told: str) -> None:
        assert failure(before=before, seconds=seconds, replays=replays).shrinking() == told

    check_each(
        [
            (1, 0.04, 1, "1 decision → 3, in 0.0 s, replayed once"),
            (214, None, 0, "3 decisions, not shrunk, not replayed"),
        ],
        check,
    )


def test_left_out_actions_are_described() -> None:
    told = failure(before=20, seconds=1.0, replays=3, actions=12, left_out=9).shrinking()
    assert ", 12 actions → 3, in 1.0 s" in told
