"""What only a process of its own shows: signals, pipes, and a worker from start to end."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psycopg
import pytest

from tests.cases import check_each
from tests.cli.conftest import SHOP, Zeke
from tests.cli.starting import PATIENCE, Start, heard

pytestmark = pytest.mark.nightly

LETTER = '{"to": "ann"}'


# The worker


def test_worker_lists_its_tasks_runs_jobs_and_ends_gracefully(zeke: Zeke, start: Start) -> None:
    with start("worker", *SHOP) as worker:
        started = heard(worker, "worker_started")
        assert started["tasks"] == ["mail", "odd", "refuse", "sleep"]
        job_id = zeke.send("mail", LETTER)
        assert heard(worker, "job_completed")["jobId"] == job_id
        worker.send_signal(signal.SIGTERM)
        heard(worker, "worker_stopped")
        assert worker.wait(PATIENCE) == 0
    assert zeke.json("job", "show", job_id)["output"] == {"sent": 1}


def test_second_signal_ends_a_worker_at_once_and_releases_its_job(zeke: Zeke, start: Start) -> None:
    job_id = zeke.send("sleep")
    with start("worker", *SHOP) as worker:
        heard(worker, "job_started")
        worker.send_signal(signal.SIGTERM)
        assert heard(worker, "worker_stopping")["jobs"] == 1
        worker.send_signal(signal.SIGINT)
        assert worker.wait(PATIENCE) == 0
    job = zeke.json("job", "show", job_id)
    assert (job["status"], job["retry_count"]) == ("QUEUED", 0)


def test_worker_restarts_when_its_code_changes(start: Start, tmp_path: Path) -> None:
    code = tmp_path / "reloaded.py"
    text = "from zeke_queue import Catalog\ncatalog = Catalog()\n@catalog.task('{}')\ndef task(): ...\n"
    code.write_text(text.format("first"))
    command = ("worker", "--app", "reloaded:catalog", "--reload")
    with start(*command, cwd=tmp_path) as worker:
        assert heard(worker, "worker_started")["tasks"] == ["first"]
        code.write_text(text.format("second"))
        assert str(code) in heard(worker, "worker_reloading")["changed"]
        assert heard(worker, "worker_started")["tasks"] == ["second"]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0


def test_reloading_worker_handles_each_signal_once(zeke: Zeke, start: Start) -> None:
    zeke.send("sleep")
    with start("worker", *SHOP, "--reload") as worker:
        heard(worker, "job_started")
        # As Ctrl-C on a terminal: to the whole group. Heard twice, it would cut short the grace of the jobs.
        os.killpg(worker.pid, signal.SIGINT)
        assert heard(worker, "signal_received")["repeated"] is False
        heard(worker, "worker_stopping")
        os.killpg(worker.pid, signal.SIGINT)
        assert heard(worker, "signal_received")["repeated"] is True
        assert worker.wait(PATIENCE) == 0


# Interruptions


def test_ctrl_c_while_waiting_reports_that_the_job_continues(zeke: Zeke, start: Start) -> None:
    def check(*as_json: str) -> None:
        with start("send", "mail", LETTER, *SHOP, "--wait", "600", *as_json) as sending:
            with psycopg.connect(zeke.dsn or "", autocommit=True) as connection:
                watched = "select job_id from pgboss.watcher"
                while not (rows := connection.execute(watched).fetchall()):
                    assert sending.poll() is None
            sending.send_signal(signal.SIGINT)
            _, said = sending.communicate(timeout=PATIENCE)
            assert sending.returncode == 130
        ((job_id,),) = rows
        message = f"no longer waiting; the job continues: zeke job show {job_id}"
        if as_json:
            told = json.loads(said)
            assert (told["error"], told["message"], told["id"]) == ("Interrupted", message, str(job_id))
        else:
            assert said == f"zeke: {message}\n"

    check_each({"as text": (), "as JSON": "--json"}, check)


def test_closed_pipe_ends_the_command_quietly(zeke: Zeke, start: Start) -> None:
    zeke.send("mail", LETTER)

    def check(*command: str) -> None:
        with start(*command) as reading:
            assert reading.stdout is not None
            reading.stdout.close()
            assert reading.wait(PATIENCE) == 1
            assert reading.stderr is not None
            assert reading.stderr.read() == ""

    check_each([("jobs",), ("jobs", "--json"), ("migrate", "--sql")], check)
