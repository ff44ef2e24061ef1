"""A client of the API: it sends, reads, follows and cancels jobs over HTTP, by a seed.

A send is recorded as the call of a storage that it stands for, ``insert``, so that all that must hold for
sends is judged over the client and the API together. The other calls have verbs of their own: ``http_get``,
``http_cancel``, and ``http_watch``, which is answered each time that the stream shows a status.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, cast

from tests.torture.clients import Client
from zeke_queue.api_client import ApiResponseError, JobsClient, RunDetail, StatusChange
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import JobNotFoundError
from zeke_queue.model import RowState
from zeke_queue.web.access.guard import Caller
from zeke_queue.web.triggers import idempotent_id
from zeke_sim.history.events import Answered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

_HAS_ENDED: Final = 409


class HttpClient(Client):
    """A client that reaches the jobs by the API alone.

    Args:
        *args: those of ``Client``; its queue only prepares jobs.
        api: connected to the API.
        caller: the id of the caller whose key ``api`` has, from which the ids of its jobs are derived.
    """

    def __init__(self, *args: Any, api: JobsClient, caller: str) -> None:
        super().__init__(*args)
        self._api = api
        self._caller = Caller(caller, "", frozenset())

    def _ways(self) -> list[tuple[int, Callable[[], Awaitable[None]]]]:
        return [(12, self.send), (5, self.read), (6, self.follow), (3, self.cancel)]

    async def send(self) -> None:
        # A request has no options of a send, so those that were drawn are dropped.
        job = self._job()
        task, payload = str(job.task), cast("dict[str, Any]", job.payload)
        key = str(payload["send"])
        job_id = idempotent_id(self._caller, key)
        sent = parts_of(self._queue).factory.prepare(task, payload, {"id": job_id}).job

        async def trigger() -> list[UUID]:
            return [(await self._api.trigger(task, payload, idempotency_key=key)).id]

        self._sent += await self._journal.call("insert", {"jobs": (sent,)}, trigger, None)

    async def read(self) -> None:
        await self._ask("http_get", self._api.detail)

    async def cancel(self) -> None:
        try:
            await self._ask("http_cancel", self._api.cancel)
        except ApiResponseError as error:
            if error.status != _HAS_ENDED:
                raise

    async def _ask(self, verb: str, method: Callable[[UUID], Awaitable[RunDetail]]) -> None:
        if (job_id := self._some()) is None:
            return

        async def ask() -> dict[UUID, tuple[RowState, int]]:
            try:
                run = await method(job_id)
            except JobNotFoundError:
                return {}
            return {run.id: (RowState(run.state), run.attempt)}

        await self._journal.call(verb, {"ids": (job_id,)}, ask, None)

    async def follow(self) -> None:
        if (job_id := self._some()) is None:
            return
        journal = self._journal
        watch, _ = journal.invoked("http_watch", {"ids": (job_id,)}, None)
        async with aclosing(self._api.watch(job_id)) as updates:
            async for one in updates:
                if isinstance(one, StatusChange):
                    shown = {one.id: one.status}
                    journal.write(
                        Answered(journal.at(), journal.node, watch, "http_watch", "ok", shown, None)
                    )
