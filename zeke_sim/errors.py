"""Errors of the simulator, other than violations of properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

ADVICE: Final = {
    "socket": (
        "give the catalog a double of what speaks to the network (resources=..., or zeke_resources of a test)"
    ),
    "thread": "a sync handler runs inline here, and so does asyncio.to_thread; start no threads of your own",
    "subprocess": "give the catalog a double of the program; process=True handlers run inline here",
    "clock": "let the handler await asyncio.sleep, which takes virtual time; a sync handler can't wait here",
    "random": "draw from random.Random(seed) of your own, or say allow=['random'], which seeds it by the run",
}


class SimulationError(Exception):
    """The simulation cannot start or continue."""


class Outside(SimulationError):
    """Code reached outside of the simulated world, where a run cannot be repeated."""

    def __init__(self, what: str, kind: str = "socket") -> None:
        super().__init__(f"{what}: reaches outside of the simulation; {ADVICE[kind]}")
        self.what = what
        self.kind = kind


class SecondClock(Outside):
    """Code in a world sets another time than the virtual one."""

    def __init__(self, what: str) -> None:
        SimulationError.__init__(
            self,
            f"{what}: must not set the time of code that runs in virtual time, since there would be two "
            "clocks; remove it, begin at another time by start=…, and let time pass by zeke.advance(…), or "
            "by asyncio.sleep in a handler or a workload",
        )
        self.what = what
        self.kind = "second clock"


class Stalled(SimulationError):
    """A deadlock: no callback is ready and no timer is pending, but coroutines are still waiting."""

    def __init__(self, at: float) -> None:
        super().__init__(f"at {at:.3f} s all tasks wait, and no timer is left")


class Livelock(SimulationError):
    """A livelock: callbacks repeat at one instant without end.

    Attributes:
        callbacks: number of callbacks at that instant.
        last: the name of the last callback.
    """

    def __init__(self, node: str, at: float, callbacks: int, last: str) -> None:
        self.node = node
        self.at = at
        self.callbacks = callbacks
        self.last = last
        super().__init__(self.said([]))

    def said(self, running: Sequence[str]) -> str:
        """Return the message, with the handlers that ran on the node."""
        where = f"node {self.node}" + (f", which runs {', '.join(running)}" if running else "")
        return (
            f"{self.callbacks} callbacks at one instant ({self.at:.3f} s) on {where}: something there does "
            "not let time pass, such as a handler that swallows its cancellation; the last one ran "
            f"{self.last}"
        )
