"""What goes wrong in a simulation, other than a property that does not hold."""

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
    """The simulation can't go on, or can't begin."""


class Outside(SimulationError):
    """Something reached outside of the simulated world, where nothing can be repeated."""

    def __init__(self, what: str, kind: str = "socket") -> None:
        super().__init__(f"{what}: reaches outside of the simulation; {ADVICE[kind]}")
        self.what = what
        self.kind = kind


class Stalled(SimulationError):
    """Nothing is ready, and no timer will ever ring: everybody waits for somebody else."""

    def __init__(self, at: float) -> None:
        super().__init__(f"at {at:.3f} s everybody waits, and nothing will happen any more")


class Livelock(SimulationError):
    """Something goes round in circles at one instant.

    Attributes:
        lane: the node.
        at: the instant.
        callbacks: how many there were.
        last: what the last one ran.
    """

    def __init__(self, lane: str, at: float, callbacks: int, last: str) -> None:
        self.lane = lane
        self.at = at
        self.callbacks = callbacks
        self.last = last
        super().__init__(self.said([]))

    def said(self, running: Sequence[str]) -> str:
        """Return the message, with what ran on the node."""
        where = f"node {self.lane}" + (f", which runs {', '.join(running)}" if running else "")
        return (
            f"{self.callbacks} callbacks at one instant ({self.at:.3f} s) on {where}: something there does "
            "not let time pass, such as a handler that swallows its cancellation; the last one ran "
            f"{self.last}"
        )
