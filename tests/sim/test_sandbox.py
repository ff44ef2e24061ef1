"""Access to the outside of a simulated world fails at the call, with advice."""

# ruff: noqa: PLW0108, S311, TID251 - what is refused is what is tried, in the form in which it is called

from __future__ import annotations

import asyncio
import importlib
import os
import random
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from random import random as draw_by_name
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest

from tests.cases import check_each
from tests.sim.worlds import catalog_of, played, scenario_of, sending
from zeke_sim.errors import ADVICE, Outside
from zeke_sim.world import sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def within(handler: Callable[[], Any], *, allow: tuple[str, ...] = ()) -> Any:
    """Run a handler in a world; return its result, or raise its error."""
    came: list[Any] = []

    async def look() -> None:
        try:
            result = handler()
            came.append(await result if asyncio.iscoroutine(result) else result)
        except Exception as error:  # noqa: BLE001 - it is raised again, outside
            came.append(error)

    scenario = scenario_of(catalog_of(look, retry_limit=0), sending("look"), options={"allow": allow})
    violation = played(scenario).violation
    refused = any(isinstance(one, Outside) for one in came)
    assert (violation is not None) is refused, violation
    if violation is not None:
        assert violation.rule == "nothing reaches outside"
    (result,) = came
    if isinstance(result, Exception):
        raise result
    return result


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _thread() -> None:
    thread = threading.Thread(target=len, args=("",))
    thread.start()
    thread.join()


def _pool() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(len, "four").result()


async def _open_connection() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def _subprocess() -> None:
    await asyncio.create_subprocess_exec("true")


REACHES: list[tuple[str, str, Callable[[], Any]]] = [
    ("socket", "socket", socket.socket),
    ("create_connection", "socket", lambda: socket.create_connection(("127.0.0.1", 9))),
    ("getaddrinfo", "socket", lambda: socket.getaddrinfo("localhost", 80)),
    ("open_connection", "socket", _open_connection),
    ("Thread", "thread", _thread),
    ("ThreadPoolExecutor", "thread", _pool),
    ("subprocess.run", "subprocess", lambda: subprocess.run([sys.executable, "-c", ""], check=True)),
    ("create_subprocess_exec", "subprocess", _subprocess),
    ("os.fork", "subprocess", _fork),
    ("os.system", "subprocess", lambda: os.system("true")),  # noqa: S605
    ("time.sleep", "clock", lambda: vars(time)["sleep"](0.001)),
    ("random.random", "random", lambda: random.random()),
    ("random by name", "random", lambda: draw_by_name()),
    ("random.choice", "random", lambda: random.choice([1, 2])),
    ("SystemRandom", "random", lambda: random.SystemRandom().random()),
    ("os.urandom", "random", lambda: os.urandom(8)),
    ("uuid4", "random", uuid.uuid4),
    ("uuid1", "random", lambda: uuid.uuid1()),
    ("Random without a seed", "random", lambda: random.Random()),
    ("secrets", "random", secrets.token_hex),
    ("secrets.choice", "random", lambda: secrets.choice([1, 2])),
]


def test_call_that_reaches_outside_fails_with_advice() -> None:
    def check(kind: str, reach: Callable[[], Any]) -> None:
        with pytest.raises(Outside) as told:
            within(reach)
        assert f"reaches outside of the simulation; {ADVICE[kind]}" in str(told.value)

    check_each({name: case for name, *case in REACHES}, lambda case: check(*case))


def test_error_names_the_line_and_the_call() -> None:
    def check(reach: Callable[[], Any], by: str) -> None:
        with pytest.raises(Outside) as told:
            within(reach)
        line = reach.__code__.co_firstlineno + {"_thread": 2, "_open_connection": 1}.get(reach.__name__, 0)
        where = rf" at .*test_sandbox\.py:{line} \({re.escape(reach.__name__)}\): reaches outside"
        assert re.match(by + where, str(told.value))

    check_each(
        [
            (lambda: socket.socket(socket.AF_INET), r"socket\.socket\(2, .*, by socket\.__init__,"),
            (lambda: socket.create_connection(("127.0.0.1", 9)), r".*, by socket\.create_connection,"),
            (lambda: random.random(), r"random\.random\(\)"),
            (lambda: uuid.uuid4(), r"os\.urandom\(\), by uuid\.uuid4,"),
            (_thread, r"Thread\.start\(\)"),
            (_open_connection, r"loop\.\w+\(\), by asyncio\.\w+\.\w+,"),
        ],
        check,
    )


def test_error_names_the_handler_of_an_installed_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "installed_shop.py").write_text(
        "import uuid\n\n\ndef handle():\n    return str(uuid.uuid4())\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sandbox, "_INSTALLED", (*sandbox._INSTALLED, str(tmp_path)))
    handle = importlib.import_module("installed_shop").handle
    violation = played(scenario_of(catalog_of(handle), sending("look"))).violation
    assert violation is not None
    assert "installed_shop.py:5 (handle)" in violation.text


def test_seeded_generator_and_temporary_file_are_allowed() -> None:
    def write() -> bytes:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
            file.seek(0)
            return file.read()

    assert within(write) == b"x"
    assert within(lambda: random.Random(7).random()) == random.Random(7).random()


def test_executors_run_inline() -> None:
    async def in_executor() -> int:
        return await asyncio.get_running_loop().run_in_executor(None, threading.get_ident)

    async def in_own_pool() -> int:
        with ThreadPoolExecutor(1) as pool:
            return await asyncio.get_running_loop().run_in_executor(pool, threading.get_ident)

    def check(call: Callable[[], Any]) -> None:
        assert within(call) == threading.get_ident()

    cases: dict[str, Callable[[], Any]] = {
        "asyncio.to_thread": lambda: asyncio.to_thread(threading.get_ident),
        "anyio.to_thread": lambda: anyio.to_thread.run_sync(threading.get_ident),
        "the loop's executor": in_executor,
        "a pool of its own": in_own_pool,
    }
    check_each(cases, check)


def test_error_of_executor_is_raised_where_it_is_awaited() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        within(lambda: asyncio.to_thread(int, "x"))


DRAWS: dict[str, Callable[[], Any]] = {
    "random.random": lambda: random.random(),
    "by name": lambda: draw_by_name(),
    "getrandbits": lambda: random.getrandbits(64),
    "SystemRandom": lambda: random.SystemRandom().random(),
    "without a seed": lambda: random.Random().random(),
    "uuid4": uuid.uuid4,
    "secrets": secrets.token_hex,
    "urandom": lambda: os.urandom(8),
}


def test_allowed_randomness_follows_from_the_seed() -> None:
    def check(draw: Callable[[], Any]) -> None:
        first = within(lambda: [draw(), draw()], allow=("random",))
        assert first == within(lambda: [draw(), draw()], allow=("random",))
        assert first[0] != first[1]

    check_each(DRAWS, check)


def test_everything_works_outside_of_a_world() -> None:
    within(lambda: None)
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname()).close()
    server.close()
    assert socket.getaddrinfo("127.0.0.1", 80)
    _thread()
    assert _pool() == 4
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert os.system("true") == 0  # noqa: S605
    vars(time)["sleep"](0)
    assert 0 <= random.random() < 1
    assert random.Random().random() != random.Random().random()
    assert random.SystemRandom().random() < 1
    assert len(os.urandom(8)) == 8
    assert uuid.uuid4() != uuid.uuid4()
    assert len(secrets.token_hex(8)) == 16

    async def elsewhere() -> tuple[int, int, int]:
        loop = asyncio.get_running_loop()
        return (
            await asyncio.to_thread(threading.get_ident),
            await anyio.to_thread.run_sync(threading.get_ident),
            await loop.run_in_executor(None, threading.get_ident),
        )

    assert threading.get_ident() not in asyncio.run(elsewhere())


def test_other_threads_are_not_restricted_while_a_world_runs() -> None:
    done: list[int] = []
    go, gone = threading.Event(), threading.Event()

    def draw() -> None:
        go.wait(120)
        done.append(len(os.urandom(8)))
        gone.set()

    thread = threading.Thread(target=draw)
    thread.start()

    def look() -> bool:
        go.set()
        return gone.wait(120)

    assert within(look)
    thread.join()
    assert done == [8]
