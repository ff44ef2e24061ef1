"""The part of the machine that acts as the HTTP API does: keys, sessions, limits, lists of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.model import strategies as draw

if TYPE_CHECKING:
    from tests.model.pair import Pair


class CallersMachine(RuleBasedStateMachine):
    """Rules on what no worker has to do with."""

    pair: ClassVar[Pair]

    @rule(steps=draw.steps_of_access)
    def let_in(self, steps: list[tuple[Any, ...]]) -> None:
        for verb, *arguments in steps:
            self.pair.both(verb, *arguments)

    @rule(
        callers=st.lists(draw.callers, min_size=1, max_size=4),
        limit=st.sampled_from([1, 2, 3]),
        window=st.sampled_from([0.5, 5.0, 60.0]),
    )
    def call(self, callers: list[str], limit: int, window: float) -> None:
        for caller in callers:
            self.pair.both("acquire", caller, limit, window)

    @rule(
        names=st.sampled_from([(), ("a",), ("b", "a")]),
        spans=st.sampled_from([(1, 1), (30, 5), (3600, 60), (86_400, 7_000)]),
    )
    def look_at_all(self, names: tuple[str, ...], spans: tuple[int, int]) -> None:
        self.pair.both("throughput", names, *spans)
