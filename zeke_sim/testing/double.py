"""Doubles of a typed client, whose calls in a simulated world take time, fail, or lose their answers.

A call in a world is a request: it travels to a server, which runs the double's method once and records the
effect, and the answer travels back. As in a network, a request arrives although its sender has been killed in
the meantime. Outside of a world, and in a workload itself, a call runs the method at once.

Idempotency keys work as those of payment providers (Stripe, Adyen): a call with a key that was used before
gets the answer of the first one, and has no further effect; with other arguments, it is an error; a call that
failed has not used its key. Here, keys do not expire.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, Union, cast

from zeke_queue.core.failure import shown as value_shown
from zeke_queue.errors import UsageError
from zeke_sim.loop.event_loop import HANDLER
from zeke_sim.testing.scripted import Unscripted
from zeke_sim.world.faults import call_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_sim.world.handlers import Watch

__tracebackhide__ = True  # pytest then shows the test's own lines

T = TypeVar("T")

TRIP: Final = 0.1
"""Seconds that a request and its answer take by default, each."""

ERRORS: Final = (ConnectionError, TimeoutError)

KEYS: Final = ("idempotency_key", "key")

DEPTH: Final = 3
"""Maximum depth to which arguments without a text of their own are shown by their attributes."""

_PLACE: Final = re.compile(r" at 0x[0-9a-f]+")


def double(
    of: type[T],
    *arguments: Any,
    reads: Collection[str] = (),
    answers: Mapping[str, Any] | None = None,
    errors: Sequence[type[Exception] | Callable[[], Exception]] = ERRORS,
    keys: Collection[str] = KEYS,
    **options: Any,
) -> T:
    """Make a double of a class or Protocol, for ``resources`` of simulated handlers.

    ::

        class Bank(Protocol):
            async def charge(self, cents: int, *, order: str) -> str: ...

        @zeke_sim.test(resources=lambda: zeke_sim.double(Bank))

    The methods of a class run as they are; those of a Protocol, and abstract ones, return an answer that fits
    their annotation. Each call from a handler of a simulated world may take time, fail before it has an
    effect, or lose its answer after it. Each call of a method that is not in ``reads`` is an effect, named by
    the method and its arguments, which must not happen twice in a run.

    Args:
        of: the class or Protocol.
        *arguments: positional arguments of the class.
        reads: the methods that may be repeated: those that have no effect, or whose effect may happen twice.
        answers: what methods return, or functions of their arguments, by method.
        errors: the errors of calls that fail or are not answered: their types, or functions that make them.
        keys: names of arguments that are idempotency keys, so that a call may be repeated. The first argument
            of a method is one only if it is called ``idempotency_key``.
        **options: keyword arguments of the class.

    Raises:
        UsageError: an argument is invalid.
    """
    if not isinstance(of, type):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"double: must be of a class or a Protocol, got {value_shown(of)}")
    answers = answers or {}
    methods = {name: value for name in dir(of) if (value := _method(of, name)) is not None}
    _check(of, methods, reads=reads, answers=answers, keys=keys, errors=errors)
    service = _Service(tuple(errors), frozenset(reads), frozenset(keys))
    members: dict[str, Any] = {}
    for name, function in methods.items():
        missing = _is_open(of, name)
        given = answers.get(name, _derived(of, name, function) if missing else None)
        members[name] = _wrapped(
            service, of, name, function, given if missing or name in answers else function
        )
    for name in dir(of):
        member = _member(of, name)
        if (
            isinstance(member, property)
            and member.fget is not None
            and (name in answers or _is_open(of, name))
        ):
            answer = answers[name] if name in answers else _derived(of, name, member.fget)
            members[name] = property(lambda _, answer=answer: answer() if callable(answer) else answer)
    made = types.new_class(of.__name__, (of,), exec_body=lambda namespace: namespace.update(members))
    made.__module__, made.__qualname__ = of.__module__, of.__qualname__
    return made(*arguments, **options)


def _check(
    of: type,
    methods: Mapping[str, Callable[..., Any]],
    *,
    reads: Collection[str],
    answers: Mapping[str, Any],
    keys: Collection[str],
    errors: Sequence[Any],
) -> None:
    """Check the arguments of a double.

    Raises:
        UsageError: one is invalid.
    """
    for field, names in (("reads", reads), ("keys", keys)):
        if isinstance(names, str):
            raise UsageError(f"{field}: must be a list of names, got {names!r}; pass [{names!r}]")
    for field, names in (("reads", reads), ("answers", answers)):
        for name in names:
            if name not in methods and not (field == "answers" and isinstance(_member(of, name), property)):
                raise UsageError(f"{field}: must name methods of {of.__name__}, got {name!r}")
    arguments = {name for method in methods.values() for name in inspect.signature(method).parameters}
    if unknown := [name for name in keys if name not in arguments and name not in KEYS]:
        raise UsageError(f"keys: must name arguments of methods of {of.__name__}, got {unknown[0]!r}")
    if unknown := [value_shown(error) for error in errors if not callable(error)]:
        raise UsageError(f"errors: must be types of errors, or functions that make them, got {unknown[0]}")


def _member(of: type, name: str) -> Any:
    return None if name.startswith("_") else inspect.getattr_static(of, name, None)


def _method(of: type, name: str) -> Callable[..., Any] | None:
    """Return a public method that is not a generator; None for other members."""
    member = _member(of, name)
    if not inspect.isfunction(member):
        return None
    inner = inspect.unwrap(member)  # a context manager is a decorated generator
    return None if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner) else member


def _is_open(of: type, name: str) -> bool:
    """Return whether a member has no implementation: it is abstract, or a Protocol's."""
    home = next(one for one in of.__mro__ if name in vars(one))
    return getattr(home, "_is_protocol", False) or getattr(vars(home)[name], "__isabstractmethod__", False)


class _Call(NamedTuple):
    """A call of a method.

    Attributes:
        text: the method and its arguments, the same however they are passed.
        key: the idempotency key as text; None without one.
        run: runs the method.
    """

    method: str
    text: str
    key: str | None
    run: Callable[[], Any]


class _Request:
    """The sender of a request, while a server executes it: its effects are recorded, also after its death."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def effect(self, key: str) -> None:
        """Record an effect of the server."""
        self._watch.record_effect(key, called=True)

    def pass_line(self, line: int) -> None:
        """Do nothing at a point of the server's code, since it is another process."""


class _Service:
    """The state that all calls of a double share.

    Attributes:
        errors: the errors of calls that fail or are not answered.
    """

    def __init__(self, errors: tuple[Any, ...], reads: frozenset[str], keys: frozenset[str]) -> None:
        self.errors = errors
        self._reads = reads
        self._keys = keys
        self._kept: dict[tuple[str, str | None], tuple[str, Any]] = {}
        self._locks: dict[tuple[str, str | None], asyncio.Lock] = {}

    def call(self, of: type, name: str, signature: inspect.Signature, run: Any, given: Any) -> _Call:
        """Return a call with its arguments by name.

        Raises:
            TypeError: the method does not take these arguments.
        """
        me, args, kwargs = given
        bound = signature.bind(me, *args, **kwargs)
        bound.apply_defaults()
        _, *parameters = signature.parameters.values()
        said: dict[str, Any] = {}
        for one in parameters:
            value = bound.arguments[one.name]
            if one.kind is one.VAR_KEYWORD:
                said |= value
            elif one.kind is not one.VAR_POSITIONAL or value:
                said[one.name] = value
        first = next(iter(said), "")
        key = next(
            (said[key] for key in said if key in self._keys and (key != first or key == KEYS[0])), None
        )
        text = f"{of.__name__}.{name}({_shown(said)})"
        return _Call(name, text, None if key is None else _text(key), lambda: run(me, *args, **kwargs))

    def fail(self, call: _Call, index: int) -> Exception:
        """Return the error of a call that failed or was not answered."""
        error = self.errors[index % len(self.errors)]
        if isinstance(error, type):
            with suppress(TypeError):  # it takes no text
                return error(f"{call.text}: no answer")
        return error()

    def serve_inline(self, call: _Call, watch: Watch | None) -> Any:
        """Execute a call of a sync method, unless its key has been used."""
        place = (call.method, call.key)
        if call.key is not None and place in self._kept:
            return self._repeated(place, call)
        answer = call.run()
        self._happened(call, watch)
        if call.key is not None:
            self._kept[place] = call.text, answer
        return answer

    async def serve(self, call: _Call, watch: Watch | None) -> Any:
        """Execute a call of an async method, unless its key has been used; a call with the same key waits."""
        place = (call.method, call.key)
        async with self._locks.setdefault(place, asyncio.Lock()) if call.key is not None else asyncio.Lock():
            if call.key is not None and place in self._kept:
                return self._repeated(place, call)
            answer = await _settled(call.run())
            self._happened(call, watch)
            if call.key is not None:
                self._kept[place] = call.text, answer
            return answer

    def _repeated(self, place: tuple[str, str | None], call: _Call) -> Any:
        text, answer = self._kept[place]
        if text != call.text:
            raise UsageError(
                f"{call.text}: {call.key} must be used with the same arguments as before, in {text}; if it"
                " identifies something else, pass keys=() to zeke_sim.double"
            )
        return answer

    def _happened(self, call: _Call, watch: Watch | None) -> None:
        if watch is not None and call.method not in self._reads:
            watch.record_effect(call.text, called=True)


def _text(value: Any, depth: int = DEPTH) -> str:
    """Return an argument as text, the same in every run; of an object without one, its attributes."""
    text = repr(value)
    if _PLACE.search(text) is None:
        return text
    if isinstance(value, list | tuple):
        return (
            f"[{', '.join(_text(one, depth - 1) for one in cast('Sequence[Any]', value)) if depth else ''}]"
        )
    known: dict[str, Any] = {**getattr(value, "__dict__", {})}
    for kind in type(value).__mro__:
        slots: Any = vars(kind).get("__slots__", ())
        names: Sequence[str] = (slots,) if isinstance(slots, str) else tuple(slots)
        known |= {name: getattr(value, name) for name in names if hasattr(value, name)}
    return f"{type(value).__name__}({_shown(known, depth - 1)})" if known and depth else _PLACE.sub("", text)


def _shown(values: Mapping[str, Any], depth: int = DEPTH) -> str:
    return ", ".join(f"{name}={_text(value, depth)}" for name, value in values.items())


async def _settled(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _wrapped(service: _Service, of: type, name: str, function: Callable[..., Any], answer: Any) -> Any:
    """Return the method of the double."""
    signature = inspect.signature(function)
    run = answer if answer is function else _answering(answer)

    async def call_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch = HANDLER.get()
        if isinstance(watch, _Request):  # the double's own method calls another one
            return await _settled(run(self, *args, **kwargs))
        call = service.call(of, name, signature, run, (self, args, kwargs))
        return await (service.serve(call, None) if watch is None else _send(service, call, watch))

    def call_sync(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch = HANDLER.get()
        if isinstance(watch, _Request):
            return run(self, *args, **kwargs)
        call = service.call(of, name, signature, run, (self, args, kwargs))
        return service.serve_inline(call, None) if watch is None else _send_inline(service, call, watch)

    made = call_async if inspect.iscoroutinefunction(inspect.unwrap(function)) else call_sync
    made.__name__, made.__qualname__, made.__doc__ = (
        function.__name__,
        function.__qualname__,
        function.__doc__,
    )
    return made


def _answering(answer: Any) -> Callable[..., Any]:
    """Return a method that returns an answer, or calls the function that makes it."""

    def answered(_self: Any, *args: Any, **kwargs: Any) -> Any:
        return answer(*args, **kwargs) if callable(answer) else answer

    return answered


def _decide(service: _Service, call: _Call, watch: Watch, *, waits: bool) -> dict[str, Any]:
    """Decide about a call of a handler, and record its fault."""
    world = watch.node.world
    if world.loop.leaving:
        raise asyncio.CancelledError  # the run has ended, and its remaining tasks are being cancelled
    what = call.text.partition("(")[0]
    watch.calls[what] += 1
    if not world.faulty:
        return {}
    address = f"call/{watch.task}/{world.job_number(watch.job)}/{watch.attempt}/{what}/{watch.calls[what]}"
    knobs, errors = world.knobs, len(service.errors)
    decision: dict[str, Any] = (
        world.decisions.at(address, lambda draws: call_fault(draws, knobs, errors, waits=waits)) or {}
    )
    if (fault := decision.get("fault")) is not None:
        affected = (watch.affected(),)
        world.record_fault(watch.node, address, fault, decision.get("for"), affected=affected)
    return decision


def _send_inline(service: _Service, call: _Call, watch: Watch) -> Any:
    """Send the request of a sync method, which takes no time."""
    decision = _decide(service, call, watch, waits=False)
    fault = decision.get("fault")
    if fault == "call_refused":
        raise service.fail(call, decision["error"])
    token = HANDLER.set(_Request(watch))
    try:
        answer = service.serve_inline(call, watch)
    finally:
        HANDLER.reset(token)
    if fault == "call_lost":
        raise service.fail(call, decision["error"])
    return answer


async def _send(service: _Service, call: _Call, watch: Watch) -> Any:
    """Send the request of an async method, and wait for the answer."""
    decision = _decide(service, call, watch, waits=True)
    fault, back = decision.get("fault"), decision.get("back", TRIP)
    world = watch.node.world
    answer: asyncio.Future[Any] = world.loop.create_future()

    def arrive() -> None:
        if fault == "call_refused":
            world.later(back, deliver, service.fail(call, decision["error"]), None)
            return
        context = world.context.copy()
        context.run(HANDLER.set, _Request(watch))
        serving = world.loop.create_task(service.serve(call, watch), context=context)
        serving.add_done_callback(served, context=world.context)

    def served(serving: asyncio.Task[Any]) -> None:
        if not serving.cancelled():
            error = service.fail(call, decision["error"]) if fault == "call_lost" else serving.exception()
            world.later(back, deliver, error, None if error else serving.result())

    def deliver(error: BaseException | None, result: Any) -> None:
        if answer.done():  # cancelled by the handler's deadline
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    world.later(decision.get("wait", TRIP), arrive)
    return await answer


def _derived(of: type, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes answers of an annotated type: a text or a number for each call."""
    count = 0

    def answer(*_args: Any, **_kwargs: Any) -> Any:
        nonlocal count
        count += 1
        try:
            hint = typing.get_type_hints(function).get("return")
        except Exception:  # noqa: BLE001 - of any kind: an annotation that only a type checker can evaluate
            hint = function.__annotations__.get("return")
        value = _example(hint, f"{name}-{count}", count)
        if value is ...:
            raise Unscripted(
                f"{of.__name__}.{name}: no answer follows from its annotation {value_shown(hint)}; pass"
                f" answers={{{name!r}: …}} to zeke_sim.double, a value or a function"
            )
        return value

    return answer


def _example(hint: Any, text: str, number: int) -> Any:
    """Return a value of an annotated type, or ``...`` if none is known."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in {None, Any, type(None)}:
        return None
    if origin in {Union, types.UnionType}:
        return None if type(None) in parts else _example(parts[0], text, number)
    if origin is Literal:
        return parts[0]
    kind = origin or hint
    simple: dict[Any, Any] = {str: text, "str": text, int: number, float: float(number), bool: True}
    simple |= {bytes: text.encode(), "int": number, "bool": True, "None": None}
    if kind in simple:
        return simple[kind]
    empty: dict[Any, Any] = {Mapping: {}, Sequence: [], Collection: []}
    empty |= {made: made() for made in (list, dict, set, frozenset, tuple)}
    return empty.get(kind, ...)
