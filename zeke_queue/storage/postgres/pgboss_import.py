"""Imports jobs and schedules of another pg-boss into the tables here, by batches, each whole.

In one database, a batch is one transaction. Between two, it is three, each of which may be repeated: claim in
pg-boss, insert here, confirm in pg-boss.
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
    from collections.abc import Callable, Collection, Sequence

    from zeke_queue.core.pgboss_import import ScheduleReport
    from zeke_queue.storage.postgres.pgboss_source import Session, Source

_TRIES: Final = 4
"""Inserts of a job: as it is, under another id, without its key, and both."""


@dataclass(slots=True)
class Imported:
    """What an import has done so far.

    Attributes:
        jobs: the unfinished jobs, by queue.
        history: the ended jobs, by queue.
        unkeyed: those of both that were stored without their key or slot, since another job has it.
        schedules: the names of the schedules.
        known: schedules that were left, since one of their name exists here.
    """

    jobs: Counter[str] = field(default_factory=Counter[str])
    history: Counter[str] = field(default_factory=Counter[str])
    unkeyed: int = 0
    schedules: list[str] = field(default_factory=list[str])
    known: list[str] = field(default_factory=list[str])


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
        self.done = Imported()

    def waiting(self, chosen: Collection[str] | None, *, active: bool = False) -> int:
        """Import what waits in these queues, and with ``active`` what runs; return how many jobs."""
        before = self.done.jobs.total()
        while batch := self.source.claimed():
            self._store(batch)
        for name in self.source.names():
            after = core.NO_ID if core.left_out(name, chosen) is None else None
            while after is not None and self._more():
                batch = self.source.claim(name, after, active=active)
                if self.source.session is not self._target:
                    self.source.session.commit()
                if batch:
                    self._store(batch)
                after = max(job.id for job in batch) if len(batch) == self.source.batch else None
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

    def schedules(self, reports: Sequence[ScheduleReport]) -> None:
        """Store schedules, but those whose name exists here."""
        for one in reports:
            if one.schedule is None:
                continue
            values = {
                "name": one.schedule.name,
                "cron": one.schedule.cron,
                "task": one.schedule.task,
                "zone": one.schedule.zone,
                "data": one.schedule.data,
                "options": jsonb.dumps(dict(one.schedule.options)),
                "catch_up": one.schedule.catch_up.value,
                "now": None,
            }
            stored = self._run("import_schedule", values)
            (self.done.schedules if stored else self.done.known).append(one.schedule.name)
        self._target.commit()

    def _store(self, batch: list[ImportedJob]) -> None:
        stored = self._insert(batch)
        if self.source.session is not self._target:
            self._target.commit()
        self.source.confirm((job.name, job.id) for job in batch)
        self.source.session.commit()
        self.done.jobs.update(job.name for job in stored)

    def _insert(self, batch: list[ImportedJob]) -> list[ImportedJob]:
        """Insert jobs; return those that were not imported before."""
        stored: list[ImportedJob] = []
        pending = batch
        for _ in range(_TRIES):
            if not pending:
                break
            columns = zip(*pending, strict=True)
            values: dict[str, Any] = dict(zip(ImportedJob._fields, map(list, columns), strict=True))
            values |= {"work_channel": work_channel(self._schema), "now": None}
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
