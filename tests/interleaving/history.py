"""What clients asked and were answered, and when: the history by which an interleaving is judged.

Time is counted in ticks: one for each statement that begins or ends. A verb lasts from the first statement of
its that was released to the end of its last one, so of two verbs that did not overlap it is known which was
first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from zeke_queue.errors import ZekeError
from zeke_queue.model import NewJob

if TYPE_CHECKING:
    from collections.abc import Awaitable

COMMIT: Final = "commit"
ROLLBACK: Final = "rollback"
HOLD: Final = "hold"
"""What ends a transaction, and an application's own lock of jobs, beside the verbs of a storage."""


@dataclass(eq=False)
class Op:
    """One verb, of a storage or of an open transaction.

    Attributes:
        transaction: the number of the client's transaction that it belongs to; None is one of its own.
        answer: what came back; for an error of ours its type.
        begin: the tick at which its first statement was released.
        end: the tick at which its last statement had ended.
        statements: the names of those that it ran, repeated ones too.
        ended: of each the tick at which it had ended.
        waited: whether one of them was kept waiting, by another client or inside.
        kept: the names of those that another client kept waiting.
        undone: whether the server undid its transaction for the sake of another.
        deadlocked: whether that ended a deadlock.
        outrun: whether it was since a row had changed that it saw, which no plan of ours asked for.
        kept_by: the verbs of others that kept it waiting, or of whose transactions they were.
    """

    client: int
    verb: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    transaction: int | None = None
    answer: Any = None
    begin: int | None = None
    end: int = 0
    statements: list[str] = field(default_factory=list[str])
    ended: list[int] = field(default_factory=list[int])
    waited: bool = False
    kept: list[str] = field(default_factory=list[str])
    undone: bool = False
    deadlocked: bool = False
    outrun: bool = False
    kept_by: set[Op] = field(default_factory=set["Op"], repr=False)

    def __str__(self) -> str:
        where = "" if self.transaction is None else f" in t{self.transaction}"
        given = ", ".join(
            [*map(brief, self.arguments), *(f"{k}={brief(v)}" for k, v in self.options.items())]
        )
        waited = " (waited)" * self.waited + " (undone)" * self.undone
        return (
            f"[{self.begin:>3}–{self.end:>3}] client {self.client}{where}: {self.verb}({given})"
            f" -> {brief(self.answer)}{waited}"
        )


class History:
    """The verbs of all clients, in the order in which they were begun."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.tick = 0

    def next_tick(self) -> int:
        self.tick += 1
        return self.tick

    async def ask(self, op: Op, answer: Awaitable[Any]) -> Any:
        """Note a verb, do it and note what came of it; returns the answer."""
        self.ops.append(op)
        try:
            op.answer = await answer
        except ZekeError as error:
            op.answer = type(error)
            raise
        finally:
            op.end = self.next_tick()
            if op.begin is None:
                op.begin = op.end
        return op.answer

    def __str__(self) -> str:
        return "\n".join(map(str, self.ops))


def brief(value: Any) -> str:
    """Return a value for one line: ids as small numbers, jobs by their ids."""
    said = str(value)
    if isinstance(value, type):
        said = value.__name__
    elif isinstance(value, UUID):
        said = f"{value.int:x}" if value.int < 1 << 32 else said
    elif isinstance(value, NewJob):
        key = "" if value.singleton_key is None else f" key {value.singleton_key}"
        said = f"{brief(value.id)}@{value.name}{key}"
    elif hasattr(value, "_asdict"):
        said = f"{type(value).__name__}({', '.join(map(brief, value))})"
    elif isinstance(value, (list, tuple)):
        said = "[" + ", ".join(map(brief, value)) + "]"
    elif isinstance(value, (set, frozenset)):
        said = "{" + ", ".join(sorted(map(brief, value))) + "}"
    return said
