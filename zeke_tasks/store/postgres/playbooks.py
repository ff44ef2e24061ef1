"""Playbooks and their runs on Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from zeke_queue.errors import UsageError
from zeke_tasks.store.model import json_text, storable
from zeke_tasks.store.playbooks import (
    Playbook,
    PlaybookRun,
    PlaybookStatus,
    RunEvent,
    RunStatus,
    Step,
    TriggerSource,
    require_end,
)
from zeke_tasks.store.postgres.runner import StatementRunner, message

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.store.playbooks import NewRun


class PostgresPlaybooks(StatementRunner):
    """The methods on playbooks, runs and events."""

    async def put_playbook(self, playbook: Playbook) -> None:
        """Store a playbook and its steps; replace an earlier version."""
        await self._require_teams(playbook.team_id)
        about: dict[str, Any] = {
            "id": playbook.id,
            "team_id": playbook.team_id,
            "name": playbook.name,
            "status": playbook.status,
        }
        if not await self._run("add_playbook", **about):
            (known,) = await self._run("playbook", id=playbook.id)
            if _comparable(_playbook(known)) == _comparable(playbook):
                return
            await self._run("change_playbook", **about)
            await self._run("remove_steps", id=playbook.id)
        await self._run(
            "add_steps",
            id=playbook.id,
            names=[step.name for step in playbook.steps],
            tasks=[step.task for step in playbook.steps],
            inputs=[json_text(step.input) for step in playbook.steps],
        )

    async def playbook(self, playbook_id: UUID, team_id: UUID) -> Playbook | None:
        """Return a team's playbook."""
        rows = await self._run("playbook", id=playbook_id)
        return _playbook(rows[0]) if rows and rows[0]["team_id"] == team_id else None

    async def every_playbook(self) -> list[Playbook]:
        """Return the playbooks of all teams, by id."""
        return [_playbook(row) for row in await self._run("every_playbook")]

    async def activate_playbook(self, playbook_id: UUID) -> bool:
        """Make a draft active."""
        return bool(await self._run("activate_playbook", id=playbook_id))

    async def ensure_run(self, run: NewRun) -> tuple[PlaybookRun, bool]:
        """Create a pending run, or return the one with this id."""
        await self._require_teams(run.team_id)
        added = await self._run(
            "add_run",
            id=run.id,
            playbook_id=run.playbook_id,
            team_id=run.team_id,
            trigger_source=run.trigger_source,
            triggered_by=run.triggered_by,
            metadata=Jsonb(dict(run.metadata)),
        )
        found = await self.run(run.id)
        if found is None:
            raise UsageError(f"Playbook {run.playbook_id} does not exist.")
        return found, bool(added)

    async def run(self, run_id: UUID) -> PlaybookRun | None:
        """Return a run."""
        rows = await self._run("run", id=run_id)
        return _as_run(rows[0]) if rows else None

    async def runs_of(self, playbook_id: UUID) -> list[PlaybookRun]:
        """Return the runs of a playbook, by id."""
        return [_as_run(row) for row in await self._run("runs_of", playbook_id=playbook_id)]

    async def lock_run(self, run_id: UUID) -> PlaybookRun | None:
        """Return a run, locked until the transaction ends."""
        rows = await self._run("lock_run", id=run_id)
        return _as_run(rows[0]) if rows else None

    async def begin_run(self, run_id: UUID) -> bool:
        """Start a pending run."""
        return bool(await self._run("begin_run", id=run_id))

    async def resume_run(self, run_id: UUID) -> bool:
        """Resume a run that failed or was cancelled."""
        return bool(await self._run("resume_run", id=run_id))

    async def end_run(self, run_id: UUID, status: RunStatus, error: str | None = None) -> bool:
        """End a run that is pending or running."""
        require_end(status)
        return bool(await self._run("end_run", id=run_id, status=status, error=message(error)))

    async def put_output(self, run_id: UUID, step: str, output: Any) -> None:
        """Store the output of a step once."""
        await self._run("put_output", id=run_id, step=storable(step), output=json_text(output))

    async def put_run_event(self, event: RunEvent) -> bool:
        """Store an event once."""
        added = await self._run(
            "put_run_event",
            run_id=event.run_id,
            round=event.round,
            kind=event.kind,
            step=event.step,
            data=Jsonb(dict(event.data)),
        )
        return bool(added)

    async def run_events(self, run_id: UUID) -> list[RunEvent]:
        """Return the events of a run in the order in which they were stored."""
        return [RunEvent(**row) for row in await self._run("run_events", run_id=run_id)]


def _comparable(playbook: Playbook) -> tuple[object, ...]:
    steps = [(step.name, step.task, step.input) for step in playbook.steps]
    return playbook.team_id, playbook.name, playbook.status, json_text(steps)


def _playbook(row: dict[str, Any]) -> Playbook:
    row["steps"], row["status"] = [Step(**step) for step in row["steps"]], PlaybookStatus(row["status"])
    return Playbook(**row)


def _as_run(row: dict[str, Any]) -> PlaybookRun:
    row["status"], row["trigger_source"] = RunStatus(row["status"]), TriggerSource(row["trigger_source"])
    return PlaybookRun(**row)
