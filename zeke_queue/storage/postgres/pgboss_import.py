"""Imports jobs and schedules of another pg-boss into the tables here, by batches, each whole.

In one database, a batch is one transaction. Between two, it is four, each of which may be repeated: claim in
pg-boss; insert here, held; confirm in pg-boss; release here. The claimed rows are locked from the insert to
the confirmation. If the process ends before the release, a job is held until an import has read in pg-boss
whether it is confirmed. Once its row there is gone, this can't be known, and it stays held.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core import jsonb
from zeke_queue.core import pgboss_import as core
from zeke_queue.core.pgboss_import import ImportedJob
from zeke_queue.errors import StatementFailedError
from zeke_queue.storage.postgres.statements import statement
from zeke_queue.storage.postgres.verbs import work_channel

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.core.pgboss_import import ScheduleReport
    from zeke_queue.model import Schedule
    from zeke_queue.storage.postgres.pgboss_source import CronState, Fate, Session, Source

_TRIES: Final = 4
"""Inserts of a job: as it is, under another id, without its key, and both."""


@dataclass(slots=True)
class Imported:
    """What an import has done so far.

    Attributes:
        jobs: the unfinished jobs, by queue.
        history: the ended jobs, by queue.
        unkeyed: those of both that were stored without their key or slot, since another job has it.
        taken_back: jobs that pg-boss, or a user of it, changed after they were claimed, so they stay there.
        caught_up: whether ``--follow`` ended because no new job came; None without it.
        held: jobs that stay held, since their rows in pg-boss are gone: by id, their queues.
        schedules: the names of the schedules.
        known: schedules that were left, since one of their name exists here.
        reports: what became of the schedules; none before they are imported.
        cron_running: whether schedules were left because pg-boss's cron runs.
        lost_ticks: by schedule, the first tick since then that nothing serves.
        pending_ticks: the queues of the ticks that pg-boss has still to forward.
    """

    jobs: Counter[str] = field(default_factory=Counter[str])
    history: Counter[str] = field(default_factory=Counter[str])
    unkeyed: int = 0
    taken_back: int = 0
    caught_up: bool | None = None
    held: dict[UUID, str] = field(default_factory=dict["UUID", str])
    schedules: list[str] = field(default_factory=list[str])
    known: list[str] = field(default_factory=list[str])
    reports: list[ScheduleReport] = field(default_factory=list["ScheduleReport"])
    cron_running: bool = False
    lost_ticks: dict[str, datetime] = field(default_factory=dict[str, "datetime"])
    pending_ticks: list[str] = field(default_factory=list[str])

    @property
    def incomplete(self) -> bool:
        """Whether a schedule that was chosen is not stored, or a tick is lost."""
        lost = any(one.lost for one in self.reports)
        return bool(lost or self.cron_running or self.lost_ticks or self.pending_ticks)


class Importer:
    """Imports from a source; a second import continues an interrupted one, and repeats nothing.

    Args:
        source: the jobs of pg-boss.
        target: a session on the database of the tables here: the source's own, if it is the same.
        schema: their schema.
        more: asked before each batch whether to continue.
    """

    def __init__(
        self, source: Source, target: Session, schema: str, more: Callable[[], bool] = lambda: True
    ) -> None:
        self.source = source
        self._target = target
        self._schema = schema
        self._more = more
        self._apart = target is not source.session
        self._begun = False
        self.done = Imported()

    def waiting(self, chosen: Collection[str] | None, *, active: bool = False) -> int:
        """Import what waits in these queues, and with ``active`` what runs; return how many jobs."""
        before = self.done.jobs.total()
        if not self._begun:
            while batch := self.source.claimed():
                self._store(batch)
            self._release({})
            self._begun = True
        for name in self.source.names():
            first = core.FIRST_ID if core.left_out(name, chosen) is None else None
            while first is not None and self._more():
                batch = claimed = self.source.claim(name, first, active=active)
                if self._apart and batch:
                    self.source.session.commit()
                    batch = self.source.lock(batch)
                    self.done.taken_back += len(claimed) - len(batch)
                if batch:
                    self._store(batch)
                first = core.next_id(max(job.source_id for job in claimed)) if claimed else None
            self.source.session.commit()
        return self.done.jobs.total() - before

    def ended(self, chosen: Collection[str] | None, *, history: bool) -> None:
        """Copy what has ended: all, or the completed jobs whose slot may still exclude others."""
        for name in self.source.names():
            if core.left_out(name, chosen) is not None:
                continue
            for batch in self.source.ended(name, history=history):
                self.done.history.update(job.name for job in self._insert(batch))
                self._target.commit()
                self.source.session.commit()
                if not self._more():
                    return

    def schedules(self, chosen: Collection[str] | None) -> None:
        """Store the schedules of these queues, but those whose name exists here.

        While pg-boss's cron runs, none is stored; whether it runs is read again before the commit.
        """
        self.done.reports = self.source.schedules(chosen)
        ours = [one.schedule for one in self.done.reports if one.schedule is not None]
        state = self.source.cron()
        if ours and not state.running:
            stored, known, lost = self._store_schedules(ours, state)
            state = self.source.cron()
            if not state.running:
                self._target.commit()
                self.done.schedules, self.done.known, self.done.lost_ticks = stored, known, lost
                pending = [name for name in state.pending if core.left_out(name, chosen) is None]
                self.done.pending_ticks = pending if stored else []
        self.done.cron_running = bool(ours and state.running)
        self._target.rollback()
        self.source.session.rollback()

    def _store_schedules(
        self, schedules: Sequence[Schedule], state: CronState
    ) -> tuple[list[str], list[str], dict[str, datetime]]:
        """Store schedules; return the names of those stored and of those known, and lost ticks."""
        stored: list[str] = []
        known: list[str] = []
        lost: dict[str, datetime] = {}
        for one in schedules:
            tick, gone = core.first_ticks(one, state.checked_on, state.now)
            values = {
                "name": one.name,
                "cron": one.cron,
                "task": one.task,
                "zone": one.zone,
                "data": one.data,
                "options": jsonb.dumps(dict(one.options)),
                "catch_up": one.catch_up.value,
                "last_tick": state.checked_on,
                "next_tick": tick,
                "now": None,
            }
            if not self._run("import_schedule", values):
                known.append(one.name)
                continue
            stored.append(one.name)
            if gone is not None:
                lost[one.name] = gone
        return stored, known, lost

    def _store(self, batch: list[ImportedJob]) -> None:
        stored = self._insert(batch, held=self._apart)
        if self._apart:
            self._target.commit()
        self.source.confirm((job.name, job.id) for job in batch)
        self.source.session.commit()
        self.done.jobs.update(job.name for job in stored)
        if self._apart:
            self._release({(job.name, job.source_id): "confirmed" for job in batch})

    def _release(self, known: Mapping[tuple[str, UUID], Fate]) -> None:
        """Release the held jobs that are confirmed in pg-boss, and delete those that it has back.

        Args:
            known: what became of those that this process has confirmed, as pg-boss may delete them at once.
        """
        found = self._run("import_held", {"origin": self.source.origin})
        held = {job_id: (name, source_id) for job_id, name, source_id in found}
        fates = dict(known)
        if asked := set(held.values()) - known.keys():
            fates |= self.source.fates(asked)
            self.source.session.commit()
        back = [job_id for job_id, there in held.items() if fates.get(there) == "back"]
        values = {
            "ids": [job_id for job_id, there in held.items() if fates.get(there) == "confirmed"],
            "back": back,
            "work_channel": work_channel(self._schema),
        }
        self._run("import_release", values)
        self._target.commit()
        self.done.taken_back += len(back)
        self.done.held = {job_id: there[0] for job_id, there in held.items() if there not in fates}

    def _insert(self, batch: list[ImportedJob], *, held: bool = False) -> list[ImportedJob]:
        """Insert jobs; return those that were not imported before."""
        origin = self.source.origin if held else None
        stored: list[ImportedJob] = []
        pending = batch
        for _ in range(_TRIES):
            if not pending:
                break
            columns = zip(*pending, strict=True)
            values: dict[str, Any] = dict(zip(ImportedJob._fields, map(list, columns), strict=True))
            values |= {"work_channel": work_channel(self._schema), "now": None, "origin": origin}
            inserted = {(row[0], row[1]) for row in self._run("import_jobs", values)}
            stored += (job for job in pending if (job.id, job.name) in inserted)
            refused = [job for job in pending if (job.id, job.name) not in inserted]
            holders = dict(self._run("import_holders", {"ids": [job.id for job in refused]}))
            tried = [core.next_try(job, holders.get(job.id)) for job in refused]
            self.done.unkeyed += sum(job is not None and job.id not in holders for job in tried)
            pending = [job for job in tried if job is not None]
        if pending:
            raise StatementFailedError(
                f"Job {pending[0].id} of queue {pending[0].name!r} can't be stored: its id and one made of it"
                " that are of other jobs here. Cancel it in pg-boss, and run the import again"
            )
        return stored

    def _run(self, name: str, values: dict[str, Any]) -> list[Any]:
        return self._target.run(statement(name, self._schema, None, "unless full"), values)
