"""Teams' subscriptions to sources, over REST (``/subscriptions``) and tRPC (``sources.…``).

A key of a team acts for its team only, also when it reads; a key without a team names one.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Response

from zeke_queue.api_client.model import Answer
from zeke_queue.errors import SchemaVersionError
from zeke_queue.storage.access import Scope
from zeke_queue.web.access.teams import team_of
from zeke_queue.web.api import Parts, Reads, Triggers
from zeke_queue.web.errors import ApiError, problems
from zeke_queue.web.extension import Extension
from zeke_queue.web.ids import parse_id
from zeke_queue.web.trpc.procedures import Input, TrpcContext, read_input
from zeke_queue.web.trpc.protocol import Procedure
from zeke_tasks.pages.newsroom import open_rows
from zeke_tasks.store.model import SourceType

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.api import Api
    from zeke_tasks.store.repository import Repository, Rows

TASK: Final = "update-story-status"
"""The task that reads the subscriptions."""

_MISSING: Final = "No source has this id"
_PROBLEMS: Final = problems(401, 403, 404, 422, 429, 503)

TeamId = Annotated[
    UUID | None, Query(alias="teamId", description="The team; by default that of the caller's key.")
]


class SubscribedSource(Answer):
    """A source to which a team subscribes; it is not checked while it is not active."""

    id: UUID
    type: SourceType
    name: str
    url: str | None
    active: bool


class Subscriptions(Answer):
    """The sources to which a team subscribes, by type, then name."""

    team_id: UUID
    sources: tuple[SubscribedSource, ...]


class Subscription(Answer):
    """Whether a team subscribes to a source, and whether the request changed that."""

    team_id: UUID
    source_id: UUID
    subscribed: bool
    changed: bool


class Whose(Input):
    """A team; by default that of the caller's key."""

    team_id: UUID | None = None


class Which(Whose):
    """A source, and a team."""

    source_id: UUID


def extension() -> Extension:
    """Return the routes on the domain's tables in the jobs' database."""
    from zeke_tasks.store.postgres import PostgresRepository  # noqa: PLC0415 - a store in memory needs none

    return subscriptions_extension(PostgresRepository())


def subscriptions_extension(repository: Repository) -> Extension:
    """Return the routes on a store."""
    store = _Store(repository)
    return Extension(routers=[_router(store)], procedures=_procedures(store), needs=TASK)


class _Store:
    """Reads and changes subscriptions for both interfaces."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def of_team(self, queue: Queue, team_id: UUID) -> Subscriptions:
        """Return a team's subscriptions."""
        async with self._rows(queue) as rows:
            found = await rows.subscribed_sources(team_id)
        sources = tuple(
            SubscribedSource(id=one.id, type=one.type, name=one.name, url=one.url, active=one.is_active)
            for one in found
        )
        return Subscriptions(team_id=team_id, sources=sources)

    async def change(self, api: Api, team_id: UUID, source_id: UUID, *, subscribe: bool) -> Subscription:
        """Subscribe a team to a source, or end its subscription.

        Raises:
            ApiError: 404 if the source does not exist.
            UsageError: the team has too many subscriptions, or was deleted.
        """
        async with self._rows(api.queue) as rows:
            verb = rows.connect if subscribe else rows.disconnect
            changed = await verb(team_id, source_id)
            if not changed and await rows.source(source_id) is None:
                raise ApiError(404, _MISSING)
        return Subscription(team_id=team_id, source_id=source_id, subscribed=subscribe, changed=changed)

    @asynccontextmanager
    async def _rows(self, queue: Queue) -> AsyncGenerator[Rows]:
        try:
            async with open_rows(self._repository, queue) as rows:
                yield rows
        except SchemaVersionError:
            missing = "The newsroom's tables are missing or too old; run `zeke migrate`"
            raise ApiError(503, missing, retry=False) from None


def _router(store: _Store) -> APIRouter:
    router = APIRouter(prefix="/subscriptions", tags=["subscriptions"])

    @router.get("", summary="List a team's subscriptions", responses=problems(401, 403, 422, 503))
    async def subscriptions(parts: Parts, caller: Reads, team_id: TeamId = None) -> Subscriptions:
        """Return the sources to which a team subscribes, by type, then name."""
        return await store.of_team(parts.queue, team_of(caller, team_id))

    @router.put("/{source_id}", summary="Subscribe to a source", responses=_PROBLEMS)
    async def subscribe(
        source_id: str, parts: Parts, caller: Triggers, response: Response, team_id: TeamId = None
    ) -> Subscription:
        """Subscribe a team to a source; a repeated request changes nothing. It counts as a trigger."""
        response.headers.update(await parts.jobs.acquire(caller))
        team, source = team_of(caller, team_id), parse_id(source_id, _MISSING)
        return await store.change(parts, team, source, subscribe=True)

    @router.delete("/{source_id}", summary="Unsubscribe from a source", responses=_PROBLEMS)
    async def unsubscribe(
        source_id: str, parts: Parts, caller: Triggers, response: Response, team_id: TeamId = None
    ) -> Subscription:
        """End a team's subscription; its states of stories stay. It counts as a trigger."""
        response.headers.update(await parts.jobs.acquire(caller))
        team, source = team_of(caller, team_id), parse_id(source_id, _MISSING)
        return await store.change(parts, team, source, subscribe=False)

    return router


def _procedures(store: _Store) -> dict[str, Procedure[TrpcContext]]:
    async def subscribed(context: TrpcContext, value: Any) -> dict[str, Any]:
        caller, asked = await context.caller(Scope.READ), read_input(Whose, value)
        return _plain(await store.of_team(context.api.queue, team_of(caller, asked.team_id)))

    async def change(context: TrpcContext, value: Any, *, subscribe: bool) -> dict[str, Any]:
        caller, asked = await context.caller(Scope.TRIGGER), read_input(Which, value)
        await context.api.jobs.acquire(caller)
        team = team_of(caller, asked.team_id)
        return _plain(await store.change(context.api, team, asked.source_id, subscribe=subscribe))

    return {
        "sources.subscribed": Procedure("query", subscribed, Scope.READ),
        "sources.subscribe": Procedure("mutation", partial(change, subscribe=True), Scope.TRIGGER),
        "sources.unsubscribe": Procedure("mutation", partial(change, subscribe=False), Scope.TRIGGER),
    }


def _plain(answer: Answer) -> dict[str, Any]:
    return answer.model_dump(mode="json", by_alias=True)
