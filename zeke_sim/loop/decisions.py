"""Randomness of a simulation: every draw has an address, so that one more leaves the others alone.

A decision is a draw that changes what happens: a fault, a delay, another order. The decisions of a run are
its *plan*: given again, they make the same run, and one that is left out becomes the ordinary case.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

_WORD: Final = 6
_SCALE: Final = float(1 << (8 * _WORD))


class Draws:
    """Numbers that follow from a seed and an address."""

    __slots__ = ("_address", "_bytes", "_round", "_seed", "_used")

    def __init__(self, seed: bytes, address: str) -> None:
        self._seed = seed
        self._address = address.encode()
        self._bytes = b""
        self._used = 0
        self._round = 0

    def random(self) -> float:
        """Return a number from 0 up to, and without, 1."""
        used = self._used
        if used + _WORD > len(self._bytes):
            self._bytes = blake2b(self._address, key=self._seed, salt=self._round.to_bytes(16)).digest()
            self._round += 1
            used = 0
        self._used = used + _WORD
        return int.from_bytes(self._bytes[used : used + _WORD]) / _SCALE

    def chance(self, probability: float) -> bool:
        """Return True as often as this, 0 to 1."""
        return self.random() < probability

    def uniform(self, low: float, high: float) -> float:
        """Return a number between the two."""
        return low + (high - low) * self.random()

    def below(self, n: int) -> int:
        """Return a whole number from 0 up to, and without, n."""
        return int(self.random() * n)

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        return choices[int(self.random() * len(choices))]

    def tail(self, median: float, longest: float) -> float:
        """Return seconds with a heavy tail: a third of them below the median, none above the longest."""
        return min(longest, median * (1.0 / (1.0 - self.random()) - 0.5))

    def seed(self) -> int:
        """Return a whole number to seed something else with."""
        return int(self.random() * _SCALE)


class Decisions:
    """The decisions of a run: drawn, or taken from a plan.

    Args:
        seed: of all draws.
        given: the decisions of a plan by address; None draws them.

    Attributes:
        made: the decisions that were made, by address, in their order.
    """

    def __init__(self, seed: int, given: Mapping[str, Any] | None = None) -> None:
        self._seed = seed.to_bytes(16, signed=True)
        self.given = given
        self.made: dict[str, Any] = {}

    def at(self, address: str, draw: Callable[[Draws], Any]) -> Any:
        """Return the decision at an address: JSON, or None for the ordinary case.

        Args:
            address: says what is decided; each is asked for once.
            draw: makes the decision, unless a plan gives it.
        """
        decision = draw(Draws(self._seed, address)) if self.given is None else self.given.get(address)
        if decision is not None:
            self.made[address] = decision
        return decision

    def draws(self, address: str) -> Draws:
        """Return draws that are no decisions, such as those that make up the workload."""
        return Draws(self._seed, address)
