"""A test double with scripted answers: it records calls and raises for one without an answer."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__tracebackhide__ = True  # pytest then shows the test's own lines


class Unscripted(AssertionError):
    """A call for which the test gave no answer."""


class Call(NamedTuple):
    """A recorded call: the method and its arguments."""

    method: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __str__(self) -> str:
        said = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.method}({', '.join(said)})"


class Scripted:
    """A test double for a client with async methods.

    ::

        payments = Scripted("payments")
        payments.on("charge", 1999).answers({"id": "ch_1"})
        payments.on("charge").raises(TimeoutError())
        await payments.charge(1999)

    Each call consumes the first matching answer, in the order they were written. An answer marked
    ``always`` is never consumed.

    Args:
        name: the client's name in messages.
        sync: whether its methods are sync.
        effect: called with each call before it is answered, for example to record an effect in a simulation.

    Attributes:
        calls: the calls so far.
    """

    def __init__(
        self, name: str = "client", *, sync: bool = False, effect: Callable[[Call], object] | None = None
    ) -> None:
        self._name = name
        self._sync = sync
        self._effect = effect
        self._lines: list[Line] = []
        self._refused: list[str] = []
        self.calls: list[Call] = []

    def on(self, method: str, *args: Any, **kwargs: Any) -> Line:
        """Add an answer to a call; set it on the returned line.

        Args:
            *args: the first positional arguments of the call; none matches any call.
            **kwargs: keyword arguments that the call must have; others are allowed.
        """
        line = Line(method, args, kwargs)
        self._lines.append(line)
        return line

    def called(self, method: str) -> list[Call]:
        """Return the calls of a method."""
        return [call for call in self.calls if call.method == method]

    def assert_all_used(self) -> None:
        """Assert that every answer was used and every call answered, even if a retried job hid a failure.

        Raises:
            AssertionError: an answer is unused, or a call had no answer.
        """
        if self._refused:
            raise AssertionError(f"{self._name}: no answer was written for {', '.join(self._refused)}")
        left = [str(line) for line in self._lines if not line.stays]
        if left:
            raise AssertionError(f"{self._name}: never called: {', '.join(left)}; {self._remaining()}")

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._answer(Call(method, args, kwargs))

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            answer = self._answer(Call(method, args, kwargs))
            return await answer if inspect.isawaitable(answer) else answer

        return call if self._sync else call_async

    def _answer(self, call: Call) -> Any:
        line = next((one for one in self._lines if one.fits(call)), None)
        self.calls.append(call)
        if self._effect is not None:
            self._effect(call)
        if line is None:
            self._refused.append(str(call))
            raise Unscripted(
                f"{self._name}.{call}: no answer was written for this call; {self._expected()}. Write one "
                f"with .on({call.method!r}, …).answers(…)"
            )
        if not line.stays:
            self._lines.remove(line)
        return line.give(call)

    def _expected(self) -> str:
        left = ", ".join(map(str, self._lines))
        return f"answers are left for {left}" if left else "no answers are left"

    def _remaining(self) -> str:
        made = ", ".join(map(str, self.calls))
        return f"calls were {made}" if made else "nothing was called"


class Line:
    """A scripted call and its answer.

    Attributes:
        stays: whether the answer is reused for any number of calls.
    """

    def __init__(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._call = Call(method, args, kwargs)
        self._give: Callable[[Call], Any] | None = None
        self.stays = False

    def answers(self, value: Any = None) -> Line:
        """Make the call return a value."""
        self._give = lambda _call: value
        return self

    def raises(self, error: BaseException | type[BaseException]) -> Line:
        """Make the call raise an error."""

        def give(_call: Call) -> Any:
            raise error

        self._give = give
        return self

    def does(self, function: Callable[..., Any]) -> Line:
        """Make the call return a function's result; an async client accepts an async function."""
        self._give = lambda call: function(*call.args, **call.kwargs)
        return self

    def always(self) -> Line:
        """Answer any number of calls."""
        self.stays = True
        return self

    def fits(self, call: Call) -> bool:
        """Return whether this line matches a call."""
        mine = self._call
        return (
            mine.method == call.method
            and call.args[: len(mine.args)] == mine.args
            and all(name in call.kwargs and call.kwargs[name] == value for name, value in mine.kwargs.items())
        )

    def give(self, call: Call) -> Any:
        """Return the answer, or raise its error."""
        if self._give is None:
            raise Unscripted(
                f"{self}: what does it answer? Write .answers(…), .raises(…) or .does(…) after it"
            )
        return self._give(call)

    def __str__(self) -> str:
        return str(self._call)
