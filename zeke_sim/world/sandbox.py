"""Isolates a simulation: access to the real world fails at the call, with advice on what to do instead.

An audit hook, which cannot be bypassed, detects sockets and subprocesses. Threads, sleeps and random numbers
are detected by replaced functions, since Python has no audit events for them before 3.13. Hook and
replacements are installed permanently with the first world, and do nothing outside of a world.
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
from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import zeke_queue
from zeke_sim import errors
from zeke_sim.errors import Outside, SecondClock
from zeke_sim.loop import event_loop
from zeke_sim.loop.event_loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping
    from types import FrameType

E = TypeVar("E", bound=Outside)

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

_CHANCE: Final = tuple(
    name
    for name in random.__all__
    if isinstance(getattr(random, name), MethodType | BuiltinMethodType)
    and name not in {"getstate", "seed", "setstate"}
)
"""The functions of Python's own generator."""

LONGEST: Final = 200
"""Maximum number of characters shown of a refused call."""

_OURS: Final = tuple(
    f"{Path(module.__file__).parent}{os.sep}" for module in (zeke_queue, errors) if module.__file__
)
"""Folders of the queue and the simulator, which are not the caller that reached outside."""

_REFUSING: Final = frozenset(
    {__file__, str(event_loop.__file__), str(Path(__file__).with_name("frozen_time.py"))}
)
"""Files that refuse calls."""

_INSTALLED: Final = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(os.__file__).parent)}
)
"""Folders of the standard library and of installed packages, which reach outside on behalf of a caller."""


class _State:
    """The state of the sandbox: the thread that runs a world, and what is allowed in it."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.allowed: Collection[str] = ()
        self.installed = False
        self.on_refused: Callable[[Outside], None] | None = None

    @property
    def inside(self) -> bool:
        """Whether the calling thread runs a world."""
        return self.thread is not None and self.thread == threading.get_ident()

    def forbids(self, kind: str) -> bool:
        """Return whether the calling thread runs a world in which this kind of access is not allowed."""
        return kind not in self.allowed and self.inside


_state: Final = _State()


@contextmanager
def closed(
    seed_of: Callable[[str], int],
    allow: Collection[str] = (),
    on_refused: Callable[[Outside], None] | None = None,
) -> Generator[None]:
    """Refuse access to the outside within the block.

    Args:
        seed_of: derives a seed for random numbers, if they are allowed, from an address.
        allow: any of ``socket``, ``thread``, ``subprocess``, ``clock`` and ``random``.
        on_refused: called with the error of each refused access, even if a handler catches it.
    """
    _install()
    before = _state.thread, _state.allowed, _state.on_refused
    _state.thread, _state.allowed, _state.on_refused = threading.get_ident(), allow, on_refused
    chance = random.getstate() if "random" in allow else None
    if chance is not None:
        random.seed(seed_of("random"))
    try:
        yield
    finally:
        _state.thread, _state.allowed, _state.on_refused = before
        if chance is not None:
            random.setstate(chance)


def is_inside() -> bool:
    """Return whether the calling thread runs a world."""
    return _state.inside


def second_clock(call: str) -> SecondClock:
    """Create the error of a call that would set another time than the virtual one, and report it."""
    return _reported(SecondClock(f"{call}{whence() if _state.inside else ''}"))


def _refused(what: str, kind: str) -> Outside:
    """Create the error of an access to the outside, and report it."""
    return _reported(Outside(f"{what}{whence()}", kind))


def _reported(error: E) -> E:
    """Report an error to the world, since the code that catches it may suppress it."""
    if _state.on_refused is not None:
        _state.on_refused(error)
    return error


def whence() -> str:
    """Return the application's line that reached outside, and the call that it made."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code.co_filename in _REFUSING:
        frame = frame.f_back
    callers: list[FrameType] = []
    while frame is not None and not frame.f_code.co_filename.startswith(_OURS):
        callers.append(frame)
        frame = frame.f_back
    own = [n for n, one in enumerate(callers) if not one.f_code.co_filename.startswith((*_INSTALLED, "<"))]
    # An installed application has no frames outside site-packages; its handler is the last frame there.
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
    """Format an audit event as a call, without the socket, which is the first argument."""
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
    """Install guards in every module that refers to a guarded function, since many import it by name."""
    by_id = {id(function): guard for function, guard in guards.items()}
    for module in list(sys.modules.values()):
        members = getattr(module, "__dict__", {})
        for name, value in list(members.items()):
            if id(value) in by_id:
                members[name] = by_id[id(value)]


def _seeded_where_allowed(urandom: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Seed random bytes, from which ids and secrets are made, in a world that allows randomness."""

    def drawn(size: int, /) -> bytes:
        return random.randbytes(size) if _state.inside and "random" in _state.allowed else urandom(size)  # noqa: S311

    return drawn


def _refusing_none(seed: Callable[..., None]) -> Callable[..., None]:
    """Wrap ``seed`` so that a generator without a seed gets one in a world, or is refused."""

    def seeded(self: random.Random, a: Any = None, *args: Any, **options: Any) -> None:
        # Names of temporary files do not affect a run, so `tempfile` keeps real randomness.
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
    """Run anyio's worker threads inline on a virtual loop, since anyio starts them without the loop.

    anyio is no dependency of the simulator: this is for handlers that use it.
    """
    try:
        from anyio._backends._asyncio import AsyncIOBackend  # noqa: PLC0415 - not every application has it
    except ModuleNotFoundError:
        return
    threaded: Any = getattr(AsyncIOBackend.run_sync_in_worker_thread, "__func__")  # noqa: B009

    async def run(
        cls: Any, func: Callable[..., Any], args: tuple[Any, ...], *rest: Any, **options: Any
    ) -> Any:
        import asyncio  # noqa: PLC0415 - imported when called

        if isinstance(asyncio.get_running_loop(), VirtualLoop):
            return func(*args)
        return await threaded(cls, func, args, *rest, **options)

    setattr(AsyncIOBackend, "run_sync_in_worker_thread", classmethod(run))  # noqa: B010
