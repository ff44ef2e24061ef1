"""``zeke api`` and ``zeke up``, as processes that are called, stopped, and refused an address."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx2
import psutil
import pytest

from tests.cases import check_each
from tests.cli.conftest import SHOP
from tests.cli.starting import PATIENCE, all_heard, heard, starting
from tests.conformance.driver import soon
from tests.web.conftest import shop_catalog
from zeke_queue import Catalog, Queue
from zeke_queue.cli.first_key import link, offer_sign_in
from zeke_queue.cli.serve import _queues, _server
from zeke_queue.cli.work import Beginning
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import LockTimeoutError
from zeke_queue.model import NewJob, QueueCapacity, Schedule
from zeke_queue.system.logging import configure_logging
from zeke_queue.system.settings import Settings
from zeke_queue.web import WebSettings
from zeke_queue.web.access.guard import COOKIE, CSRF_HEADER, csrf_token
from zeke_queue.web.server import ApiServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Zeke
    from tests.cli.starting import Start


shown: dict[str, str] = {}
"""The headers by which calls show the key of a test's server."""


@pytest.fixture(autouse=True)
def _forget_keys() -> Iterator[None]:
    yield
    shown.clear()


def served(process: subprocess.Popen[str]) -> str:
    """Wait for a server, and sign in by its link; returns its URL."""
    return signed_in(all_heard(process, "sign_in_link", "api_listening"))


def signed_in(events: dict[str, dict[str, Any]]) -> str:
    url: str = events["api_listening"]["url"]
    assert events["sign_in_link"]["url"].startswith(url)
    opened = httpx2.get(events["sign_in_link"]["url"], timeout=PATIENCE)
    assert opened.status_code == 303
    token = opened.cookies[COOKIE]
    shown.update({"cookie": f"{COOKIE}={token}", CSRF_HEADER: csrf_token(token)})
    return url


def called(url: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Call a URL of the API; returns the code and the JSON."""
    method = "GET" if body is None else "POST"
    answer = httpx2.request(method, url, json=body, headers=headers or shown, timeout=PATIENCE)
    return answer.status_code, answer.json()


def streamed(url: str) -> AbstractContextManager[httpx2.Response]:
    return httpx2.stream("GET", url, headers=shown, timeout=PATIENCE)


@pytest.fixture(autouse=True)
def streams_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit how long a test waits for a stream of a job that never ends."""
    monkeypatch.setenv("API_STREAM_TIMEOUT", str(PATIENCE))


def test_api_serves_until_sigterm(zeke: Zeke, start: Start) -> None:
    with start("api", *SHOP, "--port", "0") as api:
        url = served(api)
        status, sent = called(f"{url}/trigger", {"taskId": "mail", "payload": {"to": "ann"}})
        assert status == 200
        assert called(f"{url}/trigger/runs/{sent['id']}")[1]["status"] == "QUEUED"
        zeke.work()
        assert called(f"{url}/trigger/runs/{sent['id']}")[1]["status"] == "COMPLETED"
        api.send_signal(signal.SIGTERM)
        heard(api, "api_stopped")
        assert api.wait(PATIENCE) == 0


@pytest.mark.nightly
def test_open_stream_ends_with_its_server(start: Start) -> None:
    with start("api", *SHOP, "--port", "0") as api:
        url = served(api)
        _, sent = called(f"{url}/trigger", {"taskId": "mail", "payload": {"to": "ann"}})
        with streamed(f"{url}/jobs/stream/{sent['id']}") as stream:
            lines = stream.iter_lines()
            assert "event: status" in lines
            api.send_signal(signal.SIGTERM)
            assert "event: close" not in lines
        assert api.wait(PATIENCE) == 0


@pytest.mark.nightly
def test_first_key_is_created_and_once_it_is_used_only_up_prints_a_link(zeke: Zeke, start: Start) -> None:
    with start("api", *SHOP, "--port", "0") as api:
        url = served(api)
        assert called(f"{url}/queues")[0] == 200
        assert called(f"{url}/queues", host="localhost") == (401, {"error": "Authorization header required"})
        token = zeke.good("keys", "create", "ci", "--scope", "jobs.read").strip()
        assert called(f"{url}/queues", authorization=f"Bearer {token}")[0] == 200
    (first, _) = zeke.json("keys", "list")
    assert (first["name"], first["scopes"]) == ("first", ["jobs.admin"])
    with start("api", *SHOP, "--port", "0") as api:
        assert "sign_in_link" not in messages_until(api, "api_listening")
    with start("up", *SHOP, "--port", "0") as everything:
        assert called(f"{served(everything)}/queues")[0] == 200
    zeke.good("keys", "revoke", "first")
    with start("up", *SHOP, "--port", "0") as everything:
        assert "sign_in_link" not in messages_until(everything, "api_listening")


def messages_until(process: subprocess.Popen[str], message: str) -> list[str]:
    """Read log lines until one has this event; returns the events."""
    assert process.stderr is not None
    messages: list[str] = []
    for line in process.stderr:
        messages.append(json.loads(line)["message"])
        if messages[-1] == message:
            return messages
    raise AssertionError(messages)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


async def test_terminal_shows_the_first_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Queue.in_memory(Catalog()) as queue:
        server = ApiServer(queue, WebSettings.load(api_port=0))
        for key in (True, False):
            monkeypatch.setattr(sys, "stderr", terminal := Terminal())
            await offer_sign_in(queue, server, again=True, make_key="zeke keys create NAME")
            assert "/dashboard/sign-in?token=" in terminal.getvalue()
            assert ("mid_" in terminal.getvalue()) == key
        server.stop()
        await server.run()


async def test_first_key_is_created_when_the_server_begins() -> None:
    async with Queue.in_memory(Catalog()) as queue:
        begun = Beginning(queue.catalog, queue.settings, embedded=False)
        access = parts_of(queue).storage.access
        server = _server(queue, begun, WebSettings.load(api_port=0), again=False)
        assert not await access.has_keys()  # the worker beside it may refuse to start
        server.stop()
        await server.run()
        assert await access.has_keys()


async def test_link_for_a_first_key_is_logged_whatever_the_level() -> None:
    async with Queue.in_memory(Catalog()) as queue:
        server = ApiServer(queue, WebSettings.load(api_port=0))
        configure_logging("json", "warning", stream=(stream := StringIO()))
        await offer_sign_in(queue, server, again=False, make_key="zeke keys create NAME")
        assert "sign-in?token=" in stream.getvalue()
        server.stop()
        await server.run()


async def test_link_is_shown_even_if_warnings_are_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Queue.in_memory(Catalog()) as queue:
        server = ApiServer(queue, WebSettings.load(api_port=0))
        configure_logging("json", "error", stream=StringIO())
        monkeypatch.setattr(sys, "stderr", collected := StringIO())
        await offer_sign_in(queue, server, again=False, make_key="zeke keys create NAME")
        assert "sign-in?token=" in collected.getvalue()
        assert "mid_" not in collected.getvalue()
        server.stop()
        await server.run()


async def test_server_runs_without_a_link_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker beside it would end too."""

    async def has_keys() -> bool:
        raise LockTimeoutError.of("a row of api_key")

    async with Queue.in_memory(Catalog()) as queue:
        monkeypatch.setattr(parts_of(queue).storage.access, "has_keys", has_keys)
        configure_logging("json", "warning", stream=(stream := StringIO()))
        begun = Beginning(queue.catalog, queue.settings, embedded=False)
        server = _server(queue, begun, WebSettings.load(api_port=0), again=True)
        server.stop()
        await soon(asyncio.ensure_future(server.run()))
        assert "sign_in_link_failed" in stream.getvalue()


async def test_job_of_the_api_wakes_the_worker_beside_it_without_listening(zeke: Zeke) -> None:
    settings = Settings.load(database_primary_url=zeke.dsn, jobs_listen=False)
    begun = Beginning(shop_catalog(), settings, embedded=False)
    async with _queues(begun, WebSettings.load()) as (queue, api_queue):
        idle = asyncio.ensure_future(parts_of(queue).storage.wait_for_jobs(["mail"], 3600))
        await asyncio.wait([idle], timeout=0)
        await api_queue.send("mail", {"to": "a"})
        assert await soon(idle)


def test_link_has_an_address_that_no_other_process_can_take() -> None:
    for server, host in {
        "http://0.0.0.0:3003": "127.0.0.1:3003",
        "http://127.0.0.1:80": "127.0.0.1:80",
        "http://[::]:1": "[::1]:1",
        "http://10.0.0.7:3003": "10.0.0.7:3003",
        "http://[fd00::1]:3003": "[fd00::1]:3003",
    }.items():
        assert link(server, "t") == f"http://{host}/dashboard/sign-in?token=t"


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


@pytest.mark.nightly
def test_up_runs_a_worker_with_its_duties_beside_the_api(zeke: Zeke, start: Start) -> None:
    zeke.on_queue(leave_work)
    with start("up", *SHOP, "--port", "0") as everything:
        events = all_heard(everything, "sign_in_link", "api_listening", "tick_sent", "job_expired")
        url = signed_in(events)
        assert (events["tick_sent"]["schedule"], events["job_expired"]["taskId"]) == ("hourly", "refuse")
        _, sent = called(f"{url}/trigger", {"taskId": "mail", "payload": {"to": "ann"}})
        with streamed(f"{url}/jobs/stream/{sent['id']}") as stream:
            assert "data: complete" in stream.iter_lines()
        assert [worker["alive"] for worker in called(f"{url}/workers")[1]["workers"]] == [True]
        everything.send_signal(signal.SIGTERM)
        all_heard(everything, "worker_stopped", "api_stopped")
        assert everything.wait(PATIENCE) == 0


@pytest.mark.nightly
def test_up_answers_while_running_jobs_have_their_grace_and_a_second_signal_ends_it(start: Start) -> None:
    with start("up", *SHOP, "--port", "0") as everything:
        url = served(everything)
        _, running = called(f"{url}/trigger", {"taskId": "sleep"})
        with streamed(f"{url}/jobs/stream/{running['id']}") as stream:
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


@pytest.mark.nightly
def test_up_alone_runs_all_there_is_and_keeps_its_jobs_in_a_database_of_its_own(
    private: tuple[Start, Path],
) -> None:
    start, directory = private
    pid = directory / "data" / "postmaster.pid"
    with start("up", "--port", "0") as everything:
        url = served(everything)
        # A job that reads the tables of the tasks, and the page that shows them.
        _, sent = called(f"{url}/trigger", {"taskId": "ingest-pull", "payload": {"reason": "manual"}})
        with streamed(f"{url}/jobs/stream/{sent['id']}") as stream:
            assert "data: complete" in stream.iter_lines()
        run = called(f"{url}/trigger/runs/{sent['id']}")[1]
        assert (run["status"], run["output"]) == ("COMPLETED", {"due": 0, "sent": 0})
        overview = httpx2.get(f"{url}/dashboard/", headers=shown, timeout=PATIENCE)
        assert (overview.status_code, "/dashboard/zeke" in overview.text) == (200, True)
        newsroom = httpx2.get(f"{url}/dashboard/zeke/", headers=shown, timeout=PATIENCE)
        assert (newsroom.status_code, "No sources yet" in newsroom.text) == (200, True)
        server = psutil.Process(int(pid.read_text().split()[0]))
        servers = [server, *server.children(recursive=True)]
        everything.send_signal(signal.SIGTERM)
        assert everything.wait(PATIENCE) == 0
        # A process that is not waited for, as in a container without an init, stays a zombie.
        assert [one for one in servers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
        assert not pid.exists()
    with start("up", *SHOP, "--port", "0") as again:
        url = served(again)
        assert called(f"{url}/trigger/runs/{sent['id']}")[1]["status"] == "COMPLETED"
        again.send_signal(signal.SIGTERM)
        assert again.wait(PATIENCE) == 0
    assert not pid.exists()


@pytest.mark.nightly
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


@pytest.mark.nightly
def test_api_without_database_does_not_start(start: Start, tmp_path: Path) -> None:
    del tmp_path
    with start("api", *SHOP, "--port", "0", "--database", "postgresql://127.0.0.1:1/none") as api:
        assert api.wait(PATIENCE) == 1
