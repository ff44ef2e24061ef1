"""Randomness: named streams, and ids; the only source of it in the package.

A stream is named after what it decides (``retry``, ``id``), so that an extra draw in one place does not
change the others. The simulator supplies seeded streams, production those of the operating system.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from zeke_queue.system.clock import Clock

_COUNTER_MAX: Final = 0xFFF
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Entropy(Protocol):
    """The source of randomness."""

    def stream(self, name: str) -> random.Random:
        """Return the stream with this name: the same object at each call."""
        ...


class SystemEntropy:
    """Streams of the operating system, which no other process shares, not even a forked one."""

    def __init__(self) -> None:
        self._streams: dict[str, random.Random] = {}

    def stream(self, name: str) -> random.Random:
        """Return the stream with this name."""
        if name not in self._streams:
            self._streams[name] = random.SystemRandom()
        return self._streams[name]


class SeededEntropy:
    """Streams derived from one seed, for tests and simulations: equal seeds give equal draws."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._streams: dict[str, random.Random] = {}

    def stream(self, name: str) -> random.Random:
        """Return the stream with this name, seeded by the seed and the name."""
        if name not in self._streams:
            self._streams[name] = random.Random(f"{self._seed}/{name}")  # noqa: S311 - must be reproducible
        return self._streams[name]


class Ids:
    """Makes UUIDv7 ids, which sort by creation time; those of one instance strictly so.

    Source: RFC 9562, section 5.7, with the 12 bits of ``rand_a`` as a counter (section 6.2, method 1).
    """

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._random = entropy.stream("id")
        self._last_ms = 0
        self._counter = 0

    def __call__(self) -> UUID:
        """Return the next id."""
        ms = (self._clock.now() - _EPOCH) // _MILLISECOND
        if ms > self._last_ms:
            self._last_ms, self._counter = ms, self._random.getrandbits(10)
        else:
            self._counter += 1
            if self._counter > _COUNTER_MAX:
                self._last_ms, self._counter = self._last_ms + 1, 0
        value = (self._last_ms & 0xFFFF_FFFF_FFFF) << 80
        value |= 0x7 << 76 | self._counter << 64 | 0b10 << 62 | self._random.getrandbits(62)
        return UUID(int=value)
