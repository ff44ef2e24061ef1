"""Randomness of a simulation: every draw has an address, so that an additional draw does not affect others.

A decision is a draw that changes the run: a fault, a delay, another order. The decisions of a run are part of
its *plan*, which repeats the run; a decision that is removed from it becomes the default.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

_WORD: Final = 6
_SCALE: Final = float(1 << (8 * _WORD))


class RandomStream:
    """Random numbers determined by a seed and an address."""

    __slots__ = ("_address", "_bytes", "_round", "_seed", "_used")

    def __init__(self, seed: bytes, address: str) -> None:
        self._seed = seed
        self._address = address.encode()
        self._bytes = b""
        self._used = 0
        self._round = 0

    def random(self) -> float:
        """Return a number from 0 (inclusive) to 1 (exclusive)."""
        used = self._used
        if used + _WORD > len(self._bytes):
            self._bytes = blake2b(self._address, key=self._seed, salt=self._round.to_bytes(16)).digest()
            self._round += 1
            used = 0
        self._used = used + _WORD
        return int.from_bytes(self._bytes[used : used + _WORD]) / _SCALE

    def chance(self, probability: float) -> bool:
        """Return True with a probability from 0 to 1."""
        return self.random() < probability

    def uniform(self, low: float, high: float) -> float:
        """Return a number between ``low`` and ``high``."""
        return low + (high - low) * self.random()

    def below(self, n: int) -> int:
        """Return an integer from 0 (inclusive) to ``n`` (exclusive)."""
        return int(self.random() * n)

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        return choices[int(self.random() * len(choices))]

    def tail(self, median: float, longest: float) -> float:
        """Return seconds with a heavy tail: a third of them below ``median``, none above ``longest``."""
        return min(longest, median * (1.0 / (1.0 - self.random()) - 0.5))

    def seed(self) -> int:
        """Return an integer for use as a seed."""
        return int(self.random() * _SCALE)


class Decisions:
    """The decisions of a run: drawn, or taken from a plan.

    Args:
        given: the decisions of a plan by address; None to draw them.

    Attributes:
        made: the decisions made so far, by address, in order.
    """

    def __init__(self, seed: int, given: Mapping[str, Any] | None = None) -> None:
        self._seed = seed.to_bytes(16, signed=True)
        self.given = given
        self.made: dict[str, Any] = {}

    def at(self, address: str, draw: Callable[[RandomStream], Any]) -> Any:
        """Return the decision at an address: a JSON value, or None for the default.

        Args:
            address: the decision's address; each may be used only once.
            draw: draws the decision if no plan is given.
        """
        decision = draw(RandomStream(self._seed, address)) if self.given is None else self.given.get(address)
        if decision is not None:
            self.made[address] = decision
        return decision

    def stream(self, address: str) -> RandomStream:
        """Return random numbers that are not decisions, such as those of the workload."""
        return RandomStream(self._seed, address)
