"""What goes wrong in a simulation, other than a property that does not hold."""

from __future__ import annotations

from typing import Final

ADVICE: Final = {
    "socket": "give the catalog a double of what speaks to the network (resources=...)",
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
        job: what ran there, if that is known.
    """

    def __init__(self, lane: str, at: float, callbacks: int, handle: object, running: str = "") -> None:
        super().__init__(
            f"{callbacks} callbacks at one instant ({at:.3f} s) on node {lane}{running}: something there "
            "does not let time pass, such as a handler that swallows its cancellation; the last was "
            f"{handle!r}"
        )
        self.lane = lane
        self.at = at
        self.handle = handle
