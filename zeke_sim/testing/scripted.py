"""A client whose answers a test writes beforehand: it records calls, and refuses one without an answer."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__tracebackhide__ = True  # of a failing test: its own lines say more


class Unscripted(AssertionError):
    """A call for which the test gave no answer."""


class Call(NamedTuple):
    """A call that was made: of which method, with what."""

    method: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __str__(self) -> str:
        said = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.method}({', '.join(said)})"


class Scripted:
    """A double for any client with async methods.

    ::

        payments = Scripted("payments")
        payments.on("charge", 1999).answers({"id": "ch_1"})
        payments.on("charge").raises(TimeoutError())
        await payments.charge(1999)

    Answers are used up in the order in which they were written, each by the first call that fits it. One that
    was said to be for ``always`` stays.

    Args:
        name: what messages call it.
        sync: whether its methods are plain ones.
        effect: is called with each call before it is answered, as to tell a simulation of an effect.

    Attributes:
        calls: what was called so far.
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
        """Begin to write an answer to a call.

        Args:
            method: its name.
            *args: those that the call has to begin with; none fits any.
            **kwargs: those that it has to have, among others.
        """
        line = Line(method, args, kwargs)
        self._lines.append(line)
        return line

    def called(self, method: str) -> list[Call]:
        """Return the calls of a method."""
        return [call for call in self.calls if call.method == method]

    def assert_all_used(self) -> None:
        """Check that every answer was used, and every call answered, in a job that is retried too.

        Raises:
            AssertionError: some were not.
        """
        if self._refused:
            raise AssertionError(f"{self._name}: no answer was written for {', '.join(self._refused)}")
        left = [str(line) for line in self._lines if not line.stays]
        if left:
            raise AssertionError(f"{self._name}: never called: {', '.join(left)}; {self._said()}")

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
        return f"there are answers for {left}" if left else "there are none left"

    def _said(self) -> str:
        made = ", ".join(map(str, self.calls))
        return f"calls were {made}" if made else "nothing was called"


class Line:
    """A line of a script: a call, and its answer.

    Attributes:
        stays: whether it answers any number of calls.
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
        """Make the call raise."""

        def give(_call: Call) -> Any:
            raise error

        self._give = give
        return self

    def does(self, function: Callable[..., Any]) -> Line:
        """Make the call return a function's result; the function may be async if the client is."""
        self._give = lambda call: function(*call.args, **call.kwargs)
        return self

    def always(self) -> Line:
        """Answer any number of calls."""
        self.stays = True
        return self

    def fits(self, call: Call) -> bool:
        """Return whether it answers a call."""
        mine = self._call
        return (
            mine.method == call.method
            and call.args[: len(mine.args)] == mine.args
            and all(name in call.kwargs and call.kwargs[name] == value for name, value in mine.kwargs.items())
        )

    def give(self, call: Call) -> Any:
        """Return the answer, or raise it."""
        if self._give is None:
            raise Unscripted(
                f"{self}: what does it answer? Write .answers(…), .raises(…) or .does(…) after it"
            )
        return self._give(call)

    def __str__(self) -> str:
        return str(self._call)
