"""Keeps the locks in an application's modules apart for each simulated process.

All processes of a world share one interpreter, and with it the globals of modules. A lock of asyncio there is
each process's own while a world runs: no process waits for another one's lock, and a killed process leaves
none locked. Those are the objects of ``asyncio.Lock``, ``Semaphore``, ``Condition``, ``Event``, ``Barrier``
and ``Queue`` in modules, in the classes and objects of their own in them, and in collections. A lock of the
module ``threading`` is released when a process is killed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from contextlib import contextmanager, suppress
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_sim.loop.event_loop import RUN_QUEUE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from zeke_sim.loop.event_loop import RunQueue, VirtualLoop

DEPTH: Final = 3
"""Maximum depth of objects and collections that are searched in each module."""

ITEMS_MAX: Final = 1000
"""Maximum number of items of a collection that is searched."""

_KINDS: Final[frozenset[type]] = frozenset(
    {
        *(asyncio.Lock, asyncio.Semaphore, asyncio.BoundedSemaphore, asyncio.Condition, asyncio.Event),
        *(asyncio.Barrier, asyncio.Queue, asyncio.PriorityQueue, asyncio.LifoQueue),
    }
)
_LEAVES: Final = frozenset({FunctionType, ModuleType, BuiltinFunctionType, str, bytes, int, bool, NoneType})
"""Most of what is in a module, and contains no lock."""

_THREAD_LOCKS: Final = (type(threading.Lock()), type(threading.RLock()))


class ModuleLocks:
    """The locks in modules, while a world runs.

    Args:
        modules: the names of the modules.
    """

    def __init__(self, loop: VirtualLoop, modules: Sequence[str]) -> None:
        self._loop = loop
        self._own: dict[RunQueue, dict[int, Any]] = {}
        found = [*_found(modules)]
        self._shared = [one for one in found if type(one) in _KINDS]
        self._thread_locks = [one for one in found if type(one) in _THREAD_LOCKS]

    @contextmanager
    def apart(self) -> Generator[None]:
        """Keep the locks apart until the block ends."""
        kinds = [(one, _kind_of(one)) for one in self._shared]
        apart = {kind: self._kind(kind) for _, kind in kinds}
        for one, kind in kinds:
            one.__class__ = apart[kind]
        try:
            yield
        finally:
            for one, kind in kinds:
                object.__setattr__(one, "__class__", kind)

    def release(self) -> None:
        """Release the locks of the module ``threading``, which a killed process held."""
        for one in self._thread_locks:
            if isinstance(one, _THREAD_LOCKS[0]):
                if one.locked():
                    one.release()
            else:
                with suppress(RuntimeError):  # it is not owned any more
                    while True:
                        one.release()

    def _kind(self, kind: type) -> type:
        """Return a subclass whose objects have the state that the running process gave them."""

        def get(one: Any, name: str) -> Any:
            return object.__getattribute__(one, name) if name == "__class__" else getattr(self._of(one), name)

        def put(one: Any, name: str, value: Any) -> None:
            setattr(self._of(one), name, value)

        return type(kind.__name__, (kind,), {"__getattribute__": get, "__setattr__": put})

    def _of(self, one: Any) -> Any:
        """Return what a lock is in the running process."""
        queue = RUN_QUEUE.get()
        own = self._own.setdefault(self._loop.current if queue is None else queue, {})
        return own.get(id(one)) or _copied(one, own)


def _kind_of(one: Any) -> type[Any]:
    return cast("type[Any]", type(one))


def _copied(one: Any, own: dict[int, Any]) -> Any:
    """Return a lock as a new process has it, and keep it by the id of the original."""
    kind = _kind_of(one)
    made = cast("Any", object.__new__(kind if kind in _KINDS else kind.__mro__[1]))
    own[id(one)] = made
    state: dict[str, Any] = object.__getattribute__(one, "__dict__")
    for name, value in state.items():
        vars(made)[name] = _copied_part(name, value, own)
    return made


def _copied_part(name: str, value: Any, own: dict[int, Any]) -> Any:
    kind = _kind_of(value)
    if name == "_loop":
        return None  # it belongs to the loop that uses it first
    if kind in _KINDS or _KINDS.intersection(kind.__mro__[1:2]):
        return own.get(id(value)) or _copied(value, own)
    if kind is MethodType:  # a condition has methods of its lock
        return getattr(own.get(id(value.__self__), value.__self__), value.__name__)
    if kind is deque:
        return deque(one for one in value if not isinstance(one, asyncio.Future))
    return list(value) if kind is list else value


def _found(modules: Sequence[str]) -> Iterator[Any]:
    """Yield the locks in modules, and in what they contain."""
    names, seen = frozenset(modules), set[int]()
    left: deque[tuple[Any, int]] = deque()
    for name in modules:
        module = sys.modules.get(name)
        left += ((one, DEPTH) for one in ([] if module is None else [*vars(module).values()]))
    while left:  # breadth first, so that each object is searched as deep as possible
        value, depth = left.popleft()
        if type(value) in _LEAVES or id(value) in seen:
            continue
        seen.add(id(value))
        if _kind_of(value) in _KINDS or type(value) in _THREAD_LOCKS:
            yield value
        elif depth:
            left += ((one, depth - 1) for one in _parts(value, names))


def _parts(value: Any, modules: frozenset[str]) -> Iterable[Any]:
    """Return what a collection, or an object or class of one of the modules, contains."""
    # Of other objects, such as proxies, an attribute may raise.
    kind = _kind_of(value)
    if issubclass(kind, dict | list | tuple | set | frozenset | deque):
        return _items(value) if len(value) <= ITEMS_MAX else ()
    if issubclass(kind, type):
        return [*vars(cast("type", value)).values()] if value.__module__ in modules else ()
    if kind.__module__ not in modules:
        return ()
    slots = [_attribute(value, name) for one in kind.__mro__ for name in _slots(one)]
    return [*_items(_attribute(value, "__dict__") or {}), *slots]


def _items(value: Any) -> list[Any]:
    return list(cast("Mapping[Any, Any]", value).values() if issubclass(type(value), dict) else value)


def _attribute(value: Any, name: str) -> Any:
    """Return what an object has itself, without its ``__getattr__``; None if it has no such attribute."""
    with suppress(AttributeError):
        return object.__getattribute__(value, name)
    return None


def _slots(kind: type) -> Sequence[str]:
    given: Any = vars(kind).get("__slots__", ())
    return (given,) if isinstance(given, str) else tuple(given)
