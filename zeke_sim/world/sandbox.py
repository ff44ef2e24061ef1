"""Keeps a simulation inside: what reaches for the real world fails at the call, and says what to do.

Sockets and subprocesses are seen by an audit hook, which nothing gets around; threads, sleeps and chance by
the functions that give them, since before Python 3.13 no event tells of them. Both are there for good once
the first world began, and look away outside of one.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import sysconfig
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from anyio._backends._asyncio import AsyncIOBackend

import zeke_queue
from zeke_sim import errors
from zeke_sim.errors import Outside
from zeke_sim.loop import event_loop
from zeke_sim.loop.event_loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping
    from types import FrameType

    from zeke_sim.world.world import World

_AUDITED: Final = {
    "socket.__new__": "socket",
    "socket.connect": "socket",
    "socket.bind": "socket",
    "socket.getaddrinfo": "socket",
    "socket.gethostbyname": "socket",
    "_thread.start_new_thread": "thread",
    "_thread.start_joinable_thread": "thread",
    "subprocess.Popen": "subprocess",
    "os.fork": "subprocess",
    "os.forkpty": "subprocess",
    "os.posix_spawn": "subprocess",
    "os.system": "subprocess",
    "os.exec": "subprocess",
    "time.sleep": "clock",
}

_CHANCE: Final = (
    "betavariate",
    "choice",
    "choices",
    "expovariate",
    "gammavariate",
    "gauss",
    "getrandbits",
    "lognormvariate",
    "normalvariate",
    "paretovariate",
    "randbytes",
    "randint",
    "random",
    "randrange",
    "sample",
    "shuffle",
    "triangular",
    "uniform",
    "vonmisesvariate",
    "weibullvariate",
)

LONGEST: Final = 200
"""Characters of a refused call that are shown."""

_OURS: Final = tuple(
    f"{Path(module.__file__).parent}{os.sep}" for module in (zeke_queue, errors) if module.__file__
)
"""Where the queue and its simulation are: who called outside stands before them."""

_REFUSING: Final = frozenset({__file__, str(event_loop.__file__)})
"""Where calls are refused."""

_INSTALLED: Final = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(os.__file__).parent)}
)
"""Where Python's library and what was installed is: it reaches outside for somebody."""


class _State:
    """Whether a world runs, in which thread, and what is allowed in it."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.allowed: Collection[str] = ()
        self.installed = False
        self.told: Callable[[Outside], None] | None = None

    @property
    def inside(self) -> bool:
        """Whether the caller is inside of a world."""
        return self.thread is not None and self.thread == threading.get_ident()

    def forbids(self, kind: str) -> bool:
        """Whether the caller is inside of a world, where this is not allowed."""
        return kind not in self.allowed and self.inside


_state: Final = _State()


@contextmanager
def closed(
    world: World, allow: Collection[str] = (), told: Callable[[Outside], None] | None = None
) -> Generator[None]:
    """Keep what runs in the block inside of a world.

    Args:
        world: whose seed random numbers follow from where they are allowed.
        allow: of ``socket``, ``thread``, ``subprocess``, ``clock`` and ``random``.
        told: is told of each reach outside, whatever becomes of the error.
    """
    _install()
    before = _state.thread, _state.allowed, _state.told
    _state.thread, _state.allowed, _state.told = threading.get_ident(), allow, told
    chance = random.getstate() if "random" in allow else None
    if chance is not None:
        random.seed(world.seed_of("random"))
    try:
        yield
    finally:
        _state.thread, _state.allowed, _state.told = before
        if chance is not None:
            random.setstate(chance)


def _refused(what: str, kind: str) -> Outside:
    """Make the error, and have the world told of it, since whoever reached outside may swallow it."""
    error = Outside(f"{what}{whence()}", kind)
    if _state.told is not None:
        _state.told(error)
    return error


def whence() -> str:
    """Return which line of the application reached outside, and what it called to do so."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code.co_filename in _REFUSING:
        frame = frame.f_back
    callers: list[FrameType] = []
    while frame is not None and not frame.f_code.co_filename.startswith(_OURS):
        callers.append(frame)
        frame = frame.f_back
    own = [n for n, one in enumerate(callers) if not one.f_code.co_filename.startswith((*_INSTALLED, "<"))]
    # An application that is itself installed has nothing of its own elsewhere; its handler stands last.
    own = own[:1] or [n for n, one in enumerate(callers) if "site-packages" in one.f_code.co_filename][-1:]
    if not own:
        return ""
    caller = callers[own[0]]
    by = ""
    if own[0] > 0:
        callee = callers[own[0] - 1]
        by = f", by {callee.f_globals.get('__name__')}.{callee.f_code.co_name},"
    return f"{by} at {_shortened(caller.f_code.co_filename)}:{caller.f_lineno} ({caller.f_code.co_name})"


def _shortened(file: str) -> str:
    here = f"{os.path.realpath(os.curdir)}{os.sep}"
    return file.removeprefix(here)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _state.thread is not None and (kind := _AUDITED.get(event)) is not None and _state.forbids(kind):
        raise _refused(_called(event, arguments), kind)


def _called(event: str, arguments: tuple[Any, ...]) -> str:
    """Return a call as somebody would write it: without the socket itself, which stands first."""
    name = "socket.socket" if event == "socket.__new__" else event
    if arguments and isinstance(arguments[0], socket.socket):
        arguments = arguments[1:]
    return f"{name}({', '.join(map(repr, arguments))})"[:LONGEST]


def _install() -> None:
    if _state.installed:
        return
    _state.installed = True
    sys.addaudithook(_audit)
    guards: dict[Any, Any] = {
        getattr(random, name): _guarded(f"random.{name}", getattr(random, name), "random") for name in _CHANCE
    }
    guards[os.urandom] = _seeded_where_allowed(_guarded("os.urandom", os.urandom, "random"))
    guards[uuid.uuid1] = _guarded("uuid.uuid1", uuid.uuid1, "random")
    guards[time.sleep] = _guarded("time.sleep", time.sleep, "clock")
    _put_everywhere(guards)
    random.Random.seed = _refusing_none(random.Random.seed)
    setattr(threading.Thread, "start", _guarded("Thread.start", threading.Thread.start, "thread"))  # noqa: B010
    _stay_inline()


def _put_everywhere(guards: Mapping[Any, Any]) -> None:
    """Put guards into every module that has what they guard, since many have it by its name alone."""
    by_id = {id(function): guard for function, guard in guards.items()}
    for module in list(sys.modules.values()):
        members = getattr(module, "__dict__", {})
        for name, value in list(members.items()):
            if id(value) in by_id:
                members[name] = by_id[id(value)]


def _seeded_where_allowed(urandom: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Seed random bytes where randomness is allowed in a world: ids and secrets are made of them."""

    def drawn(size: int, /) -> bytes:
        return random.randbytes(size) if _state.inside and "random" in _state.allowed else urandom(size)  # noqa: S311

    return drawn


def _refusing_none(seed: Callable[..., None]) -> Callable[..., None]:
    """Seed a generator of random numbers that was given no seed."""

    def seeded(self: random.Random, a: Any = None, *args: Any, **options: Any) -> None:
        # Of a temporary file nobody minds what it is called.
        if a is None and _state.inside and sys._getframe(2).f_globals.get("__name__") != "tempfile":  # pyright: ignore[reportPrivateUsage]
            if _state.forbids("random"):
                raise _refused("random.Random()", "random")
            a = random.getrandbits(64)
        seed(self, a, *args, **options)

    return seeded


def _guarded(name: str, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if _state.thread is not None and _state.forbids(kind):
            raise _refused(f"{name}()", kind)
        return function(*args, **kwargs)

    guarded.__name__ = name.rpartition(".")[2]
    guarded.__doc__ = function.__doc__
    guarded.__wrapped__ = function  # type: ignore[attr-defined]
    return guarded


def _stay_inline() -> None:
    """Run anyio's threads inline on a virtual loop, since they are its own, which no loop sees."""
    threaded: Any = getattr(AsyncIOBackend.run_sync_in_worker_thread, "__func__")  # noqa: B009

    async def run(
        cls: Any, func: Callable[..., Any], args: tuple[Any, ...], *rest: Any, **options: Any
    ) -> Any:
        import asyncio  # noqa: PLC0415 - what runs is asked for when it runs

        if isinstance(asyncio.get_running_loop(), VirtualLoop):
            return func(*args)
        return await threaded(cls, func, args, *rest, **options)

    setattr(AsyncIOBackend, "run_sync_in_worker_thread", classmethod(run))  # noqa: B010
