"""A run: processes and a server, a phase in which faults are inflicted on them, and one that is quiet."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tests.interop.keys import add_key
from tests.torture import chaos
from tests.torture.cluster import Cluster, Decoder
from tests.torture.nodes import LinkedNode
from tests.torture.process import Part
from tests.torture.proxy import Link
from tests.torture.recording import Journal, recording
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core.leases import validity
from zeke_queue.storage.access import Scope
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.task.catalog import Catalog
from zeke_sim.history.events import Fault, Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.storage import Storage

ROOT: Final = Path(__file__).parents[2]
CAST: Final = {
    **dict.fromkeys(("w1", "w2", "w3"), "worker"),
    **dict.fromkeys(("k1", "k2"), "keeper"),
    "a1": "api",
    **dict.fromkeys(("c1", "c2"), "client"),
}
"""The processes by name."""

HARNESS: Final = "harness"
"""The node of a history that heals every fault."""

RULES: Final = ("lease", "poll", "shutdown_timeout", "sweep", "archive_after", "delete_after")
"""The options of a process that a history is judged by."""

PATIENCE: Final = 120.0
"""Seconds without progress after which remaining jobs count as abandoned: more than any pause of a healthy
run on any machine."""

CLOCK_MOVED: Final = 0.005
"""Seconds by which the wall clock may move against the monotonic one in a run."""

_SECONDS_A_LINE: Final = 5.0


@dataclass
class Outcome:
    """What came of a run."""

    folder: Path
    faults: Counter[str] = field(default_factory=Counter[str])
    tally: Counter[str] = field(default_factory=Counter[str])
    starts: int = 0
    complaints: list[str] = field(default_factory=list[str])


class Run:
    """One run on a server of its own."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int, seconds: float) -> None:
        self._cluster = cluster
        self._folder = folder
        self._seconds = seconds
        self._seed = seed
        self._clock = SystemClock()
        # Read at once: these two times merge the logs of the server and the processes.
        self._epoch, self._began = self._clock.monotonic(), self._clock.now()
        self._draw = SeededEntropy(seed).stream("harness")
        self._journal = Journal(folder / f"{HARNESS}.jsonl", HARNESS, self._epoch, len(CAST))
        self._decoder = Decoder(cluster, folder / "commits.jsonl")
        self._nodes: dict[str, LinkedNode] = {}
        self._on_link: Counter[str] = Counter()
        self._planned: Sequence[chaos.Planned] = []
        self._phase = "starts"
        self.outcome = Outcome(folder, tally=self._decoder.tally)
        example = Part("worker", "", 0, 0, "", "", self._epoch, seed)
        self._lease = validity(example.lease, example.sweep)
        about = {
            "seed": seed,
            "seconds": seconds,
            "began": self._began.isoformat(),
            "rules": {**{name: getattr(example, name) for name in RULES}, "lease": self._lease},
        }
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")

    async def run(self) -> Outcome:
        """Run everything; all started processes have ended afterwards, even after an error."""
        decoding = asyncio.ensure_future(self._decoder.run())
        progress = asyncio.ensure_future(self._tell())
        try:
            async with AsyncExitStack() as stack:
                await self._set_up(stack)
                self._begin("faults")
                await self._inflict_all()
                self._begin("quiet")
                await self._heal()
                await self._settle_down()
                self._begin("end")
                await self._dismiss()
        finally:
            for task in (decoding, progress):
                task.cancel()
            await asyncio.gather(decoding, progress, return_exceptions=True)
        await self._decoder.read_to_the_end()
        self._decoder.close()
        moved = (self._clock.now() - self._began).total_seconds() - (self._clock.monotonic() - self._epoch)
        if abs(moved) > CLOCK_MOVED:
            self.outcome.complaints.append(
                f"the machine's clock was set by {moved:.3f} s, so this history is in no order; run it again"
            )
        self._journal.close()
        self.outcome.starts = sum(node.starts for node in self._nodes.values())
        return self.outcome

    async def _set_up(self, stack: AsyncExitStack) -> None:
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zeke-links-")))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        token, caller = await self._add_key()
        for place, (name, role) in enumerate(CAST.items()):
            link = Link(self._cluster.socket, sockets / name)
            await link.start()
            stack.push_async_callback(link.stop)
            part = Part(
                role,
                name,
                place,
                0,
                self._cluster.dsn_over(link.host),
                str(self._folder / f"{name}.jsonl"),
                self._epoch,
                self._seed,
                port=port,
                token=token,
                caller=caller,
            )
            node = LinkedNode(part, link, self._journal, self._folder / f"{name}.log", ROOT)
            stack.push_async_callback(node.kill)
            self._nodes[name] = node
        self._planned = chaos.schedule(self._seed, self._seconds, list(CAST), self._lease)
        chaos.write(self._planned, self._folder / "schedule.jsonl")
        for node in self._nodes.values():
            await node.start()
        # Faults are for processes that work; how long one takes to be loaded depends on the machine.
        while not all(node.works for node in self._nodes.values()):
            for node in self._nodes.values():
                node.look()
                if node.failed:
                    raise RuntimeError(f"{node.failed[0]}; nothing was done to it yet")
            await self._clock.sleep(0.1)

    async def _add_key(self) -> tuple[str, str]:
        """Store an API key; return its text, and the id of its caller."""
        async with Queue.connect(Catalog(), self._cluster.dsn) as queue:
            token = await add_key(queue, "torture", Scope.ADMIN)
            (key,) = await parts_of(queue).storage.access.keys()
        return token, f"key:{key.id}"

    def _begin(self, phase: Literal["faults", "quiet", "end"]) -> None:
        self._phase = phase
        for node in self._nodes.values():
            node.troubled = phase != "end"
        self._journal.write(Phase(self._journal.at(), phase))

    # The fault phase

    async def _inflict_all(self) -> None:
        began = self._clock.monotonic()
        async with asyncio.TaskGroup() as faults:
            for planned in self._planned:
                await self._clock.sleep(began + planned.at - self._clock.monotonic())
                faults.create_task(self._inflict(planned))
                for node in self._nodes.values():
                    node.look()
            await self._clock.sleep(began + self._seconds - self._clock.monotonic())

    async def _inflict(self, planned: chaos.Planned) -> None:
        self.outcome.faults[planned.kind] += 1
        at = self._journal.at()
        until = at + planned.length if planned.length else None
        self._journal.write(Fault(at, planned.node, planned.address, planned.kind, until))
        if planned.node == "server":
            await self._inflict_on_server(planned)
        elif planned.kind in ("kill", "pause", "drain"):
            await self._inflict_on_process(planned, self._nodes[planned.node])
        else:
            hit = [n for n in self._nodes.values() if planned.node in (chaos.ALL, n.name)]
            await asyncio.gather(*(self._inflict_on_link(planned, node) for node in hit))

    async def _inflict_on_server(self, planned: chaos.Planned) -> None:
        match planned.kind:
            case "restart-fast":
                await self._cluster.restart("fast")
            case "restart-immediate":
                await self._cluster.restart("immediate")
            case "kill-backend":
                await self._cluster.kill_backend(self._draw)
            case kind:
                await self._cluster.disturb(self._draw, end=kind == "end-backend")

    async def _inflict_on_process(self, planned: chaos.Planned, node: LinkedNode) -> None:
        match planned.kind:
            case "kill":
                await node.kill()
                await self._clock.sleep(planned.length)
                await node.start()
            case "pause":
                if await node.pause():
                    await self._clock.sleep(planned.length)
                    node.resume()
            case _:
                # A partitioned one can't deregister, and its operator would not wait forever either.
                if not await node.drain(patience=15.0):
                    self.outcome.faults["drain, then kill"] += 1
                await node.start()

    async def _inflict_on_link(self, planned: chaos.Planned, node: LinkedNode) -> None:
        link = node.link
        self._on_link[node.name] += 1
        try:
            match planned.kind:
                case "cut":
                    link.cut()
                case "cut-up":
                    link.cut("up")
                case "cut-down":
                    link.cut("down")
                case "drop":
                    link.drop()
                case "refuse":
                    link.refuse()
                    link.drop()
                case "lose-answer" | "lose-rows":
                    link.lose_answer(int(planned.size), with_rows=planned.kind == "lose-rows")
                    return
                case "half-close-up":
                    link.half_close("up")
                case "half-close-down":
                    link.half_close("down")
                case _:
                    link.delay(lambda: self._draw.lognormvariate(0, 1.5) * planned.size)
            await self._clock.sleep(planned.length)
        finally:
            self._on_link[node.name] -= 1
            # Faults of one link that overlap all end with the last of them.
            if not self._on_link[node.name] and planned.kind not in ("lose-answer", "lose-rows", "drop"):
                link.heal()

    # The quiet phase

    async def _heal(self) -> None:
        """End all faults: links, processes, the server; and no program sends any more."""
        await self._cluster.answers()
        for node in self._nodes.values():
            node.link.heal()
            node.resume()
            await node.start()
        await self._stop([node for node in self._nodes.values() if node.part.role == "client"])

    async def _settle_down(self) -> None:
        """Wait until every job has ended, was archived and purged; a standstill is a complaint."""
        before, since = (-1, -1), self._clock.monotonic()
        async with PostgresStorage.open(self._cluster.dsn, max_size=2, listen=False) as plain:
            storage = recording(plain, self._journal)
            while True:
                await self._calm(storage)
                left = await self._cluster.left()
                if left[0] == 0:
                    return
                if left != before:
                    before, since = left, self._clock.monotonic()
                elif self._clock.monotonic() - since > PATIENCE:
                    still = f"nothing has moved for {PATIENCE:g} s in the quiet phase"
                    self.outcome.complaints.append(f"{still}; {left[0]} jobs are left")
                    return
                for node in self._nodes.values():
                    node.look()
                await self._clock.sleep(0.5)

    async def _calm(self, storage: Storage) -> None:
        """Start and pause nothing from now on.

        Again and again: what was under way when all was healed, a scheduler that has just been started, may
        declare and pause once more.
        """
        for schedule in await storage.schedules():
            await storage.delete_schedule(schedule.name)
        for queue in await storage.queues():
            if queue.paused_on is not None:
                await storage.pause_queue(queue.name, paused=False)

    async def _dismiss(self) -> None:
        await self._stop(list(self._nodes.values()))
        for node in self._nodes.values():
            self.outcome.complaints += node.failed

    async def _stop(self, nodes: Sequence[LinkedNode]) -> None:
        stopped = await asyncio.gather(*(node.drain(PATIENCE) for node in nodes))
        for node, by_itself in zip(nodes, stopped, strict=True):
            if not by_itself:
                self.outcome.complaints.append(
                    f"{node.name} was told to stop {PATIENCE:g} s ago, and has not"
                )

    async def _tell(self) -> None:
        while True:
            await self._clock.sleep(_SECONDS_A_LINE)
            tally, faults = self._decoder.tally, self.outcome.faults
            words = (
                "sent",
                "active",
                "retry",
                "completed",
                "failed",
                "expired",
                "cancelled",
                "archived",
                "purged",
            )
            jobs = ", ".join(f"{tally[word]} {word.replace('active', 'claims')}" for word in words)
            say(f"{self._journal.at():5.0f} s  {self._phase:6}  {jobs}; {faults.total()} faults")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
