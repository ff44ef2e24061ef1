"""``zeke api`` and ``zeke up``, as processes that are called, stopped, and refused an address."""

from __future__ import annotations

import errno
import signal
import socket
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx2
import psutil
import pytest

from tests.cases import check_each
from tests.cli.conftest import SHOP
from tests.cli.starting import PATIENCE, all_heard, heard, starting
from zeke_queue.client.parts import parts_of
from zeke_queue.model import NewJob, QueueCapacity, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Zeke
    from tests.cli.starting import Start
    from zeke_queue.client.queue import Queue


def called(url: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Call a URL of the API; returns the code and the JSON."""
    method = "GET" if body is None else "POST"
    answer = httpx2.request(method, url, json=body, headers=headers, timeout=PATIENCE)
    return answer.status_code, answer.json()


@pytest.fixture(autouse=True)
def streams_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit how long a test waits for a stream of a job that never ends."""
    monkeypatch.setenv("API_STREAM_TIMEOUT", str(PATIENCE))


def test_api_serves_until_sigterm(zeke: Zeke, start: Start) -> None:
    with start("api", *SHOP, "--port", "0") as api:
        url = heard(api, "api_listening")["url"]
        status, sent = called(f"{url}/trigger", {"taskId": "mail", "payload": {"to": "ann"}})
        assert status == 200
        assert called(f"{url}/trigger/runs/{sent['id']}")[1]["status"] == "QUEUED"
        zeke.work()
        assert called(f"{url}/trigger/runs/{sent['id']}")[1]["status"] == "COMPLETED"
        api.send_signal(signal.SIGTERM)
        heard(api, "api_stopped")
        assert api.wait(PATIENCE) == 0


def test_open_stream_ends_with_its_server(start: Start) -> None:
    with start("api", *SHOP, "--port", "0") as api:
        url = heard(api, "api_listening")["url"]
        _, sent = called(f"{url}/trigger", {"taskId": "mail", "payload": {"to": "ann"}})
        with httpx2.stream("GET", f"{url}/jobs/stream/{sent['id']}", timeout=PATIENCE) as stream:
            lines = stream.iter_lines()
            assert "event: status" in lines
            api.send_signal(signal.SIGTERM)
            assert "event: close" not in lines
        assert api.wait(PATIENCE) == 0


def test_key_created_while_the_api_runs_is_required_at_once(zeke: Zeke, start: Start) -> None:
    with start("api", *SHOP, "--port", "0") as api:
        listening = heard(api, "api_listening")
        assert listening["callers"].startswith("this machine only")
        url = listening["url"]
        assert called(f"{url}/queues")[0] == 200
        token = zeke.good("keys", "create", "ci", "--scope", "jobs.read").strip()
        assert called(f"{url}/queues") == (401, {"error": "Authorization header required"})
        assert called(f"{url}/queues", authorization=f"Bearer {token}")[0] == 200


async def leave_work(queue: Queue) -> None:
    """Leave a tick that is overdue, and a job whose time has run out."""
    storage = parts_of(queue).storage
    await storage.put_schedule(Schedule("hourly", "0 * * * *", "mail", data='{"to": "bob"}'))
    now = await storage.now()
    async with storage.transaction() as transaction:
        await transaction.record_tick("hourly", now - timedelta(hours=3), now - timedelta(hours=2))
    job = NewJob(parts_of(queue).factory.new_id(), "refuse", expire_in=0.001, retry_limit=0)
    await storage.insert([job])
    await storage.claim(UUID(int=7), [QueueCapacity("refuse", 1)], 1)


def test_up_runs_a_worker_with_its_duties_beside_the_api(zeke: Zeke, start: Start) -> None:
    zeke.on_queue(leave_work)
    with start("up", *SHOP, "--port", "0") as everything:
        told = all_heard(everything, "api_listening", "tick_sent", "job_expired")
        url = told["api_listening"]["url"]
        assert (told["tick_sent"]["schedule"], told["job_expired"]["taskId"]) == ("hourly", "refuse")
        _, sent = called(f"{url}/trigger", {"taskId": "mail", "payload": {"to": "ann"}})
        with httpx2.stream("GET", f"{url}/jobs/stream/{sent['id']}", timeout=PATIENCE) as stream:
            assert "data: complete" in stream.iter_lines()
        assert [worker["alive"] for worker in called(f"{url}/workers")[1]["workers"]] == [True]
        everything.send_signal(signal.SIGTERM)
        all_heard(everything, "worker_stopped", "api_stopped")
        assert everything.wait(PATIENCE) == 0


def test_up_answers_while_running_jobs_have_their_grace_and_a_second_signal_ends_it(start: Start) -> None:
    with start("up", *SHOP, "--port", "0") as everything:
        url = heard(everything, "api_listening")["url"]
        _, running = called(f"{url}/trigger", {"taskId": "sleep"})
        with httpx2.stream("GET", f"{url}/jobs/stream/{running['id']}", timeout=PATIENCE) as stream:
            lines = stream.iter_lines()
            assert any('"EXECUTING"' in line for line in lines)
            everything.send_signal(signal.SIGTERM)
            heard(everything, "signal_received")
            status, sent = called(f"{url}/trigger", {"taskId": "mail", "payload": {"to": "ann"}})
            assert status == 200
            assert called(f"{url}/trigger/runs/{sent['id']}")[1]["status"] == "QUEUED"
            everything.send_signal(signal.SIGTERM)
            assert "event: close" not in lines
        assert everything.wait(PATIENCE) == 0


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Start, Path]]:
    """Starts ``zeke`` on a private Postgres, in a folder that any user may enter: root's is another's."""
    with tempfile.TemporaryDirectory(prefix="zeke-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        start = starting("", monkeypatch)
        monkeypatch.setenv("JOBS_EMBEDDED_DIRECTORY", str(Path(folder, "postgres")))
        yield start, Path(folder, "postgres")


def test_up_alone_runs_all_there_is_and_keeps_its_jobs_in_a_database_of_its_own(
    private: tuple[Start, Path],
) -> None:
    start, directory = private
    pid = directory / "data" / "postmaster.pid"
    with start("up", "--port", "0") as everything:
        told = heard(everything, "api_listening")
        url = told["url"]
        # A job that reads the tables of the tasks, and the page that shows them.
        _, sent = called(f"{url}/trigger", {"taskId": "ingest-pull", "payload": {"reason": "manual"}})
        with httpx2.stream("GET", f"{url}/jobs/stream/{sent['id']}", timeout=PATIENCE) as stream:
            assert "data: complete" in stream.iter_lines()
        run = called(f"{url}/trigger/runs/{sent['id']}")[1]
        assert (run["status"], run["output"]) == ("COMPLETED", {"due": 0, "sent": 0})
        overview = httpx2.get(told["dashboard"], timeout=PATIENCE, follow_redirects=True)
        assert (overview.status_code, "/dashboard/zeke" in overview.text) == (200, True)
        newsroom = httpx2.get(f"{told['dashboard']}/zeke/", timeout=PATIENCE, follow_redirects=True)
        assert (newsroom.status_code, "No sources yet" in newsroom.text) == (200, True)
        server = psutil.Process(int(pid.read_text().split()[0]))
        servers = [server, *server.children(recursive=True)]
        everything.send_signal(signal.SIGTERM)
        assert everything.wait(PATIENCE) == 0
        # A process that is not waited for, as in a container without an init, stays a zombie.
        assert [one for one in servers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
        assert not pid.exists()
    with start("up", *SHOP, "--port", "0") as again:
        url = heard(again, "api_listening")["url"]
        assert called(f"{url}/trigger/runs/{sent['id']}")[1]["status"] == "COMPLETED"
        again.send_signal(signal.SIGTERM)
        assert again.wait(PATIENCE) == 0
    assert not pid.exists()


def test_port_in_use_is_reported_and_nothing_starts(zeke: Zeke) -> None:
    def check(command: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            said = zeke.fails(command, *SHOP, "--port", port, code=2)
        assert f"API_PORT: must be a free port, got {port}, which is in use on 127.0.0.1" in said
        assert "--port" in said
        assert "api_listening" not in said
        assert "worker_started" not in said

    check_each(["api", "up"], check)


def test_address_of_another_machine_is_refused(zeke: Zeke) -> None:
    said = zeke.fails("api", *SHOP, "--host", "192.0.2.1", "--port", "0", code=2)
    assert "API_HOST: must be an address of this machine, got 192.0.2.1" in said


def test_port_of_the_superuser_is_refused(zeke: Zeke, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    said = zeke.fails("api", *SHOP, "--port", "80", code=2)
    assert "API_PORT: must be a port that this user may open, got 80; pass one above 1023" in said


def test_without_the_extra_it_says_what_to_install(zeke: Zeke, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("zeke_queue.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert 'pip install ".[web]"' in zeke.fails("api", *SHOP, code=2)


def test_api_without_database_does_not_start(start: Start, tmp_path: Path) -> None:
    del tmp_path
    with start("api", *SHOP, "--port", "0", "--database", "postgresql://127.0.0.1:1/none") as api:
        assert api.wait(PATIENCE) == 1
