"""Doubles of classes with decorated methods, and calls with arguments that have no text of their own."""

from __future__ import annotations

import asyncio
import functools
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.sim.worlds import sending, simulated
from zeke_queue import Catalog, JobContext, UsageError
from zeke_sim import double
from zeke_sim.history.events import Effect, Ended
from zeke_sim.testing.environment import with_resources

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator


def decorated(method: Callable[..., Awaitable[str]]) -> Any:
    """Return a method that is not a coroutine function itself."""

    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Awaitable[str]:
        return method(*arguments, **options)

    return call


class Letter:
    """A letter without a text of its own."""

    def __init__(self, to: str, copies: int = 1) -> None:
        self.to = to
        self.copies = copies


class Slotted(Letter):
    """A letter whose attributes are in slots, too."""

    __slots__ = ("stamp",)

    def __init__(self, to: str, stamp: str) -> None:
        super().__init__(to)
        self.stamp = stamp


class Post:
    """A provider with connections."""

    def __init__(self) -> None:
        self.open = 0

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Post]:
        self.open += 1
        yield self
        self.open -= 1

    @contextmanager
    def batch(self) -> Generator[None]:
        yield

    @decorated
    async def send(self, letter: Letter) -> str:
        return f"sent to {letter.to}"

    @decorated
    async def send_once(self, letter: Letter, key: Any) -> str:
        return f"sent to {letter.to} for {key}"


def effects_of(handler: Callable[[Post], Awaitable[object]]) -> list[str]:
    """Return the effects of a task that is completed once."""
    catalog = Catalog()

    @catalog.task("look")
    async def look(job: JobContext) -> None:
        await handler(job.resources)

    outcome = simulated(with_resources(catalog, double(Post)), sending("look"), phase=20.0)
    assert [event.how for event in outcome.events if isinstance(event, Ended)] == ["returned"]
    return [event.key for event in outcome.events if isinstance(event, Effect)]


def test_context_managers_are_those_of_the_class_and_no_effects() -> None:
    async def handler(post: Post) -> None:
        async with post.connection() as opened:
            assert opened.open == 1
        async with post.connection():
            pass
        with post.batch():
            pass

    assert effects_of(handler) == []


def test_objects_are_distinguished_by_their_attributes() -> None:
    async def handler(post: Post) -> None:
        for letter in (Letter("ann"), Letter("bob"), Slotted("ann", "1"), Slotted("ann", "2")):
            await post.send(letter)
        await post.send_once(Letter("cleo"), [Letter("dan")])

    assert effects_of(handler) == [
        "Post.send(letter=Letter(to='ann', copies=1))",
        "Post.send(letter=Letter(to='bob', copies=1))",
        "Post.send(letter=Slotted(to='ann', copies=1, stamp='1'))",
        "Post.send(letter=Slotted(to='ann', copies=1, stamp='2'))",
        "Post.send_once(letter=Letter(to='cleo', copies=1), key=[Letter(to='dan', copies=1)])",
    ]


async def test_decorated_method_may_be_repeated_with_a_key_of_any_type() -> None:
    post, letter = double(Post), Letter("ann")
    first = await post.send_once(letter, ["a", 1])
    assert await post.send_once(letter, ["a", 1]) == first
    with pytest.raises(UsageError, match=r"\['a', 1\] must be used with the same arguments as before"):
        await post.send_once(Letter("bob"), ["a", 1])


def test_call_of_a_decorated_method_takes_time() -> None:
    async def handler(post: Post) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await post.send(Letter("ann"))
        assert loop.time() > before

    effects_of(handler)
