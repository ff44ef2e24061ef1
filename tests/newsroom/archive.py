"""The rows of a simulated newsroom, with every value that jobs stored: a row has only the last one."""

from __future__ import annotations

from typing import Literal, NamedTuple
from uuid import UUID

from zeke_queue.system.clock import Clock
from zeke_tasks.store.analysis import Analysis, Brief
from zeke_tasks.store.memory import MemoryRepository, MemoryRows
from zeke_tasks.store.repository import OpenTransaction


class Kept(NamedTuple):
    """What a job has kept of a story, in a transaction that was committed."""

    what: Literal["analysis", "brief"]
    story: UUID
    job: UUID | None


class Archive(MemoryRepository):
    """The store, with a record of the values stored in it.

    Attributes:
        kept: in the order of the commits; of one story that is the order in which it was locked, too.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.kept: list[Kept] = []

    def within(self, transaction: OpenTransaction) -> MemoryRows:
        """Return the verbs as part of a transaction; all calls for one transaction see the same."""
        is_new = id(transaction) not in self._open
        rows = super().within(transaction)
        if is_new:
            self._note(rows, transaction)
        return rows

    def _note(self, rows: MemoryRows, transaction: OpenTransaction) -> None:
        """Record the values that a transaction stores, if it commits, even if they are unchanged."""
        noted: list[Kept] = []
        put_analysis, put_brief = rows.put_analysis, rows.put_brief

        async def analysis_put(story_id: UUID, analysis: Analysis) -> bool:
            if done := await put_analysis(story_id, analysis):
                noted.append(Kept("analysis", story_id, analysis.analysed_by))
            return done

        async def brief_put(story_id: UUID, brief: Brief) -> bool:
            # A job whose brief lacks a variant stores it again with that.
            if (done := await put_brief(story_id, brief)) and not brief.missing:
                noted.append(Kept("brief", story_id, brief.briefed_by))
            return done

        rows.put_analysis, rows.put_brief = analysis_put, brief_put
        transaction.on_commit(lambda: self.kept.extend(noted))
