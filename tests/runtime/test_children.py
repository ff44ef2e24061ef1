"""A pool of child processes: requests are served in order, and no process outlives the pool."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from pydantic_core import to_json

from tests.cases import check_each_async
from tests.runtime.workers.place import turns, until
from zeke_queue.errors import UsageError
from zeke_queue.system import logging as log
from zeke_queue.system.subprocess_pool import LENGTH_BYTES, Child, ChildEnded, Children

ROOT = Path(__file__).parents[2]
ECHO = "tests.runtime.workers.echo"


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    children = Children(ECHO, most=1)
    yield children
    await children.close()


async def ask(children: Children, message: bytes = b"who", *, fresh: bool = False) -> bytes:
    async with children.child(fresh=fresh) as child:
        child.send(message)
        return await child.receive()


def mine() -> list[psutil.Process]:
    """Return the child processes of this one that run the echo."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children():
        try:
            found += [process] if ECHO in process.cmdline() else []
        except psutil.NoSuchProcess:
            continue
    return found


async def test_large_messages_go_both_ways(children: Children) -> None:
    message = bytes(range(256)) * 2**12
    assert await ask(children, message) == message


async def test_child_has_the_module_path_of_its_parent(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a directory of scripts, some of them named like modules, where a worker is started.
    (tmp_path / "queue.py").write_text("raise SystemExit(9)", encoding="utf-8")
    (tmp_path / "json.py").write_text("raise SystemExit(9)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert (await ask(children, b"where")).decode().splitlines() == sys.path


async def test_requests_are_served_in_order(children: Children) -> None:
    order: list[int] = []

    async def one(number: int) -> None:
        async with children.child() as child:
            order.append(number)
            child.send(b"")
            await child.receive()

    async with asyncio.TaskGroup() as group:
        first = [group.create_task(one(number)) for number in range(4)]
        await first[0]
        group.create_task(one(4))
    assert order == [0, 1, 2, 3, 4]


async def test_cancelled_request_does_not_take_the_place_of_another(children: Children) -> None:
    async with children.child():
        waiting = [asyncio.create_task(ask(children)) for _ in range(3)]
        await turns()
        waiting[0].cancel()
        waiting[1].cancel()
    assert await waiting[2] == await ask(children)


async def test_cancelled_request_leaves_no_child_at_any_moment() -> None:
    async def check(after: int) -> None:
        children = Children(ECHO, most=1)
        asking = asyncio.create_task(ask(children))
        await turns(after)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await children.close()
        assert not mine()

    await check_each_async(range(24), check)


async def test_closed_pool_refuses_requests(children: Children) -> None:
    async with children.child():
        waiting = asyncio.create_task(ask(children))
        await turns()
        await children.close()
    with pytest.raises(UsageError, match="closed"):
        await waiting
    with pytest.raises(UsageError, match="closed"):
        await ask(children)
    assert not mine()


async def test_child_that_died_idle_is_replaced(children: Children) -> None:
    pid = int(await ask(children))
    psutil.Process(pid).kill()
    await until(lambda: not psutil.pid_exists(pid))
    assert int(await ask(children)) != pid


async def test_fresh_child_replaces_an_idle_one(children: Children) -> None:
    first = int(await ask(children))
    second = int(await ask(children, fresh=True))
    assert first != second
    assert int(await ask(children)) == second
    await until(lambda: [process.pid for process in mine()] == [second])


async def test_fresh_child_replaces_only_one_child() -> None:
    children = Children(ECHO, most=2)
    pids = {int(pid) for pid in await asyncio.gather(ask(children), ask(children))}
    assert len(pids) == 2
    third = int(await ask(children, fresh=True))
    await until(lambda: len(mine()) == 2)
    assert {process.pid for process in mine()} < pids | {third}
    await children.close()


async def test_child_is_replaced_after_its_number_of_exchanges() -> None:
    children = Children(ECHO, most=1, exchanges=2)
    pids = [int(await ask(children)) for _ in range(5)]
    assert (pids[0], pids[2]) == (pids[1], pids[3])
    assert len(set(pids)) == 3
    await children.close()


async def test_child_is_prepared_before_its_first_use() -> None:
    prepared: list[Child] = []

    async def prepare(child: Child) -> None:
        child.send(b"ready?")
        assert await child.receive() == b"ready?"
        prepared.append(child)

    children = Children(ECHO, most=1, prepare=prepare)
    async with children.child() as child:
        assert prepared == [child]
    await children.close()


async def test_child_whose_preparation_fails_is_not_used() -> None:
    async def fail(_: Child) -> None:
        raise LookupError("no library")

    children = Children(ECHO, most=1, prepare=fail)
    for _ in range(2):
        with pytest.raises(LookupError, match="no library"):
            await ask(children)
    await children.close()
    assert not mine()


async def test_missing_module_ends_the_child_with_its_error_output() -> None:
    children = Children("tests.runtime.workers.nowhere", most=1)
    with pytest.raises(
        ChildEnded, match="exit code 1 before it had answered; see what it wrote to standard error"
    ):
        await ask(children)
    await children.close()


def test_child_ends_when_its_pipe_closes() -> None:
    """As on systems that do not report the end of the parent."""
    ours, theirs = socket.socketpair()
    begin = f"import sys; from {ECHO} import main; main()"
    with theirs:
        fd = theirs.fileno()
        process = subprocess.Popen([sys.executable, "-c", begin, str(fd)], pass_fds=(fd,), cwd=ROOT)
    with ours, process:
        for message in (to_json({"log": log.settings(), "parent": os.getpid()}), b"still there?", b"wait"):
            ours.sendall(len(message).to_bytes(LENGTH_BYTES) + message)
        assert ours.recv(100).endswith(b"still there?")
        ours.close()
        assert process.wait(120) == 0


async def test_children_leave_no_descriptors_open() -> None:
    descriptors = psutil.Process().num_fds
    children = Children(ECHO, most=1, exchanges=1)
    await ask(children)
    before = descriptors()
    for _ in range(3):
        await ask(children)
    await until(lambda: descriptors() <= before)
    await children.close()
