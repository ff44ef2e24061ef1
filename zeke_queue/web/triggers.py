"""Operations on jobs for all interfaces: REST, tRPC, the dashboard, and Python.

``send_job`` is for the application's own code, which needs no key; the rest acts on behalf of a caller.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack
from uuid import UUID, uuid5

from zeke_queue.api_client import model as answers
from zeke_queue.client import open_transactions
from zeke_queue.client.insert import IntoStorage, insert_one
from zeke_queue.client.parts import parts_of
from zeke_queue.core import jsonb
from zeke_queue.storage.inspect import require
from zeke_queue.web.access.teams import check_team, payload_of_team
from zeke_queue.web.errors import ApiError, field_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zeke_queue.client.queue import Queue
    from zeke_queue.core.options import SendOptions
    from zeke_queue.web.access.guard import Caller
    from zeke_queue.web.presenter import Presenter
    from zeke_queue.web.settings import WebSettings

ASKED: Final = "idempotencyDigest"
"""The member of a job's meta that contains the digest of a request with an idempotency key."""

TEAM: Final = "teamId"
"""The member of a job's meta with the team of the caller's key; jobs that the job sends inherit it."""

DIGEST_LENGTH: Final = 32
DIGESTED_MAX: Final = 8 * 2**20
"""Bytes of the payload of a request with an idempotency key, as Postgres writes it."""

_IDEMPOTENCE: Final = UUID("8f0e1f52-6d0b-5d0e-9f43-0b7c1f5ad1a4")
Change = Literal["cancel", "retry", "resume"]

CHECKED_AT_ONCE: Final = 20
"""Maximum number of payloads in memory while the teams of many jobs are checked."""

KEY_LENGTH_MAX: Final = 255
KEY: Final = re.compile(f"[ -~]{{1,{KEY_LENGTH_MAX}}}")
"""The format of an idempotency key."""


async def send_job(
    queue: Queue, task: str, payload: Any = None, **options: Unpack[SendOptions]
) -> answers.Triggered:
    """Send a job and return the response of ``POST /trigger``: ``id``, ``status`` and ``task_id``.

    Args:
        payload: a payload for the task's model.
        **options: options of ``Queue.send``.

    Raises:
        JobConflictError: a uniqueness rule refused the job.
        UsageError: as ``Queue.send``.
    """
    parts = parts_of(queue)
    open_transactions.check_outside(parts.storage, "send_job")
    # Clients of the earlier system may send fields that it dropped.
    prepared = parts.factory.prepare(task, payload, options, strict=False)
    run = await insert_one(IntoStorage(parts), prepared, insist=True)
    return answers.Triggered(id=run.id, task_id=task)


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of a trigger: the response, whether an earlier trigger sent the job, and limit headers."""

    triggered: answers.Triggered
    replayed: bool
    headers: Mapping[str, str]


class Jobs:
    """Sends jobs on behalf of callers, within their limits."""

    def __init__(self, queue: Queue, settings: WebSettings, presenter: Presenter) -> None:
        self._queue = queue
        self._settings = settings
        self._presenter = presenter

    async def trigger(
        self, caller: Caller, task: str, payload: Any, *, idempotency_key: str | None = None
    ) -> Sent:
        """Send a job on behalf of a caller.

        Args:
            caller: the caller; the request counts against its limit even if it fails, unless the task
                is unknown.
            task: a task of the catalog, or an alias.
            idempotency_key: a repeated key of the same caller returns the job of the first request.

        Raises:
            ApiError: 404 if the task is not in the catalog; 429 if the limit is used up; 403 if the payload
                names another team than the caller's; 409 if the key was used for a different request; 422 if
                the key is invalid, or if the payload has ``[redacted]`` in place of a value that its task
                hides.
            JobConflictError, UsageError: as ``Queue.trigger``.
        """
        if task not in self._queue.catalog.served:
            raise ApiError(404, f"Unknown task {task}")
        headers = await self.acquire(caller)
        payload = payload_of_team(self._queue.catalog, caller, task, self._presenter.restored(task, payload))
        meta = {} if caller.team_id is None else {TEAM: str(caller.team_id)}
        if idempotency_key is None:
            sent = await send_job(self._queue, task, payload, **({"meta": meta} if meta else {}))
            return Sent(sent, replayed=False, headers=headers)
        job_id = idempotent_id(caller, idempotency_key)
        # A thread writes what may be a large payload, so that the event loop is not blocked.
        digest = await asyncio.to_thread(self._digest, task, payload)
        replayed = await self._queue.get(job_id) is not None
        if not replayed:
            # Of two concurrent requests, only the first inserts its job, so the other gets that job's id.
            await send_job(self._queue, task, payload, id=job_id, meta={**meta, ASKED: digest})
        stored = await require(parts_of(self._queue).storage, job_id)
        if (stored.meta or {}).get(ASKED) != digest:
            raise ApiError(
                409,
                "Idempotency-Key: must be new for each job, got one of another request; send a new key",
                id=str(job_id),
            )
        return Sent(answers.Triggered(id=job_id, task_id=task), replayed=replayed, headers=headers)

    async def change(self, caller: Caller, action: Change, job_id: UUID) -> bool:
        """Cancel, retry or resume a job on behalf of a caller; return whether it was changed.

        Raises:
            ApiError: 403 if the job is of another team.
            JobConflictError: a uniqueness rule refuses the retry.
        """
        await self._check_teams(caller, [job_id])
        return await getattr(self._queue, action)(job_id)

    async def change_many(self, caller: Caller, action: Change, ids: Sequence[UUID]) -> set[UUID]:
        """Cancel, retry or resume several jobs on behalf of a caller; return the changed ones.

        Raises:
            ApiError: 403 if one of the jobs is of another team; none is changed.
        """
        await self._check_teams(caller, ids)
        return await getattr(parts_of(self._queue).storage, action)(ids) if ids else set()

    async def _check_teams(self, caller: Caller, ids: Sequence[UUID]) -> None:
        if caller.team_id is None:
            return
        for start in range(0, len(ids), CHECKED_AT_ONCE):
            for job in (
                await parts_of(self._queue).storage.get(ids[start : start + CHECKED_AT_ONCE])
            ).values():
                check_team(self._queue.catalog, caller, job.name, job.data)

    def _digest(self, task: str, payload: Any) -> str:
        """Return the digest of a request: of the task, independent of aliases, and of the payload."""
        name = self._queue.catalog.get(task).name
        given = jsonb.normalise(jsonb.check_size(jsonb.dumps(payload), DIGESTED_MAX, "The payload"))
        return sha256(f"{name}\n{given}".encode()).hexdigest()[:DIGEST_LENGTH]

    async def acquire(self, caller: Caller) -> dict[str, str]:
        """Count a trigger against a caller's limit, and return the limit's headers.

        Raises:
            ApiError: 429 if the limit is used up.
        """
        limit = self._settings.api_trigger_limit
        if not limit:
            return {}
        window = self._settings.api_trigger_window
        used = await parts_of(self._queue).storage.access.acquire(caller.id, limit, window)
        resets = str(max(1, -int(-used.resets_in // 1)))
        headers = {
            "ratelimit-limit": str(limit),
            "ratelimit-remaining": str(max(0, limit - used.count)),
            "ratelimit-reset": resets,
        }
        if not used.allowed:
            raise ApiError(
                429,
                f"Too many requests: {limit} jobs may be triggered in {window:g} s; retry in {resets} s",
                headers={**headers, "retry-after": resets},
            )
        return headers


def idempotent_id(caller: Caller, key: str) -> UUID:
    """Derive a job's id from a caller and an idempotency key.

    Raises:
        ApiError: 422 if the key is empty, too long, or not printable ASCII.
    """
    if KEY.fullmatch(key) is None:
        why = f"must be 1 to {KEY_LENGTH_MAX} printable ASCII characters, new for each job"
        raise field_errors(f"Idempotency-Key: {why}", [("Idempotency-Key", why)])
    return uuid5(_IDEMPOTENCE, f"{caller.id}\n{key}")
