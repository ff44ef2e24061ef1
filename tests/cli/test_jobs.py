"""Jobs on the command line: sent, waited for, listed, shown, cancelled, and brought back."""

from __future__ import annotations

import json
from uuid import UUID

from tests.cases import check_each
from tests.cli.conftest import SHOP, Zeke
from zeke_queue.cli.render import COLOURS
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.model import JobStatus

LETTER = '{"to": "ann"}'
TERMINAL = {"FORCE_COLOR": "1", "TERM": "xterm"}


# Sending


def test_send_prints_the_id_only(zeke: Zeke) -> None:
    job_id = zeke.good("send", "mail", LETTER, *SHOP)
    assert zeke.json("job", "show", str(UUID(job_id.strip())))["data"] == {"to": "ann", "copies": 1}


def test_payload_may_come_from_standard_input(zeke: Zeke) -> None:
    job_id = zeke.good("send", "mail", "-", *SHOP, stdin=LETTER).strip()
    assert zeke.json("job", "show", job_id)["data"]["to"] == "ann"


def test_send_prints_json(zeke: Zeke) -> None:
    sent = json.loads(zeke.good("send", "post", LETTER, *SHOP, "--json"))
    assert sent == {"id": sent["id"], "status": "QUEUED", "taskId": "mail"}


def test_options_of_send_reach_the_job(zeke: Zeke) -> None:
    own = "01938c5e-7a3b-7c4d-9e2f-0123456789ab"
    zeke.send(
        *("mail", LETTER, "--id", own, "--priority", "7", "--retry-limit", "0", "--expire-in", "90"),
        *("--singleton-key", "ann", "--delay", "3600"),
    )
    job = zeke.json("job", "show", own)
    options = {"priority": 7, "retry_limit": 0, "expire_in": 90.0, "singleton_key": "ann"}
    assert options.items() <= job.items()
    assert job["start_after"] > job["created_on"]


def test_external_job_needs_no_catalog(zeke: Zeke) -> None:
    job_id = zeke.good("send", "theirs", "[1, 2]", "--external").strip()
    assert zeke.json("job", "show", job_id)["data"] == [1, 2]


def test_wait_prints_the_result(zeke: Zeke) -> None:
    job_id = zeke.send("mail", LETTER)
    zeke.work()
    again = ("send", "mail", LETTER, *SHOP, "--id", job_id, "--wait", "1")
    assert json.loads(zeke.good(*again)) == {"sent": 1}
    told = json.loads(zeke.good(*again, "--json"))
    assert told == {"id": job_id, "status": "COMPLETED", "taskId": "mail", "output": {"sent": 1}}


def test_wait_that_times_out_fails_and_names_the_job(zeke: Zeke) -> None:
    command = ("send", "mail", LETTER, *SHOP, "--wait", "0")
    said = zeke.fails(*command, code=1)
    (job,) = zeke.json("jobs")
    assert f"Job {job['id']} has not ended after 0 s; it continues" in said
    result = zeke(*command, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    told = json.loads(result.stderr)
    names = {"error": "ResultTimeoutError", "id": zeke.json("jobs")[0]["id"], "taskId": "mail"}
    assert told == {**names, "message": told["message"]}


def test_wait_for_a_failed_job_prints_its_error_as_text_or_json(zeke: Zeke) -> None:
    job_id = zeke.send("refuse")
    zeke.work()
    command = ("send", "refuse", *SHOP, "--id", job_id, "--wait", "1")
    assert "ended FAILED: Fail: no longer wanted" in zeke.fails(*command, code=1)
    result = zeke(*command, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    told = json.loads(result.stderr)
    names = {"error": "JobFailedError", "id": job_id, "taskId": "refuse", "status": "FAILED"}
    assert names.items() <= told.items()
    assert told["output"]["message"] == "no longer wanted"


# Listing


def test_jobs_are_listed_newest_first(zeke: Zeke) -> None:
    ids = [zeke.send("mail", LETTER) for _ in range(3)]
    assert [job["id"] for job in zeke.json("jobs")] == ids[::-1]
    heading, *lines = zeke.good("jobs").splitlines()
    assert heading.split() == ["id", "queue", "status", "attempt", "age", "payload"]
    assert [line.split()[0] for line in lines] == ids[::-1]


def test_jobs_are_listed_by_queue_and_status_and_page(zeke: Zeke) -> None:
    mail, refused = zeke.send("mail", LETTER), zeke.send("refuse")
    zeke.work()
    waiting = zeke.send("refuse")

    def listed(*arguments: str) -> list[str]:
        result = zeke("--json", "jobs", *arguments)
        assert result.stderr == ""
        return [job["id"] for job in json.loads(result.stdout)]

    assert listed("-q", "mail") == [mail]
    assert listed("-s", "failed", "-s", "completed") == [refused, mail]
    assert listed("-q", "refuse", "--status", "QUEUED") == listed("-s", "queued") == [waiting]
    assert listed("-n", "1", "--before", waiting) == [refused]
    assert listed("--archived") == []


def test_full_page_suggests_the_next_one(zeke: Zeke) -> None:
    zeke.send("mail", LETTER)
    last = zeke.send("mail", LETTER)
    result = zeke("jobs", "-n", "1")
    assert result.stderr == f"Older jobs: --before {last}\n"
    assert len(result.stdout.splitlines()) == 2


def test_page_before_an_unknown_job_is_refused_with_the_option(zeke: Zeke) -> None:
    zeke.send("mail", LETTER)
    unknown = "019b0000-0000-7000-8000-000000000000"
    said = zeke.fails("jobs", "--before", unknown, code=1)
    assert f"--before: must be the id of a live or archived job, got {unknown}" in said


def test_empty_list_distinguishes_no_jobs_from_no_matches(zeke: Zeke) -> None:
    assert zeke.good("jobs") == "No jobs yet.\n"
    assert zeke.good("jobs", "-q", "mail") == "No matching jobs.\n"
    assert zeke.json("jobs") == []


def test_job_is_one_fitting_line_on_a_terminal(zeke: Zeke) -> None:
    zeke.send("mail", json.dumps({"to": "a" * 150}))
    for width in [80, 120]:
        lines = zeke.good("jobs", **TERMINAL, NO_COLOR="1", COLUMNS=str(width)).splitlines()
        assert len(lines) == 2
        assert max(len(_bare(line)) for line in lines) <= width
        assert lines[1].rstrip("\x1b[0m").endswith("a…")


def test_job_is_a_complete_line_without_colours_in_a_pipe(zeke: Zeke) -> None:
    zeke.send("mail", json.dumps({"to": "a" * 150}))
    line = zeke.good("jobs", COLUMNS="40").splitlines()[1]
    assert "a" * 150 in line
    assert "\x1b" not in line


def test_control_characters_of_a_payload_are_removed(zeke: Zeke) -> None:
    job_id = zeke.good("send", "theirs", json.dumps("\x1b[2J\n\x9bé"), "--external").strip()
    assert zeke.good("jobs").splitlines()[1].endswith("·[2J··é")
    assert zeke.good("job", "show", job_id).endswith('\npayload\n"\\u001b[2J\\n\\u009bé"\n')


def _bare(line: str) -> str:
    """Leave out what a terminal doesn't show."""
    return line.replace("\x1b[1m", "").replace("\x1b[0m", "")


# One job


def test_job_is_shown_with_its_log_lines(zeke: Zeke) -> None:
    job_id = zeke.send("mail", LETTER)
    zeke.work()
    shown = zeke.good("job", "show", job_id)
    assert shown.startswith(f"mail {job_id}  COMPLETED\n")
    assert '"sent": 1' in shown
    assert "info    sending to=ann" in shown
    assert " 50%  half of it" in shown
    events = zeke.json("job", "show", job_id)["events"]
    assert [event["kind"] for event in events] == ["log", "progress"]
    assert events[1]["data"] == {"value": 0.5, "message": "half of it"}


def test_active_job_is_shown_with_its_deadline(zeke: Zeke) -> None:
    job_id = zeke.send("sleep")
    assert "deadline" not in zeke.good("job", "show", job_id)

    def check(length: str, told: str) -> None:
        begun = "update pgboss.job set state = 'active', startedon = '2030-01-01T12:00Z', expirein = %s"
        zeke.sql(begun, length)
        (line,) = [line for line in zeke.good("job", "show", job_id).splitlines() if "deadline" in line]
        assert line.endswith(told)

    check_each(
        [
            ("10 minutes", "2030-01-01 12:10:00"),
            ("100000 years", "s after its start, beyond the calendar"),
        ],
        check,
    )


def test_waiting_job_is_shown_with_its_child(zeke: Zeke) -> None:
    job_id = zeke.send("sleep")
    other = str(UUID(int=7))
    zeke.sql("update pgboss.job set waitsfor = %s, startafter = startafter + interval '100 years'", other)
    shown = zeke.good("job", "show", job_id)
    assert f"  waits for      job {other}\n" in shown
    assert "start after" not in shown


def test_failed_job_is_shown_with_its_error_once(zeke: Zeke) -> None:
    job_id = zeke.send("refuse")
    zeke.work()
    shown = zeke.good("job", "show", job_id)
    assert "  FAILED\n" in shown
    assert shown.count("Fail: no longer wanted") == 1
    assert zeke.json("job", "show", job_id)["history"][0]["error"]["message"] == "no longer wanted"


def test_cancelled_job_can_be_resumed(zeke: Zeke) -> None:
    job_id = zeke.send("mail", LETTER)
    assert zeke.good("job", "cancel", job_id) == f"Job {job_id} is cancelled.\n"
    assert "is CANCELLED; only a waiting or running job" in zeke.fails("job", "cancel", job_id, code=1)
    assert zeke.json("job", "resume", job_id) == {"id": job_id, "changed": True, "status": "QUEUED"}


def test_failed_job_can_be_retried(zeke: Zeke) -> None:
    job_id = zeke.send("refuse")
    zeke.work()
    assert zeke.good("job", "retry", job_id) == f"Job {job_id} is queued again.\n"
    assert zeke.json("job", "show", job_id)["status"] == "QUEUED"
    assert "QUEUED, attempt 2 of 4\n" in zeke.good("job", "show", job_id)


def test_refused_change_is_reported_as_json(zeke: Zeke) -> None:
    job_id = zeke.send("mail", LETTER)
    result = zeke("--json", "job", "resume", job_id)
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"id": job_id, "changed": False, "status": "QUEUED"}


def test_archived_job_can_be_shown_and_not_retried(zeke: Zeke) -> None:
    job_id = zeke.send("refuse")
    zeke.work()

    async def archive(queue: Queue) -> None:
        assert await parts_of(queue).storage.archive(0, 10) == 1

    zeke.on_queue(archive)
    assert "\n  archived " in zeke.good("job", "show", job_id)
    assert [job["id"] for job in zeke.json("jobs", "--archived")] == [job_id]
    assert "is FAILED, and archived; only" in zeke.fails("job", "retry", job_id, code=1)


def test_every_status_has_a_colour(zeke: Zeke) -> None:
    job_id = zeke.send("mail", LETTER)
    shown = zeke.good("jobs", **TERMINAL, COLUMNS="80").splitlines()[1]
    assert job_id in shown
    assert "\x1b[36mQUEUED" in shown
    assert COLOURS.keys() == set(JobStatus)


# Words of a status


def test_deprecated_words_of_a_status_are_read_with_a_warning(zeke: Zeke) -> None:
    waiting = zeke.send("mail", '{"to": "ann"}')

    def check(option: str, word: str, status: str, listed: list[str]) -> None:
        result = zeke("--json", "jobs", option, word)
        assert [job["id"] for job in json.loads(result.stdout)] == listed
        assert result.stderr == f"zeke: {option} {word} is deprecated; use --status {status}\n"

    check_each(
        [
            ("--status", "retry", "QUEUED", [waiting]),
            ("--state", "created", "QUEUED", [waiting]),
            ("--state", "failed", "FAILED", []),
        ],
        check,
    )


def test_unknown_status_is_refused_with_the_known_ones(nowhere: Zeke) -> None:
    said = nowhere.fails("jobs", "-s", "running", code=2)
    assert "--status: must be one of QUEUED, EXECUTING, COMPLETED, FAILED, CANCELLED, got 'running'" in said
    assert "Value error" not in said
