"""Forwards every call of a storage through one function, which may record, delay, break or move it.

The verbs are read from the protocols once, at import, and each becomes a method. Blocks are calls too: a
transaction is ``begin``, then ``commit`` or ``rollback``; a change feed ``subscribe``, then ``unsubscribe``.
Members that are not coroutines, such as ``on_commit``, go to the target directly.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Collection, Mapping
from contextlib import asynccontextmanager
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from zeke_queue.storage import Storage
from zeke_queue.storage.access import Access
from zeke_queue.storage.inspect import ChangeFeed
from zeke_queue.storage.jobs import Transaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from typing import TypeAlias

    Invoke: TypeAlias = Callable[["Call", Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Call(NamedTuple):
    """One call of a storage.

    Attributes:
        verb: the method's name in its protocol, or the name of a block's beginning or end.
        arguments: by name, with defaults, collections as tuples; at the end of a block the value that it
            ``opened``.
        transaction: the number of the transaction it belongs to, from 1 for each ``forward``; None outside.
    """

    verb: str
    arguments: Mapping[str, Any]
    transaction: int | None = None


Rewrites: TypeAlias = Mapping[str, "Callable[[Call], Call]"]
NO_REWRITES: Final[Rewrites] = MappingProxyType({})


def forward(target: Storage, invoke: Invoke, *, rewrite: Rewrites = NO_REWRITES) -> Storage:
    """Return a storage that passes each call to ``invoke``, with a function that makes it on ``target``.

    Args:
        target: the storage that does the work.
        invoke: returns the answer of a call; its result for ``begin`` and ``subscribe`` is the
            transaction or the change feed that further calls of the block are made on.
        rewrite: changes the calls of some verbs before ``invoke`` and ``target`` see them.
    """
    return cast("Storage", _ForwardedStorage(target, invoke, rewrite))


class _Forwarder:
    """What the generated classes share."""

    def __init__(self, target: Any, invoke: Invoke, rewrite: Rewrites, number: int | None = None) -> None:
        self._target = target
        self._invoke = invoke
        self._rewrite = rewrite
        self._number = number

    def _rewritten(self, call: Call) -> Call:
        return self._rewrite[call.verb](call) if call.verb in self._rewrite else call


def _of(protocol: type) -> Callable[[type[_Forwarder]], type[_Forwarder]]:
    """Give a class a method for each coroutine of a protocol, and a property for each other member."""

    def generate(forwarder: type[_Forwarder]) -> type[_Forwarder]:
        for name in _names(protocol) - vars(forwarder).keys():
            member = getattr(protocol, name)
            made = inspect.iscoroutinefunction(member) and _method(name, inspect.signature(member))
            setattr(forwarder, name, made or property(attrgetter(f"_target.{name}")))
        return forwarder

    return generate


def _names(protocol: type) -> set[str]:
    return {name for one in protocol.__mro__ for name in vars(one) if not name.startswith("_")}


def _method(name: str, signature: inspect.Signature) -> Callable[..., Any]:
    parameters = list(signature.parameters.values())[1:]
    names = tuple(one.name for one in parameters)
    plain = sum(one.kind is not one.KEYWORD_ONLY for one in parameters)
    defaults = {one.name: one.default for one in parameters if one.default is not one.empty}

    async def method(self: Any, *args: Any, **options: Any) -> Any:
        given = {**defaults, **dict(zip(names, args, strict=False)), **options}
        if len(args) > plain or len(given) != len(names) or not options.keys().isdisjoint(names[: len(args)]):
            signature.bind(self, *args, **options)  # raises the same error as a call of the method
        call = self._rewritten(Call(name, {one: _frozen(given[one]) for one in names}, self._number))
        made = getattr(self._target, name)
        return await self._invoke(call, lambda: made(**call.arguments))

    method.__name__ = name
    return method


def _frozen(value: Any) -> Any:
    """Return an argument that no later change of the caller's collection reaches."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[Any, Any]", value))
    if isinstance(value, Collection) and not isinstance(value, str | bytes | tuple):
        return tuple(cast("Collection[Any]", value))
    return cast("object", value)


_ForwardedAccess, _ForwardedFeed, _ForwardedTransaction = (
    _of(protocol)(type(f"_Forwarded{protocol.__name__}", (_Forwarder,), {}))
    for protocol in (Access, ChangeFeed, Transaction)
)


@_of(Storage)
class _ForwardedStorage(_Forwarder):
    """A storage."""

    access: Any = None

    def __init__(self, target: Storage, invoke: Invoke, rewrite: Rewrites) -> None:
        super().__init__(target, invoke, rewrite)
        self._numbers = itertools.count(1)
        self.access = _ForwardedAccess(target.access, invoke, rewrite)

    def heartbeat_connection(self) -> None:
        """Return None: heartbeats pass through the one function as well."""

    def transaction(self, connection: Any = None, *, own: bool = False) -> AbstractAsyncContextManager[Any]:
        arguments = {"connection": connection, "own": own}
        begin = self._rewritten(Call("begin", arguments, next(self._numbers)))
        block = self._target.transaction(**begin.arguments)
        return self._block(block, begin, ("commit", "rollback"), _ForwardedTransaction)

    def subscribe(self) -> AbstractAsyncContextManager[Any]:
        block = self._target.subscribe()
        return self._block(block, Call("subscribe", {}), ("unsubscribe", "unsubscribe"), _ForwardedFeed)

    @asynccontextmanager
    async def _block(self, block: Any, begin: Call, ends: tuple[str, str], kind: Any) -> AsyncGenerator[Any]:
        opened, number = await self._invoke(begin, block.__aenter__), begin.transaction
        well, badly = (Call(end, {"opened": opened}, number) for end in ends)
        try:
            yield kind(opened, self._invoke, self._rewrite, number)
        except BaseException as error:
            why = (type(error), error, error.__traceback__)
            if not await self._invoke(badly, lambda: block.__aexit__(*why)):
                raise
        else:
            await self._invoke(well, lambda: block.__aexit__(None, None, None))
