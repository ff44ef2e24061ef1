"""What callers do with jobs, whichever way they came in: REST, tRPC, the dashboard, or Python.

``send_job`` is for code of the application's own, which needs no key; the rest is done in a caller's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Unpack
from uuid import UUID, uuid5

from zeke_queue.core import jsonb
from zeke_queue.storage.inspect import require
from zeke_queue.web import shapes
from zeke_queue.web.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zeke_queue.client.queue import Queue
    from zeke_queue.task.prepare import SendOptions
    from zeke_queue.web.access.guard import Caller
    from zeke_queue.web.presenter import Showing
    from zeke_queue.web.settings import WebSettings

ASKED: Final = "idempotencyDigest"
"""Where the meta of a job that was sent under a key has the digest of its request."""

DIGEST_LENGTH: Final = 32
_IDEMPOTENCE: Final = UUID("8f0e1f52-6d0b-5d0e-9f43-0b7c1f5ad1a4")
KEY_LENGTH_MAX: Final = 255
KEY: Final = re.compile(f"[ -~]{{1,{KEY_LENGTH_MAX}}}")
"""An idempotency key."""


async def send_job(
    queue: Queue, task: str, payload: Any = None, **options: Unpack[SendOptions]
) -> shapes.Triggered:
    """Send a job, and return what ``POST /trigger`` answers: ``id``, ``status`` and ``task_id``.

    Args:
        queue: the application's.
        task: a task of the catalog.
        payload: what fits its model.
        **options: as of ``Queue.send``.

    Raises:
        JobConflictError: a uniqueness rule refused it.
        UsageError: as ``Queue.send``.
    """
    run = await queue.trigger(task, payload, **options)
    return shapes.Triggered(id=run.id, task_id=task)


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a trigger: the answer, whether an earlier one sent the job, and headers on the limit."""

    triggered: shapes.Triggered
    replayed: bool
    headers: Mapping[str, str]


class Jobs:
    """Triggers in the name of callers, within their limits."""

    def __init__(self, queue: Queue, settings: WebSettings, showing: Showing) -> None:
        self._queue = queue
        self._settings = settings
        self._showing = showing

    async def trigger(
        self,
        caller: Caller,
        task: str,
        payload: Any,
        *,
        idempotency_key: str | None = None,
    ) -> Sent:
        """Send a job in a caller's name.

        Args:
            caller: who asks; it counts against its limit, whatever comes of it.
            task: a task of the catalog, or an alias.
            payload: what the caller gave.
            idempotency_key: the same key of the same caller again gives the job that the first one sent.

        Raises:
            ApiError: 404 for a task that is not in the catalog; 429 if the limit is used up; 409 if the
                key was used for something else; 422 if it is none, or if the payload has ``[redacted]`` for
                a value that its task hides.
            JobConflictError, UsageError: as ``Queue.trigger``.
        """
        if task not in self._queue.catalog.served:
            raise ApiError(404, f"Unknown task {task}")
        headers = await self.admit(caller)
        payload = self._showing.restored(task, payload)
        if idempotency_key is None:
            return Sent(await send_job(self._queue, task, payload), replayed=False, headers=headers)
        job_id = idempotent_id(caller, idempotency_key)
        digest = self._digest(task, payload)
        replayed = await self._queue.get(job_id) is not None
        if not replayed:
            # Whoever is quicker has its job inserted; the other one is given that job's id.
            await send_job(self._queue, task, payload, id=job_id, meta={ASKED: digest})
        stored = await require(self._queue.storage, job_id)
        if (stored.meta or {}).get(ASKED) != digest:
            raise ApiError(
                409,
                "Idempotency-Key: it was used before, for another task or payload; use a new one for each",
                id=str(job_id),
            )
        return Sent(shapes.Triggered(id=job_id, task_id=task), replayed=replayed, headers=headers)

    def _digest(self, task: str, payload: Any) -> str:
        """Return what tells requests apart: the task, whatever it is called, and what was given."""
        name = self._queue.catalog.get(task).name
        given = jsonb.normalise(jsonb.dumps(payload))
        return sha256(f"{name}\n{given}".encode()).hexdigest()[:DIGEST_LENGTH]

    async def admit(self, caller: Caller) -> dict[str, str]:
        """Count a trigger against a caller's limit, and return the headers that tell of it.

        Raises:
            ApiError: 429 if it is used up.
        """
        limit = self._settings.api_trigger_limit
        if not limit:
            return {}
        window = self._settings.api_trigger_window
        admission = await self._queue.storage.admit(caller.id, limit, window)
        resets = str(max(1, -int(-admission.resets_in // 1)))
        headers = {
            "ratelimit-limit": str(limit),
            "ratelimit-remaining": str(max(0, limit - admission.count)),
            "ratelimit-reset": resets,
        }
        if not admission.admitted:
            raise ApiError(
                429,
                f"Too many requests: {limit} jobs may be triggered in {window:g} s; try again in {resets} s",
                headers={**headers, "retry-after": resets},
            )
        return headers


def idempotent_id(caller: Caller, key: str) -> UUID:
    """Return the id of the job that a caller sends under a key.

    Raises:
        ApiError: 422 if the key is empty, too long, or no printable ASCII.
    """
    if KEY.fullmatch(key) is None:
        raise ApiError(
            422,
            f"Idempotency-Key: give 1 to {KEY_LENGTH_MAX} printable ASCII characters, new for each job",
            fields=[{"path": "Idempotency-Key", "message": "is no key"}],
        )
    return uuid5(_IDEMPOTENCE, f"{caller.id}\n{key}")
