"""Playbooks and their runs in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zeke_queue.core import jsonb
from zeke_queue.errors import UsageError
from zeke_tasks.store.memory.scope import Scope
from zeke_tasks.store.memory.tables import Happened
from zeke_tasks.store.model import MESSAGE_CHARACTERS, json_text, storable
from zeke_tasks.store.playbooks import PlaybookRun, PlaybookStatus, RunStatus, require_end

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.store.playbooks import NewRun, Playbook, RunEvent


class MemoryPlaybooks(Scope):
    """The methods on playbooks, runs and events."""

    async def put_playbook(self, playbook: Playbook) -> None:
        """Store a playbook and its steps; replace an earlier version."""
        await self._require_teams(playbook.team_id)
        await self._lock([f"playbook {playbook.id}"])
        self._playbooks.put(playbook.id, playbook)

    async def playbook(self, playbook_id: UUID, team_id: UUID) -> Playbook | None:
        """Return a team's playbook."""
        found = self._playbooks.get(playbook_id)
        return found if found is not None and found.team_id == team_id else None

    async def every_playbook(self) -> list[Playbook]:
        """Return the playbooks of all teams, by id."""
        return sorted(self._playbooks.values(), key=lambda playbook: playbook.id)

    async def activate_playbook(self, playbook_id: UUID) -> bool:
        """Make a draft active."""
        self._require_open()
        if self._playbooks.get(playbook_id) is None:
            return False
        await self._lock([f"playbook {playbook_id}"])
        old = self._playbooks.get(playbook_id)
        if old is None or old.status is not PlaybookStatus.DRAFT:
            return False
        self._playbooks.put(playbook_id, replace(old, status=PlaybookStatus.ACTIVE))
        return True

    async def ensure_run(self, run: NewRun) -> tuple[PlaybookRun, bool]:
        """Create a pending run, or return the one with this id."""
        await self._require_teams(run.team_id)
        await self._lock([f"run {run.id}"])
        known = self._runs.get(run.id)
        if known is not None:
            return known, False
        await self._share(f"playbook {run.playbook_id}")
        if self._playbooks.get(run.playbook_id) is None:
            raise UsageError(f"Playbook {run.playbook_id} does not exist.")
        made = PlaybookRun(
            id=run.id,
            playbook_id=run.playbook_id,
            team_id=run.team_id,
            trigger_source=run.trigger_source,
            triggered_by=run.triggered_by,
            metadata=run.metadata,
            status=RunStatus.PENDING,
            resumed=0,
            outputs={},
            error=None,
            started_at=None,
            ended_at=None,
        )
        self._runs.put(run.id, made)
        return made, True

    async def run(self, run_id: UUID) -> PlaybookRun | None:
        """Return a run."""
        return self._runs.get(run_id)

    async def runs_of(self, playbook_id: UUID) -> list[PlaybookRun]:
        """Return the runs of a playbook, by id."""
        return sorted(self._runs.of(playbook_id), key=lambda run: run.id)

    async def lock_run(self, run_id: UUID) -> PlaybookRun | None:
        """Return a run, locked until the transaction ends."""
        self._require_open()
        if self._runs.get(run_id) is None:
            return None
        await self._lock([f"run row {run_id}"])
        return self._runs.get(run_id)

    async def begin_run(self, run_id: UUID) -> bool:
        """Start a pending run."""
        run = await self.lock_run(run_id)
        if run is None or run.status is not RunStatus.PENDING:
            return False
        self._runs.put(run_id, replace(run, status=RunStatus.RUNNING, started_at=self._now()))
        return True

    async def resume_run(self, run_id: UUID) -> bool:
        """Resume a run that failed or was cancelled."""
        run = await self.lock_run(run_id)
        if run is None or run.status not in {RunStatus.FAILED, RunStatus.CANCELLED}:
            return False
        again = replace(
            run,
            status=RunStatus.RUNNING,
            resumed=run.resumed + 1,
            error=None,
            started_at=run.started_at or self._now(),
            ended_at=None,
        )
        self._runs.put(run_id, again)
        return True

    async def end_run(self, run_id: UUID, status: RunStatus, error: str | None = None) -> bool:
        """End a run that is pending or running."""
        require_end(status)
        run = await self.lock_run(run_id)
        if run is None or run.status not in {RunStatus.PENDING, RunStatus.RUNNING}:
            return False
        message = None if error is None else storable(error)[:MESSAGE_CHARACTERS]
        self._runs.put(run_id, replace(run, status=status, error=message, ended_at=self._now()))
        return True

    async def put_output(self, run_id: UUID, step: str, output: Any) -> None:
        """Store the output of a step once."""
        kept, step = jsonb.loads(json_text(output)), storable(step)
        run = await self.lock_run(run_id)
        if run is not None and step not in run.outputs:
            # Keys are sorted as in jsonb.
            outputs = jsonb.loads(json_text({**run.outputs, step: kept}))
            self._runs.put(run_id, replace(run, outputs=outputs))

    async def put_run_event(self, event: RunEvent) -> bool:
        """Store an event once."""
        self._require_open()
        if self._runs.get(event.run_id) is None:
            return False
        key = (event.run_id, event.round, event.kind, event.step)
        await self._lock([f"event {key}"])
        if self._events.get(key) is not None:
            return False
        self._events.put(key, Happened(next(self._event_numbers), replace(event, at=self._now())))
        return True

    async def run_events(self, run_id: UUID) -> list[RunEvent]:
        """Return the events of a run in the order in which they were stored."""
        found = sorted(self._events.of(run_id), key=lambda happened: happened.number)
        return [happened.event for happened in found]
