"""Functions for a reader process that imitate harmful documents."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from zeke_tasks.fetch import AddressRefused, Transient


class Odd(Exception):
    """An exception that pickle can't make again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def nothing() -> None:
    """Prepare a process that needs no parsers, which take a second to import."""


def where() -> int:
    """Return the process that reads."""
    return os.getpid()


def die(number: int) -> None:
    os.kill(os.getpid(), number)
    threading.Event().wait()


def die_once(number: int, mark: str) -> int:
    """End the process by a signal, the first time only."""
    if not Path(mark).exists():
        Path(mark).touch()
        die(number)
    return os.getpid()


def leave(code: int) -> None:
    os._exit(code)


def hang(mark: str) -> None:
    """Report the process id, and hang while ignoring SIGTERM and SIGINT."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    half = Path(mark).with_suffix(".half")
    half.write_text(str(os.getpid()))
    half.rename(mark)
    threading.Event().wait()


def wait_for(mark: str) -> None:
    """Read until a file is there."""
    while not Path(mark).exists():
        threading.Event().wait(0.01)


def spin_marked(mark: str) -> NoReturn:
    """Write into a file that it has begun, and use up processor time."""
    with Path(mark).open("a", encoding="utf-8") as begun:
        begun.write("begun\n")
    spin()


def spin() -> NoReturn:
    while True:
        sum(range(1000))


def stop_short(code: int) -> NoReturn:
    sys.exit(code)


_kept: list[bytearray] = []


def keep(size: int) -> int:
    """Take that many bytes of memory and never give them back."""
    _kept.append(bytearray(size))
    return os.getpid()


def break_off() -> NoReturn:
    """End the process as a library does that this machine can't run."""
    os.kill(os.getpid(), signal.SIGILL)
    raise AssertionError


def grow(size: int) -> int:
    return len(bytearray(size))


def fail(how: str) -> NoReturn:
    errors: dict[str, Exception] = {
        "transient": Transient("https://a.example/", "busy", status=503, retry_after=7.0),
        "refused": AddressRefused("https://a.example/", "10.0.0.1", "it is private"),
        "odd": Odd("this", "that"),
        "unknown": KeyError("bees"),
    }
    raise errors[how]


def strange() -> Any:
    """Return what can't leave the process."""
    return threading.Lock()
