"""The AI of a simulated newsroom: one service for all workers, that is late, refuses, babbles and goes away.

Each worker's process asks it through a rate limit of its own, as in production; the service records which
process called when, so that the limit can be judged by what arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pydantic import BaseModel

from zeke_sim.loop.decisions import RandomStream
from zeke_sim.world.node import Node
from zeke_tasks.ai.client import AIClient, Answer, Embedded, M, Prompt, Quote
from zeke_tasks.ai.errors import AIMalformed, AIRateLimited, AIRefused, AIUnavailable
from zeke_tasks.ai.limited import Limited
from zeke_tasks.testing.ai import EMBED, Says, ScriptedAI

KINDS: Final = ("analyze-story", "generate-brief", EMBED)

SHORT: Final = {"one_liner": "It is.", "two_liner": "It is.", "elevator": "It is. It was. It will be."}
"""Variants of a brief, one of them not as requested."""

MINUTE: Final = 60.0
"""Seconds of the window in which calls of a process are counted: independent of the limit's own code."""

_ROUNDING: Final = 1e-6
"""Seconds that the difference of two times may be wrong by."""


class Call(NamedTuple):
    """A call that arrived: of which process, and when, by the monotonic clock that its limit uses."""

    node: str
    incarnation: int
    at: float


class Outage(NamedTuple):
    """A time without answers, in seconds."""

    since: float
    until: float


class FakeAI:
    """The service.

    Args:
        per_minute: requests that each process may begin within a minute.
        patience: seconds that a request waits in its process before it is deferred.
        outages: when no call is answered.
        late: seconds that an answer takes.

    Attributes:
        script: its answers.
        calls: those that arrived, in order.
    """

    def __init__(
        self, *, per_minute: int, patience: float, outages: Sequence[Outage] = (), late: float = 1.0
    ) -> None:
        self.per_minute = per_minute
        self._patience = patience
        self._outages = outages
        self.script = ScriptedAI(late=late)
        self.calls: list[Call] = []

    def client(self, node: Node) -> AIClient:
        """Return what a worker's process asks by."""
        return Limited(
            _Line(self, node),
            node.clock,
            requests_per_minute=self.per_minute,
            at_once=4,
            patience=self._patience,
        )

    def note(self, node: Node) -> None:
        """Note a call that arrives.

        Raises:
            AIUnavailable: no call is answered now.
        """
        self.calls.append(Call(node.name, node.incarnation, node.clock.monotonic()))
        now = node.world.time()
        if any(outage.since <= now < outage.until for outage in self._outages):
            raise AIUnavailable("the scripted AI is away")


class _Line:
    """The way of one process to the service."""

    def __init__(self, ai: FakeAI, node: Node) -> None:
        self._ai = ai
        self._node = node

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        self._ai.note(self._node)
        return await self._ai.script.ask(prompt, text, answer)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self._ai.note(self._node)
        return await self._ai.script.embed(texts)

    def quote(
        self, texts: Sequence[str], prompt: Prompt | None = None, answer: type[BaseModel] | None = None
    ) -> Quote:
        return self._ai.script.quote(texts, prompt, answer)


def too_often(calls: Iterable[Call], per_minute: int) -> str | None:
    """Return the process that exceeded its limit within a minute; None if none did.

    The limit is a process's own, by its clock: two workers may call twice as often, and one that is started
    anew begins to count anew.
    """
    begun: dict[tuple[str, int], list[float]] = {}
    for node, incarnation, at in calls:
        times = begun.setdefault((node, incarnation), [])
        times.append(at)
        if len(times) > per_minute and at - times[-1 - per_minute] < MINUTE - _ROUNDING:
            first = times[-1 - per_minute]
            return (
                f"{node} began {per_minute + 1} calls within {at - first:.3f} s, from {first:.3f} s on by its"
                f" clock; {per_minute} within {MINUTE:g} s are allowed"
            )
    return None


def draw_ai(draws: RandomStream, topics: Sequence[str], phase: float) -> FakeAI:
    """Draw a service that meets some topics badly, before it answers, and is away now and then."""
    outages: list[Outage] = []
    for _ in range(draws.pick((0, 1, 2))):
        since = draws.uniform(0.0, 0.9 * phase)
        outages.append(Outage(since, min(since + draws.tail(300.0, 6 * 3600.0), 0.95 * phase)))
    ai = FakeAI(
        per_minute=draws.pick((1, 2, 3, 5, 8, 20)),
        patience=draws.pick((5.0, 30.0)),
        outages=outages,
        late=draws.pick((0.2, 1.0, 8.0)),
    )
    for topic in topics:
        if draws.chance(0.2):
            troubles = [_trouble(draws) for _ in range(1 + draws.below(4))]
            kind = draws.pick(KINDS)
            ai.script.put(kind, *(_of(kind, trouble) for trouble in troubles), None, about=topic)
    return ai


def _of(kind: str, trouble: Exception) -> Says:
    """Return a trouble of a kind of call: for briefs, a variant that is too short instead of no answer."""
    return SHORT if kind == "generate-brief" and isinstance(trouble, AIMalformed) else trouble


def _trouble(draws: RandomStream) -> Exception:
    match draws.below(5):
        case 0:
            return AIRateLimited(draws.pick((5.0, 60.0, 600.0)))
        case 1:
            return AIRateLimited(None)
        case 2:
            return AIUnavailable("the scripted AI is overloaded", retry_after=draws.pick((None, 10.0)))
        case 3:
            return AIRefused("the scripted AI does not like it")
        case _:
            return AIMalformed("the scripted AI babbles")
