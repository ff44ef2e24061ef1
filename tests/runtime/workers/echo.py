"""A child process that returns its input."""

from __future__ import annotations

import os
import sys
import threading

from zeke_queue.system.subprocess_main import Parent, serve


def main() -> None:
    """Serve the parent until it is gone."""
    serve(_answer)


def _answer(message: bytes, _: Parent) -> bytes:
    if message == b"who":
        return str(os.getpid()).encode()
    if message == b"where":
        return "\n".join(sys.path).encode()
    if message == b"wait":
        threading.Event().wait()
    return message
