"""Errors of jobs, where a program finds something amiss: on the screen and on the page."""

from __future__ import annotations

import json
from uuid import UUID

from tests.cases import check_each
from tests.sim.report_samples import JOB, Script, claim, failure
from zeke_queue.model import RowState
from zeke_sim.history.events import Event, Violation
from zeke_sim.report import html, text
from zeke_sim.report.errors import errors

ASSERTED = Violation("what the test asserts", "it is FAILED", at=9.0)


def failed(job: UUID, script: Script, state: RowState = RowState.FAILED, **error: object) -> None:
    """Fail a job that is sent, or waits to be retried."""
    if job not in script.rows:
        script.insert(job, "mail.send")
    claim(script, "w1", job)
    script.at += 1.0
    script.change(job, state, output=json.dumps({"type": "OSError", "message": "no route", **error}))


def ids(number: int) -> list[UUID]:
    return [UUID(int=0x1000 + n) for n in range(number)]


def told(history: list[Event], violation: Violation = ASSERTED) -> list[str]:
    shown = failure(events=history, violation=violation)
    return [line for line in text.screen(shown).split("\n") if "attempt" in line and ":" in line]


def test_failed_assertion_shows_the_error_of_the_job() -> None:
    script = Script()
    failed(JOB, script, RowState.RETRY, message="not yet")
    failed(JOB, script, message="the disk is full\nand nobody cares", type="shop.Full")
    (line,) = told(script.history())
    assert line == "  errors  mail.send 91c2e4, attempt 2: shop.Full: the disk is full"
    page = html.page(failure(events=script.history(), violation=ASSERTED))
    assert "<li>mail.send 91c2e4, attempt 2: shop.Full: the disk is full</li>" in page


def test_failed_assertion_names_the_jobs_that_had_not_ended() -> None:
    script = Script()
    failed(JOB, script, RowState.RETRY)
    for job in ids(4):
        script.insert(job, "mail.send")
    claim(script, "w1", ids(4)[0])

    def lines(violation: Violation) -> list[str]:
        said = text.screen(failure(events=script.history(), violation=violation)).split("\n")
        first = next((n for n, line in enumerate(said) if line.startswith("  open ")), len(said))
        return said[first : first + 3]

    assert lines(ASSERTED) == [
        "  open    mail.send 001000 had not ended: active, attempt 1",
        "          mail.send 001001 had not ended: created, attempt 0",
        "          and 2 more jobs, on the page",
    ]
    assert lines(Violation("unique", "twice", at=9.0)) == []


def test_failed_jobs_come_first_then_the_latest() -> None:
    script = Script()
    jobs = ids(4)
    states = (RowState.RETRY, RowState.FAILED, RowState.RETRY, RowState.EXPIRED)
    for job, state in zip(jobs, states, strict=True):
        failed(job, script, state)
    found = errors(failure(events=script.history(), violation=ASSERTED))
    assert [error.job for error in found] == [jobs[3], jobs[1], jobs[2], jobs[0]]


def test_completed_job_has_no_error() -> None:
    script = Script()
    retried, by_hand, other = ids(3)
    failed(retried, script, RowState.RETRY)
    failed(by_hand, script)
    script.change(by_hand, RowState.CREATED)
    failed(other, script, RowState.RETRY)
    for job in (retried, by_hand):
        script.at += 1.0
        claim(script, "w1", job)
        script.change(job, RowState.COMPLETED, output=None)
    found = errors(failure(events=script.history(), violation=ASSERTED))
    assert [error.job for error in found] == [other]


def test_requeued_job_is_listed_as_any_other() -> None:
    def check(back: RowState) -> None:
        script = Script()
        brought_back, later, given_up = ids(3)
        failed(brought_back, script, message="the disk is full")
        failed(later, script, RowState.RETRY)
        script.at += 1.0
        script.change(brought_back, back)
        found = errors(failure(events=script.history(), violation=ASSERTED))
        assert [error.job for error in found] == [later, brought_back]
        assert found[1].said == "OSError: the disk is full"
        claim(script, "w1", brought_back)
        failed(given_up, script)
        found = errors(failure(events=script.history(), violation=ASSERTED))
        assert [error.job for error in found] == [given_up, later, brought_back]
        script.change(brought_back, RowState.FAILED, output='{"type": "OSError", "message": "again"}')
        found = errors(failure(events=script.history(), violation=ASSERTED))
        assert (found[0].job, found[0].said, found[0].for_good) == (brought_back, "OSError: again", True)

    check_each([RowState.CREATED, RowState.RETRY], check)


def test_screen_shows_few_errors_and_page_more() -> None:
    script = Script()
    for job in ids(30):
        failed(job, script)
    shown = failure(events=script.history(), violation=ASSERTED)
    screen = text.screen(shown)
    assert screen.count("OSError: no route") == 2
    assert "\n          and 28 more jobs, on the page\n" in screen
    assert len(screen.split("\n")) <= text.LINES
    assert html.page(shown).count("OSError: no route</li>") == 20
    assert "<li>and 10 more jobs</li>" in html.page(shown)


def test_violation_of_one_job_shows_no_errors_of_others() -> None:
    script = Script()
    failed(JOB, script)
    assert told(script.history(), Violation("rule", "text", job=JOB, at=9.0)) == []


def test_no_errors_without_failures() -> None:
    script = Script()
    script.insert(JOB, "mail.send")
    claim(script, "w1", JOB)
    script.change(JOB, RowState.COMPLETED, output='{"type": "letter", "message": "hello"}')
    shown = failure(events=script.history(), violation=ASSERTED)
    assert "errors" not in text.screen(shown)
    assert '<ul class="errors"' not in html.page(shown)


def test_odd_errors_are_shown_and_never_as_markup() -> None:
    script = Script()
    for job, output in zip(ids(3), ('"<b>only text</b>"', '{"message": ""}', '{"code": 7}'), strict=True):
        failed(job, script)
        script.rows[job] = script.rows[job]._replace(state=RowState.ACTIVE)
        script.change(job, RowState.FAILED, output=output)
    found = errors(failure(events=script.history(), violation=ASSERTED))
    assert [error.said for error in found] == ['{"code": 7}', "", '"<b>only text</b>"']
    page = html.page(failure(events=script.history(), violation=ASSERTED))
    assert "&lt;b&gt;only text" in page
    assert "<li>" in page
    assert "<b>only text" not in page.partition('<script type="application/json"')[0]
