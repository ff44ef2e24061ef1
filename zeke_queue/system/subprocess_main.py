"""The child's side of the pipe to its parent: answers one message at a time, and ends with the parent.

The other end is `subprocess_pool`. A module that runs as a child calls `serve` and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Final

from pydantic_core import from_json

from zeke_queue.system import logging as log
from zeke_queue.system.subprocess_pool import LENGTH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

DIE_WITH_PARENT: Final = 1
"""``PR_SET_PDEATHSIG``. Source: prctl(2)."""


class Parent:
    """The pipe to the parent."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reading = connection.makefile("rb")
        self._lock = threading.Lock()

    def send(self, message: bytes) -> None:
        """Send a whole message; any thread may call this."""
        with self._lock:
            self._connection.sendall(len(message).to_bytes(LENGTH_BYTES) + message)

    def receive(self) -> bytes | None:
        """Wait for a message; None when the parent is gone."""
        length = self._reading.read(LENGTH_BYTES)
        if len(length) < LENGTH_BYTES:
            return None
        return self._reading.read(int.from_bytes(length))


def serve(answer: Callable[[bytes, Parent], bytes]) -> None:
    """Answer the parent's messages in this process's main thread until the parent is gone.

    Args:
        answer: gets a message, and the pipe for messages before the answer; must not raise.
    """
    parent = Parent(socket.socket(fileno=int(sys.argv[1])))
    hello = parent.receive()
    if hello is None:
        return
    told = from_json(hello)
    _die_with(told["parent"])
    log.configure_logging(**told["log"])
    for number in (signal.SIGINT, signal.SIGTERM):
        # Terminals and some supervisors signal the whole group, but the parent decides when its children end.
        signal.signal(number, _stay)
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while (message := parent.receive()) is not None:
            messages.put(message)
        os._exit(0)  # the parent is gone, and the main thread may be busy

    threading.Thread(target=read, name="zeke-parent", daemon=True).start()
    while True:
        said = answer(messages.get(), parent)
        _flush()
        parent.send(said)


def _flush() -> None:
    """Flush printed output: a pipe is buffered, and the buffer would be lost with the process."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            continue  # the stream is closed or foreign; lost output is not an error


def _stay(_number: int, _frame: object) -> None:
    """Ignore a signal."""


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process with its parent; elsewhere the closed pipe ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
