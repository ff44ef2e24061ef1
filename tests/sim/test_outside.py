"""What reaches outside of a simulated world fails at the call, and is told what to do instead."""

# ruff: noqa: PLW0108, S311, TID251 - what nobody may use is what is tried, as it is when it is called

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

from zeke_queue import Catalog
from zeke_sim import outside
from zeke_sim.errors import ADVICE, Outside
from zeke_sim.faults import NONE
from zeke_sim.plan import Plan
from zeke_sim.run import run
from zeke_sim.scenario import Scenario
from zeke_sim.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zeke_sim.draws import Draws
    from zeke_sim.node import Node


def within(handler: Callable[[], Any], *, allow: tuple[str, ...] = ()) -> Any:
    """Run a handler in a world; return what it returns, or raise what it raises."""
    came: list[Any] = []

    async def look() -> None:
        try:
            result = handler()
            came.append(await result if asyncio.iscoroutine(result) else result)
        except Exception as error:  # noqa: BLE001 - it is raised again, outside
            came.append(error)

    catalog = Catalog()
    catalog.task("look", retry_limit=0)(look)

    async def send(node: Node) -> None:
        await node.queue.send("look")

    def build(_draws: Draws) -> Setup:
        return Setup(catalog, clients={"c1": send}, workers=1, phase=1.0)

    scenario = Scenario("outside", "one job", build, allow=allow)
    violation = run(scenario, Plan("outside", 1, "given", NONE)).violation
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


@pytest.mark.parametrize(("kind", "reach"), [r[1:] for r in REACHES], ids=[r[0] for r in REACHES])
def test_it_fails_at_the_call_and_says_what_to_do(kind: str, reach: Callable[[], Any]) -> None:
    with pytest.raises(Outside) as told:
        within(reach)
    assert f"reaches outside of the simulation; {ADVICE[kind]}" in str(told.value)


@pytest.mark.parametrize(
    ("reach", "by"),
    [
        (lambda: socket.socket(socket.AF_INET), r"socket\.socket\(2, .*, by socket\.__init__,"),
        (lambda: socket.create_connection(("127.0.0.1", 9)), r".*, by socket\.create_connection,"),
        (lambda: random.random(), r"random\.random\(\)"),
        (lambda: uuid.uuid4(), r"os\.urandom\(\), by uuid\.uuid4,"),
        (_thread, r"Thread\.start\(\)"),
        (_open_connection, r"loop\.\w+\(\), by asyncio\.\w+\.\w+,"),
    ],
)
def test_it_says_which_line_reached_outside_and_through_what(reach: Callable[[], Any], by: str) -> None:
    with pytest.raises(Outside) as told:
        within(reach)
    line = reach.__code__.co_firstlineno + {"_thread": 2, "_open_connection": 1}.get(reach.__name__, 0)
    where = rf" at .*test_outside\.py:{line} \({re.escape(reach.__name__)}\): reaches outside"
    assert re.match(by + where, str(told.value))


def test_it_says_which_handler_of_an_installed_application_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "installed_shop.py").write_text(
        "import uuid\n\n\ndef handle():\n    return str(uuid.uuid4())\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(outside, "_INSTALLED", (*outside._INSTALLED, str(tmp_path)))
    handle = importlib.import_module("installed_shop").handle
    catalog = Catalog()
    catalog.task("handle")(handle)

    async def send(node: Node) -> None:
        await node.queue.send("handle")

    def build(_draws: Draws) -> Setup:
        return Setup(catalog, clients={"c1": send}, workers=1, phase=1.0)

    violation = run(Scenario("installed", "one job", build), Plan("installed", 1, "given", NONE)).violation
    assert violation is not None
    assert "installed_shop.py:5 (handle)" in violation.text


def test_a_generator_with_a_seed_is_let_be() -> None:
    assert within(lambda: random.Random(7).random()) == random.Random(7).random()


def test_a_generator_without_a_seed_is_the_same_in_each_run_where_chance_is_allowed() -> None:
    def draw() -> float:
        return random.Random().random()

    assert within(draw, allow=("random",)) == within(draw, allow=("random",))


def test_a_temporary_file_is_let_be() -> None:
    def write() -> bytes:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
            file.seek(0)
            return file.read()

    assert within(write) == b"x"


def test_outside_of_a_world_a_generator_needs_no_seed() -> None:
    within(lambda: None)
    assert random.Random().random() != random.Random().random()


INLINE: list[tuple[str, Callable[[], Any]]] = [
    ("asyncio.to_thread", lambda: asyncio.to_thread(threading.get_ident)),
    ("anyio.to_thread", lambda: anyio.to_thread.run_sync(threading.get_ident)),
]


@pytest.mark.parametrize("call", [call for _, call in INLINE], ids=[name for name, _ in INLINE])
def test_what_a_loop_would_give_to_a_thread_runs_inline(call: Callable[[], Any]) -> None:
    assert within(call) == threading.get_ident()


def test_the_loops_executor_runs_inline() -> None:
    async def look() -> int:
        return await asyncio.get_running_loop().run_in_executor(None, threading.get_ident)

    assert within(look) == threading.get_ident()


def test_a_pool_that_is_given_to_the_loop_starts_no_thread() -> None:
    async def look() -> int:
        with ThreadPoolExecutor(1) as pool:
            return await asyncio.get_running_loop().run_in_executor(pool, threading.get_ident)

    assert within(look) == threading.get_ident()


def test_what_raises_inline_raises_where_it_is_awaited() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        within(lambda: asyncio.to_thread(int, "x"))


def test_a_generator_of_ones_own_is_free() -> None:
    assert within(lambda: random.Random(7).random()) == random.Random(7).random()


DRAWS: dict[str, Callable[[], Any]] = {
    "random.random": lambda: random.random(),
    "by name": lambda: draw_by_name(),
    "getrandbits": lambda: random.getrandbits(64),
    "SystemRandom": lambda: random.SystemRandom().random(),
    "uuid4": uuid.uuid4,
    "secrets": secrets.token_hex,
    "urandom": lambda: os.urandom(8),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_what_is_allowed_follows_from_the_seed(draw: Callable[[], Any]) -> None:
    first = within(lambda: [draw(), draw()], allow=("random",))
    assert first == within(lambda: [draw(), draw()], allow=("random",))
    assert first[0] != first[1]


def test_outside_of_a_world_all_of_it_works() -> None:
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


def test_other_threads_are_free_while_a_world_runs() -> None:
    done: list[int] = []
    go, gone = threading.Event(), threading.Event()

    def draw() -> None:
        go.wait(30)
        done.append(len(os.urandom(8)))
        gone.set()

    thread = threading.Thread(target=draw)
    thread.start()

    def look() -> bool:
        go.set()
        return gone.wait(30)

    assert within(look)
    thread.join()
    assert done == [8]
