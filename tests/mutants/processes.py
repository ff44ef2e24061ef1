"""Processes for mutants, each forked from one that has imported what others wrote, so that it begins soon."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

R = TypeVar("R")

PRELOADED: Final = (
    *("anyio", "anyio.pytest_plugin", "croniter", "fastapi", "freezegun", "httpx2", "hypothesis", "psutil"),
    *("psycopg", "psycopg_pool", "pydantic", "pydantic_settings", "pytest", "pytest_asyncio.plugin"),
    *("rich.console", "sqlalchemy.ext.asyncio", "structlog", "typer", "uvicorn", "xdist.plugin"),
)
"""What tests and simulations import of others, which takes longer than most searches."""

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([*PRELOADED])


class ForkedError(Exception):
    """A process raised an error, died or hung."""


def forked(work: Callable[..., R], *arguments: object, seconds: float) -> R:
    """Return what a function returns in a process of its own; what that has started ends with it.

    Function, arguments and result are pickled.

    Raises:
        ForkedError: it raised an error, died, or took longer.
    """
    receiving, sending = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_send, args=(sending, work, arguments))
    process.start()
    sending.close()
    try:
        with receiving:
            if not receiving.poll(seconds):
                raise ForkedError(f"it hung, and was ended after {seconds:g} s")
            has_returned, result = receiving.recv()
    except EOFError:
        process.join()
        raise ForkedError(f"exit code {process.exitcode}") from None
    finally:
        process.kill()
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
    if not has_returned:
        raise ForkedError(result)
    return result


def _send(sending: Connection, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    os.setpgid(0, 0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)
    try:
        sending.send((True, work(*arguments)))
    except BaseException as error:  # noqa: BLE001 - the other process tells it
        sending.send((False, f"{type(error).__name__}: {error}"))


def say(line: object) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
